#!/usr/bin/env python3
"""Random changes of names, done on the mount and in a local folder alike: each call must end alike.

usage: nsx.py FOLDER_ON_MOUNT FOLDER_ON_INSTANCE LOCAL_FOLDER SEED COUNT

Files, folders, links and renames over a few names, so that they meet; open files that are renamed, replaced and removed
while they are written. Errors, contents, sizes, modes, link counts and listings are compared call by call, what the
instance holds at the end (after an fsync of the folder). Prints the seed and the operation's number with a mismatch;
exit code 1.
"""
import errno
import os
import random
import stat
import sys
import time

NAMES = "abcde"


class Mismatch(Exception):
    pass


class Checker:
    def __init__(self, mount, there, local, seed):
        self.tops = (mount, local)
        self.there = there
        self.rand = random.Random(seed)
        self.seed = seed
        self.open = []
        self.log = []
        for top in self.tops:
            os.mkdir(top)

    def name(self):
        depth = self.rand.choice([1, 1, 2, 2, 2, 3])
        return "/".join(self.rand.choice(NAMES) for _ in range(depth))

    def both(self, what, function):
        "function(top) on both sides; results or errors must agree. Returns the result on the mount."
        self.log.append(what)
        results = []
        for top in self.tops:
            try:
                results.append(function(top))
            except OSError as e:
                number = errno.ENOTEMPTY if e.errno == errno.EEXIST and what.startswith(("rename", "rmdir")) else e.errno
                results.append("error " + errno.errorcode.get(number, str(number)))
        if results[0] != results[1]:
            raise Mismatch(f"{what}: {str(results[0])[:300]} on the mount, {str(results[1])[:300]} locally")
        return results[0]

    def path(self, top, name):
        return os.path.join(top, name)

    def create(self):
        n, flags = self.name(), self.rand.choice([os.O_EXCL, 0, os.O_TRUNC, os.O_APPEND])
        mode = self.rand.choice([0o644, 0o600, 0o755])
        data = self.rand.randbytes(self.rand.choice([0, 1, 100, 5000, 70000]))

        def do(top):
            fd = os.open(self.path(top, n), os.O_WRONLY | os.O_CREAT | flags, mode)
            os.write(fd, data)
            os.close(fd)
        self.both(f"create {n} {flags:o} {mode:o} {len(data)}", do)

    def keep_open(self):
        n = self.name()
        fds = []

        def do(top):
            fds.append(os.open(self.path(top, n), os.O_RDWR | os.O_CREAT, 0o644))
        result = self.both(f"open {n}", do)
        if len(fds) == 2:
            if result is None and len(self.open) < 6:
                self.open.append(fds)
                self.log[-1] += f": descriptor {fds[0]}"
                return
        for fd in fds:
            os.close(fd)

    def with_open(self, what, function):
        if not self.open:
            return
        fds = self.rand.choice(self.open)
        self.both(f"{what} on descriptor {fds[0]}", lambda top: function(fds[self.tops.index(top)]))

    def write_open(self):
        at, data = self.rand.randrange(9000), self.rand.randbytes(self.rand.randrange(1, 9000))
        self.with_open(f"pwrite {at} {len(data)}", lambda fd: os.pwrite(fd, data, at))

    def read_open(self):
        self.with_open("pread", lambda fd: os.pread(fd, 100000, 0))

    def stat_open(self):
        self.with_open("fstat", lambda fd: (os.fstat(fd).st_size, os.fstat(fd).st_nlink, os.fstat(fd).st_mode))

    def cut_open(self):
        size = self.rand.randrange(9000)
        self.with_open(f"ftruncate {size}", lambda fd: os.ftruncate(fd, size))

    def sync_open(self):
        self.with_open("fsync", os.fsync)

    def close_open(self):
        if self.open:
            fds = self.open.pop(self.rand.randrange(len(self.open)))
            self.both(f"close {fds[0]}", lambda top: os.close(fds[self.tops.index(top)]))

    def one(self, what, function):
        n = self.name()
        return self.both(f"{what} {n}", lambda top: function(self.path(top, n)))

    def two(self, what, function):
        n, to = self.name(), self.name()
        return self.both(f"{what} {n} {to}", lambda top: function(self.path(top, n), self.path(top, to)))

    def unlink(self):
        self.one("unlink", os.unlink)

    def mkdir(self):
        mode = self.rand.choice([0o755, 0o700])
        self.one(f"mkdir {mode:o}", lambda p: os.mkdir(p, mode))

    def rmdir(self):
        self.one("rmdir", os.rmdir)

    def rename(self):
        self.two("rename", os.rename)

    def link(self):
        self.two("link", lambda p, q: os.link(p, q, follow_symlinks=False))

    def symlink(self):
        target = self.rand.choice(NAMES)
        self.one(f"symlink to {target}", lambda p: os.symlink(target, p))

    def readlink(self):
        self.one("readlink", os.readlink)

    def chmod(self):
        mode = self.rand.choice([0o600, 0o640, 0o755, 0o700])
        self.one(f"chmod {mode:o}", lambda p: os.chmod(p, mode) if not os.path.islink(p) else None)

    def utime(self):
        at = self.rand.randrange(1, 2_000_000_000)
        self.one(f"utime {at}", lambda p: os.utime(p, (at, at)) or int(os.stat(p).st_mtime))

    def truncate(self):
        size = self.rand.randrange(20000)
        self.one(f"truncate {size}", lambda p: os.truncate(p, size))

    def look(self):
        def do(p):
            s = os.lstat(p)
            folder = stat.S_ISDIR(s.st_mode)
            return (oct(s.st_mode), None if folder else s.st_size, None if folder else s.st_nlink)
        self.one("lstat", do)

    def read(self):
        def do(p):
            with open(p, "rb") as f:
                return f.read()
        self.one("read", do)

    def list(self):
        if self.rand.random() < 0.3:
            self.both("listdir .", lambda top: sorted(os.listdir(top)))
        else:
            self.one("listdir", lambda p: sorted(os.listdir(p)))

    def tree(self, top):
        out = []
        for path, folders, files in os.walk(top):
            for n in folders + files:
                p = os.path.join(path, n)
                s = os.lstat(p)
                what = None
                if stat.S_ISLNK(s.st_mode):
                    what = os.readlink(p)
                elif stat.S_ISREG(s.st_mode):
                    with open(p, "rb") as f:
                        what = f.read()
                out.append((os.path.relpath(p, top), oct(s.st_mode), what))
        return sorted(out, key=lambda e: e[0])

    def compare(self, what, a, b):
        if a != b:
            only = [e[:2] for e in a if e not in b][:4], [e[:2] for e in b if e not in a][:4]
            raise Mismatch(f"{what}: only there {only[0]}, only locally {only[1]}")

    def run(self, count):
        ops = [self.create] * 6 + [self.mkdir] * 4 + [self.rename] * 5 + [self.unlink] * 3 + [self.look] * 4 + \
            [self.rmdir, self.rmdir, self.link, self.link, self.symlink, self.readlink, self.chmod, self.utime,
             self.truncate, self.read, self.read, self.read, self.list, self.list, self.keep_open, self.keep_open,
             self.write_open, self.write_open, self.read_open, self.stat_open, self.stat_open, self.cut_open,
             self.sync_open, self.close_open]
        try:
            for _ in range(count):
                self.rand.choice(ops)()
                if self.rand.random() < 0.003:
                    time.sleep(self.rand.choice([0.05, 1.1]))  # sleep: bursts end, attributes grow old
            while self.open:
                self.close_open()
            self.compare("the tree on the mount", self.tree(self.tops[0]), self.tree(self.tops[1]))
            fd = os.open(self.tops[0], os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
            self.compare("the tree on the instance", self.tree(self.there), self.tree(self.tops[1]))
        except Mismatch as e:
            print(f"not ok - nsx seed {self.seed} operation {len(self.log)}: {e}")
            print("\n".join(self.log[-int(os.environ.get("NSX_LOG", 12)):]))
            sys.exit(1)


def main():
    mount, there, local, seed, count = sys.argv[1:4] + [int(v) for v in sys.argv[4:6]]
    os.umask(0o022)
    Checker(mount, there, local, seed).run(count)
    print(f"ok - nsx seed {seed}, {count} operations")


main()
