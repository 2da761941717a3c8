"Permissions, for an ordinary user whose login there is an ordinary user too: EACCES, EPERM, the sticky bit, umask."
import contextlib
import errno
import os
import stat

from harness import call, clean, eq, FS, get, libc, m, put, r, raises, run, Skip, synced, test

clean("pp")


def a(*names):
    return m("pp", *names)


def access(path, how):
    call(libc.access(os.fsencode(path), how))


@test("files without permission: open, truncate, access")
def _():
    put(a("f"), b"x")
    os.chmod(a("f"), 0o444)
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
        with raises(errno.EACCES):
            os.open(a("f"), flags)
    with raises(errno.EACCES):
        os.truncate(a("f"), 0)
    access(a("f"), os.R_OK)
    for how in (os.W_OK, os.X_OK, os.W_OK | os.R_OK):
        with raises(errno.EACCES):
            access(a("f"), how)
    os.chmod(a("f"), 0o222)
    with raises(errno.EACCES):
        os.open(a("f"), os.O_RDONLY)
    with raises(errno.EACCES):
        os.open(a("f"), os.O_RDWR)
    os.close(os.open(a("f"), os.O_WRONLY))
    with raises(errno.EACCES):
        access(a("f"), os.R_OK)
    os.chmod(a("f"), 0)
    with raises(errno.EACCES):
        os.open(a("f"), os.O_RDONLY)
    os.utime(a("f"), (5, 5))  # the owner may
    eq(os.stat(a("f")).st_mtime, 5)


@test("a folder without w: nothing is made, removed or renamed in it")
def _():
    os.mkdir(a("ro"))
    put(a("ro", "f"), b"x")
    os.mkdir(a("ro", "d"))
    put(a("src"))
    os.chmod(a("ro"), 0o555)
    for what, function in (
            ("create", lambda: put(a("ro", "new"))), ("mkdir", lambda: os.mkdir(a("ro", "new"))),
            ("symlink", lambda: os.symlink("x", a("ro", "new"))), ("link", lambda: os.link(a("src"), a("ro", "new"))),
            ("mknod", lambda: os.mknod(a("ro", "new"), stat.S_IFREG | 0o644)),
            ("unlink", lambda: os.unlink(a("ro", "f"))), ("rmdir", lambda: os.rmdir(a("ro", "d"))),
            ("rename in", lambda: os.rename(a("src"), a("ro", "new"))),
            ("rename out", lambda: os.rename(a("ro", "f"), a("out"))),
            ("rename within", lambda: os.rename(a("ro", "f"), a("ro", "g")))):
        try:
            function()
        except OSError as e:
            eq(errno.errorcode[e.errno], "EACCES", what)
        else:
            raise AssertionError(f"{what} succeeded")
    # what is there can still be changed
    put(a("ro", "f"), b"changed")
    os.chmod(a("ro", "f"), 0o600)
    eq(get(a("ro", "f")), b"changed")
    with raises(errno.EEXIST):
        os.mkdir(a("ro", "d"))
    with raises(errno.EEXIST):
        os.open(a("ro", "f"), os.O_CREAT | os.O_EXCL)
    os.close(os.open(a("ro", "f"), os.O_CREAT | os.O_RDWR))
    with raises(errno.ENOENT):
        os.unlink(a("ro", "none"))
    os.chmod(a("ro"), 0o755)


@test("a folder without x: no name in it can be used; one without r can't be listed")
def _():
    os.mkdir(a("nox"))
    put(a("nox", "f"), b"x")
    os.mkdir(a("nox", "d"))
    os.chmod(a("nox"), 0o600)
    with contextlib.suppress(PermissionError):  # SFTP gives no name without its attributes
        os.listdir(a("nox"))
    for what, function in (("open", lambda: get(a("nox", "f"))),
                           ("create", lambda: put(a("nox", "g"))), ("mkdir", lambda: os.mkdir(a("nox", "g"))),
                           ("unlink", lambda: os.unlink(a("nox", "f"))), ("rmdir", lambda: os.rmdir(a("nox", "d"))),
                           ("chmod", lambda: os.chmod(a("nox", "f"), 0o600)),
                           ("rename", lambda: os.rename(a("nox", "f"), a("nox", "g"))),
                           ("chdir", lambda: os.chdir(a("nox")))):
        try:
            function()
        except OSError as e:
            eq(errno.errorcode[e.errno], "EACCES", what)
        else:
            raise AssertionError(f"{what} succeeded")
    # what is cached of a name may still be told, unless the kernel checks
    if FS == "local" or os.environ.get("KERNEL_CHECKS"):
        with raises(errno.EACCES):
            os.stat(a("nox", "f"))
    os.chmod(a("nox"), 0o300)
    with raises(errno.EACCES):
        os.listdir(a("nox"))
    for mode in (0o300, 0o600, 0o100):
        os.chmod(a("nox"), mode)
        with raises(errno.ENOTEMPTY):
            os.rmdir(a("nox"))
    os.chmod(a("nox"), 0o300)
    eq(get(a("nox", "f")), b"x")
    put(a("nox", "g"), b"y")
    eq(get(a("nox", "g")), b"y")
    os.chmod(a("nox"), 0o755)


