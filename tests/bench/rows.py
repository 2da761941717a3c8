"""The table of rows, and the files that they work on."""
import os
import random
import time

from mounts import run

rows = []


def row(name, words, unit="s", rtt=None):
    def keep(function):
        rows.append((name, words, unit, rtt, function))
        return function
    return keep


def small_tree(path, files):
    "Files of 1 to 15 KiB, 20 to a folder."
    if os.path.isdir(path):
        return path
    rnd = random.Random(files)
    for n in range(files):
        folder = f"{path}/d{n // 20 // 10}/e{n // 20}"
        if n % 20 == 0:
            os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/f{n}.txt", "wb") as f:
            f.write(rnd.randbytes(rnd.randrange(1024, 15 * 1024)))
    # a file that changed just now is trusted by nobody
    run(["find", path, "-exec", "touch", "-d", "1 hour ago", "{}", "+"])
    return path


def big_file(path, size):
    if not os.path.exists(path) or os.path.getsize(path) != size:
        with open(path, "wb") as f:
            block = os.urandom(1 << 20)
            for n in range(size >> 20):
                f.write(n.to_bytes(8, "big") + block[8:])
        os.utime(path, (time.time() - 3600,) * 2)
    with open(path, "rb") as f:
        while f.read(1 << 20):
            pass
    return path


class Scaled(float):
    pass


def with_tree(function):
    """A row about many small files: function(tool, files) is tried with some of them first; if all would take too long at that
    rate, the figure is what the rate gives."""
    def measured(tool, sizes):
        if tool in ("vastfs", "tar", "local"):  # nothing is waited for
            return function(tool, sizes.files)
        half, some = function(tool, sizes.slow_files // 2), function(tool, sizes.slow_files)
        if some is not None:
            each = max(some - half, 0) / (sizes.slow_files - sizes.slow_files // 2)
            projected = some + each * (sizes.files - sizes.slow_files)
            if projected > sizes.patience:
                return Scaled(projected)
        return function(tool, sizes.files)
    return measured
