"""Runs a command on a terminal of its own and answers its questions.

	pty_run.py QUESTION ANSWER COMMAND…

Sends ANSWER and a newline when QUESTION (a regular expression) appears; prints all that the terminal showed; exits with the
command's status, or 99 after 40 seconds.
"""
import os
import pty
import re
import select
import signal
import sys
import time

question, answer, command = sys.argv[1], sys.argv[2], sys.argv[3:]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
shown, asked, deadline = b"", 0, time.monotonic() + 40
while time.monotonic() < deadline:
    if select.select([fd], [], [], 0.1)[0]:
        try:
            data = os.read(fd, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
        if len(re.findall(question.encode(), shown)) > asked:
            asked += 1
            os.write(fd, answer.encode() + b"\n")
    # the daemon may keep the terminal open a little longer than the program that was started
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if not select.select([fd], [], [], 0.2)[0]:
            break
print(shown.decode(errors="replace").replace("\r\n", "\n"))
if not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) and time.monotonic() >= deadline:
    os.kill(pid, signal.SIGKILL)
    sys.exit(99)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
