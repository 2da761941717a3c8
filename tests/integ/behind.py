"""Changes in a burst: what the server sees and when, against a local folder, and what fails late.

	behind.py WHAT [SEED…]
"""
import contextlib
import ctypes
import errno
import json
import mmap
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from harness import MNT, REMOTE, W, clean, eq, get, libc, m, put, raises, run, seen, synced, test

SEEDS = [int(seed) for seed in sys.argv[2:]] or [1, 2, 3]
LOCAL = os.path.join(W, "local")


def there(*names):
    "On the server, as it is now."
    return os.path.join(REMOTE, *names)


def status(part="behind"):
    out = subprocess.run([os.environ["BUILD"] + "/vastfs", "status", "--json", MNT], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(out)[part]


def proxy(*words):
    subprocess.run([os.environ["TOOLS"] + "/delayproxy", "--send", os.path.join(W, "proxy.ctl"), *map(str, words)],
                   stdout=subprocess.DEVNULL, check=True)


@contextlib.contextmanager
def far_away(round_trip_ms=60):
    "A link that is slow enough to see what waits for it; yields a function that counts what did."
    proxy("delay", round_trip_ms / 2)
    before = status("requests")["waited"]
    try:
        yield lambda: status("requests")["waited"] - before
    finally:
        proxy("delay", 0)


@contextlib.contextmanager
def narrow(rate):
    proxy("rate", rate)
    try:
        yield
    finally:
        proxy("rate", 0)


def take_lock(path):
    "As soon as nobody else has it."
    while True:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            return
        except FileExistsError:
            time.sleep(0.02)  # sleep: between two tries


def le_waits(waited, most):
    n = waited()
    assert n <= most, f"{n} requests waited"


def burst(folder):
    "From now on what this thread does is in a burst."
    for n in range(6):
        put(os.path.join(folder, f"burst{n}"))


def snapshot(top):
    found = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            what = (stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode))
            if stat.S_ISREG(st.st_mode):
                what += (get(path), int(st.st_mtime) if st.st_mtime < 1e9 else None)
            elif stat.S_ISLNK(st.st_mode):
                what = (os.readlink(path),)
            found[os.path.relpath(path, top)] = what
    return found


