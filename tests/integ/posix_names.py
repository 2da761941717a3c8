"What POSIX says of names: the error of each failing call, rename's corner cases, times of folders, listings."
import ctypes
import errno
import os
import stat
import time

from harness import call, clean, eq, FS, get, in_child, libc, m, put, r, raises, run, seen, Skip, test

clean("pn")
NOREPLACE, EXCHANGE = 1, 2
LONG = "n" * 256


def a(*names):
    return m("pn", *names)


def renameat2(old, new, flags):
    call(libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags))


def touch(path, mode=0o644):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, mode))


def ns(path, field):
    return getattr(os.lstat(path), field)


def every_call():
    """Each call that takes a path, as (name, function of that path); for calls of two paths, on either side."""
    put(a("src"), b"x")
    os.makedirs(a("srcd"), exist_ok=True)
    return [
        ("open", lambda p: os.close(os.open(p, os.O_RDONLY))),
        ("open O_CREAT", lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY, 0o644))),
        ("open O_CREAT|O_EXCL", lambda p: os.close(os.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))),
        ("mkdir", os.mkdir),
        ("rmdir", os.rmdir),
        ("unlink", os.unlink),
        ("rename from", lambda p: os.rename(p, a("rename-to"))),
        ("rename to", lambda p: os.rename(a("src"), p)),
        ("link from", lambda p: os.link(p, a("link-to"))),
        ("link to", lambda p: os.link(a("src"), p)),
        ("symlink", lambda p: os.symlink("x", p)),
        ("readlink", os.readlink),
        ("chmod", lambda p: os.chmod(p, 0o644)),
        ("chown", lambda p: os.chown(p, -1, -1)),
        ("lchown", lambda p: os.lchown(p, os.getuid(), -1)),
        ("truncate", lambda p: os.truncate(p, 0)),
        ("utimens", lambda p: os.utime(p, (1, 1))),
        ("mknod", lambda p: os.mknod(p, stat.S_IFREG | 0o644)),
        ("stat", os.stat),
        ("lstat", os.lstat),
        ("access", lambda p: _access(p, os.R_OK)),
        ("statvfs", os.statvfs),
        ("chdir", os.chdir),
        ("opendir", os.listdir),
    ]


def _access(path, how):
    call(libc.access(os.fsencode(path), how))


def each(path, number, but=()):
    "Every call fails with this error on this path, but for those named."
    for name, function in every_call():
        if name in but:
            continue
        try:
            function(path)
        except OSError as e:
            eq(errno.errorcode.get(e.errno), errno.errorcode[number], name)
        else:
            raise AssertionError(f"{name} succeeded instead of {errno.errorcode[number]}")


@test("ENAMETOOLONG for a name of 256 bytes, for every call")
def _():
    each(a(LONG), errno.ENAMETOOLONG)
    each(a("ü" * 128), errno.ENAMETOOLONG)
    each(a(LONG, "x"), errno.ENAMETOOLONG)


