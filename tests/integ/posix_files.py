"What POSIX says of files' contents: flags of open, positions, mapping, truncation, locks, the bits that a write clears."
import ctypes
import errno
import fcntl
import mmap
import os
import random
import signal
import stat
import struct
import time

from harness import call, clean, eq, FS, get, in_child, libc, m, put, r, raises, run, Skip, test

clean("pf")
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def a(*names):
    return m("pf", *names)


def b(*names):
    return r("pf", *names)


def opened(name, flags=os.O_RDWR | os.O_CREAT, mode=0o644):
    return os.open(a(name), flags, mode)


def mode(name):
    return stat.S_IMODE(os.stat(a(name)).st_mode)


@test("files over 4 GiB: write, read and seek beyond; size and blocks")
def _():
    fd = opened("big")
    at = (5 << 30) + 123
    os.pwrite(fd, b"far", at)
    os.pwrite(fd, b"near", 4094)
    eq(os.pread(fd, 10, at), b"far")
    eq(os.pread(fd, 8, at - 5), bytes(5) + b"far")
    eq(os.lseek(fd, 0, os.SEEK_END), at + 3)
    eq(os.pread(fd, 8, 4092), b"\0\0near\0\0")
    os.fsync(fd)
    eq(os.stat(b("big")).st_size, at + 3)
    with mmap.mmap(fd, (at & 4095) + 3, offset=at & ~4095) as area:
        eq(area[at & 4095:(at & 4095) + 3], b"far")
    os.ftruncate(fd, (1 << 32) + 1)
    eq(os.fstat(fd).st_size, (1 << 32) + 1)
    os.close(fd)
    os.unlink(a("big"))


@test("EFBIG and EINVAL at the largest offsets")
def _():
    fd = opened("fbig")
    try:
        with open(b("largest"), "wb") as f:
            f.truncate((1 << 63) - 1)  # tmpfs takes it
    except OSError:
        with raises(errno.EFBIG, errno.EINVAL):
            os.ftruncate(fd, (1 << 63) - 1)
    os.unlink(b("largest"))
    with raises(errno.EFBIG, errno.EINVAL):
        os.pwrite(fd, b"xx", (1 << 63) - 2)
        os.fsync(fd)
    with raises(errno.EINVAL):
        os.ftruncate(fd, -1)
    with raises(errno.EINVAL):
        os.lseek(fd, -1, os.SEEK_SET)
    with raises(errno.EINVAL):
        os.pread(fd, 1, -1)
    os.close(fd)
    fd = opened("fbig2")
    # beyond ext4's 16 TiB the write may only fail when it is sent, but it fails
    try:
        os.pwrite(fd, b"x", 1 << 52)
        os.fsync(fd)
    except OSError as e:
        assert e.errno in (errno.EFBIG, errno.ENOSPC), e
    else:
        os.ftruncate(fd, 0)
    deadline = time.monotonic() + 3
    while os.fstat(fd).st_size:
        assert time.monotonic() < deadline, "the size of what was refused stays"
        time.sleep(0.02)  # sleep: polls
    eq(os.pread(fd, 1, 0), b"")
    os.close(fd)


@test("RLIMIT_FSIZE: EFBIG and SIGXFSZ")
def _():
    def child():
        import resource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        fd = opened("limit")
        eq(os.pwrite(fd, b"x" * 6000, 6000), 4000, "a write across the limit")
        with raises(errno.EFBIG):
            os.pwrite(fd, b"x", 10_000)
        with raises(errno.EFBIG):
            os.ftruncate(fd, 10_001)
    eq(in_child(child), 0)


