"""A random history of changes on a mount, mirrored in a local folder after each that was accepted.

    crash.py run MOUNT MIRROR SEED     until an operation fails with the daemon; the last line says which
    crash.py compare REMOTE MIRROR DOUBT
"""
import errno, json, os, random, shutil, stat, sys

DEAD = {errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV, errno.EIO, errno.ETIMEDOUT}


class History:
    def __init__(self, roots, seed):
        self.roots, self.rnd, self.n = roots, random.Random(seed), 0
        self.files, self.folders = [], [""]

    def name(self):
        self.n += 1
        return os.path.join(self.rnd.choice(self.folders), f"n{self.n}")

    def data(self):
        size = self.rnd.choice([1, 80, 3000, 5000, 60000])
        return bytes([self.rnd.randrange(256)]) * size + str(self.n).encode()

    def steps(self):
        """An operation: its words, the paths that it may leave in doubt, and what it does below a root."""
        rnd = self.rnd
        kind = rnd.choice(os.environ["KINDS"].split() if os.environ.get("KINDS") else "mkdir copy copy copy copy copy copy copy copy create append pwrite rename rename unlink symlink chmod link object object "
                          "truncate rmdir replace utimes renamedir".split())
        if kind == "mkdir" or (kind not in ("create", "copy", "cp") and not self.files):
            path = self.name()
            self.folders.append(path)
            yield kind, [path], lambda root: os.mkdir(f"{root}/{path}")
        elif kind == "cp":
            path, data = self.name(), self.data()
            self.files.append(path)

            def cp(root):
                fd = os.open(f"{root}/{path}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
                os.write(fd, data)
                os.close(fd)

            yield "copy", [path], cp
        elif kind == "copy":  # as cp -p and tar do it
            path, data, temp = self.name(), self.data(), rnd.random() < 0.3
            self.files.append(path)

            def copy(root):
                full = f"{root}/{path}" + (".part" if temp else "")
                fd = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                os.write(fd, data)
                os.fchmod(fd, 0o640)
                os.close(fd)
                os.utime(full, (1000000, 2000000))
                if temp:
                    os.rename(full, f"{root}/{path}")

            yield kind, [path, path + ".part"], copy
        elif kind == "object":  # as git names its objects
            path, data = self.name(), self.data()
            self.files.append(path)

            def make(root):
                fd = os.open(f"{root}/{path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
                os.write(fd, data)
                os.close(fd)
                os.link(f"{root}/{path}.tmp", f"{root}/{path}")
                os.unlink(f"{root}/{path}.tmp")
                os.chmod(f"{root}/{path}", 0o644)

            yield "copy", [path, path + ".tmp"], make
        elif kind == "link":  # both names stay as they are then
            old, new = rnd.choice(self.files), self.name()
            self.files.remove(old)
            yield kind, [old, new], lambda root: os.link(f"{root}/{old}", f"{root}/{new}")
        elif kind == "create":
            path, data, fsync = self.name(), self.data(), rnd.random() < 0.1
            self.files.append(path)

            def create(root):
                fd = os.open(f"{root}/{path}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
                os.close(fd)

            def write(root):
                fd = os.open(f"{root}/{path}", os.O_WRONLY)
                os.write(fd, data)
                if fsync:
                    os.fsync(fd)
                os.close(fd)

            yield kind, [path], create
            yield "write", [path], write
        elif kind in ("append", "pwrite", "truncate", "chmod", "utimes"):
            path, data, at = rnd.choice(self.files), self.data(), rnd.randrange(10000)

            def change(root):
                full = f"{root}/{path}"
                if kind == "chmod":
                    os.chmod(full, 0o600 + at % 64)
                elif kind == "utimes":
                    os.utime(full, (1000000 + at, 2000000 + at))
                elif kind == "truncate":
                    os.truncate(full, at)
                else:
                    fd = os.open(full, os.O_WRONLY | (os.O_APPEND if kind == "append" else 0))
                    os.write(fd, data) if kind == "append" else os.pwrite(fd, data, at)
                    os.close(fd)

            yield kind, [path], change
        elif kind in ("rename", "replace"):
            old = rnd.choice(self.files)
            new = rnd.choice(self.files) if kind == "replace" else self.name()
            if old != new:
                self.files.remove(old)
                if new not in self.files:
                    self.files.append(new)
                yield kind, [old, new], lambda root: os.rename(f"{root}/{old}", f"{root}/{new}")
        elif kind == "renamedir":
            old, new = rnd.choice(self.folders), f"n{self.n + 1}"
            if old:
                self.n += 1
                move = lambda p: new + p[len(old):] if p == old or p.startswith(old + "/") else p
                self.files = [move(p) for p in self.files]
                self.folders = [move(p) for p in self.folders]
                yield kind, [old, new], lambda root: os.rename(f"{root}/{old}", f"{root}/{new}")
        elif kind == "unlink":
            path = rnd.choice(self.files)
            self.files.remove(path)
            yield kind, [path], lambda root: os.unlink(f"{root}/{path}")
        elif kind == "symlink":
            path = self.name()
            yield kind, [path], lambda root: os.symlink("target", f"{root}/{path}")
        elif kind == "rmdir":
            path = rnd.choice(self.folders)
            if path and not any(p.startswith(path + "/") for p in self.files + self.folders):
                if not os.listdir(f"{self.roots[1]}/{path}"):
                    self.folders.remove(path)
                    yield kind, [path], lambda root: os.rmdir(f"{root}/{path}")


def run(mount, mirror, seed):
    history = History((mount, mirror), seed)
    done = 0
    while True:
        for words, paths, change in history.steps():
            try:
                change(mount)
            except OSError as e:
                # the dead mount may have been taken away already
                if e.errno not in DEAD and os.path.ismount(os.path.dirname(mount)):
                    raise
                # Whether it was done is not known: the test looks at both.
                shutil.copytree(mirror, mirror + ".after", symlinks=True)
                change(mirror + ".after")
                print(json.dumps({"op": words, "paths": paths, "done": done, "error": e.strerror}))
                return
            change(mirror)
            done += 1


def tree(root):
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            full = os.path.join(folder, name)
            st, path = os.lstat(full), os.path.relpath(full, root)
            if stat.S_ISLNK(st.st_mode):
                found[path] = ("link", os.readlink(full))
            elif stat.S_ISDIR(st.st_mode):
                found[path] = ("folder",)
            else:
                with open(full, "rb") as f:
                    found[path] = ("file", f.read(), stat.S_IMODE(st.st_mode))
    return found


def compare(remote, mirror, doubt):
    paths = doubt["paths"]
    there = tree(remote)
    problems = []
    for candidate in (mirror, mirror + ".after"):
        here, wrong = tree(candidate), []
        for path in sorted(set(here) | set(there)):
            if doubt["op"] == "copy" and path in paths:
                continue
            # what was being written may be there in part
            if doubt["op"] in ("write", "append", "pwrite") and path in paths and path in here and path in there:
                continue
            if here.get(path) != there.get(path):
                show = lambda x: x and (x[0], len(x[1]) if len(x) > 1 else 0, x[2:])
                wrong.append(f"{path}: accepted {show(here.get(path))}, there {show(there.get(path))}")
        if not wrong:
            return
        problems.append(wrong)
    print("in doubt:", doubt)
    for wrong in problems:
        print("\n".join(wrong[:5]), "\n--")
    sys.exit(1)


if sys.argv[1] == "run":
    run(sys.argv[2], sys.argv[3], int(sys.argv[4]))
else:
    with open(sys.argv[4]) as f:
        compare(sys.argv[2], sys.argv[3], json.loads(f.read().splitlines()[-1]))
