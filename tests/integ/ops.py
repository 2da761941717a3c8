"Files' contents: open, read, write, truncate, append, mmap, fallocate, seek, unlink while open."
import ctypes
import errno
import hashlib
import mmap
import os
import random

from harness import call, clean, eq, get, in_child, libc, m, put, r, raises, run, seen, test

clean("ops")


def a(name):
    return m("ops", name)


def b(name):
    return r("ops", name)


@test("create, write, close: the server has it")
def _():
    put(a("new"), b"hello\n")
    eq(get(b("new")), b"hello\n")
    eq(get(a("new")), b"hello\n")
    eq(os.stat(a("new")).st_size, 6)


@test("an empty file")
def _():
    put(a("empty"))
    eq(os.stat(b("empty")).st_size, 0)
    eq(get(a("empty")), b"")


@test("what one descriptor writes, another reads at once")
def _():
    w = os.open(a("two"), os.O_RDWR | os.O_CREAT, 0o644)
    reader = os.open(a("two"), os.O_RDONLY)
    for i in range(20):
        os.write(w, b"%04d" % i)
        eq(os.fstat(reader).st_size, 4 * (i + 1), "size")
        eq(os.stat(a("two")).st_size, 4 * (i + 1), "size by name")
        eq(os.pread(reader, 4, 4 * i), b"%04d" % i)
    os.close(w)
    eq(in_child(lambda: get(a("two"))[-4:] != b"0019"), 0)
    os.close(reader)
    eq(get(b("two")), b"".join(b"%04d" % i for i in range(20)))


