#!/usr/bin/env python3
"""Random operations on one file, checked against a copy in memory after each of them.

usage: fsx.py FILE_ON_MOUNT FILE_ON_INSTANCE SEED COUNT

Several handles, reads, writes, appends, truncation, mapped reads and writes, copies within the mount, fsync and
reopening. What the instance holds is compared after each fsync and at the end. Prints the seed and the operation's
number with a mismatch; exit code 1.
"""
import mmap
import os
import random
import sys

MAX = 600 * 1024


class Checker:
    def __init__(self, path, there, seed):
        self.path, self.there, self.seed = path, there, seed
        self.rand = random.Random(seed)
        self.shadow = bytearray()
        self.fds = []
        self.op = 0
        open(path, "wb").close()
        self.reopen()

    def fail(self, what, offset=None):
        print(f"not ok - fsx seed {self.seed} operation {self.op}: {what}" +
              (f" at offset {offset}" if offset is not None else ""))
        sys.exit(1)

    def compare(self, got, want, base, what):
        if got == want:
            return
        at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
        self.fail(f"{what}: got {len(got)} bytes, want {len(want)}", base + at)

    def span(self):
        start = self.rand.randrange(MAX)
        size = self.rand.choice([1, 80, 4096, 5000, 20000, 131072, self.rand.randrange(1, 200000)])
        return start, min(size, MAX - start)

    def fd(self):
        return self.rand.choice(self.fds)

    def reopen(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = [os.open(self.path, os.O_RDWR) for _ in range(3)]

    def read(self):
        start, size = self.span()
        self.compare(os.pread(self.fd(), size, start), bytes(self.shadow[start:start + size]), start, "read")

    def put(self, start, data):
        if len(self.shadow) < start:
            self.shadow.extend(bytes(start - len(self.shadow)))
        self.shadow[start:start + len(data)] = data

    def write(self):
        start, size = self.span()
        data = self.rand.randbytes(size)
        written = os.pwrite(self.fd(), data, start)
        if written != size:
            self.fail(f"short write: {written} of {size}")
        self.put(start, data)

    def append(self):
        data = self.rand.randbytes(self.rand.randrange(1, 3000))
        if len(self.shadow) + len(data) > MAX:
            return
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.write(fd, data)
        os.close(fd)
        self.shadow.extend(data)

    def truncate(self):
        size = self.rand.randrange(MAX)
        if self.rand.random() < 0.5:
            os.ftruncate(self.fd(), size)
        else:
            os.truncate(self.path, size)
        if size < len(self.shadow):
            del self.shadow[size:]
        else:
            self.shadow.extend(bytes(size - len(self.shadow)))

    def mapped(self):
        if not self.shadow:
            return
        with mmap.mmap(self.fd(), len(self.shadow)) as area:
            start = self.rand.randrange(len(self.shadow))
            size = min(self.rand.randrange(1, 50000), len(self.shadow) - start)
            if self.rand.random() < 0.5:
                data = self.rand.randbytes(size)
                area[start:start + size] = data
                self.shadow[start:start + size] = data
                area.flush()
            else:
                self.compare(area[start:start + size], bytes(self.shadow[start:start + size]), start, "mapped read")

    def copy(self):
        other = self.path + ".copy"
        data = self.rand.randbytes(self.rand.randrange(1, 100000))
        with open(other, "wb") as file:
            file.write(data)
        start = self.rand.randrange(MAX - len(data))
        fd = os.open(other, os.O_RDONLY)
        done = 0
        while done < len(data):
            n = os.copy_file_range(fd, self.fd(), len(data) - done, done, start + done)
            if n <= 0:
                self.fail(f"copy_file_range gave {n}")
            done += n
        os.close(fd)
        os.unlink(other)
        self.put(start, data)

    def sync(self):
        os.fsync(self.fd())
        with open(self.there, "rb") as file:
            self.compare(file.read(), bytes(self.shadow), 0, "on the instance after fsync")

    def size(self):
        for got in (os.fstat(self.fd()).st_size, os.stat(self.path).st_size):
            if got != len(self.shadow):
                self.fail(f"size {got}, want {len(self.shadow)}")

    def run(self, count):
        ops = [self.read] * 6 + [self.write] * 6 + [self.append, self.truncate, self.mapped, self.mapped,
                                                    self.copy, self.sync, self.size, self.size, self.reopen]
        for self.op in range(count):
            self.rand.choice(ops)()
        self.reopen()
        self.compare(os.pread(self.fds[0], MAX * 2, 0), bytes(self.shadow), 0, "whole file")
        self.reopen()
        self.sync()


def main():
    path, there, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    Checker(path, there, seed).run(count)
    print(f"ok - fsx seed {seed}, {count} operations")


main()
