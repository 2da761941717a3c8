"Folders and names: mkdir, rmdir, rename with its flags, symlinks, listings."
import errno
import os

from harness import call, clean, eq, get, libc, m, put, r, raises, run, seen, test, W

clean("dirs")
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2


def a(*names):
    return m("dirs", *names)


def b(*names):
    return r("dirs", *names)


def renameat2(old, new, flags):
    call(libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags))


@test("mkdir and rmdir")
def _():
    os.mkdir(a("d"))
    os.mkdir(a("d", "e"))
    eq(os.path.isdir(b("d", "e")), True)
    eq(os.listdir(a("d")), ["e"])
    with raises(errno.EEXIST):
        os.mkdir(a("d"))
    with raises(errno.ENOTEMPTY):
        os.rmdir(a("d"))
    with raises(errno.ENOENT):
        os.mkdir(a("missing", "x"))
    os.rmdir(a("d", "e"))
    os.rmdir(a("d"))
    eq(os.path.lexists(b("d")), False)
    with raises(errno.ENOENT):
        os.rmdir(a("d"))


@test("rmdir of a file and unlink of a folder are refused")
def _():
    put(a("f"))
    os.mkdir(a("g"))
    with raises(errno.ENOTDIR):
        os.rmdir(a("f"))
    with raises(errno.EISDIR):
        os.unlink(a("g"))
    eq((os.path.exists(b("f")), os.path.exists(b("g"))), (True, True))


@test("mkdir over a name that the server has, and we have not seen")
def _():
    eq(os.path.exists(a("late")), False)
    os.mkdir(b("late"))
    with raises(errno.EEXIST):
        os.mkdir(a("late"))


@test("rename of files: to a new name, over another, across folders")
def _():
    put(a("r1"), b"1")
    os.rename(a("r1"), a("r2"))
    eq(os.path.exists(a("r1")), False)
    eq(get(b("r2")), b"1")
    put(a("r3"), b"3")
    os.rename(a("r2"), a("r3"))
    eq(get(a("r3")), b"1")
    eq(os.path.lexists(b("r2")), False)
    os.mkdir(a("into"))
    os.rename(a("r3"), a("into", "r4"))
    eq(get(b("into", "r4")), b"1")
    eq(os.listdir(a("into")), ["r4"])


@test("rename of folders: over an empty one, not over a full one, not into itself")
def _():
    for name in ("x", "x/sub", "empty", "full", "full/sub"):
        os.mkdir(a(name))
    put(a("x", "sub", "file"), b"deep")
    with raises(errno.ENOTEMPTY, errno.EEXIST):
        os.rename(a("x"), a("full"))
    eq(get(a("x", "sub", "file")), b"deep")
    os.rename(a("x"), a("empty"))
    eq(get(a("empty", "sub", "file")), b"deep", "by the new path")
    eq(get(b("empty", "sub", "file")), b"deep", "on the server")
    eq(os.path.exists(a("x", "sub", "file")), False)
    with raises(errno.EINVAL):
        os.rename(a("empty"), a("empty", "sub", "inside"))
    put(a("plain"))
    with raises(errno.EISDIR):
        os.rename(a("plain"), a("empty"))
    with raises(errno.ENOTDIR):
        os.rename(a("empty"), a("plain"))
    with raises(errno.ENOENT):
        os.rename(a("nothing"), a("plain"))
    eq((os.path.isdir(b("empty")), os.path.isfile(b("plain"))), (True, True))


@test("rename of a folder: descriptors and paths below it go on")
def _():
    os.makedirs(a("old", "sub"))
    fd = os.open(a("old", "sub", "f"), os.O_RDWR | os.O_CREAT, 0o644)
    os.write(fd, b"one")
    os.rename(a("old"), a("new"))
    os.write(fd, b"two")
    os.close(fd)
    eq(get(b("new", "sub", "f")), b"onetwo")
    eq(get(a("new", "sub", "f")), b"onetwo")


@test("rename to the same file changes nothing")
def _():
    put(a("same"), b"s")
    os.rename(a("same"), a("same"))
    os.link(a("same"), a("same2"))
    os.rename(a("same"), a("same2"))
    eq(get(b("same2")), b"s")


