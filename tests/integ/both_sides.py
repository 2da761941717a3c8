"""Writers on the instance, readers on the mount: no reader ever sees a mix of versions, or one that was replaced longer
ago than R2 allows (a check at most a second old; a second more for a slow machine).

BOTH_SECONDS: for how long. BOTH_KILLS: the daemon is killed and mounted again meanwhile, so readers see errors too."""

import errno
import os
import random
import shutil
import threading
import time

from harness import MNT, REMOTE, run, test

FOLDER = "both-sides"
FILES = 24
SECONDS = float(os.environ.get("BOTH_SECONDS", 8))
KILLS = bool(os.environ.get("BOTH_KILLS"))
BOUND = 2.0
NAME_BOUND = 3.0  # of a file in a folder that was replaced: the folder's name is a check more (R1)
# What a program gets while the mount is gone, or dies under it.
GONE = {errno.ENOTCONN, errno.ECONNABORTED, errno.ENOENT, errno.EIO, errno.ESTALE}


class Versions:
    """What each file held, and when its version was complete."""

    def __init__(self):
        self.lock = threading.Lock()
        self.closed = {}  # name: [(time, version)], and sizes never tell versions apart

    def note(self, name, version):
        with self.lock:
            self.closed.setdefault(name, []).append((time.monotonic(), version))

    def oldest_allowed(self, name, opened, bound=BOUND):
        with self.lock:
            done = [v for when, v in self.closed.get(name, []) if when < opened - bound]
        return done[-1] if done else -1


def text(version, lines):
    return f"{version:07}\n".encode() * lines


def write(versions, seed, end, problems):
    rng = random.Random(seed)
    version = 0
    try:
        while time.monotonic() < end:
            name = f"{rng.randrange(FILES // 2) * 2 + seed:02}"
            path = f"{REMOTE}/{FOLDER}/{name}"
            version += 1
            how = rng.randrange(5)
            if how == 0:  # replaced, of another size
                with open(path + ".new", "wb") as f:
                    f.write(text(version, rng.randrange(1, 400)))
                os.rename(path + ".new", path)
            elif how == 1 and os.path.exists(path):  # in place, of the same size, within one page
                with open(path, "r+b", buffering=0) as f:
                    size = os.fstat(f.fileno()).st_size
                    if size <= 4096:
                        f.write(text(version, size // 8))
                    else:
                        continue
            elif how == 2:  # replaced by an old file, as tar and cp -p do
                with open(path + ".new", "wb") as f:
                    f.write(text(version, 100))
                os.utime(path + ".new", (time.time() - 5000 + version,) * 2)
                os.rename(path + ".new", path)
            elif how == 3 and os.path.exists(path):  # cut short; what is left is of one version still
                os.truncate(path, max(os.path.getsize(path) // 16 * 8, 8))
                continue
            else:
                with open(path + ".new", "wb") as f:
                    f.write(text(version, 100))
                os.rename(path + ".new", path)
            versions.note(name, version)
            time.sleep(rng.choice((0, 0.01, 0.05, 0.3)))  # sleep: a writer at work
    except OSError as error:
        problems.append(f"writer: {error}")


def replace_folder(versions, end, problems):
    """A folder with one file, replaced by another one with the same names, time and again."""
    there, version = f"{REMOTE}/{FOLDER}-moved", 0
    try:
        while time.monotonic() < end:
            version += 1
            os.mkdir(there + ".new")
            with open(there + ".new/file", "wb") as f:
                f.write(text(version, 10))
            if os.path.exists(there):
                os.rename(there, there + ".old")
            os.rename(there + ".new", there)
            versions.note("moved", version)
            shutil.rmtree(there + ".old", ignore_errors=True)
            time.sleep(0.2)  # sleep: a writer at work
    except OSError as error:
        problems.append(f"replacing a folder: {error}")


def read_moved(versions, end, problems):
    while time.monotonic() < end and not problems:
        opened = time.monotonic()
        try:
            with open(f"{MNT}/{FOLDER}-moved/file", "rb") as f:
                data = f.read()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE) and not (KILLS and error.errno in GONE):
                problems.append(f"a file in a folder that is replaced: {error}")
            time.sleep(0.05)  # sleep: between two looks
            continue
        seen, least = int(data[:7]), versions.oldest_allowed("moved", opened, NAME_BOUND)
        if seen < least:
            problems.append(f"folder {seen} though {least} was there {NAME_BOUND} s before")
        time.sleep(0.02)  # sleep: between two looks


def read(versions, seed, end, problems, counts):
    rng = random.Random(seed)
    while time.monotonic() < end and not problems:
        try:
            names = [n for n in os.listdir(f"{MNT}/{FOLDER}") if n.isdigit()]
        except OSError as error:
            if KILLS and error.errno in GONE:
                time.sleep(0.05)  # sleep: between two looks
                continue
            problems.append(f"listing: {error}")
            return
        if rng.randrange(2):
            rng.shuffle(names)
        for name in names:
            opened = time.monotonic()
            try:
                with open(f"{MNT}/{FOLDER}/{name}", "rb") as f:
                    data = f.read()
            except FileNotFoundError:
                continue
            except OSError as error:
                if KILLS and error.errno in GONE:
                    continue
                problems.append(f"{name}: {error}")
                return
            counts[0] += 1
            seen = set(data.split(b"\n")[:-1])
            least = versions.oldest_allowed(name, opened)
            if len(seen) != 1 or len(data) % 8:
                problems.append(f"{name}: a mix of {sorted(seen)}, {len(data)} bytes")
            elif int(next(iter(seen))) < least:
                problems.append(f"{name}: version {seen} though {least} was complete {BOUND} s before")


@test("readers here, writers there: no mix, nothing stale")
def both_sides():
    os.mkdir(f"{REMOTE}/{FOLDER}")
    versions, problems, counts = Versions(), [], [0]
    for i in range(FILES):
        with open(f"{REMOTE}/{FOLDER}/{i:02}", "wb") as f:
            f.write(text(0, 100))
        os.utime(f"{REMOTE}/{FOLDER}/{i:02}", (time.time() - 9999,) * 2)
        versions.note(f"{i:02}", 0)
    deadline = time.monotonic() + 10
    while not os.path.exists(f"{MNT}/{FOLDER}/{FILES - 1:02}") and time.monotonic() < deadline:
        time.sleep(0.05)  # sleep: between two looks
    end = time.monotonic() + SECONDS
    threads = [threading.Thread(target=write, args=(versions, i, end, problems)) for i in range(2)]
    threads.append(threading.Thread(target=replace_folder, args=(versions, end, problems)))
    threads.append(threading.Thread(target=read_moved, args=(versions, end, problems)))
    threads += [threading.Thread(target=read, args=(versions, i, end, problems, counts)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[:3]
    assert counts[0] > 50, f"only {counts[0]} reads"


run()