@test("open: each flag and its error; a file made with mode 000")
def _():
    put(a("f"), b"content")
    with raises(errno.EEXIST):
        opened("f", os.O_CREAT | os.O_EXCL | os.O_RDWR)
    for access in (os.O_WRONLY, os.O_RDWR):
        put(a("f"), b"content")
        os.close(opened("f", access | os.O_TRUNC))
        eq(os.stat(a("f")).st_size, 0, "after O_TRUNC")
    put(a("f"), b"content")
    os.close(opened("f", os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    eq(os.stat(b("f")).st_size, 0, "after O_CREAT|O_TRUNC")
    fd = opened("zero", os.O_CREAT | os.O_RDWR | os.O_EXCL, 0)
    os.write(fd, b"x")
    os.close(fd)
    eq(mode("zero"), 0)
    eq(os.stat(a("zero")).st_size, 1)
    os.symlink("zero-target", a("dangling"))
    fd = opened("dangling", os.O_CREAT | os.O_WRONLY)
    os.close(fd)
    eq(os.path.exists(a("zero-target")), True, "O_CREAT through a dangling link")
    with raises(errno.EEXIST):
        opened("dangling", os.O_CREAT | os.O_EXCL | os.O_WRONLY)


@test("O_TRUNC of a file that is open elsewhere, mapped and not yet sent")
def _():
    one = opened("trunc")
    os.write(one, b"a" * 100_000)
    area = mmap.mmap(one, 100_000)
    area[50] = 7
    two = opened("trunc", os.O_WRONLY | os.O_TRUNC)
    eq(os.fstat(one).st_size, 0)
    eq(os.pread(one, 10, 0), b"")
    os.write(two, b"bb")
    eq(os.pread(one, 10, 0), b"bb")
    area.close()
    os.close(one)
    os.close(two)
    eq(get(b("trunc")), b"bb")


@test("O_APPEND: the position moves to the end; pwrite appends too on Linux; F_SETFL turns it on and off")
def _():
    put(a("app"), b"12345")
    fd = opened("app", os.O_RDWR | os.O_APPEND)
    eq(os.read(fd, 2), b"12")
    os.write(fd, b"67")
    eq(os.lseek(fd, 0, os.SEEK_CUR), 7)
    eq(os.pwrite(fd, b"8", 0), 1)
    eq(get(a("app")), b"12345678")
    os.close(fd)
    fd = opened("app", os.O_RDWR)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    os.write(fd, b"9")
    eq(os.pread(fd, 20, 0), b"123456789")
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    os.pwrite(fd, b"X", 0)
    os.close(fd)
    eq(get(b("app")), b"X23456789")
    fd = opened("app", os.O_WRONLY | os.O_APPEND)
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    os.pwrite(fd, b"Y", 1)
    os.close(fd)
    eq(get(b("app")), b"XY3456789")


@test("mapped pages keep their place though the file is open for appending too, or only so")
def _():
    put(a("mapapp"), bytes(8192))
    fd = opened("mapapp", os.O_RDWR)
    area = mmap.mmap(fd, 8192)
    log = opened("mapapp", os.O_WRONLY | os.O_APPEND)
    area[10:14] = b"here"
    area.flush()
    os.write(log, b"end")
    area[5000:5004] = b"also"
    area.flush()
    area.close()
    os.close(fd)
    os.close(log)
    want = bytearray(8192) + b"end"
    want[10:14] = b"here"
    want[5000:5004] = b"also"
    eq(get(b("mapapp")) == want, True, "the server's file")
    fd = opened("mapapp", os.O_RDWR | os.O_APPEND)
    area = mmap.mmap(fd, 8192)
    area[100:105] = b"alone"
    area.flush()
    os.write(fd, b"END")
    area.close()
    os.close(fd)
    want[100:105] = b"alone"
    eq(get(b("mapapp")) == want + b"END", True, "the server's file, mapped through the appending descriptor")
    eq(get(a("mapapp")) == want + b"END", True)


@test("preadv, pwritev, RWF_DSYNC, RWF_APPEND")
def _():
    fd = opened("vec")
    eq(os.pwritev(fd, [b"one", b"", b"two" * 1000, b"three"], 5), 3 + 3000 + 5)
    buf = [bytearray(8), bytearray(3000), bytearray(100)]
    eq(os.preadv(fd, buf, 0), 3013)
    eq(bytes(buf[0]), bytes(5) + b"one")
    eq(bytes(buf[2][:5]), b"three")
    os.pwritev(fd, [b"sync"], 0, os.RWF_DSYNC)
    eq(get(b("vec"))[:4], b"sync", "the server's after RWF_DSYNC")
    os.pwritev(fd, [b"end"], 0, os.RWF_APPEND)
    eq(os.fstat(fd).st_size, 3016)
    os.close(fd)


@test("O_SYNC and O_DSYNC: each write is on the instance when it returns")
def _():
    for name, flag in (("osync", os.O_SYNC), ("odsync", os.O_DSYNC)):
        fd = opened(name, os.O_RDWR | os.O_CREAT | flag)
        for i in range(5):
            os.write(fd, b"%05d" % i)
            eq(get(b(name)), b"".join(b"%05d" % j for j in range(i + 1)), name)
        os.close(fd)


@test("O_DIRECT: reads and writes, mixed with ordinary ones")
def _():
    area = mmap.mmap(-1, 8192)
    area[:] = b"d" * 8192
    fd = opened("direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    eq(os.pwritev(fd, [area], 0), 8192)
    plain = opened("direct")
    eq(os.pread(plain, 8192, 0), b"d" * 8192)
    os.pwrite(plain, b"plain", 100)
    eq(os.preadv(fd, [area], 0), 8192)
    eq(area[98:107], b"ddplaindd")
    with mmap.mmap(plain, 8192) as view:
        view[0:3] = b"map"
        eq(os.preadv(fd, [area], 0), 8192)
        eq(area[0:4], b"mapd", "what was written by mapping")
        area[0:4096] = b"e" * 4096
        eq(os.pwritev(fd, [memoryview(area)[:4096]], 4096), 4096)
        eq(view[4096:4099], b"eee", "what was written directly, by mapping")
    eq(os.preadv(fd, [area], 8192), 0, "at the end")
    os.close(fd)
    os.close(plain)
    eq(get(b("direct"))[:8] + get(b("direct"))[4096:4100], b"mapddddd" + b"eeee")


@test("sendfile, splice and tee out of and into a file")
def _():
    data = random.Random(2).randbytes(300_000)
    put(a("sf"), data)
    src, dst = opened("sf", os.O_RDONLY), opened("sf2")
    reader, writer = os.pipe()
    moved = 0
    while moved < len(data):
        n = os.splice(src, writer, min(65536, len(data) - moved), offset_src=moved)
        got = 0
        while got < n:
            got += os.splice(reader, dst, n - got, offset_dst=moved + got)
        moved += n
    eq(get(a("sf2")) == data, True, "splice")
    eq(get(b("sf2")) == data or os.fsync(dst) is None and get(b("sf2")) == data, True, "splice, there")
    eq(os.sendfile(dst, src, 10, 1000), 1000)
    for fd in (src, dst, reader, writer):
        os.close(fd)
    eq(os.stat(b("sf2")).st_size, 300_000)


@test("copy_file_range: within a file, overlapping, beyond the end, to itself, with bad arguments")
def _():
    data = random.Random(4).randbytes(200_000)
    put(a("cfr"), data)
    fd = opened("cfr")
    n = os.copy_file_range(fd, fd, 50_000, 0, 200_000)
    done = n
    while done < 50_000:
        done += os.copy_file_range(fd, fd, 50_000 - done, done, 200_000 + done)
    eq(os.pread(fd, 50_000, 200_000) == data[:50_000], True, "within one file")
    with raises(errno.EINVAL):
        os.copy_file_range(fd, fd, 1000, 0, 500)
    eq(os.copy_file_range(fd, fd, 1000, 250_000, 0), 0, "from the end")
    eq(os.copy_file_range(fd, fd, 1000, 300_000, 0), 0, "from beyond the end")
    other = opened("cfr2")
    eq(os.copy_file_range(fd, other, 1 << 20, 249_000, 10), 1000, "a short copy at the end")
    eq(os.fstat(other).st_size, 1010)
    ro = opened("cfr2", os.O_RDONLY)
    with raises(errno.EBADF):
        os.copy_file_range(fd, ro, 10, 0, 0)
    app = opened("cfr2", os.O_WRONLY | os.O_APPEND)
    with raises(errno.EBADF):
        os.copy_file_range(fd, app, 10, 0, 0)
    folder = os.open(a(), os.O_RDONLY)
    with raises(errno.EISDIR):
        os.copy_file_range(folder, fd, 10)
    os.unlink(a("cfr"))
    eq(os.copy_file_range(fd, other, 500, 7, 2000), 500, "from a file without a name")
    eq(os.pread(other, 500, 2000), data[7:507])
    os.unlink(a("cfr2"))
    eq(os.copy_file_range(fd, other, 500, 1007, 3000), 500, "to a file without a name")
    eq(os.pread(other, 500, 3000), data[1007:1507])
    for f in (fd, other, ro, app, folder):
        os.close(f)


@test("fallocate: mode 0 grows; bad arguments; other modes are done or EOPNOTSUPP")
def _():
    fd = opened("fa")
    os.write(fd, b"12345")
    os.posix_fallocate(fd, 2, 1000)
    eq(os.fstat(fd).st_size, 1002)
    eq(os.pread(fd, 8, 0), b"12345\0\0\0")
    for offset, length in ((-1, 5), (0, 0), (5, -5)):
        with raises(errno.EINVAL):
            call(libc.fallocate(fd, 0, ctypes.c_long(offset), ctypes.c_long(length)))
    with raises(errno.EFBIG):
        call(libc.fallocate(fd, 0, ctypes.c_long((1 << 63) - 10), ctypes.c_long(100)))
    for how in (1, 3, 8, 16, 32):
        try:
            call(libc.fallocate(fd, how, ctypes.c_long(0), ctypes.c_long(4096)))
        except OSError as e:
            assert e.errno in (errno.EOPNOTSUPP, errno.EINVAL), e
    ro = opened("fa", os.O_RDONLY)
    with raises(errno.EBADF):
        call(libc.fallocate(ro, 0, ctypes.c_long(0), ctypes.c_long(4096)))
    os.close(ro)
    os.close(fd)


@test("lseek SEEK_DATA and SEEK_HOLE: nothing that holds data is called a hole")
def _():
    fd = opened("holes")
    os.pwrite(fd, b"x" * 4096, 1 << 20)
    os.ftruncate(fd, 2 << 20)
    at = 0
    data = []
    while True:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            eq(e.errno, errno.ENXIO)
            break
        end = os.lseek(fd, at, os.SEEK_HOLE)
        data.append((at, end))
        at = end
        if at >= 2 << 20:
            break
    assert any(s <= 1 << 20 and e >= (1 << 20) + 4096 for s, e in data), data
    with raises(errno.ENXIO):
        os.lseek(fd, 2 << 20, os.SEEK_DATA)
    with raises(errno.ENXIO):
        os.lseek(fd, 2 << 20, os.SEEK_HOLE)
    os.close(fd)


@test("unlinked and open: read, write, fstat, truncate, chmod, utime, map; two names and the last one")
def _():
    put(a("un"), b"0123456789" * 1000)
    fd = opened("un")
    os.unlink(a("un"))
    eq(os.fstat(fd).st_nlink, 0)
    os.pwrite(fd, b"A", 5)
    eq(os.pread(fd, 10, 0), b"01234A6789")
    os.ftruncate(fd, 20_000)
    eq(os.fstat(fd).st_size, 20_000)
    os.fchmod(fd, 0o600)
    eq(stat.S_IMODE(os.fstat(fd).st_mode), 0o600)
    os.utime(fd, (5, 6))
    eq((os.fstat(fd).st_atime, os.fstat(fd).st_mtime), (5, 6))
    with mmap.mmap(fd, 20_000) as area:
        area[19_999] = 9
        eq(area[5], 65)
    os.fsync(fd)
    eq(os.pread(fd, 1, 19_999), b"\x09")
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    eq(os.pread(again, 2, 0), b"01")
    os.close(fd)
    os.pwrite(again, b"B", 0)
    only = os.open(f"/proc/self/fd/{again}", os.O_RDONLY)
    eq(os.pread(only, 2, 0), b"B1")
    os.close(again)
    eq(os.pread(only, 7, 0), b"B1234A6")
    os.close(only)
    put(a("empty"), b"x" * 90_000)
    fd = opened("empty")
    os.unlink(a("empty"))
    for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_APPEND):
        os.pwrite(fd, b"12345" * 30_000, 0)
        again = os.open(f"/proc/self/fd/{fd}", flags | os.O_TRUNC)
        eq((os.fstat(fd).st_size, os.pread(fd, 10, 0)), (0, b""))
        os.write(again, b"AB")
        os.fsync(again)
        eq((os.pread(fd, 10, 0), os.fstat(again).st_size), (b"AB", 2))
        os.close(again)
    os.close(fd)
    put(a("two1"), b"x")
    os.link(a("two1"), a("two2"))
    fd = opened("two1")
    os.unlink(a("two1"))
    eq(os.fstat(fd).st_nlink, 1)
    os.write(fd, b"yz")
    os.close(fd)
    eq(get(b("two2")), b"yz")


@test("opened to read in a row of changes and removed: fsync, chmod, utime, read and open again")
def _():
    for n in range(8):
        put(a(f"row{n}"), b"x")
    put(a("ro"), b"read only" * 500)
    fd = opened("ro", os.O_RDONLY)
    os.unlink(a("ro"))
    os.fsync(fd)
    os.fchmod(fd, 0o640)
    os.utime(fd, ns=(5, 1_000_000_007))
    eq((stat.S_IMODE(os.fstat(fd).st_mode), os.fstat(fd).st_mtime_ns), (0o640, 1_000_000_007))
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    os.close(fd)
    os.fsync(again)
    eq(os.pread(again, 9, 9), b"read only")
    os.close(again)
    put(a("both"), b"x" * 100)
    fd, other = opened("both", os.O_RDWR), opened("both", os.O_RDONLY)
    os.unlink(a("both"))
    os.fchmod(other, 0o640)
    os.pwrite(fd, b"y", 0)
    os.fsync(fd)
    for f in (fd, other):
        eq(stat.S_IMODE(os.fstat(f).st_mode), 0o640)
        os.close(f)


@test("opened to read in a row of changes, then changed so that it is not here, and removed or replaced")
def _():
    for n in range(8):
        put(a(f"hole{n}"), b"x")
    for name, waits in (("gone", False), ("over", False), ("gone2", True), ("over2", True)):
        put(a(name), b"x" * 100)
        fd, other = opened(name, os.O_RDONLY), opened(name, os.O_RDWR)
        os.ftruncate(other, 0)
        os.pwrite(other, b"y" * 300_000, 269_257)
        if waits:
            os.fsync(other)  # ends the row
        if name.startswith("gone"):
            os.unlink(a(name))
        else:
            os.replace(a("hole0"), a(name))
            put(a("hole0"), b"x")
        eq(os.pread(fd, 5000, 72_958), bytes(5000))
        eq(os.pread(fd, 10, 269_252), bytes(5) + b"yyyyy")
        os.close(fd)
        os.close(other)


@test("a deleted file's mapping lives on after close")
def _():
    put(a("dm"), b"m" * 50_000)
    fd = opened("dm")
    area = mmap.mmap(fd, 50_000)
    os.close(fd)
    os.unlink(a("dm"))
    eq(area[49_999], ord("m"))
    area[49_999] = 1
    area.flush()
    eq(area[49_999], 1)
    area.close()


@test("mmap: shared writes and read(2), write(2) and mapped reads agree at once")
def _():
    fd = opened("coh")
    os.ftruncate(fd, 64 * 1024)
    area = mmap.mmap(fd, 64 * 1024)
    rnd = random.Random(8)
    image = bytearray(64 * 1024)
    for i in range(300):
        at, n = rnd.randrange(60_000), rnd.randrange(1, 4000)
        data = rnd.randbytes(n)
        if i % 2:
            area[at:at + n] = data
        else:
            os.pwrite(fd, data, at)
        image[at:at + n] = data
        at = rnd.randrange(60_000)
        eq(os.pread(fd, 4000, at) == image[at:at + 4000], True, f"read {i}")
        eq(area[at:at + 4000] == image[at:at + 4000], True, f"map {i}")
    area.flush()
    eq(get(b("coh")) == image, True, "the server's after msync")
    area.close()
    os.close(fd)


@test("mmap: beyond the end is SIGBUS, the rest of the last page is zeros, truncation takes pages away")
def _():
    put(a("bus"), b"x" * 5000)
    fd = opened("bus")

    def touch(at):
        def child():
            area = libc.mmap(None, 65536, 3, 1, fd, 0)
            eq(ctypes.c_ubyte.from_address(area + at).value, 0)
        return child
    eq(in_child(touch(5001)), 0, "the rest of the last page")
    eq(in_child(touch(8191)), 0, "the rest of the last page")
    eq(in_child(touch(8192)), -signal.SIGBUS, "beyond")
    area = mmap.mmap(fd, 5000)
    eq(area[4999], ord("x"))
    os.ftruncate(fd, 100)
    eq(area[99], ord("x"))
    eq(area[100], 0, "cut off")

    def cut():
        return area[4500]
    eq(in_child(cut), -signal.SIGBUS, "a page cut off")
    os.ftruncate(fd, 5000)
    eq(area[4500], 0, "grown again")
    eq(os.pread(fd, 200, 0), b"x" * 100 + bytes(100))
    area.close()
    os.close(fd)


@test("mmap: what was written behind the end of the file in its last page does not come to light")
def _():
    put(a("tail"), b"x" * 100)
    fd = opened("tail")
    area = libc.mmap(None, 4096, 3, 1, fd, 0)
    ctypes.memset(area + 100, 0x55, 200)
    call(libc.msync(ctypes.c_void_p(area), 4096, 4))
    os.ftruncate(fd, 300)
    eq(os.pread(fd, 300, 0), b"x" * 100 + bytes(200))
    libc.munmap(area, 4096)
    os.close(fd)
    eq(get(b("tail")), b"x" * 100 + bytes(200))


@test("mmap: errors of protection, private copies, a mapping outlives its descriptor")
def _():
    put(a("prot"), b"p" * 4096)
    fd = opened("prot", os.O_RDONLY)
    with raises(errno.EACCES):
        mmap.mmap(fd, 4096, flags=mmap.MAP_SHARED, prot=mmap.PROT_WRITE | mmap.PROT_READ)
    private = mmap.mmap(fd, 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_WRITE | mmap.PROT_READ)
    shared = mmap.mmap(fd, 4096, prot=mmap.PROT_READ)
    os.close(fd)
    private[0:2] = b"QQ"
    eq(shared[0:2], b"pp")
    w = opened("prot")
    os.pwrite(w, b"new", 100)
    eq(shared[100:103], b"new")
    eq(private[0:2], b"QQ")
    os.close(w)
    fd = opened("prot", os.O_WRONLY)
    with raises(errno.EACCES):
        mmap.mmap(fd, 4096, prot=mmap.PROT_READ)
    os.close(fd)


@test("mmap: a shared mapping of a file another process changes and truncates")
def _():
    fd = opened("mp")
    os.ftruncate(fd, 1 << 20)
    area = mmap.mmap(fd, 1 << 20)

    def child():
        f = opened("mp")
        mine = mmap.mmap(f, 1 << 20)
        for i in range(0, 1 << 20, 4096):
            mine[i] = (i // 4096) % 251
    eq(in_child(child), 0)
    eq([area[i] for i in range(0, 1 << 20, 4096)], [(i // 4096) % 251 for i in range(0, 1 << 20, 4096)])
    os.fsync(fd)
    there = get(b("mp"))
    eq([there[i] for i in range(0, 1 << 20, 4096)], [(i // 4096) % 251 for i in range(0, 1 << 20, 4096)], "there")
    area.close()
    os.close(fd)


@test("fsync, fdatasync, sync_file_range, syncfs, msync, posix_fadvise, readahead on files and folders")
def _():
    fd = opened("sync")
    os.write(fd, b"s" * 10_000)
    os.fdatasync(fd)
    eq(os.stat(b("sync")).st_size, 10_000)
    os.write(fd, b"s" * 10_000)
    call(libc.sync_file_range(fd, ctypes.c_long(0), ctypes.c_long(0), 7))
    call(libc.syncfs(fd))
    for advice in range(6):
        os.posix_fadvise(fd, 0, 0, advice)
    call(libc.readahead(fd, ctypes.c_long(0), ctypes.c_size_t(4096)))
    ro = opened("sync", os.O_RDONLY)
    os.fsync(ro)
    folder = os.open(a(), os.O_RDONLY)
    os.fsync(folder)
    os.fdatasync(folder)
    for f in (fd, ro, folder):
        os.close(f)


@test("setuid and setgid bits: an ordinary user's write, truncate and chown clear them")
def _():
    if not os.geteuid():
        raise Skip("root keeps them")
    uid, who = os.getuid(), in_child

    def made(name, bits):
        put(a(name), b"12345")
        os.chmod(a(name), bits)
        eq(oct(mode(name)), oct(bits), "to begin with")
    for bits, left in ((0o6777, 0o777), (0o4755, 0o755), (0o2755, 0o755), (0o2744, 0o2744), (0o6744, 0o2744)):
        made("suid", bits)
        eq(who(lambda: os.pwrite(opened("suid"), b"x", 0) - 1), 0)
        eq(oct(mode("suid")), oct(left), f"after a write to {bits:o}")
        eq(oct(stat.S_IMODE(os.stat(b("suid")).st_mode)), oct(left), f"there, after a write to {bits:o}")
        made("suid2", bits)
        eq(who(lambda: os.truncate(a("suid2"), 1)), 0)
        eq(oct(mode("suid2")), oct(left), f"after a truncate of {bits:o}")
        made("suid3", bits)
        eq(who(lambda: os.chown(a("suid3"), uid, -1)), 0)
        eq(oct(mode("suid3")), oct(left), f"after a chown of {bits:o}")
        made("suid4", bits)
        eq(who(lambda: os.close(opened("suid4", os.O_WRONLY | os.O_TRUNC))), 0)
        eq(oct(mode("suid4")), oct(left), f"after O_TRUNC of {bits:o}")


@test("chown by root clears setuid and setgid of a file, not of a folder")
def _():
    if os.geteuid():
        raise Skip("needs root")
    put(a("cs"))
    for bits, left in ((0o6755, 0o755), (0o2745, 0o2745), (0o4700, 0o700), (0o7755, 0o1755)):
        os.chmod(a("cs"), bits)
        os.chown(a("cs"), 12, 13)
        eq(oct(mode("cs")), oct(left), f"{bits:o}")
        eq(oct(stat.S_IMODE(os.stat(b("cs")).st_mode)), oct(left), f"{bits:o} there")
    os.mkdir(a("csd"))
    os.chmod(a("csd"), 0o7755)
    os.chown(a("csd"), 12, 13)
    eq(oct(mode("csd")), oct(0o7755))


@test("setgid folders: what is made in them has their group, folders the bit too")
def _():
    if os.geteuid():
        raise Skip("needs root")
    os.mkdir(a("sg"))
    os.chown(a("sg"), 0, 777)
    os.chmod(a("sg"), 0o2775)
    put(a("sg", "f"))
    os.mkdir(a("sg", "d"))
    os.symlink("x", a("sg", "l"))
    os.mknod(a("sg", "n"), stat.S_IFREG | 0o644)
    for name in ("f", "d", "l", "n"):
        eq(os.lstat(a("sg", name)).st_gid, 777, name)
        eq(os.lstat(b("sg", name)).st_gid, 777, name + " there")
    eq(oct(stat.S_IMODE(os.stat(a("sg", "d")).st_mode)), oct(0o2755))
    eq(oct(stat.S_IMODE(os.stat(b("sg", "d")).st_mode)), oct(0o2755))


@test("atime: a read moves it or not, utime sets it, noatime is kept by all")
def _():
    put(a("at"), b"x" * 100)
    os.utime(a("at"), (1_000_000_000, 1_100_000_000))
    get(a("at"))
    s = os.stat(a("at"))
    eq(int(s.st_mtime), 1_100_000_000, "a read moved mtime")


@test("times: utimensat errors, futimens, UTIME_NOW alone, nanoseconds")
def _():
    put(a("tm"))
    os.utime(a("tm"), ns=(1_000_000_000_123_456_789, 1_500_000_000_987_654_321))
    s = os.stat(a("tm"))
    eq((s.st_atime_ns, s.st_mtime_ns), (1_000_000_000_123_456_789, 1_500_000_000_987_654_321))
    times = (ctypes.c_long * 4)(0, 2_000_000_000, 0, 0)
    with raises(errno.EINVAL):
        call(libc.utimensat(-100, os.fsencode(a("tm")), times, 0))
    with raises(errno.ENOENT):
        os.utime(a("tm-none"), (1, 1))
    s = os.stat(a("tm"))
    eq(s.st_mtime_ns, 1_500_000_000_987_654_321)


@test("fcntl locks: ranges split and merge, F_GETLK, EAGAIN, EBADF, EDEADLK")
def _():
    fd = opened("lk")
    os.ftruncate(fd, 1000)
    fcntl.lockf(fd, fcntl.LOCK_EX, 100, 0)
    fcntl.lockf(fd, fcntl.LOCK_UN, 20, 40)

    def child():
        f = opened("lk")
        fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 20, 40)
        for start in (0, 39, 60, 99):
            with raises(errno.EAGAIN, errno.EACCES):
                fcntl.lockf(f, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, start)
    eq(in_child(child), 0)
    ro = opened("lk", os.O_RDONLY)
    with raises(errno.EBADF):
        fcntl.lockf(ro, fcntl.LOCK_EX, 1, 500)
    # closing any descriptor of the file gives the process's locks up
    os.close(ro)

    def free():
        fcntl.lockf(opened("lk"), fcntl.LOCK_EX | fcntl.LOCK_NB)
    eq(in_child(free), 0)
    # two processes that wait for each other
    ready, go = os.pipe()
    fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            f = opened("lk")
            fcntl.lockf(f, fcntl.LOCK_EX, 1, 1)
            os.write(go, b".")
            fcntl.lockf(f, fcntl.LOCK_EX, 1, 0)
            code = 0
        except OSError as e:
            code = 42 if e.errno == errno.EDEADLK else 1
        finally:
            os._exit(code)
    os.read(ready, 1)
    mine = 0
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, 1)
    except OSError as e:
        eq(e.errno, errno.EDEADLK)
        mine = 42
    fcntl.lockf(fd, fcntl.LOCK_UN)
    theirs = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    eq(sorted((mine, theirs)), [0, 42], "who was told of the deadlock")
    os.close(fd)


@test("open file description locks, and flock beside fcntl")
def _():
    def ofd(fd, kind, wait=False):
        fcntl.fcntl(fd, 38 if wait else 37, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0))
    one, two = opened("ofd"), opened("ofd")
    ofd(one, fcntl.F_WRLCK)
    with raises(errno.EAGAIN, errno.EACCES):
        ofd(two, fcntl.F_WRLCK)
    eq(in_child(lambda: os.close(one)), 0, "a copy in a child")
    with raises(errno.EAGAIN, errno.EACCES):
        ofd(two, fcntl.F_RDLCK)
    fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with raises(errno.EWOULDBLOCK):
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(one)
    ofd(two, fcntl.F_WRLCK, wait=True)
    os.close(two)


@test("leases and notifications are refused in order, not by a hang")
def _():
    fd = opened("lease", os.O_RDONLY | os.O_CREAT)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as e:
        assert e.errno in (errno.EINVAL, errno.EAGAIN, errno.EACCES), e
    os.close(fd)


@test("a file of 0 bytes: read, map, copy, truncate, O_TRUNC")
def _():
    put(a("nil"))
    eq(get(a("nil")), b"")
    fd = opened("nil")
    eq(os.pread(fd, 10, 0), b"")
    eq(os.lseek(fd, 0, os.SEEK_END), 0)
    with raises(errno.ENXIO):
        os.lseek(fd, 0, os.SEEK_DATA)
    os.ftruncate(fd, 0)
    eq(os.write(fd, b""), 0)
    eq(os.copy_file_range(fd, fd, 0, 0, 0), 0)
    os.close(fd)
    eq(os.stat(b("nil")).st_size, 0)


@test("ioctls that ask: FIONREAD, FIBMAP, FS_IOC_GETFLAGS, FICLONE answer or say what is usual")
def _():
    put(a("io"), b"12345")
    fd = opened("io")
    os.lseek(fd, 2, os.SEEK_SET)
    eq(struct.unpack("i", fcntl.ioctl(fd, 0x541B, bytes(4)))[0], 3, "FIONREAD")
    for number, arg in ((0x80086601, bytes(8)), (0x40049409, fd)):
        try:
            fcntl.ioctl(fd, number, arg)
        except OSError as e:
            assert e.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV, errno.ENOSYS), e
    os.close(fd)


@test("descriptors by name: /proc/self/fd, O_RDWR of a renamed file")
def _():
    put(a("pr"), b"one")
    fd = opened("pr", os.O_RDONLY)
    os.rename(a("pr"), a("pr2"))
    eq(os.readlink(f"/proc/self/fd/{fd}"), a("pr2"))
    w = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    os.write(w, b"two")
    os.close(w)
    eq(os.pread(fd, 5, 0), b"two")
    os.close(fd)


@test("many small writes and reads by two processes through one file, in turn")
def _():
    put(a("turn"), bytes(4096))
    end, begin = os.pipe()
    back, forth = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            fd = opened("turn")
            for i in range(200):
                os.read(end, 1)
                eq(os.pread(fd, 4, i * 4), struct.pack("i", i))
                os.pwrite(fd, struct.pack("i", -i), i * 4)
                os.write(forth, b".")
            code = 0
        finally:
            os._exit(code)
    fd = opened("turn")
    for i in range(200):
        os.pwrite(fd, struct.pack("i", i), i * 4)
        os.write(begin, b".")
        os.read(back, 1)
        eq(os.pread(fd, 4, i * 4), struct.pack("i", -i))
    eq(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
    os.close(fd)


@test("mtime and ctime move with each write, ftruncate and mapped write, and stay after close")
def _():
    fd = opened("mt")
    last = os.fstat(fd).st_mtime_ns
    for what, function in (("write", lambda: os.write(fd, b"x")), ("pwrite", lambda: os.pwrite(fd, b"y", 0)),
                           ("ftruncate", lambda: os.ftruncate(fd, 10)),
                           ("ftruncate to the same size", lambda: os.ftruncate(fd, 10))):
        time.sleep(0.02)  # sleep: clocks of file systems tick every 4 ms
        function()
        s = os.fstat(fd)
        assert s.st_mtime_ns > last, f"{what} did not move mtime"
        assert s.st_ctime_ns >= s.st_mtime_ns, f"{what}: ctime is older"
        last = s.st_mtime_ns
    os.close(fd)
    s = os.stat(a("mt"))
    eq(s.st_mtime_ns, last, "after close")
    time.sleep(1.2)  # sleep: until the attributes are asked for anew
    eq(os.stat(a("mt")).st_mtime_ns, last, "a second later")


run()
