"""Appends that were under way when the daemon was killed: each is there once after the next mount, whole, though the lines
are all the same and others before them failed.

appends.py MNT REMOTE VASTFS DELAYPROXY CONTROL PID HOW

HOW: what came before. nothing; full: the instance's disk was full, and a part of an append is there; answers: the link was
lost after appends were done, before their answers came, for longer than the timeout; outage: the same, and the program
goes on without closing the file; torn: nothing, but the server was
ended within the first of those that are under way. Prints the size that the file must have.
"""
import json, os, signal, subprocess, sys, threading, time

mnt, remote, vastfs, tool, ctl, pid, how = sys.argv[1:]
LINE = b"x" * 99 + b"\n"
LOG, THERE = mnt + "/log", remote + "/log"
# a child that is made later would close the log, and wait for what is under way
shell = subprocess.Popen(["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)


def run(command):
    """Its output, of one line."""
    shell.stdin.write(f'out=$({command}); echo "$out"\n'.encode())
    return shell.stdout.readline()


def proxy(words):
    run(f"{tool} --send {ctl} {words} >&2")


def until(what, condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)  # sleep: between two looks


def waiting():
    return json.loads(run(f"{vastfs} status --json {mnt} | jq -c .requests.in_flight"))


def append(n):
    for _ in range(n):
        assert os.write(fd, LINE) == len(LINE)


def synced():
    try:
        os.fsync(fd)
    except OSError as error:
        return error


def in_background(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    return thread


def fails(n):
    """They fail, and the program hears of it."""
    try:
        append(n)
        error = synced()
    except OSError as late:
        error = late
    assert error, "nothing failed"
    print(error, file=sys.stderr)
    try:
        os.close(fd)
    except OSError:
        pass


def full():
    with open(remote + "/filler", "wb", 0) as f:
        try:
            while f.write(bytes(4096)):
                pass
        except OSError:
            pass
    fails(200)
    os.unlink(remote + "/filler")


def answers():
    size = os.stat(THERE).st_size

    def lose():
        until("they are done", lambda: os.stat(THERE).st_size == size + 200 * len(LINE))
        proxy("blackhole")

    proxy("delay 500")
    thread = in_background(lose)
    fails(200)
    thread.join()
    proxy("delay 10")
    proxy("resume")


def outage():
    """Nothing that was accepted fails, and all of it is there once."""
    size = os.stat(THERE).st_size

    def lose():
        until("they are done", lambda: os.stat(THERE).st_size > size)
        proxy("blackhole")

    proxy("delay 500")
    thread = in_background(lose)
    append(200)
    thread.join()
    assert synced(), "that was no outage"
    append(200)
    proxy("delay 10")
    proxy("resume")
    until("they are sent", lambda: not synced())
    there = os.stat(THERE).st_size
    assert there == size + 400 * len(LINE), f"{(there - size) / len(LINE)} of 400 lines"


def opened():
    global fd
    try:
        fd = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        return False
    return True


assert opened()
append(30)
os.fsync(fd)
if how == "outage":
    outage()
if how in ("full", "answers"):
    globals()[how]()
    until("it can be opened again", opened)
append(10)
os.fsync(fd)
size = os.stat(THERE).st_size
here = os.fstat(fd).st_size
assert size == here, f"{size} there, {here} here"
proxy("stall")
append(5)
thread = in_background(synced)
until("they are under way", lambda: waiting() > 0)
os.kill(int(pid), signal.SIGKILL)
thread.join()
proxy("cut")
proxy("resume")
if how == "torn":
    with open(THERE, "ab") as f:
        f.write(LINE[:40])
print(size + 5 * len(LINE))