@test("ENAMETOOLONG for a path of 4096 bytes, for every call")
def _():
    path = a()
    path += "/." * ((4096 - len(path)) // 2 + 1)
    each(path, errno.ENAMETOOLONG)


@test("names of 255 bytes work in every call")
def _():
    name, other = "m" * 255, "o" * 255
    put(a(name), b"1")
    os.rename(a(name), a(other))
    os.link(a(other), a(name))
    os.symlink(name, a("s" * 255))
    eq(os.readlink(a("s" * 255)), name)
    os.mkdir(a("d" * 255))
    eq(sorted(n for n in os.listdir(a()) if len(n) == 255), sorted([name, other, "s" * 255, "d" * 255]))
    os.rmdir(a("d" * 255))
    for n in (name, other, "s" * 255):
        os.unlink(a(n))


@test("ENOENT for a missing name, for every call that needs one")
def _():
    each(a("nothing"), errno.ENOENT, but=("open O_CREAT", "open O_CREAT|O_EXCL", "mkdir", "rename to", "link to",
                                           "symlink", "mknod"))
    each(a("nothing", "x"), errno.ENOENT)


@test("ENOTDIR below a file, for every call")
def _():
    put(a("plain"), b"x")
    each(a("plain", "x"), errno.ENOTDIR)
    for name, function in every_call():
        if name in ("chdir", "opendir", "rmdir"):
            with raises(errno.ENOTDIR):
                function(a("plain"))
    with raises(errno.ENOTDIR):
        os.open(a("plain"), os.O_RDONLY | os.O_DIRECTORY)


@test("ELOOP for a link to itself, for every call that follows it")
def _():
    os.symlink("self", a("self"))
    each(a("self"), errno.ELOOP, but=("open O_CREAT|O_EXCL", "mkdir", "rmdir", "unlink", "rename from", "rename to",
                                       "link from", "link to", "symlink", "readlink", "lchown", "mknod", "lstat"))
    each(a("self", "x"), errno.ELOOP)
    os.symlink("two", a("one"))
    os.symlink("one", a("two"))
    with raises(errno.ELOOP):
        os.stat(a("one"))
    with raises(errno.ELOOP):
        os.open(a("self"), os.O_RDONLY | os.O_NOFOLLOW)


@test("EEXIST for a name that is there: a file, a folder, a link, a dangling link")
def _():
    put(a("there"), b"kept")
    os.mkdir(a("there-d"))
    os.symlink("there", a("there-l"))
    os.symlink("none", a("there-n"))
    for name in ("there", "there-d", "there-l", "there-n"):
        for what, function in every_call():
            if what in ("open O_CREAT|O_EXCL", "mkdir", "link to", "symlink", "mknod"):
                try:
                    function(a(name))
                except OSError as e:
                    eq(errno.errorcode[e.errno], "EEXIST", f"{what} on {name}")
                else:
                    raise AssertionError(f"{what} on {name} succeeded")
    eq(get(a("there")), b"kept")


@test("EISDIR, ENOTDIR and ENOTEMPTY of folders")
def _():
    os.mkdir(a("dd"))
    put(a("dd", "f"))
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_TRUNC, os.O_RDONLY | os.O_CREAT):
        with raises(errno.EISDIR):
            os.open(a("dd"), flags)
    with raises(errno.EISDIR):
        os.truncate(a("dd"), 0)
    with raises(errno.EISDIR):
        os.unlink(a("dd"))
    with raises(errno.ENOTEMPTY, errno.EEXIST):
        os.rmdir(a("dd"))
    with raises(errno.EISDIR):
        fd = os.open(a("dd"), os.O_RDONLY)
        try:
            os.read(fd, 1)
        finally:
            os.close(fd)
    with raises(errno.EPERM):
        os.link(a("dd"), a("dd2"))
    with raises(errno.EINVAL, errno.ENOTEMPTY):
        os.rmdir(a("dd") + "/.")
    with raises(errno.ENOTEMPTY):
        os.rmdir(a("dd", ".."))


@test("EINVAL: readlink of what is no link, truncate below zero, a folder into itself")
def _():
    put(a("inv"))
    os.mkdir(a("invd"))
    for name in ("inv", "invd"):
        with raises(errno.EINVAL):
            os.readlink(a(name))
    with raises(errno.EINVAL):
        os.truncate(a("inv"), -1)
    with raises(errno.EINVAL):
        os.rename(a("invd"), a("invd", "x"))
    os.mkdir(a("invd", "e"))
    with raises(errno.EINVAL):
        os.rename(a("invd"), a("invd", "e", "x"))
    with raises(errno.ENOTEMPTY, errno.EEXIST):
        os.rename(a("invd", "e"), a("invd"))
    with raises(errno.EBUSY, errno.EINVAL, errno.EEXIST, errno.ENOTEMPTY):
        os.rename(a("invd", "."), a("invd2"))


@test("EXDEV: rename and link across file systems")
def _():
    put(a("xdev"), b"x")
    with raises(errno.EXDEV):
        os.rename(a("xdev"), "/dev/shm/vastfs-test-xdev")
    with raises(errno.EXDEV):
        os.link(a("xdev"), "/dev/shm/vastfs-test-xdev")
    eq(get(a("xdev")), b"x")


@test("ETXTBSY: a running program can't be opened for writing, one being written can't run")
def _():
    with open("/bin/cat", "rb") as f:
        put(a("prog"), f.read())
    os.chmod(a("prog"), 0o755)
    end, begin = os.pipe()
    pid = os.posix_spawn(a("prog"), ["prog"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, end, 0)])
    try:
        with raises(errno.ETXTBSY):
            os.open(a("prog"), os.O_WRONLY)
        with raises(errno.ETXTBSY):
            os.truncate(a("prog"), 0)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    fd = os.open(a("prog"), os.O_WRONLY)
    with raises(errno.ETXTBSY):
        os.posix_spawn(a("prog"), ["prog"], {})
    os.close(fd)


