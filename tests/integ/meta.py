"Attributes: modes, owners, times, sizes of the file system, links, what SFTP can't carry."
import ctypes
import errno
import os
import stat
import time

from harness import call, clean, eq, get, libc, m, put, r, raises, run, seen, Skip, test

clean("meta")
AT_FDCWD, AT_SYMLINK_NOFOLLOW = -100, 0x100
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2


class Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


def utimensat(path, atime, mtime, flags=0):
    call(libc.utimensat(AT_FDCWD, os.fsencode(path), (Timespec * 2)(Timespec(*atime), Timespec(*mtime)), flags))


def a(name):
    return m("meta", name)


def b(name):
    return r("meta", name)


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


@test("the mode of a new file and folder is what was asked for, less our umask")
def _():
    for umask, asked in ((0o022, 0o666), (0, 0o666), (0, 0o777), (0o077, 0o666), (0o027, 0o640), (0, 0o600)):
        name = f"mode-{umask:o}-{asked:o}"
        old = os.umask(umask)
        try:
            os.close(os.open(a(name), os.O_CREAT | os.O_WRONLY, asked))
            os.mkdir(a(name + "-d"), asked | 0o100)
        finally:
            os.umask(old)
        eq(oct(mode(b(name))), oct(asked & ~umask), name)
        eq(oct(mode(a(name))), oct(asked & ~umask), name + " here")
        eq(oct(mode(b(name + "-d"))), oct((asked | 0o100) & ~umask), name + " folder")


@test("chmod, with setuid, setgid and sticky")
def _():
    put(a("chmod"))
    for bits in (0o644, 0o4755, 0o2755, 0o1777, 0o000, 0o7777, 0o600):
        os.chmod(a("chmod"), bits)
        eq(oct(mode(b("chmod"))), oct(bits), "on the server")
        eq(oct(mode(a("chmod"))), oct(bits), "here")
    fd = os.open(a("chmod"), os.O_RDWR)
    os.fchmod(fd, 0o4711)
    os.close(fd)
    eq(oct(mode(b("chmod"))), oct(0o4711), "fchmod")


@test("chown, where the server allows it")
def _():
    put(a("chown"))
    if os.geteuid():
        with raises(errno.EPERM, errno.EACCES):
            os.chown(a("chown"), 12345, 12346)
        return
    os.chown(a("chown"), 12345, 12346)
    s = os.stat(b("chown"))
    eq((s.st_uid, s.st_gid), (12345, 12346), "on the server")
    s = os.stat(a("chown"))
    eq((s.st_uid, s.st_gid), (12345, 12346), "here")
    os.chown(a("chown"), -1, 54321)
    s = os.stat(b("chown"))
    eq((s.st_uid, s.st_gid), (12345, 54321), "group only")
    os.chown(a("chown"), 0, -1)
    s = os.stat(b("chown"))
    eq((s.st_uid, s.st_gid), (0, 54321), "owner only")


@test("chown keeps the mode, a chmod after it gives setuid")
def _():
    if os.geteuid():
        raise Skip("needs root")
    put(a("chown2"))
    os.chmod(a("chown2"), 0o640)
    os.chown(a("chown2"), 1001, 1002)
    eq(oct(mode(b("chown2"))), oct(0o640))
    os.chmod(a("chown2"), 0o6755)
    eq(oct(mode(b("chown2"))), oct(0o6755))


@test("times to the nanosecond here, to the second on the server")
def _():
    put(a("times"))
    utimensat(a("times"), (1_000_000_000, 123_456_789), (1_100_000_000, 987_654_321))
    s = os.stat(a("times"))
    eq(s.st_atime_ns, 1_000_000_000_123_456_789, "atime")
    eq(s.st_mtime_ns, 1_100_000_000_987_654_321, "mtime")
    s = os.stat(b("times"))
    eq((int(s.st_atime), int(s.st_mtime)), (1_000_000_000, 1_100_000_000), "on the server")


@test("the nanoseconds stay while the file does not change", vastfs_only=True)
def _():
    put(a("times2"), b"x")
    utimensat(a("times2"), (1_000_000_000, 1), (1_100_000_000, 5))
    deadline = time.monotonic() + 2.5
    while time.monotonic() < deadline:
        eq(os.stat(a("times2")).st_mtime_ns, 1_100_000_000_000_000_005)
        os.listdir(m("meta"))
        get(a("times2"))
        time.sleep(0.2)  # sleep: until the attributes have been asked for again


