#!/usr/bin/env python3
"""Random changes of files with several names, by any of them: at all times each name, and each open file, must show the same.

usage: linkx.py FOLDER_ON_MOUNT FOLDER_ON_INSTANCE SEED COUNT

The count of links must be that of the names. Prints the seed and the last calls before a mismatch; exit code 1.
"""
import errno
import os
import random
import sys
import time

SIZES = [0, 10, 5000, 70_000]


class Links:
    def __init__(self, mount, there, seed):
        self.mount, self.there, self.seed = mount, there, seed
        self.rand = random.Random(seed)
        self.dirs = [os.path.join(mount, f"d{n}") for n in range(4)]
        self.files = {}  # number -> (names, descriptors)
        self.made = 0
        self.log = []
        for folder in self.dirs:
            os.mkdir(folder)
        for _ in range(6):
            self.new()

    def path(self):
        self.made += 1
        return os.path.join(self.rand.choice(self.dirs), f"n{self.made}")

    def data(self):
        return self.rand.randbytes(self.rand.choice(SIZES))

    def put(self, path):
        with open(path, "wb") as file:
            file.write(self.data())

    def new(self):
        path = self.path()
        self.put(path)
        self.files[self.made] = [path], []

    # --- one change each ---

    def chmod(self, name, names, fds):
        os.chmod(name, self.rand.choice([0o600, 0o644, 0o755]))

    def chown(self, name, names, fds):
        if not os.geteuid():
            os.chown(name, self.rand.choice([0, 1000, 1001]), self.rand.choice([0, 1000]))

    def utime(self, name, names, fds):
        at = self.rand.randrange(10**8, 16 * 10**8) * 10**9 + 5
        os.utime(name, ns=(at, at))

    def write(self, name, names, fds):
        with open(name, self.rand.choice(["ab", "r+b"])) as file:
            file.write(self.data())

    def truncate(self, name, names, fds):
        os.truncate(name, self.rand.choice(SIZES))

    def link(self, name, names, fds):
        if len(names) < 5:
            names.append(self.path())
            os.link(name, names[-1])

    def unlink(self, name, names, fds):
        os.unlink(name)
        names.remove(name)

    def rename(self, name, names, fds):
        to = self.path()
        os.rename(name, to)
        names[names.index(name)] = to

    def replace(self, name, names, fds):
        tmp = os.path.join(self.mount, "tmp")
        self.put(tmp)
        os.rename(tmp, name)
        names.remove(name)
        self.made += 1
        self.files[self.made] = [name], []

    def open(self, name, names, fds):
        if len(fds) < 2:
            fds.append(os.open(name, self.rand.choice([os.O_RDWR, os.O_RDONLY, os.O_RDWR | os.O_APPEND])))

    def close(self, name, names, fds):
        if fds:
            os.close(fds.pop())

    def write_open(self, name, names, fds):
        try:
            if fds:
                os.write(fds[-1], self.data())
        except OSError as e:
            if e.errno != errno.EBADF:
                raise

    def chmod_open(self, name, names, fds):
        if fds:
            os.fchmod(fds[-1], self.rand.choice([0o600, 0o640]))

    def copy(self, name, names, fds):
        source = self.rand.choice([other for other, _ in self.files.values()])
        if source is names:
            return
        with open(source[0], "rb") as from_, open(name, "r+b") as to:
            os.copy_file_range(from_.fileno(), to.fileno(), 70_000, 0, 0)

    def read(self, name, names, fds):
        with open(name, "rb") as file:
            file.read()

    def list(self, name, names, fds):
        for entry in os.scandir(os.path.dirname(name)):
            entry.stat()

    # --- and a look ---

    @staticmethod
    def facts(st):
        return st.st_ino, oct(st.st_mode), st.st_uid, st.st_gid, st.st_nlink, st.st_size, st.st_mtime_ns

    def fail(self, text):
        print(f"not ok - linkx seed {self.seed} call {len(self.log)}: {text}")
        print("\n".join(self.log[-15:]))
        sys.exit(1)

    def look(self):
        for names, fds in self.files.values():
            seen = [self.facts(os.stat(name)) for name in names] + [self.facts(os.fstat(fd)) for fd in fds]
            if len(set(seen)) != 1 or seen[0][4] != len(names):
                self.fail(f"{names} show {seen}")

    def forget(self, number):
        names, fds = self.files.pop(number)
        for name in names:
            os.unlink(name)
        for fd in fds:
            os.close(fd)

    def run(self, count):
        changes = [self.chmod, self.chown, self.utime, self.write, self.write, self.truncate, self.link, self.link, self.unlink,
                   self.rename, self.replace, self.open, self.close, self.write_open, self.chmod_open,
                   self.copy, self.read, self.list]
        for _ in range(count):
            change, number = self.rand.choice(changes), self.rand.choice(list(self.files))
            names, fds = self.files[number]
            name = self.rand.choice(names)
            self.log.append(f"{change.__name__} {name} of {len(names)}, {len(fds)} open")
            try:
                change(name, names, fds)
            except OSError as e:
                self.fail(str(e))
            if not names:
                self.forget(number)
            while len(self.files) > 8:
                self.forget(self.rand.choice(list(self.files)))
            while len(self.files) < 5:
                self.new()
            self.look()
            if self.rand.random() < 0.01:
                time.sleep(self.rand.choice([0.05, 0.3, 1.2]))  # sleep: bursts end, attributes grow old
        fd = os.open(self.mount, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        for names, _ in self.files.values():
            for name in names:
                there = self.there + name[len(self.mount):]
                if os.stat(there).st_nlink != len(names) or os.stat(there).st_size != os.stat(name).st_size:
                    self.fail(f"{name} there: {os.stat(there)}, here {os.stat(name)}")


def main():
    mount, there, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    Links(mount, there, seed).run(count)
    print(f"ok - linkx seed {seed}, {count} calls")


main()