@test("EACCES: a file without x does not run")
def _():
    put(a("script"), b"#!/bin/sh\nexit 0\n")
    os.chmod(a("script"), 0o644)
    with raises(errno.EACCES):
        os.posix_spawn(a("script"), ["script"], {})
    with raises(errno.EACCES):
        _access(a("script"), os.X_OK)
    os.chmod(a("script"), 0o755)
    _access(a("script"), os.X_OK)


@test("a trailing slash means a folder")
def _():
    put(a("ts"), b"x")
    os.mkdir(a("tsd"))
    for function in (os.stat, os.lstat, lambda p: os.open(p, os.O_RDONLY), os.unlink, lambda p: os.chmod(p, 0o644)):
        with raises(errno.ENOTDIR):
            function(a("ts") + "/")
    with raises(errno.EISDIR):
        os.open(a("ts-new") + "/", os.O_CREAT | os.O_WRONLY)
    os.mkdir(a("ts-dir") + "/")
    os.rename(a("ts-dir") + "/", a("ts-dir2") + "/")
    os.rmdir(a("ts-dir2") + "/")
    with raises(errno.ENOTDIR):
        os.rename(a("ts"), a("ts3") + "/")
    with raises(errno.ENOENT, errno.ENOTDIR):
        os.link(a("ts"), a("ts4") + "/")
    os.symlink("tsd", a("tsl"))
    eq(stat.S_ISDIR(os.lstat(a("tsl") + "/").st_mode), True)
    with raises(errno.ENOTDIR):
        os.rmdir(a("tsl") + "/")


@test("O_DIRECTORY, O_NOFOLLOW, O_PATH")
def _():
    put(a("op"), b"x")
    os.symlink("op", a("opl"))
    with raises(errno.ELOOP):
        os.open(a("opl"), os.O_RDONLY | os.O_NOFOLLOW)
    fd = os.open(a("opl"), os.O_PATH | os.O_NOFOLLOW)
    eq(stat.S_ISLNK(os.fstat(fd).st_mode), True)
    eq(os.readlink("", dir_fd=fd), "op")
    os.close(fd)
    fd = os.open(a("op"), os.O_PATH)
    with raises(errno.EBADF):
        os.read(fd, 1)
    eq(os.fstat(fd).st_size, 1)
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    eq(os.read(again, 5), b"x")
    os.close(again)
    os.close(fd)
    dirfd = os.open(a(), os.O_RDONLY | os.O_DIRECTORY)
    put(a("rel"), b"rel")
    fd = os.open("rel", os.O_RDONLY, dir_fd=dirfd)
    eq(os.read(fd, 10), b"rel")
    os.close(fd)
    os.mkdir("relative-d", dir_fd=dirfd)
    os.rename("rel", "relative-d/rel", src_dir_fd=dirfd, dst_dir_fd=dirfd)
    os.unlink("relative-d/rel", dir_fd=dirfd)
    os.rmdir("relative-d", dir_fd=dirfd)
    os.close(dirfd)


@test("rename onto itself and between hard links of one file does nothing")
def _():
    put(a("h1"), b"h")
    os.link(a("h1"), a("h2"))
    before = os.stat(a("h1")).st_ino
    os.rename(a("h1"), a("h1"))
    os.rename(a("h1"), a("h2"))
    eq((os.path.exists(a("h1")), os.path.exists(a("h2"))), (True, True), "both names stay")
    eq(os.stat(a("h1")).st_ino, before)
    eq(os.stat(a("h1")).st_nlink, 2)
    os.mkdir(a("hd"))
    os.rename(a("hd"), a("hd"))
    eq(os.path.isdir(a("hd")), True)


@test("rename of a file over another: the old one's other name stays, counts fall")
def _():
    put(a("ro1"), b"new")
    put(a("ro2"), b"old")
    os.link(a("ro2"), a("ro3"))
    ino = os.stat(a("ro1")).st_ino
    fd = os.open(a("ro2"), os.O_RDONLY)
    os.rename(a("ro1"), a("ro2"))
    eq(os.stat(a("ro2")).st_ino, ino, "inode follows the file")
    eq((get(a("ro2")), get(a("ro3"))), (b"new", b"old"))
    eq(os.fstat(fd).st_nlink, 1, "link count of the one replaced")
    os.unlink(a("ro3"))
    eq(os.fstat(fd).st_nlink, 0)
    eq(os.read(fd, 10), b"old")
    os.close(fd)


