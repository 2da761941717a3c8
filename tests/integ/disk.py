"""The disk cache against kill -9 and a writer on the instance.

Files hold one version, repeated to their end: version n is written in place, or by rename, with the same size as often
as not, several times a second. A reader that opens a file must see one version in all of it, not older than the last
one that was closed on the instance before the open (R2, with the second that a check may be old). Meanwhile the mount
is killed and made again at random times.
"""
import random
import subprocess
import threading

from harness import *

SIZES = (3000, 70000, 400000)
BUILD = os.environ["BUILD"]


def version(number, size):
    line = b"%09d\n" % number
    return (line * (size // 10 + 1))[:size]


class Writer(threading.Thread):
    "Makes versions; closed[name] is a list of (time at which it was closed, number)."

    def __init__(self, names):
        super().__init__(daemon=True)
        self.names, self.over = names, False
        self.closed = {name: [] for name in names}
        self.begun = {name: 0 for name in names}

    def write(self, name, number, rng):
        self.begun[name] = number
        data = version(number, rng.choice(SIZES) if rng.random() < 0.5 else SIZES[1])
        if rng.random() < 0.5:
            put(r("dk", name + ".tmp"), data)
            os.rename(r("dk", name + ".tmp"), r("dk", name))
        else:
            with open(r("dk", name), "r+b") as f:
                f.truncate(0)
                f.write(data)
        self.closed[name].append((time.monotonic(), number))

    def run(self):
        rng, number = random.Random(7), 1
        while not self.over:
            for name in self.names:
                if rng.random() < 0.4:
                    number += 1
                    self.write(name, number, rng)
            time.sleep(rng.choice((0.02, 0.1, 0.3, 2.5)))  # sleep: bursts, and pauses in which files settle


def mount():
    subprocess.run([BUILD + "/mount.vastfs", "-o", "cache_dir=" + W + "/dk-cache", "gpu", MNT], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, start_new_session=True)


def daemon():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = get(f"/proc/{pid}/cmdline").split(b"\0")
            if MNT.encode() in words and b"mount.vastfs" in words[0]:
                return int(pid)
    raise AssertionError("no daemon")


def kill():
    pid = daemon()
    os.kill(pid, signal.SIGKILL)
    subprocess.run(["umount", "-l", MNT], check=True)
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.01)  # sleep: polls


def look(writer, name):
    "One open, read and judgement. True if the file was read."
    begin = time.monotonic()
    try:
        with open(m("dk", name), "rb") as f:
            data = f.read()
    except OSError as e:
        assert e.errno in (errno.ENOENT, errno.ESTALE, errno.ENOTCONN, errno.EIO), e
        return False
    closed = [number for when, number in list(writer.closed[name]) if when < begin - 1.1]
    # In place, a version is being written while it is read: that is no mix of the cache's making.
    if not data or begin - writer.closed[name][-1][0] < 1.1 or writer.begun[name] != writer.closed[name][-1][1]:
        return False
    number = int(data[:9])
    eq(data == version(number, len(data)), True, f"{name}: one version in all of it, {number}:")
    assert number >= closed[-1], f"{name}: version {number}, but {closed[-1]} was closed before the open"
    return True


@test("kill -9 at random times, with a writer on the instance: no stale version, no mix", vastfs_only=True)
def _():
    shutil.rmtree(r("dk"), ignore_errors=True)
    os.makedirs(r("dk"))
    names = [f"f{i}" for i in range(6)]
    writer = Writer(names)
    for name in names:
        put(r("dk", name), version(1, SIZES[1]))
        writer.closed[name].append((time.monotonic(), 1))
    rng, looks, end = random.Random(11), 0, time.monotonic() + 25
    writer.start()
    while time.monotonic() < end:
        mount()
        life = time.monotonic() + rng.uniform(0.2, 4)
        while time.monotonic() < life:
            looks += look(writer, rng.choice(names))
        kill()
    writer.over = True
    writer.join()
    print(f"{looks} looks")
    assert looks >= 50, f"only {looks} looks"
    mount()
    for name in names:
        eq(get(m("dk", name)), get(r("dk", name)))
    subprocess.run(["fusermount3", "-u", MNT], check=True)


run()
