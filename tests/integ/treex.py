#!/usr/bin/env python3
"""Random calls by several processes, done on the mount and in a local folder alike: each must end alike.

usage: treex.py FOLDER_ON_MOUNT FOLDER_ON_INSTANCE LOCAL_FOLDER SEED COUNT [WORKERS]

More than nsx.py: paths below open folders that are renamed and removed, symlinks of all kinds within paths, files opened
again and linked by their descriptors, mapped, copied, sent and extended, odd names, times to the nanosecond, counts of
links (of folders too), owners. The processes take turns, so that what is a row of changes for one is not for another.
TREEX_USERS=0,1000,1001 makes each process another user's.
Every quarter of the way the trees are compared, here and on the instance. Prints the seed and the call's number with a
mismatch, and the last ones before it (TREEX_LOG: how many); exit code 1.
"""
import ctypes
import errno
import mmap
import os
import random
import stat
import struct
import sys
import time
from multiprocessing import Pipe, Process

libc = ctypes.CDLL(None, use_errno=True)
# so far down that no symlink of "..", or a few of them, leads out
DEEP = "/".join(f"p{n}" for n in range(12))
NAMES = list("abcdef") * 20 + ["n" * 255, "n" * 256, "new\nline", "é中", "x.lock", "sp ace"]
TARGETS = ["a", "b", "c/d", "../a", "../..", ".", "..", "./c", "../b/", "z" * 200, "t/" * 1000, ""]
SIZES = [0, 1, 10, 100, 4096, 5000, 70_000, 300_000]
NOW, OMIT = (1 << 30) - 1, (1 << 30) - 2
AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH = -100, 0x100, 0x400, 0x1000