@test("rename of folders: onto empty and full ones, files and folders crosswise")
def _():
    for name in ("fa", "fb", "fc", "fa/in"):
        os.mkdir(a(name))
    put(a("fc", "f"))
    put(a("ff"))
    with raises(errno.ENOTEMPTY, errno.EEXIST):
        os.rename(a("fa"), a("fc"))
    with raises(errno.ENOTDIR):
        os.rename(a("fa"), a("ff"))
    with raises(errno.EISDIR):
        os.rename(a("ff"), a("fb"))
    with raises(errno.EISDIR, errno.ENOTEMPTY):
        os.rename(a("fc", "f"), a("fc"))
    os.rename(a("fa"), a("fb"))
    eq(os.listdir(a("fb")), ["in"])
    eq(os.path.exists(a("fa")), False)
    os.symlink("fb", a("fl"))
    with raises(errno.ENOTDIR):
        os.rename(a("fc"), a("fl"))
    os.rename(a("fl"), a("fl2"))
    eq(os.readlink(a("fl2")), "fb")
    os.rename(a("ff"), a("fl2"))
    eq(stat.S_ISREG(os.lstat(a("fl2")).st_mode), True, "a file replaced a link")


@test("RENAME_NOREPLACE and RENAME_EXCHANGE")
def _():
    put(a("n1"), b"1")
    put(a("n2"), b"2")
    os.mkdir(a("nd"))
    for to in ("n2", "nd"):
        with raises(errno.EEXIST):
            renameat2(a("n1"), a(to), NOREPLACE)
    with raises(errno.EEXIST):
        renameat2(a("nd"), a("n2"), NOREPLACE)
    with raises(errno.ENOENT):
        renameat2(a("none"), a("n9"), NOREPLACE)
    with raises(errno.EINVAL):
        renameat2(a("n1"), a("n2"), NOREPLACE | EXCHANGE)
    renameat2(a("n1"), a("n3"), NOREPLACE)
    eq((get(a("n3")), get(a("n2"))), (b"1", b"2"))
    renameat2(a("nd"), a("nd2"), NOREPLACE)
    eq(os.path.isdir(a("nd2")), True)
    os.symlink("x", a("ns"))
    renameat2(a("ns"), a("ns2"), NOREPLACE)
    eq(os.readlink(a("ns2")), "x")
    with raises(errno.EEXIST):
        renameat2(a("n3"), a("ns2"), NOREPLACE)


@test("a folder's mtime and ctime move when a name comes, goes or is renamed")
def _():
    os.mkdir(a("t1"))
    os.mkdir(a("t2"))
    put(a("outside"))
    cases = [
        ("create", lambda: touch(a("t1", "f")), ["t1"]),
        ("mkdir", lambda: os.mkdir(a("t1", "d")), ["t1"]),
        ("symlink", lambda: os.symlink("x", a("t1", "l")), ["t1"]),
        ("link", lambda: os.link(a("outside"), a("t1", "h")), ["t1"]),
        ("mknod", lambda: os.mknod(a("t1", "n"), stat.S_IFREG | 0o644), ["t1"]),
        ("rename within", lambda: os.rename(a("t1", "f"), a("t1", "f2")), ["t1"]),
        ("rename across", lambda: os.rename(a("t1", "f2"), a("t2", "f2")), ["t1", "t2"]),
        ("unlink", lambda: os.unlink(a("t2", "f2")), ["t2"]),
        ("rmdir", lambda: os.rmdir(a("t1", "d")), ["t1"]),
    ]
    for what, function, folders in cases:
        for f in folders:
            os.utime(a(f), (1_000_000_000, 1_000_000_000))
        ctimes = {f: ns(a(f), "st_ctime_ns") for f in folders}
        time.sleep(0.02)  # sleep: clocks of file systems tick every 4 ms
        function()
        for f in folders:
            s = os.stat(a(f))
            assert s.st_mtime > 1_600_000_000, f"{what}: mtime of {f} did not move"
            assert s.st_ctime_ns > ctimes[f], f"{what}: ctime of {f} did not move"


