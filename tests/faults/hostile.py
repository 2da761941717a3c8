#!/usr/bin/python3
"""An SFTP server that misbehaves: "Subsystem sftp /path/hostile.py MODE FOLDER" in sshd_config.

It serves FOLDER (which it never changes) as a plain SFTP 3 server would, but for what MODE says; MODES lists them.
"""
import os, random, struct, sys, time

OK, EOF, NO_SUCH_FILE, DENIED, FAILURE, UNSUPPORTED = 0, 1, 2, 3, 4, 8
INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT, OPENDIR, READDIR = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK = 13, 14, 15, 16, 17, 18, 19, 20
STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED, EXTENDED_REPLY = 101, 102, 103, 104, 105, 200, 201

MODES = {
    "honest": "nothing is wrong",
    "version2": "speaks version 2",
    "version4": "speaks version 4",
    "version-huge": "speaks version 2^32 - 1 and has extensions that go on for ever",
    "garbage": "bytes that are no SFTP",
    "banner": "megabytes of text before the first packet",
    "silent": "never says its version",
    "mute": "answers nothing but the version",
    "failure": "FAILURE to all but the first look",
    "denied": "PERMISSION_DENIED to all but the first look",
    "status-odd": "a status code that there is not, with a megabyte of text",
    "status-ok": "OK where something was asked for",
    "length0": "a packet of length 0, now and then",
    "length-huge": "a packet that says it has 2 GiB, now and then",
    "length-lies": "strings that are longer than their packet, now and then",
    "wrong-id": "an id that was not asked, now and then",
    "twice": "each answer twice",
    "backwards": "answers in bursts, the last first",
    "wrong-type": "answers of another type, now and then",
    "handle0": "handles of no bytes",
    "handle257": "handles of 257 bytes",
    "handle256": "handles of 256 bytes, the longest that may be",
    "handle-long": "handles of 200 KB",
    "handle-same": "the same handle for all files",
    "names": "names that lead out, duplicates, 300 bytes, odd bytes",
    "names-count": "a NAME with 2^32 - 1 entries",
    "names-few": "a NAME that has more entries than it counts, or fewer",
    "extended-attrs": "attributes with 2^32 - 1 extended pairs, or with some",
    "endless": "a listing that never ends",
    "endless-empty": "READDIRs of no names, without an end",
    "cycle": "each folder has folders like itself, without an end",
    "contradict": "the listing says folder, LSTAT says file, FSTAT says link",
    "no-attrs": "attributes with nothing in them",
    "sizes": "sizes of 2^63 and 2^64 - 1",
    "shrinks": "each look says another size",
    "short-read": "READ answers of a few bytes",
    "long-read": "READ answers longer than asked",
    "empty-read": "READ answers of no bytes",
    "late-data": "data beyond the end that it says the file has",
    "early-eof": "EOF before the end that it says the file has",
    "readlink-huge": "targets of a megabyte, and of 200 KB",
    "readlink-many": "two targets for one link, or none",
    "links": "links that lead out, empty ones, with NULs, very long ones",
    "torn": "ends in the middle of a packet",
    "halts": "stops in the middle of a packet, for good",
    "halts-init": "stops in the middle of its version",
    "halts-data": "stops in the middle of a READ's answer, in each connection",
    "dies": "ends at every 20th request",
    "stderr": "megabytes on stderr",
    "drip": "a byte each 50 ms",
    "statvfs": "no blocks, blocks of no bytes, 2^64 of them",
    "limits": "limits of 0, of 1, of 2^64 - 1",
}
mode, base = sys.argv[1], sys.argv[2].rstrip("/")
# sshd gives no terminal and no environment of ours: the same every time, but for the process
rand = random.Random(os.getpid())
out = sys.stdout.buffer
held = []
served = 0


def u32(n):
    return struct.pack(">I", n & 0xFFFFFFFF)


def u64(n):
    return struct.pack(">Q", n & 0xFFFFFFFFFFFFFFFF)


def string(b):
    return u32(len(b)) + b


def raw(data):
    if mode == "drip":
        for i in range(len(data)):
            out.write(data[i : i + 1])
            out.flush()
            time.sleep(0.05)  # sleep: it is slow on purpose
    else:
        out.write(data)
        out.flush()