@test("what is made without content is not older than what was written before it", vastfs_only=True)
def _():
    def lock(path):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))

    kinds = {"file": lock, "folder": os.mkdir, "link": lambda path: os.symlink("target", path)}
    for round in range(3):
        for kind, make in kinds.items():
            put(a(f"older-{kind}{round}"), b"x")
            time.sleep(0.11)  # sleep: so that the next change is one of its own
            make(a(f"newer-{kind}{round}"))
            older, newer = os.stat(a(f"older-{kind}{round}")), os.lstat(a(f"newer-{kind}{round}"))
            assert newer.st_mtime_ns >= older.st_mtime_ns, f"{kind}: {newer.st_mtime_ns - older.st_mtime_ns} ns"
            assert newer.st_ctime_ns >= older.st_mtime_ns, f"{kind}: its change time is older"


@test("UTIME_OMIT and UTIME_NOW")
def _():
    put(a("omit"))
    utimensat(a("omit"), (1_000_000_000, 0), (1_100_000_000, 0))
    utimensat(a("omit"), (0, UTIME_OMIT), (1_200_000_000, 0))
    s = os.stat(b("omit"))
    eq((int(s.st_atime), int(s.st_mtime)), (1_000_000_000, 1_200_000_000), "mtime alone")
    utimensat(a("omit"), (1_050_000_000, 0), (0, UTIME_OMIT))
    s = os.stat(b("omit"))
    eq((int(s.st_atime), int(s.st_mtime)), (1_050_000_000, 1_200_000_000), "atime alone")
    before = int(time.time())
    utimensat(a("omit"), (0, UTIME_OMIT), (0, UTIME_NOW))
    s = os.stat(b("omit"))
    eq(int(s.st_atime), 1_050_000_000, "atime beside UTIME_NOW")
    assert before <= int(s.st_mtime) <= time.time() + 1, f"mtime {s.st_mtime}"
    before = int(time.time())
    os.utime(a("omit"))
    s = os.stat(b("omit"))
    assert before <= int(s.st_atime) <= time.time() + 1, f"atime {s.st_atime}"


@test("a time of 0 is 1970, and times out of range are clamped")
def _():
    put(a("zero"))
    utimensat(a("zero"), (0, 0), (0, 0))
    s = os.stat(b("zero"))
    eq((int(s.st_atime), int(s.st_mtime)), (0, 0), "zero")
    utimensat(a("zero"), (-5, 0), (-5, 0))
    eq(int(os.stat(b("zero")).st_mtime), 0, "before 1970")
    utimensat(a("zero"), (1 << 33, 0), (1 << 33, 0))
    eq(int(os.stat(b("zero")).st_mtime), (1 << 32) - 1, "after 2106")