@test("a failed call leaves the folder's times alone")
def _():
    os.mkdir(a("t3"))
    put(a("t3", "f"))
    os.utime(a("t3"), (1_000_000_000, 1_000_000_000))
    for function in (lambda: os.mkdir(a("t3", "f")), lambda: os.rmdir(a("t3", "none")),
                     lambda: os.unlink(a("t3", "none")), lambda: os.link(a("none"), a("t3", "x")),
                     lambda: os.open(a("t3", "f"), os.O_CREAT | os.O_EXCL)):
        try:
            function()
        except OSError:
            pass
        else:
            raise AssertionError("succeeded")
    eq(int(os.stat(a("t3")).st_mtime), 1_000_000_000)


@test("ctime of a file moves with chmod, chown, link, unlink, rename and write; mtime with writes alone")
def _():
    put(a("ct"), b"x")
    cases = [
        ("chmod", lambda: os.chmod(a("ct"), 0o600), False),
        ("link", lambda: os.link(a("ct"), a("ct2")), False),
        ("unlink", lambda: os.unlink(a("ct2")), False),
        ("rename", lambda: (os.rename(a("ct"), a("ct3")), os.rename(a("ct3"), a("ct"))), False),
        ("truncate", lambda: os.truncate(a("ct"), 0), True),
        ("write", lambda: put(a("ct"), b"abc"), True),
    ]
    if os.geteuid() == 0:
        cases.append(("chown", lambda: os.chown(a("ct"), 5, 6), False))
    for what, function, content in cases:
        os.utime(a("ct"), (1_000_000_000, 1_000_000_000))
        before = os.stat(a("ct"))
        time.sleep(0.02)  # sleep: clocks of file systems tick every 4 ms
        function()
        after = os.stat(a("ct"))
        assert after.st_ctime_ns > before.st_ctime_ns, f"{what}: ctime did not move"
        eq(after.st_mtime > 1_600_000_000, content, f"{what}: mtime moved")


@test("a folder's link count and '..' follow its folders")
def _():
    os.mkdir(a("lc"))
    base = os.stat(a("lc")).st_nlink
    os.mkdir(a("lc", "s"))
    ino = os.stat(a("lc")).st_ino
    eq(os.stat(a("lc", "s", "..")).st_ino, ino)
    os.mkdir(a("lc2"))
    os.rename(a("lc", "s"), a("lc2", "s"))
    eq(os.stat(a("lc2", "s", "..")).st_ino, os.stat(a("lc2")).st_ino)
    eq(os.stat(a("lc")).st_nlink, base)


@test("names in odd bytes")
def _():
    names = [b"\xff\xfe", b"new\nline", b"tab\t", b" ", b"  lead", b"\x01\x02", b"back\\slash", b"quo'te\"", b"-rf", b"*?[",
             "ünï".encode(), "日本".encode(), b"a" * 200 + b"\xc3", b"...", b"~", b"%s%n", b"\x7f", b"$HOME", b"`x`"]
    base = os.fsencode(a("odd"))
    os.mkdir(base)
    for n in names:
        put(os.path.join(base, n), n)
    eq(sorted(os.listdir(base)), sorted(names))
    for n in names:
        eq(get(os.path.join(base, n)), n)
        os.rename(os.path.join(base, n), os.path.join(base, n + b"2"))
        os.symlink(n + b"2", os.path.join(base, n))
        eq(os.readlink(os.path.join(base, n)), n + b"2")
        os.unlink(os.path.join(base, n + b"2"))
        os.unlink(os.path.join(base, n))
    eq(os.listdir(base), [])


@test("paths up to PATH_MAX on the instance work, longer ones say ENAMETOOLONG")
def _():
    os.mkdir(a("pm"))
    os.chdir(a("pm"))
    length, depth = len(r("pn", "pm")), 0
    while length + 201 + 5 < 4096:
        os.mkdir("p" * 200)
        os.chdir("p" * 200)
        length += 201
        depth += 1
    put("leaf", b"deep")
    eq(get("leaf"), b"deep")
    os.rename("leaf", "leaf2")
    eq(os.listdir("."), ["leaf2"])
    if FS != "local":
        for function in (lambda: os.mkdir("p" * 250), lambda: put("p" * 250), lambda: os.rename("leaf2", "p" * 250)):
            with raises(errno.ENAMETOOLONG):
                function()
    os.unlink("leaf2")
    for _i in range(depth):
        os.chdir("..")
        os.rmdir("p" * 200)