def send(kind, ident, body):
    packet = bytes([kind]) + (u32(ident) if ident is not None else b"") + body
    now_and_then = rand.random() < 0.05 and served > 12
    if mode == "length0" and now_and_then:
        raw(u32(0))
    elif mode == "length-huge" and now_and_then:
        raw(u32(1 << 31))
    elif mode == "length-lies" and now_and_then and len(packet) > 12:
        packet = packet[:5] + u32(rand.choice([0x7FFFFFFF, 0xFFFFFFFF, len(packet)])) + packet[9:]
    elif mode == "wrong-id" and now_and_then:
        packet = packet[:1] + u32(ident + 12345) + packet[5:]
    elif mode == "wrong-type" and now_and_then:
        packet = bytes([rand.choice([STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED_REPLY, VERSION, 77])]) + packet[1:]
    if mode == "torn" and now_and_then:
        raw(string(packet)[: rand.randrange(1, len(packet) + 4)])
        os._exit(3)
    halts = {"halts": now_and_then, "halts-init": kind == VERSION, "halts-data": kind == DATA and len(packet) > 1000}
    if halts.get(mode):
        raw(string(packet)[: len(packet) // 2])
        time.sleep(1000)  # sleep: it halts on purpose
    raw(string(packet))
    if mode == "twice" and served > 12:
        raw(string(packet))


def reply(kind, ident, body):
    if mode == "backwards":
        held.append((kind, ident, body))
    else:
        send(kind, ident, body)


def release():
    while held:
        send(*held.pop())


def status(ident, code):
    text = b"so it is"
    if mode == "status-odd" and served > 12:
        code, text = 99, b"x" * 200_000
    reply(STATUS, ident, u32(code) + string(text) + string(b""))


def attrs(st, odd=False, how=""):
    size, perm = st.st_size, st.st_mode
    if mode == "no-attrs" and how != "root":
        return u32(0)
    if mode == "sizes" and perm & 0o170000 == 0o100000:
        size = rand.choice([1 << 63, (1 << 64) - 1, (1 << 63) - 1, 1 << 62])
    if mode == "shrinks":
        size = rand.randrange(100_000)
    if mode == "extended-attrs" and how not in ("root", ""):
        pairs = rand.choice([0, 1, 3, 1000, 0xFFFFFFFF, 0x7FFFFFFF])
        fields = u64(size) + u32(st.st_uid) + u32(st.st_gid) + u32(perm) + u32(int(st.st_atime)) + u32(int(st.st_mtime))
        return u32(15 | 1 << 31) + fields + u32(pairs) + (string(b"a@b") + string(b"c" * 10)) * min(pairs, 3)
    if mode == "contradict" and how not in ("root", ""):
        kinds = {"list": 0o040000, "lstat": 0o100000, "fstat": 0o120000, "stat": 0o060000}
        perm = perm & 0o7777 | kinds[how]
    if mode == "links" and how in ("list", "lstat") and odd:
        perm = 0o120777
    return u32(15) + u64(size) + u32(st.st_uid) + u32(st.st_gid) + u32(perm) + u32(int(st.st_atime)) + u32(int(st.st_mtime))


LINKS = [b"/etc/passwd", b"../../../../etc/passwd", b"", b"a\0b", b"x" * 5000, b".", b"..", b"/", b"link0", b"//etc//passwd", b"sub/../../../../etc/passwd", b"\xff\xfe"]


def is_link(path):
    return mode == "links" and os.path.basename(path).startswith(b"link")


def look(path, how):
    if is_link(path):
        return attrs(os.lstat(base), True, how)
    st = os.stat(path) if how == "stat" else os.lstat(path)
    return attrs(st, False, "root" if path in (base.encode(), b".") else how)


def real(path):
    """What the path stands for; with "cycle" all that is below a folder "again" is the base."""
    if not path.startswith(b"/"):
        path = base.encode() + b"/" + path
    if mode == "cycle":
        while b"/again" in path:
            head, tail = path.rsplit(b"/again", 1)
            path = base.encode() + (tail[tail.index(b"/") :] if b"/" in tail else b"")
    return path


def listing(path):
    names = [n for n in os.listdir(path)]
    entries = [(n, look(path + b"/" + n, "list")) for n in names]
    if mode == "names":
        st = attrs(os.lstat(path), False, "list")
        for n in (b"../../escape", b"a/b", b"nul\0byte", b"..", b".", b"", b"/etc", b"x" * 255, b"y" * 256, b"z" * 300, b"\xff\xfe\n\r\x1b[2J", b" ", b"-rf", b"file0", b"file0"):
            entries.append((n, st))
    if mode == "links":
        entries += [(b"link%d" % i, attrs(os.lstat(path), True, "list")) for i in range(len(LINKS))]
    if mode == "cycle":
        st = attrs(os.lstat(path), False, "list")
        entries += [(b"again%d" % i, st) for i in range(10)]
    return entries


handles = {}
serial = 0


def new_handle(value):
    global serial
    serial += 1
    name = b"h%d" % serial
    if mode == "handle-same":
        name = b"same"
    handles[name] = value
    if mode == "handle0":
        return b""
    length = {"handle256": 256, "handle257": 257, "handle-long": 200_000}.get(mode, 0)
    if length:
        # they differ in their last bytes only
        handles[name.rjust(length, b".")] = handles.pop(name)
        return name.rjust(length, b".")
    return name


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def u32(self):
        self.at += 4
        return struct.unpack_from(">I", self.data, self.at - 4)[0]

    def u64(self):
        self.at += 8
        return struct.unpack_from(">Q", self.data, self.at - 8)[0]

    def string(self):
        n = self.u32()
        self.at += n
        return self.data[self.at - n : self.at]


def do_read(ident, r):
    fd, at, n = handles.get(r.string(), (None,))[0], r.u64(), r.u32()
    if fd is None:
        return status(ident, FAILURE)
    if mode == "empty-read":
        return reply(DATA, ident, string(b""))
    if mode == "early-eof" and at + n > 1000:
        return status(ident, EOF)
    if mode == "long-read":
        return reply(DATA, ident, string(b"L" * (n + rand.choice([1, 100, 100_000]))))
    if mode == "late-data":
        return reply(DATA, ident, string(b"Z" * min(n, 30_000)))
    if mode == "short-read":
        n = min(n, rand.choice([1, 3, 100, 4097]))
    try:
        data = os.pread(fd, min(n, 200_000), min(at, (1 << 62)))
    except OSError:
        return status(ident, FAILURE)
    return reply(DATA, ident, string(data)) if data else status(ident, EOF)


def do_readdir(ident, r):
    handle = r.string()
    if handle not in handles or not isinstance(handles[handle], list):
        return status(ident, FAILURE)
    entries = handles[handle]
    if mode == "names-count" and served > 12:
        return reply(NAME, ident, u32(0xFFFFFFFF) + string(b"a") + string(b"a") + u32(0))
    if mode == "endless":
        some = [(b"name-%d-%d" % (served, i), u32(0)) for i in range(100)]
    elif mode == "endless-empty":
        some = []
    else:
        some = [entries.pop(0) for _ in range(min(100, len(entries)))]
        if not some:
            return status(ident, EOF)
    count = len(some) + (rand.choice([-1, 1, 100]) if mode == "names-few" and served > 12 else 0)
    return reply(NAME, ident, u32(max(count, 0)) + b"".join(string(n) + string(b"-rw-r--r-- 1 a b 1 Jan 1 00:00 " + n) + a for n, a in some))


def do_extended(ident, r):
    name = r.string()
    if name == b"limits@openssh.com" and mode == "limits":
        n = rand.choice([0, 1, 4096, (1 << 64) - 1])
        return reply(EXTENDED_REPLY, ident, u64(n) * 4)
    if name == b"statvfs@openssh.com" and mode == "statvfs":
        return reply(EXTENDED_REPLY, ident, b"".join(u64(rand.choice([0, 1, (1 << 64) - 1])) for _ in range(11)))
    return status(ident, UNSUPPORTED)


def serve(kind, r):
    ident = r.u32()
    if mode == "mute":
        return None
    if served > 12:
        if mode == "failure":
            return status(ident, FAILURE)
        if mode == "denied":
            return status(ident, DENIED)
        if mode == "status-ok":
            return status(ident, OK)
    try:
        if kind == REALPATH:
            path = os.path.normpath(real(r.string()))
            return reply(NAME, ident, u32(1) + string(path) + string(path) + u32(0))
        if kind in (LSTAT, STAT):
            return reply(ATTRS, ident, look(real(r.string()), "stat" if kind == STAT else "lstat"))
        if kind == FSTAT:
            fd = handles.get(r.string(), (None,))[0]
            return reply(ATTRS, ident, attrs(os.fstat(fd), False, "fstat"))
        if kind == OPENDIR:
            return reply(HANDLE, ident, string(new_handle(listing(real(r.string())))))
        if kind == READDIR:
            return do_readdir(ident, r)
        if kind == OPEN:
            path, flags = real(r.string()), r.u32()
            if flags & 0x18 and not os.path.exists(path):
                path = b"/dev/null"
            return reply(HANDLE, ident, string(new_handle((os.open(path, os.O_RDONLY),))))
        if kind == READ:
            return do_read(ident, r)
        if kind == CLOSE:
            value = handles.pop(r.string(), None)
            if isinstance(value, tuple):
                os.close(value[0])
            return status(ident, OK)
        if kind == READLINK:
            path = real(r.string())
            target = LINKS[int(os.path.basename(path)[4:])] if is_link(path) else os.readlink(path)
            if mode == "readlink-huge":
                target = b"x/" * rand.choice([100_000, 500_000])
            if mode == "readlink-many":
                n = rand.choice([0, 2, 50])
                return reply(NAME, ident, u32(n) + (string(target) + string(target) + u32(0)) * n)
            return reply(NAME, ident, u32(1) + string(target) + string(target) + u32(0))
        if kind == EXTENDED:
            return do_extended(ident, r)
        if kind in (WRITE, SETSTAT, FSETSTAT, REMOVE, MKDIR, RMDIR, RENAME, SYMLINK):
            return status(ident, OK if rand.random() < 0.5 else FAILURE)
    except FileNotFoundError:
        return status(ident, NO_SUCH_FILE)
    except (OSError, TypeError, IndexError, ValueError):
        return status(ident, FAILURE)
    return status(ident, UNSUPPORTED)


def greet():
    extensions = b"".join(string(a) + string(b) for a, b in ((b"posix-rename@openssh.com", b"1"), (b"statvfs@openssh.com", b"2"), (b"fsync@openssh.com", b"1"), (b"lsetstat@openssh.com", b"1"), (b"limits@openssh.com", b"1"), (b"copy-data", b"1")))
    version = 3
    if mode == "garbage":
        raw(rand.randbytes(100_000))
    elif mode == "banner":
        for _ in range(100):
            raw(b"Welcome to the instance, this is no SFTP at all\r\n" * 1000)
    elif mode == "silent":
        time.sleep(1000)  # sleep: it is silent on purpose
    elif mode == "version2":
        version = 2
    elif mode == "version4":
        version = 4
    elif mode == "version-huge":
        version, extensions = 0xFFFFFFFF, extensions + b"".join(string(b"e%d" % i) + string(b"x" * 50) for i in range(3000))
    send(VERSION, None, u32(version) + extensions)


def main():
    global served
    source = sys.stdin.buffer
    pending = b""
    while True:
        head = source.read(4)
        if len(head) < 4:
            return
        data = source.read(struct.unpack(">I", head)[0])
        served += 1
        if data[0] == INIT:
            greet()
        else:
            serve(data[0], Reader(data[1:]))
        if mode == "dies" and served % 20 == 0:
            os._exit(3)
        if mode == "stderr":
            sys.stderr.write("trouble ahead\n" * 2000)
            sys.stderr.flush()
        # those of a burst are held back while more is there to read
        if held and not source.peek_ready():
            release()


class Source:
    """Reads stdin, and knows whether more is there."""

    def read(self, n):
        data = b""
        while len(data) < n:
            part = os.read(0, n - len(data))
            if not part:
                break
            data += part
        return data

    def peek_ready(self):
        import select

        return bool(select.select([0], [], [], 0.002)[0])


class Stdin:
    buffer = Source()


sys.stdin = Stdin
if mode == "modes":
    print("\n".join(MODES))
    sys.exit()
if mode not in MODES:
    sys.exit(f"no mode {mode}")
main()
