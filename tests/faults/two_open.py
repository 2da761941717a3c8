"""Two open files of one inode, and a link that is lost: what the one writes through its new connection is no reason for
the other to take the file for another one; a file that was replaced there meanwhile is.

two_open.py MNT REMOTE VASTFS DELAYPROXY CONTROL
"""
import errno, json, os, subprocess, sys, time

mnt, remote, vastfs, tool, ctl = sys.argv[1:]
OLD = b"old!" * 100_000


def proxy(*words):
    subprocess.run([tool, "--send", ctl, *words], check=True, stdout=subprocess.DEVNULL)


def until(what, condition):
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)  # sleep: between two looks


def opened(name, *flags):
    with open(f"{remote}/{name}", "wb") as f:
        f.write(OLD)
    os.utime(f"{remote}/{name}", (1e9, 1e9))
    until("it is seen", lambda: os.path.exists(f"{mnt}/{name}"))
    return [os.open(f"{mnt}/{name}", how) for how in flags]


def connected():
    return json.loads(subprocess.run([vastfs, "status", "--json", mnt], check=True, capture_output=True).stdout)["connected"]


def lose():
    """And it is noticed: what is sent until then may have been done."""
    until("the link is up", lambda: looked() and connected())
    proxy("refuse", "on")
    proxy("cut")
    until("the loss is noticed", lambda: not connected())


def looked():
    """A program that waits makes for a soon reconnection."""
    os.path.exists(f"{mnt}/none-{time.monotonic()}")
    return True


def fresh(fd, at):
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return os.pread(fd, 4, at)


def errno_of(call):
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno]
    return None


def resumed():
    """The writer's first request has gone out, the rest of what it wrote is still here: nobody has looked again."""
    w, r, r2 = opened("two", os.O_RDWR, os.O_RDONLY, os.O_RDWR)
    lose()
    os.pwrite(w, b"mine" * 90_000, 0)
    proxy("refuse", "off")
    until("the writer goes on", lambda: looked() and os.stat(f"{remote}/two").st_mtime > 1e9)
    assert fresh(r, 390_000) == b"old!"
    assert os.pwrite(r2, b"also", 380_000) == 4
    # and once more, with those writes on their way
    lose()
    os.pwrite(w, b"MINE" * 100_000, 0)
    proxy("refuse", "off")
    os.fsync(r2)
    assert fresh(r, 380_000) in (b"MINE", b"also")
    os.fsync(w)
    assert fresh(r, 390_000) == b"MINE"
    for fd in (w, r, r2):
        os.close(fd)


def truncated():
    """The size is set by the file's name while the link is away."""
    w, r = opened("cut", os.O_RDWR, os.O_RDONLY)
    lose()
    child = os.fork()
    if not child:
        os.truncate(f"{mnt}/cut", 200_000)
        os._exit(0)
    proxy("refuse", "off")
    until("it is truncated", lambda: os.stat(f"{remote}/cut").st_size == 200_000)
    assert fresh(r, 190_000) == b"old!"
    assert os.waitpid(child, 0)[1] == 0
    assert os.pwrite(w, b"mine", 100) == 4
    os.fsync(w)
    for fd in (w, r):
        os.close(fd)


def replaced():
    w, r = opened("other", os.O_RDWR, os.O_RDONLY)
    lose()
    with open(f"{remote}/other.new", "wb") as f:
        f.write(b"new?" * 100_000)
    os.rename(f"{remote}/other.new", f"{remote}/other")
    os.pwrite(w, b"mine" * 90_000, 0)
    proxy("refuse", "off")
    assert errno_of(lambda: os.fsync(w)) == "ESTALE"
    assert errno_of(lambda: fresh(r, 390_000)) == "ESTALE"
    for fd in (w, r):
        errno_of(lambda: os.close(fd))
    with open(f"{remote}/other", "rb") as f:
        assert f.read() == b"new?" * 100_000


for case in (resumed, truncated, replaced):
    print(case.__name__, flush=True)
    case()