@test("symlinks of up to 4095 bytes, an empty one is refused")
def _():
    for n in (1, 255, 256, 1000, 3000, 4095):
        # inside the mount, whatever the length
        target = ("x/" * 2048)[:n - 1] + "y"
        os.symlink(target, a(f"sl{n}"))
        eq(os.readlink(a(f"sl{n}")), target)
        eq(os.lstat(a(f"sl{n}")).st_size, n)
    with raises(errno.ENAMETOOLONG):
        os.symlink("x" * 4096, a("sl-long"))
    with raises(errno.ENOENT):
        os.symlink("", a("sl-empty"))


@test("chmod and stat through a link, lstat and lchown of it")
def _():
    put(a("lt"))
    os.symlink("lt", a("ll"))
    os.chmod(a("ll"), 0o600)
    eq(stat.S_IMODE(os.stat(a("lt")).st_mode), 0o600)
    eq(stat.S_IMODE(os.lstat(a("ll")).st_mode), 0o777)
    with raises(errno.EOPNOTSUPP):
        # glibc's fchmodat says so for links, by itself or by the kernel's answer
        call(libc.fchmodat(-100, os.fsencode(a("ll")), 0o600, 0x100))


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_ulong), ("off", ctypes.c_long), ("len", ctypes.c_ushort), ("type", ctypes.c_ubyte),
                ("name", ctypes.c_char * 256)]


libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.POINTER(Dirent)
libc.telldir.restype = ctypes.c_long
for _f in ("readdir", "telldir", "rewinddir", "closedir"):
    getattr(libc, _f).argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


def read_all(d):
    names = []
    while True:
        e = libc.readdir(d)
        if not e:
            return names
        names.append(e.contents.name)


@test("telldir, seekdir and rewinddir, also while names come and go")
def _():
    os.mkdir(a("seek"))
    for i in range(300):
        touch(a("seek", f"{i:03}"))
    d = libc.opendir(os.fsencode(a("seek")))
    places = []
    while True:
        at = libc.telldir(d)
        e = libc.readdir(d)
        if not e:
            break
        places.append((at, e.contents.name))
    eq(len(places), 302)
    for at, name in places[::37] + places[::-1][::41]:
        libc.seekdir(d, at)
        eq(libc.readdir(d).contents.name, name)
    # names already read go, names not yet read stay in their places
    libc.rewinddir(d)
    first = [libc.readdir(d).contents.name for _ in range(100)]
    gone = [n for n in first if n not in (b".", b"..")][:50]
    for n in gone:
        os.unlink(os.fsencode(a("seek")) + b"/" + n)
    at = libc.telldir(d)
    rest = read_all(d)
    eq(len(first) + len(rest), 302, "names seen")
    eq(len(set(first + rest)), 302, "names seen once")
    libc.seekdir(d, at)
    eq(read_all(d), rest, "after seekdir")
    touch(a("seek", "late"))
    libc.rewinddir(d)
    names = read_all(d)
    eq(b"late" in names, True, "a new name after rewinddir")
    eq(any(n in names for n in gone), False, "removed names after rewinddir")
    libc.closedir(d)


@test("types and inode numbers in a listing are those of stat")
def _():
    os.mkdir(a("types"))
    put(a("types", "f"))
    os.mkdir(a("types", "d"))
    os.symlink("f", a("types", "l"))
    with os.scandir(a("types")) as entries:
        for e in entries:
            s = os.lstat(e.path)
            eq(e.inode(), s.st_ino, e.name)
            eq((e.is_file(follow_symlinks=False), e.is_dir(follow_symlinks=False), e.is_symlink()),
               (stat.S_ISREG(s.st_mode), stat.S_ISDIR(s.st_mode), stat.S_ISLNK(s.st_mode)), e.name)


@test("a working folder that was removed: no name can be made in it, '..' and listing behave")
def _():
    os.mkdir(a("gone"))
    fd = os.open(a("gone"), os.O_RDONLY)
    os.chdir(a("gone"))
    os.rmdir(a("gone"))
    for function in (lambda: put("x"), lambda: os.mkdir("x"), lambda: os.symlink("x", "y"), lambda: os.stat("x"),
                     lambda: os.link(a("src"), "x")):
        with raises(errno.ENOENT):
            function()
    with raises(errno.ENOENT):
        os.getcwd()
    eq(os.listdir(fd), [])
    eq(os.fstat(fd).st_nlink in (0, 1), True)
    os.fchmod(fd, 0o700)
    os.utime(fd, ns=(5, 1_000_000_007))
    os.fchown(fd, -1, os.getgid())
    eq((stat.S_IMODE(os.fstat(fd).st_mode), os.fstat(fd).st_mtime_ns), (0o700, 1_000_000_007))
    os.close(fd)
    os.chdir("/")


