"""Results of Python tests, as tests/lib.sh's run_py reads them.

	@test("what is tested")
	def _(): assert …
	run()

A test has 60 seconds. It may raise Skip("reason").
"""
import contextlib
import ctypes
import errno
import os
import re
import shutil
import signal
import sys
import time
import traceback

MNT, REMOTE, W, FS = (os.environ.get(k, "") for k in ("MNT", "REMOTE", "W", "FS"))
_tests = []
libc = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
    pass


def test(words, vastfs_only=False):
    def keep(function):
        _tests.append((words, function, vastfs_only))
        return function
    return keep


def m(*names):
    "The path on the mount."
    return os.path.join(MNT, *names)


def r(*names):
    "The path on the server, which has by then all that was done here."
    synced()
    return os.path.join(REMOTE, *names)


def synced():
    "Waits until what is done in a burst is there; fails when something of it failed."
    fd = os.open(MNT, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def put(path, data=b""):
    with open(path, "wb") as f:
        f.write(data)


def get(path):
    with open(path, "rb") as f:
        return f.read()


@contextlib.contextmanager
def raises(*numbers):
    "The body must fail with one of these errnos."
    try:
        yield
    except OSError as e:
        names = [errno.errorcode[n] for n in numbers]
        assert e.errno in numbers, f"{errno.errorcode.get(e.errno, e.errno)} instead of {' or '.join(names)}"
    else:
        raise AssertionError(f"succeeded instead of {' or '.join(errno.errorcode[n] for n in numbers)}")


def call(result):
    "The result of a libc function, or its errno as OSError."
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def short(value):
    text = repr(value)
    return text if len(text) < 300 else f"{text[:280]}… ({len(text)} characters)"


def eq(got, expected, what="got"):
    assert got == expected, f"{what} {short(got)}, expected {short(expected)}"


def seen(*names):
    """The path on the mount of something made on the server, once it can be seen here: a name may be hidden for as long as
    the folder's listing is trusted (R1)."""
    deadline = time.monotonic() + 5
    while not os.path.lexists(m(*names)):
        assert time.monotonic() < deadline, f"{m(*names)} is not seen"
        time.sleep(0.02)  # sleep: polls
    return m(*names)


def in_child(function):
    "Runs function in a forked process and returns its exit status (0 unless it raises)."
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = function() or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _alarm(_number, _frame):
    raise TimeoutError("no end after 60 s")


def run():
    only = os.environ.get("ONLY")
    signal.signal(signal.SIGALRM, _alarm)
    failed = 0
    for number, (words, function, vastfs_only) in enumerate(_tests):
        if only and not re.search(only, words):
            continue
        if vastfs_only and FS != "vastfs":
            print(f"skip {words}|not for {FS}", flush=True)
            continue
        os.chdir("/")
        signal.alarm(60)
        try:
            function()
            print(f"pass {words}", flush=True)
        except Skip as e:
            print(f"skip {words}|{e}", flush=True)
        except BaseException as e:
            failed += 1
            print(f"fail {words}", flush=True)
            where = traceback.extract_tb(e.__traceback__)[-3:]
            print(f"{type(e).__name__}: {e}", flush=True)
            for f in where:
                print(f"  {os.path.basename(f.filename)}:{f.lineno}: {f.line}", flush=True)
        finally:
            signal.alarm(0)
    sys.stdout.flush()


def clean(*names):
    "A folder of this name, made anew on the server."
    shutil.rmtree(r(*names), ignore_errors=True)
    os.makedirs(r(*names))
    return seen(*names)
