"""Programs at work under a storm of faults, each of which knows what must be there.

storm.py MOUNT SECOND INSTANCE STATE LIMIT SEED

MOUNT and SECOND are mounts of INSTANCE, which come and go. Runs until STATE/stop exists, then until STATE/calm exists
(all is mended, everything was sent) and looks at all files by the mount and on the instance. While STATE/pause exists
nothing is done and nothing is open; STATE/paused says so.

A change whose call succeeded must be there from then on, whatever happens: a killed daemon, a lost link, a full disk. One
whose call failed may be there, or not. A look may fail; what it sees may not be wrong. No call may take longer than LIMIT
seconds (those that send data: three times that, since something moves).

Prints a line for each thing that is wrong; exit code 1 when there was one.
"""
import errno, json, os, random, signal, subprocess, sys, threading, time

MOUNT, SECOND, INSTANCE, STATE = sys.argv[1:5]
LIMIT, SEED = float(sys.argv[5]), int(sys.argv[6])
VASTFS = os.environ["BUILD"] + "/vastfs"
wrong = []


def there(name):
    return os.path.exists(f"{STATE}/{name}")


def say(text):
    wrong.append(text)
    print(f"wrong: {time.strftime('%T')} {text}", flush=True)


def mounted(base):
    """The mount's device, or None when there is no mount."""
    try:
        device = os.stat(base).st_dev
    except OSError:
        return None
    return device if device != os.stat(os.path.dirname(base)).st_dev and os.path.ismount(base) else None


def fill(seed, size):
    return random.Random(seed).randbytes(size)


class Worker(threading.Thread):
    def __init__(self, kind, base=MOUNT, name=None):
        super().__init__(daemon=True)
        self.kind, self.base, self.label = kind, base, name or kind
        self.random = random.Random(f"{SEED} {self.label}")
        self.dir = f"{base}/{self.label}"
        self.there = f"{INSTANCE}/{self.label}"
        self.began, self.what, self.told = None, "", False
        self.rounds, self.good, self.longest, self.slowest = 0, 0, 0.0, ""
        self.errors = {}
        self.idle = False
        self.fd = None
        self.log_file = open(f"{STATE}/log.{self.label}", "w", 1)

    def call(self, what, function, *args, sends=False):
        self.what, self.limit, self.told = what, LIMIT * (3 if sends else 1), False
        self.began = time.monotonic()
        self.note(f"{what} …")
        try:
            result = function(*args)
            self.good += 1
            self.note(f"{what} ok")
            return result
        except OSError as error:
            name = errno.errorcode.get(error.errno, str(error.errno))
            self.errors[name] = self.errors.get(name, 0) + 1
            self.note(f"{what} {name}")
            raise
        finally:
            taken, self.began = time.monotonic() - self.began, None
            if taken > self.longest:
                self.longest, self.slowest = taken, what

    def note(self, text):
        now = time.time()
        self.log_file.write(f"{time.strftime('%T', time.localtime(now))}.{int(now * 1000) % 1000:03} {text}\n")

    def late(self):
        began = self.began
        if began and not self.told and time.monotonic() - began > self.limit:
            self.told = True
            say(f"{self.label}: {self.what} takes longer than {self.limit:.0f} s")

    def look(self, check):
        """check() tells what is wrong, or None; it counts only if the same mount was there all the time."""
        before = mounted(self.base)
        if before is None:
            return
        try:
            text = check(self.dir)
        except OSError:
            return
        if text and mounted(self.base) == before and not self.reported():
            self.note(f"WRONG {text}")
            say(f"{self.label}: {text}")

    def reported(self):
        """What could not be sent is named (W5); what is seen until it can is the instance's."""
        p = subprocess.run([VASTFS, "status", "--json", self.base], capture_output=True, stdin=subprocess.DEVNULL)
        if p.returncode:
            return True
        status = json.loads(p.stdout)
        failed = status["spool"]["failed"] + status["behind"]["failures"]
        return any(failure["path"].startswith(self.there + "/") for failure in failed)

    def drop(self):
        if self.fd is not None:
            fd, self.fd = self.fd, None
            try:
                self.call(f"close {self.kind}", os.close, fd, sends=True)
            except OSError:
                self.not_sure()

    def not_sure(self):
        pass

    def run(self):
        try:
            while not there("stop"):
                if there("pause"):
                    self.drop()
                    self.idle = True
                    while there("pause") and not there("stop"):
                        time.sleep(0.02)  # sleep: until the pause is over
                    self.idle = False
                if mounted(self.base) is None:
                    time.sleep(0.05)  # sleep: until there is a mount
                    continue
                try:
                    if not os.path.isdir(self.dir):
                        self.call("mkdir", os.mkdir, self.dir)
                    self.once()
                except OSError:
                    time.sleep(0.05)  # sleep: not to fail a thousand times a second
                self.rounds += 1
            self.drop()
        except BaseException as error:
            say(f"{self.label}: {type(error).__name__} {error}")
            raise

    def end(self):
        """All is calm: everything must be there, here and on the instance."""
        for where in (self.dir, self.there):
            try:
                text = self.final(where)
            except OSError as error:
                text = str(error)
            if text:
                say(f"{self.label}: at the end {text}")
                subprocess.run(["cp", "-r", where, f"{STATE}/bad.{self.label}"])