@test("a name removed and made anew is another file; one removed and made as a folder is a folder")
def _():
    put(a("re"), b"1")
    old = os.open(a("re"), os.O_RDONLY)
    os.unlink(a("re"))
    put(a("re"), b"22")
    assert os.fstat(old).st_ino != os.stat(a("re")).st_ino, "the same inode number twice at once"
    eq((os.fstat(old).st_size, os.stat(a("re")).st_size), (1, 2))
    os.unlink(a("re"))
    os.mkdir(a("re"))
    eq(stat.S_ISDIR(os.stat(a("re")).st_mode), True)
    eq(os.fstat(old).st_size, 1)
    os.close(old)


@test("devices, FIFOs and sockets: made or EPERM")
def _():
    if FS == "local":
        raise Skip("they can be made")
    import socket
    for kind in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK):
        with raises(errno.EPERM):
            os.mknod(a("special"), kind | 0o600, os.makedev(1, 3))
    s = socket.socket(socket.AF_UNIX)
    with raises(errno.EPERM):
        os.chdir(a())
        s.bind("sock")
    s.close()


@test("xattr errors")
def _():
    put(a("xa"))
    if FS == "local":
        raise Skip("they can be set")
    for function in (lambda: os.setxattr(a("xa"), "user.a", b"1"), lambda: os.getxattr(a("xa"), "user.a"),
                     lambda: os.removexattr(a("xa"), "user.a")):
        with raises(errno.EOPNOTSUPP):
            function()
    try:
        eq(os.listxattr(a("xa")), [])
    except OSError as e:
        eq(e.errno, errno.EOPNOTSUPP)


@test("20,000 names in one folder: made, listed, looked up, removed")
def _():
    os.mkdir(r("pn", "many"))
    for i in range(20_000):
        os.close(os.open(r("pn", "many", f"n{i:05}"), os.O_CREAT | os.O_WRONLY))
    seen("pn", "many")
    deadline = time.monotonic() + 5
    while len(os.listdir(a("many"))) != 20_000:
        assert time.monotonic() < deadline, "names"
        time.sleep(0.1)  # sleep: polls
    eq(len(set(os.listdir(a("many")))), 20_000)
    for i in range(0, 20_000, 500):
        eq(os.stat(a("many", f"n{i:05}")).st_size, 0)
    with raises(errno.EEXIST):
        os.mkdir(a("many", "n19999"))
    for i in range(0, 20_000, 40):
        os.unlink(a("many", f"n{i:05}"))
    eq(len(os.listdir(a("many"))), 19_500)
    eq(len(os.listdir(r("pn", "many"))), 19_500)


@test("inotify tells local changes")
def _():
    os.mkdir(a("ino"))
    fd = call(libc.inotify_init1(os.O_NONBLOCK))
    call(libc.inotify_add_watch(fd, os.fsencode(a("ino")), 0xfff))
    put(a("ino", "f"), b"x")
    os.rename(a("ino", "f"), a("ino", "g"))
    os.chmod(a("ino", "g"), 0o600)
    os.unlink(a("ino", "g"))
    data = os.read(fd, 65536)
    masks, at = 0, 0
    while at < len(data):
        masks |= int.from_bytes(data[at + 4:at + 8], "little")
        at += 16 + int.from_bytes(data[at + 12:at + 16], "little")
    for bit, name in ((0x100, "create"), (2, "modify"), (8, "close_write"), (0x40, "moved_from"), (0x80, "moved_to"),
                      (4, "attrib"), (0x200, "delete")):
        assert masks & bit, f"no {name} event"
    os.close(fd)


@test("many threads' worth of processes make, rename and remove in one folder")
def _():
    os.mkdir(a("par"))

    def work(n):
        def go():
            for i in range(30):
                p = a("par", f"{n}-{i}")
                put(p, b"%d" % i)
                os.rename(p, p + "r")
                eq(get(p + "r"), b"%d" % i)
                os.listdir(a("par"))
                os.unlink(p + "r")
        return go
    pids = []
    for n in range(6):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(n)()
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    for pid in pids:
        eq(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
    eq(os.listdir(a("par")), [])
    eq(in_child(lambda: os.rmdir(a("par"))), 0)


run()