class History:
    "The same random operations on two folders; both must say the same each time."

    def __init__(self, seed, *tops):
        self.random = random.Random(seed)
        self.tops = tops
        self.paths = {"": "d"}

    def both(self, function):
        results = []
        for top in self.tops:
            try:
                results.append(function(top))
            except OSError as e:
                results.append(errno.errorcode[e.errno])
        assert results[0] == results[1], results
        return results[0]

    def some(self, kinds):
        fitting = [path for path, kind in self.paths.items() if kind in kinds and path]
        return self.random.choice(fitting) if fitting else None

    def new(self):
        folder = self.random.choice([path for path, kind in self.paths.items() if kind == "d"])
        return os.path.join(folder, self.random.choice("abcdefgh"))

    def step(self):
        r = self.random
        path, old = self.new(), self.some("fl")
        what = r.choice(["mkdir", "create", "create", "create", "append", "rename", "unlink", "rmdir", "symlink", "chmod",
                         "utime", "read", "list", "excl", "truncate", "rename_folder", "link"])
        if what == "mkdir" and self.both(lambda top: os.mkdir(os.path.join(top, path))) is None:
            self.paths[path] = "d"
        elif what == "create":
            data = r.randbytes(r.choice([0, 10, 3000, 70000]))
            if self.both(lambda top: put(os.path.join(top, path), data)) is None:
                self.paths.setdefault(path, "f")
        elif what == "excl":
            def excl(top):
                os.close(os.open(os.path.join(top, path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))
            if self.both(excl) is None:
                self.paths[path] = "f"
        elif what == "symlink" and self.both(lambda top: os.symlink("target", os.path.join(top, path))) is None:
            self.paths[path] = "l"
        elif what == "rmdir":
            folder = self.some("d")
            if folder and self.both(lambda top: os.rmdir(os.path.join(top, folder))) is None:
                del self.paths[folder]
        elif what == "rename_folder":
            folder = self.some("d")
            if folder and r.random() < 0.3 and self.both(
                    lambda top: os.rename(os.path.join(top, folder), os.path.join(top, path))) is None and folder != path:
                for old in [p for p in self.paths if p == folder or p.startswith(folder + "/")]:
                    self.paths[path + old[len(folder):]] = self.paths.pop(old)
        elif what == "list":
            folder = self.some("d") or ""
            self.both(lambda top: sorted(os.listdir(os.path.join(top, folder))))
        elif old:
            self.of_old(what, old, path)

    def of_old(self, what, old, path):
        r = self.random
        regular = self.paths[old] == "f"
        if what == "unlink" and self.both(lambda top: os.unlink(os.path.join(top, old))) is None:
            del self.paths[old]
        elif what == "rename" and self.both(
                lambda top: os.rename(os.path.join(top, old), os.path.join(top, path))) is None and old != path:
            self.paths[path] = self.paths.pop(old)
        elif what == "append" and regular:
            data = r.randbytes(100)

            def append(top):
                with open(os.path.join(top, old), "ab") as f:
                    f.write(data)
            self.both(append)
        elif what == "chmod" and regular:
            mode = r.choice([0o600, 0o640, 0o755, 0o664])
            self.both(lambda top: os.chmod(os.path.join(top, old), mode))
        elif what == "utime" and regular:
            when = r.randrange(10 ** 8, 9 * 10 ** 8)
            self.both(lambda top: os.utime(os.path.join(top, old), (when, when)))
        # of the same size, tmpfs leaves the time as it was, and others don't
        elif what == "truncate" and regular and os.path.getsize(os.path.join(self.tops[0], old)) != 50:
            self.both(lambda top: os.truncate(os.path.join(top, old), 50))
        elif what == "read" and regular:
            self.both(lambda top: get(os.path.join(top, old)))
        elif what == "link" and regular and r.random() < 0.3:
            if self.both(lambda top: os.link(os.path.join(top, old), os.path.join(top, path))) is None:
                self.paths[path] = "f"


def histories():
    for seed in SEEDS:
        @test(f"a random history, here and there, seed {seed}")
        def _(seed=seed):
            name = f"history{seed}"
            top, local = m(name), os.path.join(LOCAL, name)
            for path in (top, local):
                os.mkdir(path)
            history = History(seed, local, top)
            for n in range(12):
                for _ in range(60):
                    history.step()
                eq(snapshot(top), snapshot(local))
                synced()
                eq(snapshot(there(name)), snapshot(local))
            eq(status()["failures"], [])


def order():
    @test("the server sees each file whole under its last name, and nothing before its time")
    def _():
        clean("order")
        seen, stop, wrong = [], threading.Event(), []

        def watch():
            while not stop.is_set():
                try:
                    names = sorted(os.listdir(there("order", "d")))
                except OSError:
                    continue
                for name in names:
                    if not name.startswith("final"):
                        continue
                    try:
                        data = get(there("order", "d", name))
                    except FileNotFoundError:
                        continue
                    if data not in (name.encode() * 500, b"second" * 700):
                        wrong.append((name, len(data)))
                    # its sign is made after it, and is removed before it
                    seen.append(name)
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            os.mkdir(m("order", "d"))
            for n in range(300):
                name = f"final{n}"
                put(m("order", "d", f"tmp{n}"), name.encode() * 500)
                os.rename(m("order", "d", f"tmp{n}"), m("order", "d", name))
                if n % 3 == 0:
                    put(m("order", "d", "again"), b"second" * 700)
                    os.rename(m("order", "d", "again"), m("order", "d", name))
            synced()
        finally:
            stop.set()
            watcher.join()
        eq(wrong, [])
        eq(len(os.listdir(there("order", "d"))), 300)

    @test("a file is made longer behind a size that it was given in a burst")
    def _():
        clean("longer")
        os.mkdir(m("longer", "d"))
        put(m("longer", "d", "f"), b"x" * 100)
        synced()
        os.listdir(m("longer", "d"))
        fd = os.open(m("longer", "d", "f"), os.O_WRONLY)
        burst(m("longer"))
        with far_away():
            last = m("longer", "d")
            for n in range(4):
                os.rename(last, m("longer", f"d{n}"))
                last = m("longer", f"d{n}")
            os.ftruncate(fd, 1518)
            os.posix_fallocate(fd, 53530, 100000)
            os.close(fd)
            synced()
        eq(os.stat(there("longer", "d3", "f")).st_size, 153530)

    @test("times that are set through one open file come behind what was written through another")
    def _():
        clean("times")
        for n in range(6):
            folder = m("times", str(n))
            os.mkdir(folder)
            put(os.path.join(folder, "f"), b"x" * 4096)
            synced()
            os.stat(os.path.join(folder, "f"))
            burst(folder)
            fd = os.open(os.path.join(folder, "f"), os.O_RDWR)
            # its connection is busy
            with open(os.path.join(folder, "big"), "wb", 0) as f:
                for _ in range(24):
                    f.write(bytes(1 << 20))
            os.pwrite(fd, b"hello", 100)
            with open(os.path.join(folder, "f"), "ab", 0) as f:
                os.utime(f.fileno(), ns=(10**18, 10**18))
            synced()
            eq(os.stat(there("times", str(n), "f")).st_mtime, 1e9)
            os.close(fd)

    @test("mapped pages of a file that was made in a burst, to be appended to, are written when it is there")
    def _():
        clean("mapped")
        burst(m("mapped"))
        with far_away():
            for n in range(8):
                path = m("mapped", f"f{n}")
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
                os.write(fd, b"x" * 5000)
                with mmap.mmap(fd, 5000) as area:
                    area[:4096] = b"y" * 4096
                os.fsync(fd)
                os.close(fd)
                eq(get(there("mapped", f"f{n}")), b"y" * 4096 + b"x" * 904)
                burst(m("mapped"))

    @test("names that look like locks are answered by the server")
    def _():
        clean("locks")
        burst(m("locks"))
        for name in ("index.lock", ".#file", "prog.pid", ".file.swp", "LOCK", "lock-dir", "wlock"):
            put(m("locks", "before-" + name.strip("."), ), b"before")
            fd = os.open(m("locks", name), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            assert os.path.exists(there("locks", name)), name
            if name != "index.lock":  # who takes the lock of a file tells nobody that something is there
                eq(get(there("locks", "before-" + name.strip("."))), b"before")
            os.close(fd)
        for name in ("theirs.lock", ".#theirs", "theirs.pid", ".theirs.swp", "LOCK.theirs", "lockdir", "TheirLock"):
            put(there("locks", name))
            with raises(errno.EEXIST):
                os.open(m("locks", name), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            with raises(errno.EEXIST):
                os.mkdir(m("locks", name))

    @test("a lock is given back behind the program, and after all that was done under it")
    def _():
        clean("unlock")
        burst(m("unlock"))
        with far_away() as waited:
            wrong, waits = [], 0
            for n in range(8):
                fd = os.open(m("unlock", "state.lock"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                before = waited()
                put(m("unlock", f"under{n}"), b"data" * 100)
                os.write(fd, b"%d" % n)
                os.close(fd)
                if n % 2:
                    os.rename(m("unlock", "state.lock"), m("unlock", "state"))
                else:
                    os.unlink(m("unlock", "state.lock"))
                waits += waited() - before
                assert not os.path.exists(m("unlock", "state.lock"))
                while os.path.exists(there("unlock", "state.lock")):
                    pass
                if get(there("unlock", f"under{n}")) != b"data" * 100:
                    wrong.append(n)
                if n % 2:
                    eq(get(there("unlock", "state")), b"%d" % n)
            eq(wrong, [])
            assert waits < 6, waits  # a look at a folder now and then

    @test("a file beside a lock comes with the lock, and once for two that open it")
    def _():
        clean("beside")
        burst(m("beside"))
        put(m("beside", "state"), b"0")
        with far_away() as waited:
            waits = []
            for n in range(10):
                before = waited()
                fd = os.open(m("beside", "state.lock"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                first = os.open(m("beside", "state"), os.O_RDONLY)
                eq(get(m("beside", "state")), b"%d" % n)
                eq(os.read(first, 100), b"%d" % n)
                waits.append(waited() - before)
                os.close(first)
                os.write(fd, b"%d" % (n + 1))
                os.close(fd)
                os.rename(m("beside", "state.lock"), m("beside", "state"))
            # The lock itself; the others are looks at the folder, now and then, and an open that came before the answer.
            eq(sorted(waits)[2], 1, f"the third least of {waits} is")

    @test("what was written here and is read again at once comes as a whole, in whatever order")
    def _():
        clean("again")
        data = os.urandom(8 << 20)
        put(m("again", "pack"), data)
        synced()
        with far_away() as waited, open(m("again", "pack"), "rb", buffering=0) as file:
            places = list(range(0, len(data), 128 << 10))
            random.Random(1).shuffle(places)
            for place in places:
                eq(os.pread(file.fileno(), 4096, place), data[place:place + 4096])
            le_waits(waited, 24)

    @test("what is read with a lock that another one had is not from before it was given back")
    def _():
        clean("handed")
        burst(m("handed"))
        put(m("handed", "state"), b"00")
        synced()
        with far_away():
            for n in range(1, 6):
                put(there("handed", "state.lock"))
                put(m("handed", "more"), b"%d" % n)
                with raises(errno.EEXIST):
                    os.open(m("handed", "state.lock"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                put(there("handed", "state"), b"%02d" % n)
                os.unlink(there("handed", "state.lock"))
                take_lock(m("handed", "state.lock"))
                eq(get(m("handed", "state")), b"%02d" % n)
                put(there("handed", "state"), b"%02d" % (n + 50))
                os.unlink(m("handed", "state.lock"))
                synced()

    @test("what a program here writes under a lock is what it reads then")
    def _():
        clean("under")
        burst(m("under"))
        put(m("under", "state"), b"00")
        with far_away():
            for n in range(1, 6):
                os.close(os.open(m("under", "state.lock"), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
                with open(m("under", "state"), "r+b", buffering=0) as file:
                    file.write(b"%02d" % n)
                    eq(get(m("under", "state")), b"%02d" % n)
                eq(get(m("under", "state")), b"%02d" % n)
                os.unlink(m("under", "state.lock"))
        synced()
        eq(get(there("under", "state")), b"05")

    @test("what a burst is kept waiting for is no pause that ends it")
    def _():
        clean("kept")
        waits = []
        while len(waits) < 4 and min(waits, default=1):  # a slow machine may end the burst before it
            burst(m("kept"))
            with far_away(2400) as waited:
                os.close(os.open(m("kept", f"{len(waits)}.lock"), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
                before = waited()
                put(m("kept", f"next{len(waits)}"), b"x")
                waits.append(waited() - before)
        eq(min(waits), 0, f"of {waits} the least is")

    @test("a file that takes another's place by a lock, with its mode, is two changes")
    def _():
        clean("placed")
        put(m("placed", "config"), b"old")
        with far_away(300):
            burst(m("placed"))
            fd = os.open(m("placed", "config.lock"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.chmod(m("placed", "config.lock"), os.fstat(fd).st_mode & 0o7777)  # as it is
            os.write(fd, b"new")
            os.close(fd)
            os.rename(m("placed", "config.lock"), m("placed", "config"))
            made = status()["changes"]
            assert made <= 2, f"{made} changes: more than data and rename"
            synced()
        eq(get(there("placed", "config")), b"new")

    @test("a lock that was taken and given back at once, as by git status, waits once")
    def _():
        clean("status")
        path, waits = m("status", "index.lock"), []

        def take_and_give():  # a thread: in no burst
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            assert os.path.exists(there("status", "index.lock"))
            before = waited()
            os.close(fd)
            os.unlink(path)
            waits.append(waited() - before)
            assert not os.path.exists(path)

        with far_away() as waited:
            for _ in range(4):
                os.listdir(m("status"))
                thread = threading.Thread(target=take_and_give)
                thread.start()
                thread.join()
        assert len(waits) == 4 and sum(waits) < 2, waits
        synced()
        eq(os.listdir(there("status")), [])

    @test("what a burst has written is read back without waiting; what was written there since is seen")
    def _():
        clean("back")
        burst(m("back"))
        with far_away() as waited:
            for n in range(40):
                put(m("back", f"f{n}.tmp"), b"%d" % n * 1000)
                os.rename(m("back", f"f{n}.tmp"), m("back", f"f{n}"))
                eq(get(m("back", f"f{n}")), b"%d" % n * 1000)
                if n:
                    eq(get(m("back", f"f{n - 1}")), b"%d" % (n - 1) * 1000)
            assert waited() < 10, waited()
        synced()
        put(there("back", "f7"), b"X" * 1000)  # of the same size and second
        time.sleep(1.1)  # sleep: R2 lets a check be a second old
        eq(get(m("back", "f7")), b"X" * 1000)

    @test("what was written lately is read back in any order with few waits; what changed there is seen")
    def _():
        clean("any")
        names = [m("any", f"d{n % 20}", f"f{n}") for n in range(200)]
        with far_away() as waited:
            for n in range(20):
                os.mkdir(m("any", f"d{n}"))
            for n, name in enumerate(names):
                put(name, b"%d" % n * 500)
                os.utime(name, (1.5e9, 1.5e9 + n))
            synced()
            put(there("any", "d7", "f7"), b"X" * 500)
            time.sleep(1.1)  # sleep: until no check is new enough
            before = waited()
            for n in random.Random(1).sample(range(200), 200):
                eq(get(names[n]), b"X" * 500 if n == 7 else b"%d" % n * 500)
            assert waited() - before < 100, waited() - before

    @test("files that are written anew in a row do not wait, and arrive whole")
    def _():
        clean("anew")
        for n in range(40):
            put(there("anew", f"f{n}"), b"old" * 1000)
        os.listdir(m("anew"))
        with far_away() as waited:
            for n in range(40):
                put(m("anew", f"f{n}"), b"%d" % n * (300 if n % 4 else 0))
                eq(get(m("anew", f"f{n}")), b"%d" % n * (300 if n % 4 else 0))
            assert waited() < 20, waited()
        synced()
        for n in range(40):
            eq(get(there("anew", f"f{n}")), b"%d" % n * (300 if n % 4 else 0))
            eq(get(m("anew", f"f{n}")), b"%d" % n * (300 if n % 4 else 0))

    @test("files that are written to in a row do not wait, as rsync --inplace and logs do it")
    def _():
        clean("inplace")
        old = b"0123456789" * 1000
        for n in range(40):
            put(there("inplace", f"f{n}"), old)
            os.utime(there("inplace", f"f{n}"), (1e9, 1e9))
        os.listdir(m("inplace"))
        want = {}
        with far_away() as waited:
            for n in range(40):
                how = (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND)[n % 3]
                fd = os.open(m("inplace", f"f{n}"), how)
                if n % 3 == 1:
                    assert os.fstat(fd).st_size == 10000
                if n % 3 == 2:
                    os.write(fd, b"end")
                    want[n] = old + b"end"
                elif n % 5:
                    os.pwrite(fd, b"new", 5000)
                    os.ftruncate(fd, 10000)
                    want[n] = old[:5000] + b"new" + old[5003:]
                    if n % 2:
                        os.pwrite(fd, b"more", 10000)
                        want[n] += b"more"
                else:
                    want[n] = old
                os.close(fd)
                if n % 4 == 0:
                    os.utime(m("inplace", f"f{n}"), (1.1e9, 1.1e9 + n))
                if n % 7 == 0:
                    os.rename(m("inplace", f"f{n}"), m("inplace", f"g{n}"))
            assert waited() < 20, waited()
        for n in range(40):
            name = f"g{n}" if n % 7 == 0 else f"f{n}"
            eq((n, get(m("inplace", name))), (n, want[n]))
        synced()
        for n in range(40):
            name = f"g{n}" if n % 7 == 0 else f"f{n}"
            eq((n, get(there("inplace", name))), (n, want[n]))
            if n % 4 == 0:
                eq(os.stat(there("inplace", name)).st_mtime, 1.1e9 + n)

    @test("truncations in a row do not wait; what is read and written after them comes after them")
    def _():
        clean("cut")
        for n in range(24):
            put(there("cut", f"f{n}"), b"0123456789" * 2000)
        os.listdir(m("cut"))
        files = [open(m("cut", f"f{n}"), "r+b", 0) for n in range(16)]
        eq(files[2].read(15000), (b"0123456789" * 2000)[:15000])
        burst(m("cut"))
        with far_away() as waited:
            for n, f in enumerate(files):
                os.ftruncate(f.fileno(), 9000 if n % 2 else 0)
                if n % 3:
                    os.pwrite(f.fileno(), b"new" * 500, 100)
                os.ftruncate(f.fileno(), 12000) if n % 3 == 0 else None
            for n in range(16, 24):
                os.truncate(m("cut", f"f{n}"), n)
            assert waited() < 10, waited()
        want = []
        for n in range(16):
            data = bytearray((b"0123456789" * 2000)[:9000 if n % 2 else 0])
            if n % 3:
                data.extend(bytes(max(0, 1600 - len(data))))
                data[100:1600] = b"new" * 500
            else:
                data.extend(bytes(12000 - len(data)))
            want.append(bytes(data))
        want += [(b"0123456789" * 3)[:n] for n in range(16, 24)]
        eq(os.pread(files[2].fileno(), 20000, 0), want[2])
        for n in range(24):
            eq((n, get(m("cut", f"f{n}"))), (n, want[n]))
        for f in files:
            f.close()
        synced()
        for n in range(24):
            eq((n, get(there("cut", f"f{n}"))), (n, want[n]))
            eq((n, get(m("cut", f"f{n}"))), (n, want[n]))

    @test("folders that are renamed in a row do not wait; what is in them goes first, and along")
    def _():
        clean("moved")
        os.mkdir(m("moved", "into"))
        burst(m("moved"))
        with far_away() as waited:
            for n in range(8):
                os.mkdir(m("moved", f"tmp{n}"))
                os.mkdir(m("moved", f"tmp{n}", "sub"))
                for name in ("a", "sub/b"):
                    put(m("moved", f"tmp{n}", name), b"%d" % n * 1000)
                os.rename(m("moved", f"tmp{n}"), m("moved", "into", f"d{n}"))
                put(m("moved", "into", f"d{n}", "sub", "c"), b"after")
                eq(get(m("moved", "into", f"d{n}", "sub", "b")), b"%d" % n * 1000)
                os.mkdir(m("moved", f"tmp{n}"))
                os.rename(m("moved", "into", f"d{n}", "sub", "c"), m("moved", f"tmp{n}", "c"))
            assert waited() < 10, waited()
        synced()
        for n in range(8):
            eq(sorted(os.listdir(there("moved", "into", f"d{n}"))), ["a", "sub"])
            eq(os.listdir(there("moved", "into", f"d{n}", "sub")), ["b"])
            for name in ("a", "sub/b"):
                eq(get(there("moved", "into", f"d{n}", name)), b"%d" % n * 1000)
            eq(get(there("moved", f"tmp{n}", "c")), b"after")

    @test("links made in a row do not wait; what was written is there before each, and the first name goes after it")
    def _():
        clean("objects")
        burst(m("objects"))
        with far_away() as waited:
            for n in range(30):
                tmp, name = m("objects", f"tmp{n}"), m("objects", f"object{n}")
                put(tmp, b"%d" % n * 300)
                os.link(tmp, name)
                eq(os.stat(name).st_nlink, 2)
                if n % 3:
                    os.unlink(tmp)
                    eq(os.stat(name).st_nlink, 1)
                eq(get(name), b"%d" % n * 300)
            assert waited() < 10, waited()
        with raises(errno.EEXIST):
            os.link(m("objects", "object1"), m("objects", "object2"))
        synced()
        for n in range(30):
            eq(get(there("objects", f"object{n}")), b"%d" % n * 300)
            eq(os.stat(there("objects", f"object{n}")).st_nlink, 1 if n % 3 else 2)
            assert os.path.exists(there("objects", f"tmp{n}")) != bool(n % 3), n

    @test("links into another folder do not wait once one of them was made, nor into one made here")
    def _():
        clean("copies")
        for folder in ("a", "b"):
            os.mkdir(there("copies", folder))
            for n in range(20):
                put(there("copies", folder, f"f{n}"), b"%d" % n)
        with far_away() as waited:
            for folder in ("a", "b"):
                os.mkdir(m("copies", folder + "2"))
                for name in os.listdir(m("copies", folder)):
                    os.link(m("copies", folder, name), m("copies", folder + "2", name))
            assert waited() < 20, waited()
        synced()
        for folder in ("a2", "b2"):
            eq({os.stat(there("copies", folder, f"f{n}")).st_nlink for n in range(20)}, {2})

    @test("a file with several names: what was written to it is there before one of them goes")
    def _():
        clean("several")
        with open(m("several", "a"), "wb", 0) as f:
            for name in ("b", "c", "d"):
                os.link(m("several", "a"), m("several", name))
            put(m("several", "new"), b"new")
            burst(m("several"))
            os.pwrite(f.fileno(), b"one", 0)
            os.unlink(m("several", "a"))
            eq(get(there("several", "d")), b"one")
            os.pwrite(f.fileno(), b"two", 0)
            os.rename(m("several", "b"), m("several", "e"))
            eq(get(there("several", "e")), b"two")
            os.pwrite(f.fileno(), b"six", 0)
            os.rename(m("several", "new"), m("several", "c"))
            eq(get(there("several", "e")), b"six")
            eq(get(m("several", "c")), b"new")
        synced()
        eq(get(there("several", "c")), b"new")

    @test("times that were set let what was written be told from what follows")
    def _():
        clean("dated")
        burst(m("dated"))
        for n in range(10):
            put(m("dated", f"f{n}"), b"%d" % n * 1000)
            os.utime(m("dated", f"f{n}"), (1.5e9, 1.5e9 + n))
        synced()
        put(there("dated", "f3"), b"X" * 1000)
        time.sleep(1.1)  # sleep: as above
        for n in range(10):
            eq(get(m("dated", f"f{n}")), b"X" * 1000 if n == 3 else b"%d" % n * 1000)
            eq(int(os.stat(m("dated", f"f{n}")).st_mtime) == 1500000000 + n, n != 3)

    @test("fsync of a file waits for all that was done before")
    def _():
        clean("fsync")
        for n in range(50):
            put(m("fsync", f"f{n}"), b"x" * 1000)
        with open(m("fsync", "last"), "wb") as f:
            f.write(b"y")
            f.flush()
            os.fsync(f.fileno())
            eq(len(os.listdir(there("fsync"))), 51)
            eq({os.path.getsize(there("fsync", f"f{n}")) for n in range(50)}, {1000})

    @test("changes that wait for each other are not piled up: no more than the lag is behind")
    def _():
        clean("row")
        burst(m("row"))
        synced()
        with far_away(100):
            for _ in range(6):  # so that it is known how far away
                burst(m("row"))
                synced()
            burst(m("row"))
            end, n = time.monotonic() + 3, 0
            while time.monotonic() < end:
                os.mkdir(m("row", "a"))
                os.rename(m("row", "a"), m("row", "b"))
                os.rmdir(m("row", "b"))
                n += 1
            begin = time.monotonic()
            synced()
            taken = time.monotonic() - begin
        assert taken < 4, f"{n} rounds were {taken:.1f} s behind"

    @test("chmod and chown of file after file, and mv of many into a folder, do not wait for each")
    def _():
        def do(*words):
            subprocess.run(words, check=True)
        clean("many")
        os.mkdir(m("many", "to"))
        for n in range(40):
            put(m("many", f"f{n}"), b"x")
        synced()
        names = [m("many", f"f{n}") for n in range(40)]
        os.listdir(m("many"))
        with far_away() as waited:
            do("chmod", "640", *names)
            le_waits(waited, 12)
            do("chown", f"{os.getuid()}:{os.getgid()}", *names)
            do("mv", *names, m("many", "to"))
            le_waits(waited, 40)
            synced()
        eq({stat.S_IMODE(os.stat(there("many", "to", f"f{n}")).st_mode) for n in range(40)}, {0o640})
        eq(os.listdir(there("many")), ["to"])

    @test("a name that comes while its folder is listed is not missing once the watcher has told of it")
    def _():
        clean("comes")
        for n in range(6000):
            put(there("comes", f"old{n}"))
        folders = status("watch")["folders"]
        seen("comes", "old0")
        while status("watch")["folders"] == folders:
            time.sleep(0.02)  # sleep: polls
        with far_away(60), ThreadPoolExecutor(1) as pool:
            listing = pool.submit(os.listdir, m("comes"))
            new = []
            while not listing.done():
                new.append(f"new{len(new)}")
                put(there("comes", new[-1]))
                time.sleep(0.002)  # sleep: so that there are some hundred
            told = status("watch")["events"]
            put(there("comes", "last"))
            while status("watch")["events"] <= told + 1 or not os.path.exists(m("comes", "last")):
                time.sleep(0.02)  # sleep: polls
            missing = [name for name in new if not os.path.exists(m("comes", name))]
        eq(missing, [], f"of {len(new)}")

    @test("an isolated change is there when it is answered")
    def _():
        clean("alone")
        synced()
        os.mkdir(m("alone", "d"))
        assert os.path.isdir(there("alone", "d"))
        put(m("alone", "d", "f"), b"data")
        eq(get(there("alone", "d", "f")), b"data")


def open_taken(top):
    """TOP/d/taken, made in a burst that does not know that it is a folder there."""
    for _ in range(10):
        clean(top)
        burst(m(top))
        synced()
        os.mkdir(m(top, "d"))
        for n in range(6):
            put(m(top, "d", f"ok{n}"), b"ok")
        os.mkdir(there(top, "d", "taken"))
        try:
            return os.open(m(top, "d", "taken"), os.O_WRONLY | os.O_CREAT, 0o644)
        except OSError as e:  # the burst had ended, on a busy machine
            eq(e.errno, errno.EISDIR)
    raise AssertionError("no burst lasts")


def taken_by_file(top):
    """TOP/d/taken, a link made in a burst that does not know of the file of that name there. It is on its way yet."""
    for _ in range(10):
        clean(top)
        os.mkdir(m(top, "d"))
        burst(m(top, "d"))
        put(there(top, "d", "taken"), b"theirs")
        try:
            os.symlink("ours", m(top, "d", "taken"))
            return m(top, "d", "taken")
        except FileExistsError:  # as above
            continue
    raise AssertionError("no burst lasts")


def appears(name, flags, ours):
    "NAME is made there while it is known not to be, and opened here."
    put(there(name), b"theirs")
    fd = os.open(m(name), os.O_CREAT | flags, 0o644)
    if ours:
        os.write(fd, ours)
    os.close(fd)


def keeps_theirs(top, before):
    kinds = {"append": (os.O_WRONLY | os.O_APPEND, b"+ours", b"theirs+ours"), "touch": (os.O_WRONLY, b"", b"theirs"),
             "update": (os.O_RDWR, b"OUR", b"OURirs"), "anew": (os.O_WRONLY | os.O_TRUNC, b"ours", b"ours")}
    clean(top)
    for kind, (flags, ours, want) in kinds.items():
        before()
        assert not os.path.exists(m(top, kind))
        appears(os.path.join(top, kind), flags, ours)
        synced()
        eq(get(there(top, kind)), want, kind)
        deadline = time.monotonic() + 3
        while get(m(top, kind)) != want and time.monotonic() < deadline:
            time.sleep(0.05)  # sleep: between two looks
        eq(get(m(top, kind)), want, f"{kind}, here")


def late():
    @test("a file that somebody there makes just before keeps what is in it, but for O_TRUNC")
    def _():
        keeps_theirs("appears", synced)

    @test("the same in a burst")
    def _():
        for top in ("appears1", "appears2", "appears3"):
            keeps_theirs(top, lambda top=top: burst(m(top)))

    @test("a folder that somebody there makes just before keeps its mode and what is in it")
    def _():
        clean("taken")
        for n in range(4):
            burst(m("taken"))
            os.mkdir(there("taken", f"d{n}"), 0o700)
            put(there("taken", f"d{n}", "theirs"))
            with contextlib.suppress(FileExistsError):  # the burst had ended
                os.mkdir(m("taken", f"d{n}"), 0o755)
            put(m("taken", f"d{n}", "ours"))
            synced()
            eq(stat.S_IMODE(os.stat(there("taken", f"d{n}")).st_mode), 0o700)
            eq(stat.S_IMODE(os.stat(m("taken", f"d{n}")).st_mode), 0o700)
            eq(sorted(os.listdir(m("taken", f"d{n}"))), ["ours", "theirs"])

    @test("a name that is replaced is not counted any more, whatever a listing tells before that is done")
    def _():
        clean("counted")
        os.mkdir(m("counted", "x"))
        put(m("counted", "x", "a"), b"old")
        os.link(m("counted", "x", "a"), m("counted", "b"))
        burst(m("counted"))
        with narrow("300K"):
            put(m("counted", "tmp"), os.urandom(900_000))
            os.rename(m("counted", "tmp"), m("counted", "b"))
            put(there("counted", "x", "new"))
            while "new" not in os.listdir(m("counted", "x")):
                time.sleep(0.02)  # sleep: polls
            eq(os.stat(m("counted", "x", "a")).st_nlink, 1)
        synced()
        eq(os.stat(there("counted", "x", "a")).st_nlink, 1)

    @test("what fails late is named, takes what depends on it along, and makes the next sync fail")
    def _():
        for n in range(8):
            failed, top = status()["failed"], f"late{n}"
            fd = open_taken(top)  # somebody there is faster, with something else
            os.write(fd, b"ours")
            try:
                os.close(fd)
                os.rename(m(top, "d", "taken"), m(top, "d", "renamed"))
            except OSError as e:  # the burst has ended, on a busy machine
                assert e.errno in (errno.EISDIR, errno.EEXIST, errno.EIO, errno.ENOENT), e
                with contextlib.suppress(OSError):
                    synced()
                now = status()
                continue
            put(m(top, "d", "other"), b"other")
            with raises(errno.EISDIR, errno.EEXIST, errno.EIO):
                synced()
            now = status()
            if now["failed"] >= failed + 2:  # else the burst had ended before the rename
                break
        assert now["failed"] >= failed + 2, now
        paths = [failure["path"] for failure in now["failures"]]
        assert there(top, "d", "taken") in paths, paths
        # what is known is right again
        assert os.path.isdir(m(top, "d", "taken"))
        assert not os.path.exists(m(top, "d", "renamed"))
        eq(get(m(top, "d", "other")), b"other")
        eq(get(there(top, "d", "other")), b"other")
        synced()

    @test("a file that can't be made tells those who have it open")
    def _():
        fd = open_taken("open")
        os.write(fd, b"ours")
        with raises(errno.EISDIR, errno.EEXIST, errno.EIO):
            os.fsync(fd)
        with contextlib.suppress(OSError):
            os.close(fd)
        with contextlib.suppress(OSError):
            synced()
        synced()


    @test("what waits for a file that then can't be made leaves alone what stands there instead")
    def _():
        for top, what in (("moves", os.rename), ("goes", lambda path, _: os.unlink(path))):
            with far_away(300):
                path = taken_by_file(top)
                # from a thread that is in no burst: it waits for its turn
                with ThreadPoolExecutor(1) as other:
                    error = other.submit(what, path, path + "2").exception()
            eq(getattr(error, "errno", error), errno.ENOENT)
            eq(get(there(top, "d", "taken")), b"theirs")
            assert not os.path.exists(there(top, "d", "taken2"))
            with contextlib.suppress(OSError):
                synced()
            synced()
            eq(get(m(top, "d", "taken")), b"theirs")


    @test("a file that can't be opened any more tells who wrote to it, and nothing else stands for it")
    def _():
        for top in ("away0", "away1", "away2"):
            clean(top)
            for n in range(8):
                put(there(top, f"f{n}"), b"old" * 100)
            os.listdir(m(top))
            burst(m(top))
            synced()
            for n in range(7):
                with open(m(top, f"f{n}"), "r+b") as f:
                    f.write(b"new")
            os.unlink(there(top, "f7"))
            try:
                fd = os.open(m(top, "f7"), os.O_WRONLY)
            except FileNotFoundError:
                continue  # the burst had ended
            os.write(fd, b"lost")
            with raises(errno.ENOENT, errno.ESTALE):
                os.fsync(fd)
            with contextlib.suppress(OSError):
                os.close(fd)
            assert not os.path.exists(there(top, "f7"))
            for n in range(7):
                eq(get(there(top, f"f{n}")), b"new" + (b"old" * 100)[3:])
            with contextlib.suppress(OSError):
                synced()
            synced()
            return
        raise AssertionError("no burst lasts")

    @test("a rename that failed is not done again once its new name was made anew and removed")
    def _():
        for top in ("redone0", "redone1", "redone2", "redone3"):
            clean(top)
            os.mkdir(m(top, "d"))
            burst(m(top, "d"))
            put(m(top, "d", "tmp"), b"first")
            os.mkdir(there(top, "d", "name"))
            try:
                os.rename(m(top, "d", "tmp"), m(top, "d", "name"))
            except OSError:  # the burst had ended
                continue
            with raises(errno.EISDIR, errno.EEXIST, errno.EIO):
                synced()
            os.rmdir(there(top, "d", "name"))
            assert any(there(top, "d") in failed["path"] for failed in status("spool")["failed"])
            put(m(top, "d", "name"), b"second")
            os.unlink(m(top, "d", "name"))
            synced()
            assert not any(there(top, "d") in failed["path"] for failed in status("spool")["failed"])
            subprocess.run([os.environ["BUILD"] + "/vastfs", "spool", MNT, "retry"], stdout=subprocess.DEVNULL, check=False)
            assert not os.path.exists(there(top, "d", "name"))
            eq(get(there(top, "d", "tmp")), b"first")
            assert there(top, "d", "tmp") in [failure["path"] for failure in status()["failures"]]
            return
        raise AssertionError("no burst lasts")

    @test("a file that gets no second name keeps its first one")
    def _():
        for top in ("kept0", "kept1", "kept2"):
            clean(top)
            os.mkdir(m(top, "d"))
            burst(m(top, "d"))
            put(m(top, "d", "tmp"), b"ours")
            put(there(top, "d", "object"), b"theirs")
            try:
                os.link(m(top, "d", "tmp"), m(top, "d", "object"))
            except FileExistsError:
                continue  # the burst had ended
            with contextlib.suppress(FileExistsError):  # it has failed already
                os.unlink(m(top, "d", "tmp"))
            with raises(errno.EEXIST):
                synced()
            eq(get(there(top, "d", "tmp")), b"ours")
            eq(get(there(top, "d", "object")), b"theirs")
            eq(get(m(top, "d", "object")), b"theirs")
            paths = [failure["path"] for failure in status()["failures"]]
            assert there(top, "d", "tmp") in paths, paths
            return
        raise AssertionError("no burst lasts")

    def failed_late(change, old, new, inside):
        "A file inside/old, and change(old, new) that was answered and has failed since, as new is a folder there by now."
        for _ in range(10):
            clean(inside)
            os.mkdir(m(inside, "d"))
            for n in range(6):
                put(m(inside, "d", f"n{n}"), b"new")
            put(m(inside, "d", old), b"ours")
            os.mkdir(there(inside, "d", new))
            try:
                change(m(inside, "d", old), m(inside, "d", new))
            except OSError:
                continue  # the burst had ended
            for _ in range(500):
                if there(inside, "d", old) in [failure["path"] for failure in status()["failures"]]:
                    return
                time.sleep(0.01)  # sleep: until it is known
            raise AssertionError("it does not fail")
        raise AssertionError("no burst lasts")

    def loses(change, inside):
        "What would lose the data of inside/d/file is refused once, with nothing done."
        with raises(errno.EEXIST, errno.EISDIR, errno.EIO):
            change()
        eq(get(there(inside, "d", "file")), b"ours")
        eq(get(m(inside, "d", "file")), b"ours")
        change()
        with contextlib.suppress(OSError):
            synced()
        synced()

    @test("a file that was promised a second name, or another one, does not go before somebody was told that it has none")
    def _():
        def unlink(inside):
            return lambda: os.unlink(m(inside, "d", "file"))

        def replace(inside):
            return lambda: os.rename(m(inside, "d", "n0"), m(inside, "d", "file"))

        def empty(inside):
            return lambda: os.close(os.open(m(inside, "d", "file"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC))

        for inside, promise, what in (("owed0", os.link, unlink), ("owed1", os.link, replace), ("owed2", os.rename, unlink),
                                      ("owed3", os.rename, replace), ("owed4", os.rename, empty)):
            failed_late(promise, "file", "second", inside)
            loses(what(inside), inside)
            eq(get(there(inside, "d", "file")) if what is not unlink else None, {unlink: None, replace: b"new", empty: b""}[what])
        # what has been told of, or made anew, may go
        failed_late(os.link, "file", "second", "owed5")
        with raises(errno.EEXIST, errno.EISDIR, errno.EIO):
            synced()
        os.unlink(m("owed5", "d", "file"))
        failed_late(os.rename, "file", "second", "owed6")
        os.rename(m("owed6", "d", "file"), m("owed6", "d", "kept"))
        put(m("owed6", "d", "file"), b"another")
        os.unlink(m("owed6", "d", "file"))
        eq(get(m("owed6", "d", "kept")), b"ours")
        with contextlib.suppress(OSError):
            synced()
        synced()

    @test("a rename that may not replace leaves alone what came there meanwhile")
    def _():
        def keep(old, new):
            if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), 1):
                raise OSError(ctypes.get_errno(), new)
        for _ in range(10):
            clean("keeps")
            os.mkdir(m("keeps", "d"))
            for n in range(8):
                put(m("keeps", "d", f"f{n}"), b"ours")
            put(there("keeps", "d", "taken"), b"theirs")
            with raises(errno.EEXIST, errno.EIO):  # at once, if the burst has ended
                keep(m("keeps", "d", "f0"), m("keeps", "d", "taken"))
                synced()
            eq(get(there("keeps", "d", "taken")), b"theirs")
            eq(get(there("keeps", "d", "f0")), b"ours")
            if [failure for failure in status()["failures"] if failure["path"] == there("keeps", "d", "f0")]:
                break
        else:
            raise AssertionError("no burst lasts")
        # outside a burst too, and at once
        put(m("keeps", "alone"), b"alone")
        synced()
        put(there("keeps", "new"), b"theirs")
        time.sleep(1.1)  # sleep: to be in no burst
        with raises(errno.EEXIST):
            keep(m("keeps", "alone"), m("keeps", "new"))
        keep(m("keeps", "alone"), m("keeps", "other"))
        eq(get(there("keeps", "other")), b"alone")


def broken():
    @test("a burst goes on over a connection that is lost")
    def _():
        clean("broken")
        name = "burst"
        local = os.path.join(LOCAL, "broken")
        shutil.rmtree(local, ignore_errors=True)
        os.mkdir(local)
        rnd = random.Random(5)
        proxy("delay", 10)
        for n in range(400):
            if n % 100 == 50:
                proxy("cut")
            data = rnd.randbytes(rnd.randrange(3000))
            for top in (local, m("broken")):
                folder = os.path.join(top, f"d{n // 20}")
                if n % 20 == 0:
                    os.mkdir(folder)
                put(os.path.join(folder, f"t{n}"), data)
                if n % 2:
                    os.rename(os.path.join(folder, f"t{n}"), os.path.join(folder, f"f{n}"))
                if n % 7 == 3:
                    os.unlink(os.path.join(folder, f"f{n}" if n % 2 else f"t{n}"))
        proxy("delay", 0)
        try:
            synced()
        except OSError as e:
            raise AssertionError(f"{e}: {status()['failures'][:5]}") from None
        eq(snapshot(there("broken")), snapshot(local))
        eq(snapshot(m("broken")), snapshot(local))


def stalled():
    @test("what was answered is waited for beyond the timeout while the link may still live")
    def _():
        for n in range(5):
            clean("stalled")
            os.mkdir(m("stalled", "d"))
            put(m("stalled", "d", "file"), b"ours")
            burst(m("stalled", "d"))
            synced()
            before = status()["failed"]
            burst(m("stalled", "d"))
            proxy("stall")
            try:
                began = time.monotonic()
                os.mkdir(m("stalled", "d", "made"))
                os.rename(m("stalled", "d", "file"), m("stalled", "d", "moved"))
                os.link(m("stalled", "d", "moved"), m("stalled", "d", "linked"))
                os.symlink("linked", m("stalled", "d", "link"))
                put(m("stalled", "d", "made", "new"), b"new")
                os.unlink(m("stalled", "d", "burst0"))
                os.truncate(m("stalled", "d", "burst1"), 100)
                at_once = time.monotonic() - began < 1
                while time.monotonic() - began < 4.5:
                    time.sleep(0.05)  # sleep: that the link is stalled for longer than the timeout
            except OSError as e:
                assert e.errno == errno.ETIMEDOUT, e
                at_once = False  # the burst had ended
            finally:
                proxy("resume")
            if at_once:
                break
            with contextlib.suppress(OSError):
                synced()
        assert at_once, "no burst lasts"
        synced()
        eq(status()["failed"], before)
        eq(get(there("stalled", "d", "linked")), b"ours")
        eq(os.stat(there("stalled", "d", "moved")).st_nlink, 2)
        eq(get(there("stalled", "d", "made", "new")), b"new")
        eq(os.readlink(there("stalled", "d", "link")), "linked")
        eq(os.stat(there("stalled", "d", "burst1")).st_size, 100)
        assert not os.path.exists(there("stalled", "d", "burst0"))
        assert not os.path.exists(there("stalled", "d", "file"))


os.umask(0o022)
{"stalled": stalled, "histories": histories, "order": order, "late": late, "broken": broken}[sys.argv[1]]()
run()
