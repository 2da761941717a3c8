"""fsync'ed data, for when both sides lose their power.

    power.py work MOUNT-FOLDER TOLD    writes and fsyncs until the mount dies; TOLD gets a line for each fsync that succeeded
    power.py look FOLDER TOLD          all that was fsynced is in the folder
"""
import os, random, sys

BLOCK, BLOCKS = 4096, 64


def block(at, version):
    return b"%08d %08d\n" % (at, version) * (BLOCK // 18) + b"." * (BLOCK % 18)


def work(folder, told):
    rnd, version = random.Random(1), 0
    log = os.open(folder + "/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    base = os.open(folder + "/base", os.O_RDWR | os.O_CREAT)
    with open(told, "w", buffering=1) as out:
        try:
            while True:
                version += 1
                changed = rnd.sample(range(BLOCKS), 4)
                for at in changed:
                    os.pwrite(base, block(at, version), at * BLOCK)
                os.fsync(base)
                out.write("".join(f"base {at} {version}\n" for at in changed))
                os.write(log, b"line %d\n" % version)
                os.fsync(log)
                out.write(f"log 0 {version}\n")
        except OSError as error:
            print("ended after", version, "rounds:", error)


def look(folder, told):
    lines, base = 0, {}
    with open(told) as f:
        for line in f.read().splitlines():
            what, at, version = line.split()
            if what == "log":
                lines = int(version)
            else:
                base[int(at)] = int(version)
    assert lines > 5, lines
    with open(folder + "/log", "rb") as f:
        got = f.read().splitlines(keepends=True)
    for n in range(lines):
        assert got[n] == b"line %d\n" % (n + 1), (n, got[n])
    with open(folder + "/base", "rb") as f:
        data = f.read()
    for at, version in base.items():
        # one that was on its way later may be newer, or torn, but not older
        found = data[at * BLOCK:(at + 1) * BLOCK].split(b"\n")[:-1]
        assert all(int(line.split()[0]) == at and int(line.split()[1]) >= version for line in found), (at, version, found[:2])
        assert len(found) == BLOCK // 18, (at, found)
    print(lines, "rounds were fsynced, and are there")


{"work": work, "look": look}[sys.argv[1]](*sys.argv[2:])