@test("RENAME_NOREPLACE never replaces")
def _():
    put(a("n1"), b"1")
    put(a("n2"), b"2")
    with raises(errno.EEXIST, errno.EINVAL):
        renameat2(a("n1"), a("n2"), RENAME_NOREPLACE)
    put(b("n3"), b"theirs")
    with raises(errno.EEXIST, errno.EINVAL):
        renameat2(a("n1"), a("n3"), RENAME_NOREPLACE)
    eq((get(b("n1")), get(b("n2")), get(b("n3"))), (b"1", b"2", b"theirs"))
    try:
        renameat2(a("n1"), a("n4"), RENAME_NOREPLACE)
    except OSError as e:
        eq(e.errno, errno.EINVAL)
    else:
        eq(get(b("n4")), b"1")
        eq(os.path.lexists(b("n1")), False)


@test("RENAME_EXCHANGE is done or refused, never half of it")
def _():
    put(a("x1"), b"1")
    put(a("x2"), b"2")
    try:
        renameat2(a("x1"), a("x2"), RENAME_EXCHANGE)
    except OSError as e:
        assert e.errno in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS), e
        eq((get(b("x1")), get(b("x2"))), (b"1", b"2"))
    else:
        eq((get(b("x1")), get(b("x2"))), (b"2", b"1"))


@test("symlinks: made here, made there, dangling, to a folder")
def _():
    put(a("t"), b"target")
    os.mkdir(a("td"))
    put(a("td", "inside"), b"in")
    os.symlink("t", a("l1"))
    eq(os.readlink(b("l1")), "t", "the arguments' order")
    eq(os.readlink(a("l1")), "t")
    eq(get(a("l1")), b"target")
    eq(os.lstat(a("l1")).st_size, 1, "size of a link")
    os.symlink("td", b("l2"))
    seen("dirs", "l2")
    eq(get(a("l2", "inside")), b"in")
    os.symlink("nowhere", a("l3"))
    eq(os.readlink(a("l3")), "nowhere")
    with raises(errno.ENOENT):
        os.stat(a("l3"))
    with raises(errno.EEXIST):
        os.symlink("t", a("l1"))
    os.unlink(a("l1"))
    eq(get(a("t")), b"target")
    os.symlink("loop", a("loop"))
    with raises(errno.ELOOP):
        os.stat(a("loop"))


@test("a lock link as emacs makes it: dangling, with odd characters")
def _():
    os.symlink("me@host.1234:567", a(".#file"))
    eq(os.readlink(a(".#file")), "me@host.1234:567")
    os.unlink(a(".#file"))


@test("symlinks that lead out of the mount don't", vastfs_only=True)
def _():
    os.makedirs(b("deep", "er"))
    put(b("goal"), b"inside")
    cases = {"abs-out": "/etc/passwd", "rel-out": "../../../../../../../etc/passwd", "root": "/",
             "up": "../../..", "sneaky": "deep/../../../../etc/passwd", "sibling": r() + "-other/x"}
    for name, target in cases.items():
        os.symlink(target, b(name))
    for name in cases:
        seen("dirs", name)
        with raises(errno.EACCES):
            os.readlink(a(name))
        with raises(errno.EACCES):
            os.open(a(name), os.O_RDONLY)
        eq(os.path.islink(a(name)), True, name)


@test("symlinks made here are shown as they were made, until the server has another", vastfs_only=True)
def _():
    os.mkdir(a("own"))
    put(os.path.join(W, "outside"), b"outside")
    targets = {"abs": os.path.join(W, "outside"), "rel": "../../../outside", "odd": "x/../../t"}
    for name, target in targets.items():
        os.symlink(target, a("own", name))
        eq(os.readlink(a("own", name)), target, name)
        eq(os.readlink(b("own", name)), target, name + " there")
    eq(get(a("own", "abs")), b"outside")
    eq(get(a("own", "rel")), b"outside")
    os.rename(a("own", "abs"), a("own", "abs2"))
    os.listdir(a("own"))
    eq(os.readlink(a("own", "abs2")), targets["abs"], "after a rename")
    # the server puts others in their places: of the same length and time, as far as it can be seen
    for name in ("abs2", "rel"):
        os.unlink(b("own", name))
        os.symlink("/" + "e" * (len(os.readlink(a("own", "odd"))) - 1), b("own", name))
        seen("dirs", "own", name)  # that the other one has gone may be told first
        with raises(errno.EACCES):
            os.readlink(a("own", name))
    os.unlink(a("own", "odd"))
    os.symlink(targets["abs"], b("own", "odd"))
    seen("dirs", "own", "odd")
    with raises(errno.EACCES):
        os.readlink(a("own", "odd"))