@test("futimens on a descriptor that has unsent data: the time stays after close")
def _():
    fd = os.open(a("cp-p"), os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(fd, b"x" * 300_000)
    os.utime(fd, (1_234_567_890, 1_234_567_891))
    os.close(fd)
    eq(int(os.stat(b("cp-p")).st_mtime), 1_234_567_891, "on the server")
    eq(int(os.stat(a("cp-p")).st_mtime), 1_234_567_891, "here")


@test("a write changes mtime and size at once")
def _():
    put(a("touched"), b"x")
    utimensat(a("touched"), (1_000_000_000, 0), (1_000_000_000, 0))
    fd = os.open(a("touched"), os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"yz")
    s = os.stat(a("touched"))
    eq(s.st_size, 3)
    assert s.st_mtime > 1_600_000_000, "mtime did not move"
    os.close(fd)
    assert os.stat(b("touched")).st_mtime > 1_600_000_000, "the server's mtime did not move"


@test("times and owner of a symlink itself")
def _():
    put(a("lt"))
    utimensat(a("lt"), (1_300_000_000, 0), (1_300_000_000, 0))
    os.symlink("lt", a("link"))
    utimensat(a("link"), (1_000_000_000, 0), (1_100_000_000, 0), AT_SYMLINK_NOFOLLOW)
    eq(int(os.lstat(b("link")).st_mtime), 1_100_000_000, "the link")
    eq(int(os.stat(b("lt")).st_mtime), 1_300_000_000, "its target")
    if not os.geteuid():
        os.lchown(a("link"), 777, 778)
        eq(os.lstat(b("link")).st_uid, 777)
        eq(os.stat(b("lt")).st_uid, 0)


@test("hard links: one inode, two names, counts on both sides")
def _():
    put(a("h1"), b"shared")
    os.link(a("h1"), a("h2"))
    eq(os.stat(b("h1")).st_ino, os.stat(b("h2")).st_ino)
    eq(os.stat(a("h1")).st_nlink, 2, "link count")
    eq(os.stat(a("h2")).st_nlink, 2, "link count of the new name")
    eq(os.stat(a("h1")).st_ino, os.stat(a("h2")).st_ino, "inode here")
    with open(a("h2"), "ab") as f:
        f.write(b" more")
    eq(get(a("h1")), b"shared more")
    os.unlink(a("h1"))
    eq(get(a("h2")), b"shared more")
    eq(os.stat(a("h2")).st_nlink, 1, "link count after unlink")
    with raises(errno.EEXIST):
        put(a("h3"))
        os.link(a("h2"), a("h3"))
    with raises(errno.ENOENT):
        os.link(a("missing"), a("h4"))
    with raises(errno.EPERM):
        os.link(m("meta"), a("h5"))


@test("links made on the server are counted", vastfs_only=True)
def _():
    put(b("s1"))
    os.link(b("s1"), b("s2"))
    seen("meta", "s2")
    os.listdir(m("meta"))  # only listings carry link counts
    deadline = time.monotonic() + 3
    while os.stat(a("s1")).st_nlink != 2:
        assert time.monotonic() < deadline, "link count"
        os.listdir(m("meta"))
        time.sleep(0.05)  # sleep: polls


@test("the inode number is stable, and the same in a listing")
def _():
    put(a("ino"))
    number = os.stat(a("ino")).st_ino
    os.rename(a("ino"), a("ino2"))
    eq(os.stat(a("ino2")).st_ino, number, "after a rename")
    with open(a("ino2"), "ab") as f:
        f.write(b"x")
    os.chmod(a("ino2"), 0o600)
    eq(os.stat(a("ino2")).st_ino, number, "after changes")
    with os.scandir(m("meta")) as entries:
        listed = {e.name: e.inode() for e in entries}
    eq(listed["ino2"], number, "in the listing")
    eq(len(set(listed.values())) >= len(listed) - 1, True, "inodes differ")


@test("blocks follow the size")
def _():
    put(a("blocks"), b"x" * 100_000)
    blocks = os.stat(a("blocks")).st_blocks
    assert 100_000 / 512 <= blocks <= 110_000 / 512 + 8, blocks
    assert os.stat(a("blocks")).st_blksize >= 4096


@test("statvfs tells the server's figures")
def _():
    here, there = os.statvfs(m()), os.statvfs(r())
    eq(here.f_namemax, 255)
    for name in ("f_blocks", "f_bfree", "f_bavail"):
        x, y = getattr(here, name) * here.f_frsize, getattr(there, name) * there.f_frsize
        assert abs(x - y) <= max(y * 0.05, 1 << 20), f"{name}: {x} here, {y} there"
    assert here.f_files > 0 and here.f_ffree > 0


@test("what SFTP can't carry is refused, not faked")
def _():
    put(a("x"))
    with raises(errno.ENOTSUP):
        os.setxattr(a("x"), "user.test", b"1")
    with raises(errno.ENOTSUP, errno.ENODATA):
        os.getxattr(a("x"), "user.test")
    with raises(errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
        os.mkfifo(a("fifo"))
    with raises(errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
        os.mknod(a("device"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
    eq(os.path.lexists(b("fifo")), False)


@test("special files of the server are shown as what they are")
def _():
    os.mkfifo(b("their-fifo"))
    eq(stat.S_ISFIFO(os.lstat(seen("meta", "their-fifo")).st_mode), True)
    os.unlink(a("their-fifo"))
    eq(os.path.lexists(b("their-fifo")), False)


@test("mknod of a regular file")
def _():
    old = os.umask(0o027)
    try:
        os.mknod(a("node"), stat.S_IFREG | 0o666)
    finally:
        os.umask(old)
    eq(oct(mode(b("node"))), oct(0o640))


@test("errors of names: missing, not a folder, too long")
def _():
    put(a("file"))
    with raises(errno.ENOENT):
        os.stat(a("missing"))
    with raises(errno.ENOENT):
        os.open(a("missing"), os.O_RDONLY)
    with raises(errno.ENOENT):
        os.open(a("missing/x"), os.O_CREAT | os.O_WRONLY)
    with raises(errno.ENOENT):
        os.chmod(a("missing"), 0o600)
    with raises(errno.ENOTDIR):
        os.stat(a("file/x"))
    with raises(errno.ENOTDIR):
        os.listdir(a("file"))
    with raises(errno.ENAMETOOLONG):
        put(a("n" * 256))
    with raises(errno.ENAMETOOLONG):
        os.mkdir(a("n" * 256))
    with raises(errno.ENAMETOOLONG):
        os.rename(a("file"), a("n" * 256))
    with raises(errno.EISDIR):
        os.open(m("meta"), os.O_WRONLY)
    put(a("n" * 255), b"long")
    eq(get(b("n" * 255)), b"long")


run()