def call(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Side:
    "One process on one side: its descriptors, and a method for each call. A place is (open folder or None, path)."

    def __init__(self, top):
        self.top = top
        self.fds, self.dirs = {}, {}

    def at(self, place):
        folder, path = place
        return (None, os.path.join(self.top, path)) if folder is None else (self.dirs[folder], path)

    def c_at(self, place):
        fd, path = self.at(place)
        return AT_FDCWD if fd is None else fd, ctypes.c_char_p(os.fsencode(path))

    def facts(self, st):
        folder, age = stat.S_ISDIR(st.st_mode), time.time() - st.st_mtime
        return (oct(st.st_mode), None if folder else st.st_size, st.st_nlink, st.st_uid, st.st_gid,
                "new" if age < 3600 else st.st_mtime_ns)

    def open(self, slot, place, flags, mode, data):
        fd, path = self.at(place)
        self.fds[slot] = os.open(path, flags, mode, dir_fd=fd)
        try:
            return data is None or os.write(self.fds[slot], data)
        except OSError as e:
            return "then " + errno.errorcode[e.errno]

    def put(self, place, flags, mode, data, at_ns):
        folder, path = self.at(place)
        fd = os.open(path, flags, mode, dir_fd=folder)
        try:
            os.write(fd, data)
            if at_ns is not None:
                os.utime(fd, ns=(at_ns, at_ns))
            return self.facts(os.fstat(fd))
        finally:
            os.close(fd)

    def save(self, place, data):
        folder, path = self.at(place)
        fd = os.open(path + ".t", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644, dir_fd=folder)
        os.write(fd, data)
        os.fsync(fd)
        os.close(fd)
        os.rename(path + ".t", path, src_dir_fd=folder, dst_dir_fd=folder)

    def close(self, slot):
        os.close(self.fds.pop(slot))

    def pread(self, slot, size, at):
        return os.pread(self.fds[slot], size, at)

    def read(self, slot, size):
        return os.read(self.fds[slot], size)

    def write(self, slot, data):
        return os.write(self.fds[slot], data)

    def pwrite(self, slot, data, at):
        return os.pwrite(self.fds[slot], data, at)

    def size(self, slot):
        "None of a folder: each file system has its own."
        st = os.fstat(self.fds[slot])
        return None if stat.S_ISDIR(st.st_mode) else st.st_size

    def lseek(self, slot, at, whence):
        return None if self.size(slot) is None else os.lseek(self.fds[slot], at, whence)

    def ftruncate(self, slot, size):
        os.ftruncate(self.fds[slot], size)

    def fstat(self, slot):
        return self.facts(os.fstat(self.fds[slot]))

    def fchmod(self, slot, mode):
        os.fchmod(self.fds[slot], mode)

    def fchown(self, slot, uid, gid):
        os.fchown(self.fds[slot], uid, gid)

    def futimens(self, slot, a, m):
        os.utime(self.fds[slot], ns=(a, m))

    def fsync(self, slot):
        os.fsync(self.fds[slot])

    def fallocate(self, slot, at, size):
        # within the file ext4 sets the time, which POSIX does not ask for
        now = self.size(slot)
        return None if now is None or now >= at + size else os.posix_fallocate(self.fds[slot], at, size)

    def copy(self, slot, to, size, at, to_at):
        return os.copy_file_range(self.fds[slot], self.fds[to], size, at, to_at)

    def send(self, slot, to, size, at):
        return os.sendfile(self.fds[to], self.fds[slot], at, size)

    def map_write(self, slot, at, data):
        # one that appends needs another, by name, for the pages
        now, path = self.size(slot), os.readlink(f"/proc/self/fd/{self.fds[slot]}")
        if now is None or now < at + len(data) or path.endswith("(deleted)"):
            return
        with mmap.mmap(self.fds[slot], now) as area:
            area[at:at + len(data)] = data
            if at % 2:
                area.flush()

    def map_read(self, slot):
        size = self.size(slot)
        if size:
            with mmap.mmap(self.fds[slot], size, prot=mmap.PROT_READ) as area:
                return bytes(area)
        return None

    def link_fd(self, slot, place):
        call(libc.linkat(self.fds[slot], ctypes.c_char_p(b""), *self.c_at(place), AT_EMPTY_PATH))

    def link_proc(self, slot, place):
        path = ctypes.c_char_p(b"/proc/self/fd/%d" % self.fds[slot])
        call(libc.linkat(AT_FDCWD, path, *self.c_at(place), AT_SYMLINK_FOLLOW))

    def reopen(self, slot, new, flags):
        # what has no name is opened again only as it is open already
        if os.fstat(self.fds[slot]).st_nlink == 0:
            return False
        self.fds[new] = os.open(f"/proc/self/fd/{self.fds[slot]}", flags)
        return True

    def is_at(self, slot, place):
        folder, path = self.at(place)
        return os.path.samestat(os.fstat(self.fds[slot]), os.stat(path, dir_fd=folder))

    def opendir(self, slot, place, flags):
        folder, path = self.at(place)
        self.dirs[slot] = os.open(path, os.O_DIRECTORY | flags, dir_fd=folder)

    def closedir(self, slot):
        os.close(self.dirs.pop(slot))

    def fdlist(self, slot):
        return sorted(os.listdir(self.dirs[slot]))

    def one(self, function, place, *args):
        folder, path = self.at(place)
        return getattr(os, function)(path, *args, dir_fd=folder)

    def rename(self, place, to, flags):
        call(libc.renameat2(*self.c_at(place), *self.c_at(to), flags))

    def link(self, place, to, flags):
        call(libc.linkat(*self.c_at(place), *self.c_at(to), flags))

    def symlink(self, target, place):
        folder, path = self.at(place)
        os.symlink(target, path, dir_fd=folder)

    def chown(self, place, uid, gid, follow):
        folder, path = self.at(place)
        os.chown(path, uid, gid, dir_fd=folder, follow_symlinks=follow)

    def utime(self, place, times, flags):
        call(libc.utimensat(*self.c_at(place), ctypes.c_char_p(struct.pack("4q", *times)), flags))

    def stat(self, place, follow):
        folder, path = self.at(place)
        return self.facts(os.stat(path, dir_fd=folder, follow_symlinks=follow))

    def get(self, place):
        folder, path = self.at(place)
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags, dir_fd=folder)) as file:
            return file.read()

    def list(self, place):
        folder, path = self.at(place)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        try:
            with os.scandir(fd) as entries:
                return sorted((e.name, e.is_symlink(), e.is_dir(follow_symlinks=False)) for e in entries)
        finally:
            os.close(fd)

    def stand(self, place):
        folder, path = self.at(place)
        if folder is not None:
            os.fchdir(folder)
        try:
            os.chdir(path)
            return os.getcwd().replace(self.top[:-len(DEEP)], ""), sorted(os.listdir(".")), sorted(os.listdir(".."))
        finally:
            os.chdir("/")