class Records(Worker):
    """Whole files, written over, replaced by rename, removed."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.low, self.high, self.torn, self.size = {}, {}, {}, {}
        self.temp = 0

    def content(self, name, seq):
        size = self.size[name, seq]
        return None if size is None else b"%s %d\n" % (name.encode(), seq) + fill(f"{name} {seq}", size)

    def put(self, path, data, fsync, flags):
        fd = self.call(f"open {path}", os.open, path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
        closed = False
        try:
            for at in range(0, len(data), 65536):
                self.call(f"write {path}", os.write, fd, data[at : at + 65536], sends=True)
            if fsync:
                self.call(f"fsync {path}", os.fsync, fd, sends=True)
            closed = True
            self.call(f"close {path}", os.close, fd, sends=True)
        finally:
            if not closed:
                os.close(fd)

    def once(self):
        name = f"r{self.random.randrange(8)}"
        path = f"{self.dir}/{name}"
        how = self.random.choice(["over", "over", "rename", "rename", "rename", "unlink", "read", "read", "read", "stat"])
        self.low.setdefault(name, 0), self.high.setdefault(name, 0), self.size.setdefault((name, 0), None)
        if how in ("read", "stat"):
            return self.look(lambda where: self.check(where, name))
        seq = self.high[name] + 1
        self.size[name, seq] = None if how == "unlink" else self.random.choice([0, 1, 200, 5000, 5000, 40000, 300000, 1500000])
        data, fsync = self.content(name, seq), self.random.random() < 0.3
        if how == "unlink":
            self.high[name] = seq
            try:
                self.call(f"unlink {path}", os.unlink, path)
            except FileNotFoundError:
                if mounted(self.base) is None:
                    raise
                self.look(lambda where: self.check(where, name))
                return
        elif how == "over":
            self.high[name], was = seq, self.torn.get(name)
            self.torn[name] = True
            self.put(path, data, fsync, os.O_TRUNC)
        else:
            self.temp += 1
            temp = f"{self.dir}/.{name}.{self.temp}"
            try:
                self.put(temp, data, fsync, os.O_EXCL)
            except OSError:
                self.size[name, seq] = None
                raise
            self.high[name] = seq
            self.call(f"rename {path}", os.rename, temp, path)
        self.low[name], self.torn[name] = seq, False

    def check(self, where, name):
        try:
            fd = self.call(f"open {name}", os.open, f"{where}/{name}", os.O_RDONLY)
        except FileNotFoundError:
            got = None
        else:
            try:
                got = b""
                while part := self.call(f"read {name}", os.read, fd, 1 << 20):
                    got += part
                if where.startswith(self.base) and self.call(f"fstat {name}", os.fstat, fd).st_size != len(got):
                    return f"{name}: fstat says {os.fstat(fd).st_size}, {len(got)} bytes were read"
            finally:
                os.close(fd)
        if self.torn.get(name):
            return None
        for seq in range(self.low[name], self.high[name] + 1):
            if got == self.content(name, seq):
                return None
        size = self.size[name, self.low[name]]
        head = got if got is None else got[:20]
        return f"{name} has {head} ({got if got is None else len(got)} bytes), not {self.low[name]}..{self.high[name]} (size {size})"

    def final(self, where):
        for name in self.low:
            text = self.check(where, name)
            if text:
                return text


class Keep(Worker):
    """A file that stays open and is written anywhere."""

    SIZE = 1_000_000

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.copy, self.doubt = bytearray(self.SIZE), bytearray(b"\1" * self.SIZE)
        self.since, self.made = [], False

    def not_sure(self):
        for at, size in self.since:
            self.doubt[at : at + size] = b"\1" * size

    def once(self):
        if self.fd is None:
            self.fd = self.call("open keep", os.open, f"{self.dir}/keep", os.O_RDWR | os.O_CREAT, 0o644)
            self.since = []
            if not self.made:
                self.call("truncate keep", os.ftruncate, self.fd, self.SIZE, sends=True)
                self.write(0, self.random.randbytes(self.SIZE))
                self.made = True
        try:
            if self.random.random() < 0.05:
                self.call("fsync keep", os.fsync, self.fd, sends=True)
                self.since = []
            elif self.random.random() < 0.02:
                self.drop()
            elif self.random.random() < 0.4:
                return self.look_at(self.random.randrange(self.SIZE), self.random.choice([1, 500, 5000, 200000]))
            else:
                self.write(self.random.randrange(self.SIZE - 100000), self.random.randbytes(self.random.choice([1, 100, 4096, 5000, 70000])))
        except OSError as error:
            # ENOTCONN: the daemon was killed, the program was told nothing else; what it had accepted it keeps
            if error.errno not in (errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV):
                self.not_sure()
            if self.fd is not None:
                fd, self.fd = self.fd, None
                try:
                    os.close(fd)
                except OSError as late:
                    if late.errno not in (errno.ENOTCONN, errno.ECONNABORTED):
                        self.not_sure()
            raise

    def write(self, at, data):
        while data:
            self.doubt[at : at + len(data)] = b"\1" * len(data)
            n = self.call("pwrite keep", os.pwrite, self.fd, data, at, sends=True)
            self.copy[at : at + n] = data[:n]
            self.doubt[at : at + n] = bytes(n)
            self.since.append((at, n))
            data, at = data[n:], at + n

    def differs(self, got, at):
        for i, byte in enumerate(got):
            if byte != self.copy[at + i] and not self.doubt[at + i]:
                return at + i

    def look_at(self, at, size):
        def check(where):
            if self.random.random() < 0.3:
                os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
            got = self.call("pread keep", os.pread, self.fd, size, at)
            bad = None if got == self.copy[at : at + len(got)] else self.differs(got, at)
            if bad is not None:
                return f"keep: wrong at {bad} of a read of {size} at {at}"
            if not got and not any(self.doubt):
                return f"keep: no bytes at {at}"

        self.look(check)

    def final(self, where):
        if self.made:
            with open(f"{where}/keep", "rb") as f:
                got = f.read()
            bad = self.differs(got, 0)
            if bad is not None:
                last = max(i for i, b in enumerate(got) if b != self.copy[i] and not self.doubt[i])
                return f"keep: wrong from {bad} to {last}"
            if len(got) != self.SIZE and not self.doubt[-1]:
                return f"keep: {len(got)} bytes"


class Log(Worker):
    """Lines at the end of a file."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.lines, self.sure, self.since = [], [], 0

    def not_sure(self):
        for i in range(self.since, len(self.sure)):
            self.sure[i] = False

    def once(self):
        if self.fd is None:
            self.fd = self.call("open log", os.open, f"{self.dir}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            self.since = len(self.lines)
        try:
            if self.random.random() < 0.1:
                self.call("fsync log", os.fsync, self.fd, sends=True)
                self.since = len(self.lines)
            else:
                line = b"line %d %s\n" % (len(self.lines), b"x" * self.random.choice([0, 10, 300, 9000]))
                self.lines.append(line), self.sure.append(False)
                if self.call("write log", os.write, self.fd, line, sends=True) == len(line):
                    self.sure[-1] = True
            time.sleep(0.01)  # sleep: a log grows slowly
        except OSError as error:
            if error.errno not in (errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV):
                self.not_sure()
            fd, self.fd = self.fd, None
            try:
                os.close(fd)
            except OSError:
                pass
            raise

    def final(self, where):
        try:
            with open(f"{where}/log", "rb") as f:
                got = f.read()
        except FileNotFoundError:
            return "the log is gone" if any(self.sure) else None
        at, doubt = 0, False
        for line, sure in zip(self.lines, self.sure):
            if got.startswith(line, at):
                at, doubt = at + len(line), False
            elif not sure:
                doubt = True
            else:  # of lines that failed parts may be there
                to = got.find(line, at)
                if to < 0 or not doubt:
                    return f"log: no {line[:20]} at {at}, but {got[at:at + 30]}"
                at, doubt = to + len(line), False


class Read(Worker):
    """Files that nobody changes: reads, mappings, and programs that get Ctrl-C."""

    def once(self):
        name, seed, size = self.random.choice([("big", "big", 12_000_000)] * 3 + [(f"s{i}", f"s{i}", 3000 + i) for i in range(60)])
        how = self.random.choice(["read", "read", "map", "interrupt"])
        path = f"{MOUNT}/ro/{name}"
        if how == "interrupt":
            p = subprocess.Popen(["cat", f"{MOUNT}/ro/big", f"{MOUNT}/ro/nothing"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(self.random.random() * 0.3)  # sleep: Ctrl-C at some time
            p.send_signal(signal.SIGINT)
            self.call("Ctrl-C", lambda: p.wait(LIMIT))
            return
        truth = self.truth(seed, size)
        if how == "map":
            return self.look(lambda where: self.mapped(path, truth))

        def check(where):
            fd = self.call(f"open {name}", os.open, path, os.O_RDONLY)
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                at = self.random.randrange(size)
                n = self.random.choice([1, 4096, 100_000, 3_000_000])
                got = self.call(f"pread {name}", os.pread, fd, n, at)
                if got != truth[at : at + len(got)]:
                    return f"{name}: wrong bytes at {at}"
                if not got:
                    return f"{name}: an end at {at}"
            finally:
                os.close(fd)

        self.look(check)

    MAPPED = """
import mmap, os, sys
at, n = int(sys.argv[2]), int(sys.argv[3])
fd = os.open(sys.argv[1], os.O_RDONLY)
sys.stdout.buffer.write(mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ)[at : at + n])
"""

    def mapped(self, path, truth):
        """In a program of its own, as an error is SIGBUS."""
        at = self.random.randrange(len(truth))
        p = self.call(f"map {path}", lambda: subprocess.run([sys.executable, "-c", self.MAPPED, path, str(at), "70000"], capture_output=True), sends=True)
        if p.returncode == 0 and p.stdout != truth[at : at + 70000]:
            return f"{path}: wrong bytes in a mapping at {at}"

    cache = {}

    def truth(self, seed, size):
        if seed not in self.cache:
            self.cache[seed] = fill(seed, size)
        return self.cache[seed]

    def final(self, where):
        top = os.path.dirname(where)
        for name, size in [("big", 12_000_000)] + [(f"s{i}", 3000 + i) for i in range(60)]:
            with open(f"{top}/ro/{name}", "rb") as f:
                if f.read() != self.truth(name, size):
                    return f"ro/{name} is wrong"


class Far(Worker):
    """What the instance changes: files that are replaced there, and a log that grows there."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seq, self.log = 0, b""

    def record(self, seq):
        return b"far %d\n" % seq + fill(f"far {seq}", 500 + seq * 7919 % 60000)

    def once(self):
        os.makedirs(self.there, exist_ok=True)
        if self.random.random() < 0.3:
            self.seq += 1
            try:
                with open(f"{self.there}/.new", "wb") as f:
                    f.write(self.record(self.seq))
                os.rename(f"{self.there}/.new", f"{self.there}/record")
            except OSError:
                self.seq -= 1  # its disk is full
        if self.random.random() < 0.5:
            line = b"far line %d\n" % len(self.log)
            try:
                with open(f"{self.there}/log", "ab", 0) as f:
                    self.log += line[: f.write(line)]  # its disk may be full
            except OSError:
                pass
        before = self.seq
        self.look(lambda where: self.check(where, before))
        time.sleep(0.02)  # sleep: it changes slowly

    def outage(self):
        try:
            return time.time() - os.stat(f"{STATE}/outage").st_mtime < LIMIT
        except OSError:
            return False

    def check(self, where, before, exact=False):
        if self.seq:
            with open(f"{where}/record", "rb") as f:
                got = self.call("read record", f.read)
            try:
                seq = int(got.split(b"\n")[0].split()[1])
            except (IndexError, ValueError):
                seq = -1
            whole = 0 <= seq <= self.seq and got == self.record(seq)
            # Opened without a link as the version that was known, and read with one: the kernel cuts or fills up the
            # new one to the size that it knows.
            if not whole and not (self.outage() and not exact):
                return f"record: {got[:20]} is no whole one ({len(got)} bytes)"
            if exact and seq != self.seq:
                return f"record: {seq}, not {self.seq}"
        if self.log:
            with open(f"{where}/log", "rb") as f:
                got = self.call("read log", f.read)
            if got != self.log[: len(got)] or exact and got != self.log:
                return f"log: {len(got)} bytes are not those of {len(self.log)} there"

    def final(self, where):
        return self.check(where, self.seq, exact=True)


class Names(Worker):
    """Folders that come and go."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.state = {}  # present, absent, or None: not sure

    def once(self):
        a, b = self.random.sample(range(9), 2)
        a, b = f"n{a}", f"n{b}"
        has, other = self.state.get(a, "absent"), self.state.get(b, "absent")
        try:
            if has == "absent":
                self.state[a] = None
                self.call(f"mkdir {a}", os.mkdir, f"{self.dir}/{a}")
                self.state[a] = "present"
            elif has == "present" and other == "absent" and self.random.random() < 0.5:
                self.state[a] = self.state[b] = None
                self.call(f"rename {a} {b}", os.rename, f"{self.dir}/{a}", f"{self.dir}/{b}")
                self.state[a], self.state[b] = "absent", "present"
            else:
                self.state[a] = None
                self.call(f"rmdir {a}", os.rmdir, f"{self.dir}/{a}")
                self.state[a] = "absent"
        except FileExistsError:
            if has == "absent":
                self.odd(f"{a} exists at mkdir")
        except FileNotFoundError:
            if has == "present":
                self.odd(f"{a} is not there")
            elif has is None:
                self.look(lambda where: self.settle(where, a))
        self.look(self.check)
        time.sleep(0.01)  # sleep: no flood

    def odd(self, text):
        self.look(lambda where: text)

    def settle(self, where, name):
        before, names = mounted(self.base), os.listdir(where)
        os.statvfs(where)  # the kernel goes on telling names that it knows when the daemon is dead
        if name not in names and mounted(self.base) == before:
            self.state[name] = "absent"

    def check(self, where):
        names = set(self.call("listdir", os.listdir, where))
        for name, state in self.state.items():
            if state and (state == "present") != (name in names):
                there = "there" if os.path.exists(f"{self.there}/{name}") else "not there"
                return f"{name} is {'' if name in names else 'not '}listed, should be {state}, is {there}"

    final = check


class Commands(Worker):
    """Commands whose end is bounded."""

    def once(self):
        command = self.random.choice([[VASTFS, "status"], [VASTFS, "status", "--json", MOUNT], ["df", MOUNT], ["ls", "-la", MOUNT],
                                      ["ls", "-R", MOUNT], [VASTFS, "sync", MOUNT], [VASTFS, "spool", MOUNT]])
        p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        text = self.call(" ".join(command), p.communicate, sends="sync" in command or "-R" in command)[1]
        if p.returncode < 0 or p.returncode > 2 or b"anitizer" in text:
            say(f"commands: {' '.join(command)}: {p.returncode} {text.decode(errors='replace')[:300]}")
        time.sleep(0.2)  # sleep: people are slow

    def final(self, where):
        return None


workers = [Records("records"), Records("records", SECOND, "second"), Keep("keep"), Log("log"), Read("read"), Far("far"), Names("names"), Commands("commands"), Records("records", MOUNT, "more")]
for worker in workers:
    worker.start()
while any(w.is_alive() for w in workers):
    for w in workers:
        w.late()
    if there("pause") and all(w.idle or not w.is_alive() for w in workers):
        open(f"{STATE}/paused", "w").close()
    elif not there("pause") and there("paused"):
        os.unlink(f"{STATE}/paused")
    time.sleep(0.1)  # sleep: between two looks
open(f"{STATE}/stopped", "w").close()
while not there("calm"):
    time.sleep(0.1)  # sleep: until all is sent
for w in workers:
    w.end()
    print(f"{w.label}: {w.rounds} rounds, {w.good} calls went well, {w.errors}, {w.longest:.1f} s {w.slowest}", flush=True)
sys.exit(1 if wrong else 0)