@test("a folder that can't be passed: what lies deeper and is open goes on or says EACCES at once, in a row of changes too")
def _():
    os.makedirs(a("closed", "deep"))
    put(a("closed", "deep", "f"), b"x")
    for n in range(6):
        put(a(f"burst{n}"), b"x")
    fd = os.open(a("closed", "deep"), os.O_RDONLY)
    os.chmod(a("closed"), 0o600)
    try:
        os.close(os.open("f", os.O_WRONLY | os.O_TRUNC, dir_fd=fd))
        os.mkdir("new", dir_fd=fd)
    except OSError as e:
        eq(errno.errorcode[e.errno], "EACCES")
    os.chmod(a("closed"), 0o700)
    os.close(fd)
    synced()


@test("chown and chmod of one's own and of others' files")
def _():
    put(a("own"))
    with raises(errno.EPERM):
        os.chown(a("own"), os.getuid() + 1, -1)
    with raises(errno.EPERM):
        os.chown(a("own"), -1, 54321)
    os.chown(a("own"), os.getuid(), os.getgid())
    os.chown(a("own"), -1, -1)
    theirs = m("theirs")
    if not os.path.exists(theirs):
        raise Skip("no file of another user's here")
    for function in (lambda: os.chmod(theirs, 0o600), lambda: os.chown(theirs, os.getuid(), -1),
                     lambda: os.utime(theirs, (1, 1))):
        with raises(errno.EPERM):
            function()
    with raises(errno.EACCES, errno.EPERM):
        os.utime(theirs)
    with raises(errno.EACCES):
        os.open(theirs, os.O_WRONLY)
    eq(get(theirs), b"theirs")


@test("a sticky folder: another user's file is not removed, renamed or replaced")
def _():
    if not os.path.exists(m("sticky", "theirs")):
        raise Skip("no file of another user's here")
    put(m("sticky", "mine"), b"m")
    for function in (lambda: os.unlink(m("sticky", "theirs")),
                     lambda: os.rename(m("sticky", "theirs"), m("sticky", "x")),
                     lambda: os.rename(m("sticky", "mine"), m("sticky", "theirs"))):
        with raises(errno.EPERM, errno.EACCES):
            function()
    eq(get(m("sticky", "mine")), b"m")
    os.rename(m("sticky", "mine"), m("sticky", "mine2"))
    os.unlink(m("sticky", "mine2"))


@test("umask and the mode asked for; setgid of a group one is not in is dropped as the system does it")
def _():
    old = os.umask(0o027)
    try:
        put(a("um"))
        os.mkdir(a("umd"))
        os.close(os.open(a("um2"), os.O_CREAT | os.O_WRONLY, 0o777))
    finally:
        os.umask(old)
    eq([oct(stat.S_IMODE(os.stat(a(n)).st_mode)) for n in ("um", "umd", "um2")], ["0o640", "0o750", "0o750"])
    os.chmod(a("um"), 0o4755)
    eq(oct(os.stat(a("um")).st_mode & 0o7777), oct(0o4755))
    os.chmod(a("umd"), 0o3777)
    eq(oct(os.stat(a("umd")).st_mode & 0o7777), oct(0o3777))


@test("default_permissions and the instance agree on a file of mode 0 that its owner opens")
def _():
    fd = os.open(a("z"), os.O_CREAT | os.O_RDWR, 0)
    os.write(fd, b"z")
    eq(os.pread(fd, 1, 0), b"z")
    os.close(fd)
    with raises(errno.EACCES):
        os.open(a("z"), os.O_RDWR)
    os.chmod(a("z"), 0o600)
    eq(get(a("z")), b"z")
    if FS == "vastfs":
        eq(os.path.exists(r("pp", "z")), True)


run()