@test("absolute symlinks that stay inside work, as relative ones", vastfs_only=True)
def _():
    os.makedirs(b("deep2", "er"))
    put(b("goal2"), b"inside")
    os.symlink(b("goal2"), b("abs-in"))
    os.symlink(b("goal2"), b("deep2", "er", "abs-in"))
    os.symlink("../../goal2", b("deep2", "er", "rel-in"))
    seen("dirs", "abs-in")
    eq(get(a("abs-in")), b"inside")
    eq(os.path.isabs(os.readlink(a("abs-in"))), False)
    eq(os.path.realpath(a("abs-in")), a("goal2"))
    eq(get(a("deep2", "er", "abs-in")), b"inside")
    eq(os.path.isabs(os.readlink(a("deep2", "er", "abs-in"))), False)
    eq(os.path.realpath(a("deep2", "er", "abs-in")), a("goal2"))
    eq(os.readlink(a("deep2", "er", "rel-in")), "../../goal2")


@test("a chain of symlinks can't lead out either", vastfs_only=True)
def _():
    put(os.path.join(W, "secret"), b"secret")
    os.makedirs(b("c1"))
    # by its words c1/in/../../secret is dirs/secret; but c1/in is dirs, so it is beside the mountpoint
    os.symlink("..", b("c1", "in"))
    os.symlink("in/../../secret", b("c1", "out"))
    os.symlink(b("c1", "in", "..", "..", "secret"), b("c1", "out2"))
    seen("dirs", "c1")
    with raises(errno.EACCES, errno.ENOENT):
        get(a("c1", "out"))
    with raises(errno.EACCES, errno.ENOENT):
        get(a("c1", "out2"))


@test("a listing in pieces, with seekdir, while names go")
def _():
    os.mkdir(a("many"))
    for i in range(1500):
        put(b("many", f"{i:05}"))
    seen("dirs", "many", "01499")
    names = sorted(os.listdir(a("many")))
    eq(names, [f"{i:05}" for i in range(1500)])
    with os.scandir(a("many")) as entries:
        for n, entry in enumerate(entries):
            if n % 3 == 0:
                os.unlink(entry.path)
    eq(len(os.listdir(a("many"))), 1000)
    eq(len(os.listdir(b("many"))), 1000)
    for name in os.listdir(a("many")):
        os.unlink(a("many", name))
    os.rmdir(a("many"))


@test("a new name appears in the next listing, a removed one does not")
def _():
    os.mkdir(a("watch"))
    eq(os.listdir(a("watch")), [])
    put(a("watch", "one"))
    eq(os.listdir(a("watch")), ["one"])
    os.rename(a("watch", "one"), a("watch", "two"))
    eq(os.listdir(a("watch")), ["two"])
    os.unlink(a("watch", "two"))
    eq(os.listdir(a("watch")), [])
    os.symlink("x", a("watch", "three"))
    os.mkdir(a("watch", "four"))
    eq(sorted(os.listdir(a("watch"))), ["four", "three"])


@test("fsync of a folder")
def _():
    fd = os.open(m("dirs"), os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


@test("a folder removed while a process stands in it")
def _():
    os.mkdir(a("cwd"))
    os.chdir(a("cwd"))
    os.rmdir(a("cwd"))
    with raises(errno.ENOENT):
        put("new")
    os.chdir("/")


@test("the link count of a folder is at least two, of a file one")
def _():
    os.mkdir(a("cnt"))
    put(a("cnt", "f"))
    eq(os.stat(a("cnt", "f")).st_nlink, 1)
    assert os.stat(a("cnt")).st_nlink >= 1


@test("a hundred folders deep")
def _():
    path = a("deep3", *["d"] * 100)
    os.makedirs(path)
    put(os.path.join(path, "leaf"), b"leaf")
    eq(get(b("deep3", *["d"] * 100, "leaf")), b"leaf")
    eq(get(os.path.join(path, "leaf")), b"leaf")


run()
