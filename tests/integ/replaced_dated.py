"""Files with times of long ago that the instance replaces while they are read here, in pieces, a moment after they were
looked at, so that they may be opened without asking: who reads gets one version, all of it.

replaced_dated.py MOUNTED THERE ROUNDS
"""
import os, sys, threading, time

here, there, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
SIZES = [300_000, 700, 290_000, 700_000]
LONG_AGO = int(time.time()) - 100_000


def version(n):
    return b"%07d|" % n * (SIZES[n % len(SIZES)] // 8)


def put(n):
    with open(there + "/.new", "wb") as f:
        f.write(version(n))
    os.utime(there + "/.new", (LONG_AGO + n, LONG_AGO + n))
    os.rename(there + "/.new", there + "/dated")


def read():
    got = b""
    with open(here + "/dated", "rb", buffering=0) as f:
        while part := f.read(60_000):
            got += part
            time.sleep(0.001)  # sleep: the replacement comes at any time of a read
    return got


def check(got, n):
    number = int(got[:7] or b"-1")
    if got != version(number):
        wrong.append(f"round {n}: {len(got)} bytes that begin as version {number} of {len(version(number))}")


wrong = []
put(0)
for n in range(1, rounds):
    check(read(), n)  # it is known now
    reader = threading.Thread(target=lambda: check(read(), n))
    reader.start()
    time.sleep(n % 5 / 1000)  # sleep: as above
    put(n)
    reader.join()
print("\n".join(wrong))
sys.exit(1 if wrong else 0)