@test("writes at random offsets give the same file as a local one")
def _():
    rnd = random.Random(7)
    size = 3_000_000
    image = bytearray(size)
    fd = os.open(a("random"), os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(fd, size)
    for _ in range(300):
        at, n = rnd.randrange(size - 70000), rnd.choice([1, 7, 512, 4096, 5000, 65536])
        data = rnd.randbytes(n)
        os.pwrite(fd, data, at)
        image[at:at + n] = data
        at = rnd.randrange(size - 9000)
        eq(os.pread(fd, 9000, at) == bytes(image[at:at + 9000]), True, "read back")
    os.fsync(fd)
    eq(get(b("random")) == bytes(image), True, "the server's copy")
    os.close(fd)
    eq(get(a("random")) == bytes(image), True, "our copy")


@test("fsync returns when the server has the data")
def _():
    fd = os.open(a("synced"), os.O_WRONLY | os.O_CREAT, 0o644)
    for i in range(5):
        os.write(fd, b"%d" % i * 100000)
        os.fsync(fd)
        eq(os.stat(b("synced")).st_size, 100000 * (i + 1), "the server's size")
    os.fdatasync(fd)
    os.close(fd)
    eq(hashlib.sha256(get(b("synced"))).digest(),
       hashlib.sha256(b"".join(b"%d" % i * 100000 for i in range(5))).digest())


@test("holes read as zeros")
def _():
    fd = os.open(a("hole"), os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(fd, b"end", 1_000_000)
    eq(os.pread(fd, 10, 500_000), bytes(10))
    os.close(fd)
    eq(get(b("hole")) == bytes(1_000_000) + b"end", True)


@test("truncate by name and by descriptor, shorter and longer")
def _():
    put(a("cut"), b"0123456789" * 10000)
    os.truncate(a("cut"), 25)
    eq(get(b("cut")), (b"0123456789" * 3)[:25])
    eq(get(a("cut")), (b"0123456789" * 3)[:25])
    fd = os.open(a("cut"), os.O_RDWR)
    os.ftruncate(fd, 5)
    eq(os.pread(fd, 100, 0), b"01234")
    os.ftruncate(fd, 100_000)
    eq(os.pread(fd, 10, 0), b"01234" + bytes(5))
    eq(os.fstat(fd).st_size, 100_000)
    os.pwrite(fd, b"z", 99_999)
    os.ftruncate(fd, 99_999)
    os.close(fd)
    eq(get(b("cut")) == b"01234" + bytes(99_994), True)
    eq(get(a("cut")) == b"01234" + bytes(99_994), True)


@test("truncate while written data is not sent yet")
def _():
    fd = os.open(a("cut2"), os.O_RDWR | os.O_CREAT, 0o644)
    os.write(fd, b"x" * 50_000)
    os.ftruncate(fd, 10_000)
    os.pwrite(fd, b"y" * 10, 20_000)
    os.close(fd)
    eq(get(b("cut2")) == b"x" * 10_000 + bytes(10_000) + b"y" * 10, True)


@test("O_TRUNC")
def _():
    put(a("trunc"), b"long content")
    fd = os.open(a("trunc"), os.O_WRONLY | os.O_TRUNC)
    eq(os.stat(b("trunc")).st_size, 0, "the server's size")
    os.write(fd, b"new")
    os.close(fd)
    eq(get(b("trunc")), b"new")
    eq(get(a("trunc")), b"new")


@test("O_APPEND appends, also after a seek and with two descriptors")
def _():
    put(a("log"), b"0\n")
    one = os.open(a("log"), os.O_RDWR | os.O_APPEND)
    two = os.open(a("log"), os.O_WRONLY | os.O_APPEND)
    os.lseek(one, 0, os.SEEK_SET)
    os.write(one, b"1\n")
    os.write(two, b"2\n")
    os.write(one, b"3\n")
    os.close(one)
    os.close(two)
    eq(get(b("log")), b"0\n1\n2\n3\n")
    eq(get(a("log")), b"0\n1\n2\n3\n")


@test("O_APPEND goes to the server's end of file, which others moved")
def _():
    put(b("shared-log"), b"theirs 1\n")
    fd = os.open(seen("ops", "shared-log"), os.O_WRONLY | os.O_APPEND)
    with open(b("shared-log"), "ab") as f:
        f.write(b"theirs 2\n")
    os.write(fd, b"ours\n")
    os.close(fd)
    eq(get(b("shared-log")), b"theirs 1\ntheirs 2\nours\n")


@test("O_EXCL refuses a file that is there, on either side")
def _():
    put(a("excl"), b"1")
    with raises(errno.EEXIST):
        os.open(a("excl"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    put(b("excl-there"), b"1")
    with raises(errno.EEXIST):
        os.open(a("excl-there"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    eq(get(b("excl-there")), b"1")


@test("O_EXCL refuses a file made on the server after we saw that there was none")
def _():
    eq(os.path.exists(a("excl-late")), False)
    put(b("excl-late"), b"theirs")
    with raises(errno.EEXIST):
        os.open(a("excl-late"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    eq(get(b("excl-late")), b"theirs")


@test("O_CREAT without O_EXCL opens what is there")
def _():
    put(b("there"), b"content")
    fd = os.open(seen("ops", "there"), os.O_RDWR | os.O_CREAT, 0o600)
    eq(os.read(fd, 100), b"content")
    os.close(fd)


@test("a file created read-only can be written by its creator")
def _():
    fd = os.open(a("ro"), os.O_RDWR | os.O_CREAT, 0o400)
    os.write(fd, b"data")
    os.close(fd)
    eq(get(b("ro")), b"data")
    eq(os.stat(b("ro")).st_mode & 0o7777, 0o400)


@test("unlink of an open file: reading and writing go on, the name is gone")
def _():
    put(a("doomed"), b"old" * 100_000)
    fd = os.open(a("doomed"), os.O_RDWR)
    os.unlink(a("doomed"))
    eq(os.path.exists(a("doomed")), False)
    eq(os.path.lexists(b("doomed")), False)
    eq([n for n in os.listdir(r("ops")) if "hidden" in n or "nfs" in n], [])
    eq(os.pread(fd, 6, 299_994), b"oldold")
    os.pwrite(fd, b"NEW", 300_000)
    os.fsync(fd)
    eq(os.pread(fd, 10, 299_997), b"oldNEW")
    eq(os.fstat(fd).st_size, 300_003)
    eq(os.fstat(fd).st_nlink, 0, "link count")
    os.ftruncate(fd, 3)
    eq(os.pread(fd, 10, 0), b"old")
    os.close(fd)


@test("unlink of a new file with unsent data, and a new one of its name")
def _():
    fd = os.open(a("reborn"), os.O_RDWR | os.O_CREAT, 0o644)
    os.write(fd, b"first")
    os.unlink(a("reborn"))
    put(a("reborn"), b"second")
    eq(os.pread(fd, 10, 0), b"first")
    os.close(fd)
    eq(get(b("reborn")), b"second")
    eq(get(a("reborn")), b"second")


@test("mmap shared: changes reach the server")
def _():
    put(a("map"), bytes(100_000))
    fd = os.open(a("map"), os.O_RDWR)
    with mmap.mmap(fd, 100_000) as area:
        area[5:10] = b"early"
        area[90_000:90_004] = b"late"
        area.flush()
        eq(get(b("map"))[5:10], b"early", "after msync")
        area[20:25] = b"after"
    os.close(fd)
    eq(get(b("map"))[20:25], b"after", "after munmap and close")
    eq(get(b("map"))[90_000:90_004], b"late")


@test("mmap shared: two processes see each other's changes")
def _():
    put(a("map2"), bytes(8192))
    fd = os.open(a("map2"), os.O_RDWR)
    with mmap.mmap(fd, 8192) as area:
        def other():
            f = os.open(a("map2"), os.O_RDWR)
            with mmap.mmap(f, 8192) as mine:
                mine[4096] = 77
        eq(in_child(other), 0)
        eq(area[4096], 77)
    os.close(fd)


@test("mmap private: changes stay here")
def _():
    put(a("private"), b"a" * 10_000)
    fd = os.open(a("private"), os.O_RDONLY)
    with mmap.mmap(fd, 10_000, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as area:
        area[0:5] = b"mine!"
        eq(area[0:6], b"mine!a")
    os.close(fd)
    eq(get(b("private"))[:6], b"aaaaaa")


@test("mmap read of a large file, from several places")
def _():
    data = random.Random(3).randbytes(4_000_000)
    put(b("big"), data)
    fd = os.open(seen("ops", "big"), os.O_RDONLY)
    with mmap.mmap(fd, len(data), prot=mmap.PROT_READ) as area:
        for at in (3_999_000, 0, 2_000_000, 1_234_567):
            eq(area[at:at + 1000] == data[at:at + 1000], True, f"at {at}")
        eq(hashlib.sha256(area).digest(), hashlib.sha256(data).digest())
    os.close(fd)


@test("fallocate in mode 0 makes room; punching holes is refused, not faked")
def _():
    put(a("room"), b"data")
    fd = os.open(a("room"), os.O_RDWR)
    os.posix_fallocate(fd, 0, 50_000)
    eq(os.stat(a("room")).st_size, 50_000)
    eq(os.stat(b("room")).st_size, 50_000, "the server's size")
    eq(os.pread(fd, 6, 0), b"data\0\0")
    os.posix_fallocate(fd, 0, 10)
    eq(os.fstat(fd).st_size, 50_000, "a smaller fallocate")
    with raises(errno.EOPNOTSUPP):
        call(libc.fallocate(fd, 3, ctypes.c_long(0), ctypes.c_long(4096)))
    eq(os.pread(fd, 4, 0), b"data")
    os.close(fd)


@test("lseek: SET, CUR, END, and DATA and HOLE as far as they are known")
def _():
    put(a("seek"), b"0123456789" * 1000)
    fd = os.open(a("seek"), os.O_RDONLY)
    eq(os.lseek(fd, 0, os.SEEK_END), 10_000)
    eq(os.lseek(fd, -5, os.SEEK_CUR), 9_995)
    eq(os.read(fd, 100), b"56789")
    eq(os.read(fd, 100), b"", "at the end")
    eq(os.lseek(fd, 3, os.SEEK_SET), 3)
    eq(os.lseek(fd, 0, os.SEEK_DATA), 0)
    eq(os.lseek(fd, 0, os.SEEK_HOLE), 10_000)
    with raises(errno.ENXIO):
        os.lseek(fd, 20_000, os.SEEK_DATA)
    os.close(fd)


@test("reading past the end")
def _():
    put(a("short"), b"12345")
    fd = os.open(a("short"), os.O_RDONLY)
    eq(os.pread(fd, 100, 3), b"45")
    eq(os.pread(fd, 100, 5), b"")
    eq(os.pread(fd, 100, 5_000_000), b"")
    os.close(fd)


@test("one byte more than each power of two")
def _():
    data = random.Random(5).randbytes((1 << 20) + 1)
    for shift in range(0, 21):
        n = (1 << shift) + 1
        put(a("power"), data[:n])
        eq(get(b("power")) == data[:n], True, f"{n} bytes up")
        put(b("power2-%d" % shift), data[:n])
    seen("ops", "power2-20")
    for shift in range(0, 21):
        n = (1 << shift) + 1
        eq(get(a("power2-%d" % shift)) == data[:n], True, f"{n} bytes down")


@test("a descriptor survives chmod 000 and rename of its file")
def _():
    fd = os.open(a("kept"), os.O_RDWR | os.O_CREAT, 0o644)
    os.write(fd, b"one")
    os.chmod(a("kept"), 0)
    os.rename(a("kept"), a("moved"))
    os.write(fd, b"two")
    os.fsync(fd)
    eq(os.pread(fd, 10, 0), b"onetwo")
    os.close(fd)
    os.chmod(a("moved"), 0o644)
    eq(get(b("moved")), b"onetwo")
    eq(os.path.lexists(b("kept")), False)


@test("rename over an open file: the descriptor keeps the old content")
def _():
    put(a("target"), b"old content")
    fd = os.open(a("target"), os.O_RDONLY)
    put(a("source"), b"new")
    os.rename(a("source"), a("target"))
    eq(os.pread(fd, 100, 0), b"old content")
    eq(os.fstat(fd).st_size, 11)
    eq(get(a("target")), b"new")
    eq(os.stat(a("target")).st_size, 3)
    os.close(fd)
    eq(get(b("target")), b"new")


@test("data before the rename of its file")
def _():
    fd = os.open(a("tmp~"), os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(fd, b"saved" * 1000)
    os.rename(a("tmp~"), a("saved"))
    os.close(fd)
    eq(get(b("saved")), b"saved" * 1000)


@test("a write through a read-only descriptor is refused, and a read through a write-only one")
def _():
    put(a("modes"), b"x")
    fd = os.open(a("modes"), os.O_RDONLY)
    with raises(errno.EBADF):
        os.write(fd, b"y")
    os.close(fd)
    fd = os.open(a("modes"), os.O_WRONLY)
    with raises(errno.EBADF):
        os.read(fd, 1)
    # half a page, so that the page must be read although the file is open for writing only
    os.pwrite(fd, b"middle", 2)
    os.close(fd)
    eq(get(b("modes")), b"x\0middle")


@test("sendfile and copy_file_range give the same bytes")
def _():
    data = random.Random(9).randbytes(700_000)
    put(a("from"), data)
    src, dst = os.open(a("from"), os.O_RDONLY), os.open(a("to"), os.O_WRONLY | os.O_CREAT, 0o644)
    at = 0
    while at < len(data):
        n = os.sendfile(dst, src, at, len(data) - at)
        assert n > 0
        at += n
    os.close(dst)
    eq(get(b("to")) == data, True, "sendfile")
    dst = os.open(a("to2"), os.O_WRONLY | os.O_CREAT, 0o644)
    at = 0
    while at < len(data) - 1000:
        n = os.copy_file_range(src, dst, len(data) - 1000 - at, at + 1000, at)
        assert n > 0
        at += n
    os.close(dst)
    os.close(src)
    eq(get(b("to2")) == data[1000:], True, "copy_file_range")
    eq(get(a("to2")) == data[1000:], True, "copy_file_range, here")


run()
