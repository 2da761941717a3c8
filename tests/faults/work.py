"""Programs at work on the mount, which check what they read and time each call.

work.py DIR STATE [KIND…]: runs until STATE/stop exists, one thread for each kind:

    write    writes files in pieces with fsync and close, reads them back
    read     reads at random from a file that stays open, DIR/steady (made first)
    keep     writes at random to a file that stays open; at the end it must be what was written
    append   appends numbered lines to a log that stays open
    list     lists and stats
    names    mkdir, create, rename, unlink, rmdir

STATE/beat.KIND counts rounds. At the end a JSON object goes to STATE/result: for each kind the rounds, the errors
(errno names) and the longest call in seconds; "wrong" lists what was not as it should be.
"""
import errno, hashlib, json, os, random, sys, threading, time

base, state, kinds = sys.argv[1], sys.argv[2], sys.argv[3:] or ["write", "read", "keep", "append", "list", "names"]
wrong = []
STEADY = random.Random(1).randbytes(3_000_000)


def stopped():
    return os.path.exists(state + "/stop")


class Worker(threading.Thread):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.rounds, self.errors, self.longest, self.slowest = kind, 0, {}, 0.0, ""
        self.random = random.Random(kind)

    def call(self, name, function, *args):
        begin = time.monotonic()
        try:
            return function(*args)
        finally:
            taken = time.monotonic() - begin
            if taken > self.longest:
                self.longest, self.slowest = taken, name

    def failed(self, error):
        name = errno.errorcode.get(error.errno, str(error.errno))
        self.errors[name] = self.errors.get(name, 0) + 1

    def run(self):
        once = getattr(self, "do_" + self.kind)
        start = getattr(self, "start_" + self.kind, None)
        try:
            if start:
                start()
            while not stopped():
                try:
                    once()
                except OSError as error:
                    self.failed(error)
                    time.sleep(0.1)  # sleep: not to fail a thousand times a second
                self.rounds += 1
                with open(f"{state}/beat.{self.kind}.new", "w") as beat:
                    beat.write(str(self.rounds))
                os.rename(f"{state}/beat.{self.kind}.new", f"{state}/beat.{self.kind}")
            end = getattr(self, "end_" + self.kind, None)
            if end:
                end()
        except BaseException as error:
            wrong.append(f"{self.kind}: {type(error).__name__} {error}")

    def do_write(self):
        path = f"{base}/write-{self.rounds % 4}"
        data = self.random.randbytes(self.random.choice([100, 5000, 300_000, 2_000_000]))
        fd = self.call("open", os.open, path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        closed = False
        try:
            for at in range(0, len(data), 100_000):
                self.call("write", os.write, fd, data[at : at + 100_000])
            if self.rounds % 2:
                self.call("fsync", os.fsync, fd)
            closed = True
            self.call("close", os.close, fd)
        finally:
            if not closed:
                os.close(fd)
        fd = self.call("open", os.open, path, os.O_RDONLY)
        try:
            got = b""
            while part := self.call("read", os.read, fd, 1_000_000):
                got += part
        finally:
            os.close(fd)
        if got != data:
            wrong.append(f"{path}: read {len(got)} bytes that differ from the {len(data)} written")

    def start_read(self):
        with open(base + "/steady", "wb") as f:
            f.write(STEADY)
        self.fd = os.open(base + "/steady", os.O_RDONLY)

    def do_read(self):
        at = self.random.randrange(len(STEADY))
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        want = STEADY[at : at + 100_000]
        got = self.call("pread", os.pread, self.fd, 100_000, at)
        while got and len(got) < len(want) and got == want[: len(got)]:
            # less than asked for is no end of file: what follows says why
            more = self.call("pread", os.pread, self.fd, len(want) - len(got), at + len(got))
            got = got + more if more else b""
        if got != want:
            wrong.append(f"steady: {len(got)} wrong bytes at {at}")

    def start_keep(self):
        self.copy = bytearray(2_000_000)
        self.fd = os.open(base + "/keep", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.ftruncate(self.fd, len(self.copy))

    def do_keep(self):
        at = self.random.randrange(len(self.copy) - 50_000)
        data = self.random.randbytes(50_000)
        self.call("pwrite", os.pwrite, self.fd, data, at)
        self.copy[at : at + len(data)] = data
        if self.rounds % 8 == 0:
            self.call("fsync", os.fsync, self.fd)

    def end_keep(self):
        self.call("fsync", os.fsync, self.fd)
        os.close(self.fd)
        with open(state + "/keep.sum", "w") as f:
            f.write(hashlib.sha256(self.copy).hexdigest())

    def start_append(self):
        self.lines = 0
        self.fd = os.open(base + "/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def do_append(self):
        self.call("append", os.write, self.fd, b"line %d\n" % self.lines)
        self.lines += 1
        if self.rounds % 16 == 0:
            self.call("fsync", os.fsync, self.fd)
        time.sleep(0.01)  # sleep: a log grows slowly

    def end_append(self):
        self.call("fsync", os.fsync, self.fd)
        os.close(self.fd)
        with open(state + "/log.lines", "w") as f:
            f.write(str(self.lines))

    def do_list(self):
        for name in self.call("listdir", os.listdir, base):
            try:
                self.call("lstat", os.lstat, f"{base}/{name}")
            except FileNotFoundError:
                pass
        self.call("statvfs", os.statvfs, base)
        time.sleep(0.05)  # sleep: between two looks

    def do_names(self):
        d = f"{base}/names-{self.rounds}"
        self.call("mkdir", os.mkdir, d)
        try:
            self.call("create", lambda: os.close(os.open(d + "/a", os.O_CREAT | os.O_EXCL | os.O_WRONLY)))
            self.call("rename", os.rename, d + "/a", d + "/b")
            if os.listdir(d) != ["b"]:
                wrong.append(f"{d}: {os.listdir(d)} after a rename")
            self.call("unlink", os.unlink, d + "/b")
        finally:
            self.call("rmdir", os.rmdir, d)


workers = [Worker(kind) for kind in kinds]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
result = {w.kind: {"rounds": w.rounds, "errors": w.errors, "longest": round(w.longest, 2), "slowest": w.slowest} for w in workers}
result["wrong"] = wrong
with open(state + "/result.new", "w") as f:
    json.dump(result, f, indent=1)
os.rename(state + "/result.new", state + "/result")
