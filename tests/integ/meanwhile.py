"""Files that are opened while the link is down, replaced on the instance, and read when it is back.

meanwhile.py MOUNTED THERE DELAYPROXY CONTROL VASTFS

Who has one open gets the old bytes, or ESTALE, never a mix; who opens it then gets the new ones.
"""
import errno, json, os, random, subprocess, sys, time

here, there, tool, ctl, vastfs = sys.argv[1:]
KINDS = {"smaller": 700, "larger": 900_000, "as-large": 300_000, "empty": 0, "grown": 400_000}
# "looked": somebody opens the new one first
SIZES = {f"{kind}-{how}": size for kind, size in KINDS.items() for how in ("looked", "unseen")}


def proxy(*words):
    subprocess.run([tool, "--send", ctl, *words], check=True, stdout=subprocess.DEVNULL)


def connected():
    status = subprocess.run([vastfs, "status", "--json", os.path.dirname(here)], capture_output=True)
    return json.loads(status.stdout)["connected"]


def until(what):
    end = time.monotonic() + 40
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)  # sleep: between two looks


old, new = {}, {}
for name, size in SIZES.items():
    old[name] = random.randbytes(300_000)
    new[name] = (old[name] if "grown" in name else b"") + random.randbytes(size - 300_000 * ("grown" in name))
    with open(f"{there}/{name}", "wb") as f:
        f.write(old[name])
    os.utime(f.name, (1e9, 1e9))
os.stat(here), os.listdir(here)
until(lambda: sorted(os.listdir(here)) == sorted(SIZES))
for name in SIZES:
    with open(f"{here}/{name}", "rb") as f:
        assert f.read() == old[name]
proxy("refuse", "on")
proxy("cut")
until(lambda: not connected())
fds = {(name, part): os.open(f"{here}/{name}", os.O_RDONLY) for name in SIZES for part in (0, 1)}
for (name, part), fd in fds.items():
    if part:
        assert os.read(fd, 5000) == old[name][:5000]
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
for name in SIZES:
    with open(f"{there}/.new", "wb") as f:
        f.write(new[name])
    if "as-large" not in name:
        os.utime(f.name, (1.1e9, 1.1e9))
    os.rename(f.name, f"{there}/{name}")
proxy("refuse", "off")
until(connected)
for name in SIZES:
    if "looked" in name:
        until(lambda: os.stat(f"{here}/{name}").st_size == len(new[name]) and os.stat(f"{here}/{name}").st_mtime != 1e9)
        with open(f"{here}/{name}", "rb") as f:
            assert f.read() == new[name], name
for (name, part), fd in fds.items():
    got = b"" if not part else old[name][:5000]
    try:
        while more := os.read(fd, 100_000):
            got += more
        assert got == old[name], f"{name}, {part}: {len(got)} bytes, {got.count(0)} zeros, {got == new[name]}"
        told = "old"
    except OSError as error:
        told = errno.errorcode[error.errno]
        assert error.errno == errno.ESTALE and got == old[name][: len(got)], f"{name}, {part}: {error}"
    print(f"{name}, {part}: {told}")
for name in SIZES:
    until(lambda: open(f"{here}/{name}", "rb").read() == new[name])
