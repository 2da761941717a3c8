"flock, fcntl locks and simultaneous changes by several local processes."
import errno
import fcntl
import os
import signal
import struct
import time

from harness import clean, eq, get, in_child, m, put, r, raises, run, test

clean("locks")


def a(name):
    return m("locks", name)


def opened(name):
    return os.open(a(name), os.O_RDWR | os.O_CREAT, 0o644)


class Child:
    "A process that does function and tells when it got where it is (one byte in a pipe)."

    def __init__(self, function):
        self.pipe, w = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.pipe)
            status = 1
            try:
                function(lambda: os.write(w, b"."))
                status = 0
            finally:
                os._exit(status)
        os.close(w)

    def told(self):
        eq(os.read(self.pipe, 1), b".", "the other process")

    def quiet(self, seconds):
        import select
        eq(select.select([self.pipe], [], [], seconds)[0], [], "the other process should wait")

    def end(self):
        eq(os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), 0, "exit of the other process")
        os.close(self.pipe)


def blocked_then_free(lock, unlock):
    put(a("block"))
    fd = opened("block")
    lock(fd)

    def other(tell):
        mine = opened("block")
        lock(mine)
        tell()
    child = Child(other)
    child.quiet(0.3)
    unlock(fd)
    child.told()
    child.end()
    os.close(fd)


@test("flock: a second exclusive lock is refused, shared ones are not")
def _():
    fd = opened("flock")
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def refused():
        with raises(errno.EWOULDBLOCK):
            fcntl.flock(opened("flock"), fcntl.LOCK_SH | fcntl.LOCK_NB)
    eq(in_child(refused), 0)
    fcntl.flock(fd, fcntl.LOCK_SH)
    eq(in_child(lambda: fcntl.flock(opened("flock"), fcntl.LOCK_SH | fcntl.LOCK_NB)), 0)
    fcntl.flock(fd, fcntl.LOCK_UN)
    eq(in_child(lambda: fcntl.flock(opened("flock"), fcntl.LOCK_EX | fcntl.LOCK_NB)), 0)
    os.close(fd)


@test("flock: a waiting process gets the lock when it is free, or when its owner dies")
def _():
    blocked_then_free(lambda fd: fcntl.flock(fd, fcntl.LOCK_EX), lambda fd: fcntl.flock(fd, fcntl.LOCK_UN))

    def owner(tell):
        fcntl.flock(opened("dies"), fcntl.LOCK_EX)
        tell()
        signal.pause()
    child = Child(owner)
    child.told()
    fd = opened("dies")
    with raises(errno.EWOULDBLOCK):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.kill(child.pid, signal.SIGKILL)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.waitpid(child.pid, 0)
    os.close(fd)


@test("fcntl: ranges of a file are locked apart")
def _():
    fd = opened("ranges")
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 0)

    def other():
        mine = opened("ranges")
        fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 100)
        with raises(errno.EAGAIN, errno.EACCES):
            fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 95)
    eq(in_child(other), 0)
    os.close(fd)


@test("fcntl: F_GETLK names the owner")
def _():
    fd = opened("getlk")
    fcntl.lockf(fd, fcntl.LOCK_EX, 10, 5)
    owner = os.getpid()

    def other():
        ask = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, start, length, pid = struct.unpack("hhqqi4x", fcntl.fcntl(opened("getlk"), fcntl.F_GETLK, ask))
        eq((kind, start, length, pid), (fcntl.F_WRLCK, 5, 10, owner))
    eq(in_child(other), 0)
    os.close(fd)


@test("fcntl: a waiting process gets the lock when it is free")
def _():
    blocked_then_free(lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX), lambda fd: fcntl.lockf(fd, fcntl.LOCK_UN))


@test("fcntl: a lock is gone when its process ends")
def _():
    def owner(tell):
        fcntl.lockf(opened("ends"), fcntl.LOCK_EX)
        tell()
    child = Child(owner)
    child.told()
    child.end()
    fd = opened("ends")
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)


@test("a process that waits for a lock ends at a signal")
def _():
    for lock in (fcntl.flock, fcntl.lockf):
        fd = opened("sig")
        lock(fd, fcntl.LOCK_EX)

        def other(tell):
            tell()
            lock(opened("sig"), fcntl.LOCK_EX)
        child = Child(other)
        child.told()
        child.quiet(0.2)
        os.kill(child.pid, signal.SIGTERM)
        begin = time.monotonic()
        eq(os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]), -signal.SIGTERM)
        assert time.monotonic() - begin < 2
        os.close(fd)


@test("four processes append with O_APPEND: no line is lost or torn")
def _():
    def writer(name):
        def go(_tell):
            fd = os.open(a("append"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            for i in range(250):
                os.write(fd, (f"{name} {i:04} " + "x" * 60 + "\n").encode())
            os.close(fd)
        return go
    children = [Child(writer(n)) for n in "abcd"]
    for child in children:
        child.end()
    lines = get(r("locks", "append")).decode().splitlines()
    eq(len(lines), 1000, "lines on the server")
    for n in "abcd":
        eq([line for line in lines if line.startswith(n)], [f"{n} {i:04} " + "x" * 60 for i in range(250)])
    eq(get(a("append")), get(r("locks", "append")))


@test("eight processes create the same names with O_EXCL: one wins each")
def _():
    def racer(_tell):
        won = 0
        for i in range(50):
            try:
                os.close(os.open(a(f"race-{i}"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                won += 1
            except FileExistsError:
                pass
        put(a(f"won-{os.getpid()}"), b"%d" % won)
    children = [Child(racer) for _ in range(8)]
    for child in children:
        child.end()
    eq(sum(int(get(a(f"won-{c.pid}"))) for c in children), 50, "winners")


@test("eight processes make and remove the same folder: each mkdir and rmdir is true")
def _():
    def racer(_tell):
        for _i in range(40):
            try:
                os.mkdir(a("dir-race"))
            except FileExistsError:
                continue
            os.rmdir(a("dir-race"))
    children = [Child(racer) for _ in range(8)]
    for child in children:
        child.end()
    eq(os.path.exists(r("locks", "dir-race")), False)


@test("a counter file under flock by six processes")
def _():
    put(a("counter"), b"0")

    def counter(_tell):
        for _i in range(40):
            with open(a("counter"), "r+") as f:
                fcntl.flock(f, fcntl.LOCK_EX)
                n = int(f.read())
                f.seek(0)
                f.write(str(n + 1))
                f.flush()
    children = [Child(counter) for _ in range(6)]
    for child in children:
        child.end()
    eq(get(r("locks", "counter")), b"240")


@test("pids lock files by link(2), as procmail and others do")
def _():
    def locker(_tell):
        name = a(f"lk-{os.getpid()}")
        put(name)
        for _i in range(20):
            while True:
                try:
                    os.link(name, a("lockfile"))
                    break
                except FileExistsError:
                    time.sleep(0.002)  # sleep: polls, as such programs do
            n = int(get(a("lcount")) or b"0")
            put(a("lcount"), b"%d" % (n + 1))
            os.unlink(a("lockfile"))
    put(a("lcount"), b"0")
    children = [Child(locker) for _ in range(4)]
    for child in children:
        child.end()
    eq(get(r("locks", "lcount")), b"80")


run()