def worker(pipe, tops, user):
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    sides = [Side(top) for top in tops]
    while True:
        what, args = pipe.recv()
        results = []
        for side in sides:
            try:
                results.append(getattr(side, what)(*args))
            except OSError as e:
                number = errno.ENOTEMPTY if e.errno == errno.EEXIST and "rmdir" in args else e.errno
                number = errno.ENOTEMPTY if number == errno.EEXIST and what == "rename" else number
                results.append("error " + errno.errorcode.get(number, str(number)))
            except ValueError as e:
                results.append(f"refused: {e}")
        pipe.send(results)


def short(value):
    if isinstance(value, bytes) and len(value) > 12:
        return f"{len(value)} bytes"
    text = repr(value)
    return text if len(text) < 160 else text[:140] + "…"


class Checker:
    def __init__(self, mount, there, local, seed, workers):
        self.tops, self.there, self.seed = (mount, local), there, seed
        self.rand = random.Random(seed)
        self.log = []
        self.fds, self.dirs = [set() for _ in range(workers)], [set() for _ in range(workers)]
        self.pipes = []
        tops = [os.path.join(top, DEEP) for top in self.tops]
        users = [int(user) for user in os.environ.get("TREEX_USERS", "0").split(",")]
        for top in tops:
            os.makedirs(top)
            os.chmod(top, 0o777)
        for n in range(workers):
            ours, theirs = Pipe()
            Process(target=worker, args=(theirs, tops, users[n % len(users)]), daemon=True).start()
            self.pipes.append(ours)

    def fail(self, text):
        print(f"not ok - treex seed {self.seed} call {len(self.log)}: {text}")
        print("\n".join(self.log[-int(os.environ.get("TREEX_LOG", 15)):]))
        sys.exit(1)

    # --- what is called ---

    def place(self):
        parts = [self.rand.choice(NAMES) for _ in range(self.rand.choice([1, 1, 1, 2, 2, 2, 3, 3, 4]))]
        odd = self.rand.random()
        if odd < 0.06:
            parts.append(self.rand.choice(["", ".", ".."]))
        elif odd < 0.08:
            parts.insert(self.rand.randrange(1, len(parts) + 1), "..")
        dirs = sorted(self.dirs[self.who])
        return self.rand.choice(dirs) if dirs and self.rand.random() < 0.25 else None, "/".join(parts)

    def data(self):
        return self.rand.randbytes(self.rand.choice(SIZES))

    def where(self):
        return self.rand.choice([0, 4095, 4096, self.rand.randrange(10_000), self.rand.randrange(300_000)])

    def at_ns(self):
        return self.rand.randrange(10**8, 1_600_000_000) * 10**9 + self.rand.choice([0, 1, 999_999_999])

    def times(self):
        def one():
            ns = self.at_ns()
            return self.rand.choice([(0, NOW), (0, OMIT), divmod(ns, 10**9), divmod(ns, 10**9)])
        return one() + one()

    def owner(self):
        return self.rand.choice([-1, 0, 1000, 1001]), self.rand.choice([-1, 0, 1000, 1001])

    def by_name(self):
        pick, place = self.rand.choice, self.place
        free = min(set(range(99)) - self.fds[self.who]), min(set(range(99)) - self.dirs[self.who])
        flags = os.O_WRONLY | os.O_CREAT | pick([0, os.O_EXCL, os.O_TRUNC, os.O_TRUNC, os.O_APPEND, os.O_NOFOLLOW])
        how = pick([os.O_RDWR, os.O_RDWR, os.O_RDONLY, os.O_WRONLY]) | pick(
            [0, 0, os.O_CREAT, os.O_CREAT, os.O_CREAT | os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_CREAT | os.O_APPEND,
             os.O_NOFOLLOW, os.O_DIRECTORY, os.O_SYNC])
        calls = [
            (6, lambda: ("put", place(), flags, pick([0o644, 0o600, 0o755, 0o400]), self.data(), pick([None] * 3 + [self.at_ns()]))),
            (4, lambda: ("one", "mkdir", place(), pick([0o755, 0o700, 0o2755, 0o1777]))),
            (3, lambda: ("one", "unlink", place())), (2, lambda: ("one", "rmdir", place())),
            (4, lambda: ("rename", place(), place(), pick([0, 0, 0, 0, 1]))),
            (2, lambda: ("link", place(), place(), pick([0, 0, AT_SYMLINK_FOLLOW]))),
            (2, lambda: ("symlink", pick(TARGETS), place())), (1, lambda: ("one", "readlink", place())),
            (1, lambda: ("one", "chmod", place(), pick([0o600, 0o755, 0o4755, 0o2755, 0o1777]))),
            (1, lambda: ("chown", place(), *self.owner(), pick([True, False]))),
            (2, lambda: ("utime", place(), self.times(), pick([0, AT_SYMLINK_NOFOLLOW]))),
            (1, lambda: ("one", "access", place(), pick([0, 1, 2, 4, 7]))), (4, lambda: ("stat", place(), pick([True, False]))),
            (3, lambda: ("get", place())), (2, lambda: ("list", place())), (1, lambda: ("stand", place())),
            (1, lambda: ("one", "mknod", place(), stat.S_IFREG | 0o640)), (1, lambda: ("save", place(), self.data())),
            (3 * (free[0] < 6), lambda: ("open", free[0], place(), how, pick([0o644, 0o600, 0]), pick([None, self.data()]))),
            (2 * (free[1] < 4), lambda: ("opendir", free[1], place(), pick([0, 0, os.O_PATH, os.O_NOFOLLOW]))),
        ]
        return calls

    def by_descriptor(self):
        pick, where = self.rand.choice, self.where
        slots, size = sorted(self.fds[self.who]), pick([1, 5000, 100_000, 400_000])
        slot, new = pick(slots), min(set(range(99)) - self.fds[self.who])
        again = pick([os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_TRUNC])
        return [
            (3, lambda: ("pread", slot, size, where())), (2, lambda: ("read", slot, size)), (3, lambda: ("write", slot, self.data())),
            (3, lambda: ("pwrite", slot, self.data(), where())), (1, lambda: ("lseek", slot, pick([0, where(), -1]), pick([0, 1, 2]))),
            (2, lambda: ("ftruncate", slot, where())), (2, lambda: ("fstat", slot)), (1, lambda: ("fchmod", slot, pick([0o600, 0o4711]))),
            (1, lambda: ("fchown", slot, *self.owner())), (1, lambda: ("futimens", slot, self.at_ns(), self.at_ns())),
            (1, lambda: ("fsync", slot)), (1, lambda: ("fallocate", slot, where(), size)), (1, lambda: ("send", slot, pick(slots), size, where())),
            (2, lambda: ("copy", slot, pick(slots), size, where(), where())), (2, lambda: ("map_write", slot, where(), self.data())),
            (2, lambda: ("map_read", slot)), (1, lambda: ("link_fd", slot, self.place())), (1, lambda: ("link_proc", slot, self.place())),
            (1, lambda: ("is_at", slot, self.place())), (3, lambda: ("close", slot)), (new < 6, lambda: ("reopen", slot, new, again)),
        ]

    def of_folder(self):
        slot = self.rand.choice(sorted(self.dirs[self.who]))
        return [(1, lambda: ("fdlist", slot)), (1, lambda: ("closedir", slot))]

    # --- and compared ---

    def both(self, what, *args):
        self.pipes[self.who].send((what, args))
        here, local = self.pipes[self.who].recv()
        self.log.append(f"{len(self.log)} process {self.who}: {what} {', '.join(map(short, args))}: {short(local)}")
        if here != local:
            self.fail(f"{what} {', '.join(map(short, args))}: {short(here)} on the mount, {short(local)} locally")
        failed = isinstance(local, str) and local.startswith(("error", "refused"))
        if what in ("open", "opendir") and not failed:
            (self.fds if what == "open" else self.dirs)[self.who].add(args[0])
        elif what == "reopen" and local is True:
            self.fds[self.who].add(args[1])
        elif what in ("close", "closedir"):
            (self.fds if what == "close" else self.dirs)[self.who].discard(args[0])

    def close_all(self):
        for self.who in range(len(self.pipes)):
            for slot in sorted(self.fds[self.who]):
                self.both("close", slot)
            for slot in sorted(self.dirs[self.who]):
                self.both("closedir", slot)

    def tree(self, top, whole_seconds):
        out = {}
        for path, folders, files in os.walk(os.path.join(top, "p0")):
            for name in folders + files:
                full, what = os.path.join(path, name), None
                st = os.lstat(full)
                if stat.S_ISLNK(st.st_mode):
                    what = os.readlink(full)
                elif stat.S_ISREG(st.st_mode):
                    with open(full, "rb") as file:
                        what = file.read()
                at = "new" if time.time() - st.st_mtime < 1800 else st.st_mtime_ns // (10**9 if whole_seconds else 1)
                out[os.path.relpath(full, top)] = oct(st.st_mode), st.st_uid, st.st_gid, st.st_nlink, at, what
        return out

    def compare(self, where, top, whole_seconds):
        got, want = self.tree(top, whole_seconds), self.tree(self.tops[1], whole_seconds)
        for name in sorted(set(got) | set(want)):
            if got.get(name) != want.get(name):
                self.fail(f"{name!r} {where}: {short(got.get(name))}, locally {short(want.get(name))}")

    def compare_all(self):
        self.compare("on the mount", self.tops[0], False)
        fd = os.open(self.tops[0], os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        self.compare("on the instance", self.there, True)
        self.compare("on the mount after fsync", self.tops[0], False)

    def run(self, count):
        self.who = 0
        for number in range(1, count + 1):
            if self.rand.random() < 0.15:
                self.who = self.rand.randrange(len(self.pipes))
            chance = self.rand.random()
            if chance < 0.45 and self.fds[self.who]:
                calls = self.by_descriptor()
            elif chance < 0.5 and self.dirs[self.who]:
                calls = self.of_folder()
            else:
                calls = self.by_name()
            self.both(*self.rand.choices([make for _, make in calls], [weight for weight, _ in calls])[0]())
            if self.rand.random() < 0.002:
                time.sleep(self.rand.choice([0.05, 0.3, 1.2]))  # sleep: bursts end, attributes grow old
            if number % max(count // 4, 1) == 0:
                if number % 2 == 0:
                    self.close_all()
                self.compare_all()
        self.close_all()
        self.compare_all()


def main():
    mount, there, local, seed, count = sys.argv[1:4] + [int(v) for v in sys.argv[4:6]]
    workers = int(sys.argv[6]) if len(sys.argv) > 6 else 3
    os.umask(0o022)
    Checker(mount, there, local, seed, workers).run(count)
    print(f"ok - treex seed {seed}, {count} calls")


main()
