"""Each call with each kind of thing, and with each pair of kinds, on the mount and on a local folder: the same errno, and the
same tree afterwards. PAIRS=EVERY: of the 17,000 cases only one in that many (0 or 1: all, in five minutes)."""
import errno, itertools, os, shutil, signal, stat
from harness import W, call, libc, m, run, test

EVERY = int(os.environ.get("PAIRS", "101")) or 1
AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW = -100, 0x200, 0x400
NOREPLACE, EXCHANGE = 1, 2


def make(base, name, kind):
    path = os.path.join(base, name)
    if kind == "file":
        with open(path, "wb") as f:
            f.write(b"data of " + name.encode())
    elif kind == "empty":
        os.mkdir(path)
    elif kind == "full":
        os.mkdir(path)
        os.mkdir(path + "/sub")
        open(path + "/sub/x", "w").close()
    elif kind == "to-file":
        os.symlink("target", path)
    elif kind == "to-folder":
        os.symlink("folder", path)
    elif kind == "dangling":
        os.symlink("nowhere", path)
    elif kind == "loop":
        os.symlink(name, path)
    elif kind == "hard":
        os.link(base + "/target", path)


KINDS = ["missing", "file", "empty", "full", "to-file", "to-folder", "dangling", "loop", "hard"]


def state(base):
    "All that is below: names, kinds, modes, link counts of files, contents, targets."
    out = {}
    for top, folders, files in os.walk(base):
        for name in folders + files:
            path = os.path.join(top, name)
            st = os.lstat(path)
            kind = stat.S_IFMT(st.st_mode)
            more = ()
            if kind == stat.S_IFREG:
                with open(path, "rb") as f:
                    more = (f.read(), st.st_nlink)
            elif kind == stat.S_IFLNK:
                more = (os.readlink(path),)
            out[os.path.relpath(path, base)] = (oct(st.st_mode) if kind != stat.S_IFLNK else "link", *more)
    return out


def renameat2(old, new, flags):
    return call(libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags))


def opened(path, flags):
    fd = os.open(path, flags, 0o640)
    try:
        os.fstat(fd)
        if flags & (os.O_WRONLY | os.O_RDWR):
            return os.write(fd, b"w")
        if not flags & os.O_PATH and not stat.S_ISDIR(os.fstat(fd).st_mode):
            return os.read(fd, 100)
        return None
    finally:
        os.close(fd)


def opens():
    names = ["O_RDONLY", "O_WRONLY", "O_RDWR"]
    more = ["O_CREAT", "O_EXCL", "O_TRUNC", "O_DIRECTORY", "O_NOFOLLOW", "O_APPEND"]
    for how in names:
        for n in range(len(more) + 1):
            for extra in itertools.combinations(more, n):
                flags = getattr(os, how)
                for name in extra:
                    flags |= getattr(os, name)
                yield " | ".join((how, *extra)), lambda p, flags=flags: opened(p, flags)


ONE = {
    "stat": lambda p: stat.S_IFMT(os.stat(p).st_mode),
    "lstat": lambda p: stat.S_IFMT(os.lstat(p).st_mode),
    "access": lambda p: os.access(p, os.R_OK),
    "readlink": os.readlink,
    "unlink": os.unlink,
    "rmdir": os.rmdir,
    "mkdir": os.mkdir,
    "mkdir, setgid and sticky": lambda p: os.mkdir(p, 0o3755),
    "chmod": lambda p: os.chmod(p, 0o751),
    "chmod 7777": lambda p: os.chmod(p, 0o7777),
    "chmod 0": lambda p: os.chmod(p, 0),
    "chown": lambda p: os.chown(p, os.getuid(), os.getgid()),
    "lchown": lambda p: os.lchown(p, os.getuid(), os.getgid()),
    "truncate": lambda p: os.truncate(p, 3),
    "truncate, longer": lambda p: os.truncate(p, 100),
    "utime": lambda p: os.utime(p, (1e9, 1e9)),
    "lutime": lambda p: os.utime(p, (1e9, 1e9), follow_symlinks=False),
    "listdir": lambda p: sorted(os.listdir(p)),
    "statvfs": lambda p: os.statvfs(p).f_namemax,
    "chdir": lambda p: (os.chdir(p), os.chdir("/"))[1],
    "symlink": lambda p: os.symlink("some/where", p),
    "mknod": lambda p: os.mknod(p, 0o644 | stat.S_IFREG),
    "pathconf": lambda p: os.pathconf(p, "PC_NAME_MAX"),
    "removedir by unlinkat": lambda p: call(libc.unlinkat(AT_FDCWD, os.fsencode(p), AT_REMOVEDIR)),
    "execute": lambda p: os.execv(p, [p]) if not os.path.exists(p) or os.path.isdir(p) else None,
}
ONE.update(opens())
TWO = {
    "rename": os.rename,
    "rename, noreplace": lambda a, b: renameat2(a, b, NOREPLACE),
    "link": lambda a, b: os.link(a, b, follow_symlinks=False),
    "link, following": lambda a, b: call(libc.linkat(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), AT_SYMLINK_FOLLOW)),
    "rename, bad flags": lambda a, b: renameat2(a, b, NOREPLACE | EXCHANGE),
    "rename, unknown flags": lambda a, b: renameat2(a, b, 1 << 20),
}
# what follows the name
SUFFIXES = ["", "/", "/.", "/..", "/below", "/sub", "/sub/.."]


def attempt(function, *paths):
    try:
        return ("ok", function(*paths))
    except OSError as e:
        return errno.errorcode.get(e.errno, e.errno)


def differences(base, call_name, function, kinds, suffixes):
    "The call once on each side, in new folders."
    got = []
    for top in (m("pairs", base), W + "/local/pairs/" + base):
        os.mkdir(top)
        with open(top + "/target", "w") as f:
            f.write("the target")
        os.mkdir(top + "/folder")
        paths = []
        for name, kind, suffix in zip("ab", kinds, suffixes):
            make(top, name, kind)
            paths.append(os.path.join(top, name) + suffix)
        result = attempt(function, *paths)
        got.append((result, state(top)))
    if got[0] == got[1]:
        return []
    where = f"{call_name} of {', '.join(k + s for k, s in zip(kinds, suffixes))}"
    if got[0][0] != got[1][0]:
        return [f"{where}: {got[0][0]}, locally {got[1][0]}"]
    odd = {k: (got[0][1].get(k), got[1][1].get(k)) for k in got[0][1].keys() | got[1][1].keys() if got[0][1].get(k) != got[1][1].get(k)}
    return [f"{where}: {got[0][0]}, then {odd}"]


def compare(calls, count, suffixes):
    for top in (m("pairs"), W + "/local/pairs"):
        shutil.rmtree(top, ignore_errors=True)
        os.mkdir(top)
    signal.alarm(60 if EVERY > 1 else 0)
    found, n = [], 0
    for name, function in calls.items():
        for kinds in itertools.product(KINDS, repeat=count):
            for ends in suffixes:
                n += 1
                if n % EVERY:
                    continue
                found += differences(str(n), name, function, kinds, ends)
    assert not found, f"{len(found)} of {n // EVERY} differ:\n" + "\n".join(found)


@test("each call with each kind of thing, and names below it")
def _():
    compare(ONE, 1, [(s,) for s in SUFFIXES])


@test("each call of two names with each pair of kinds")
def _():
    compare(TWO, 2, [("", ""), ("/", ""), ("", "/"), ("/", "/"), ("", "/below"), ("/sub", "")])


run()
