"""Files that the instance replaces while they are read here: who reads gets one version, all of it.

replaced.py MOUNTED THERE ROUNDS
"""
import os, sys, threading, time

here, there, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
SIZES = [90_000, 700]


def version(n):
    return b"%07d|" % n * (SIZES[n % 2] // 8)


def put(n):
    with open(there + "/.new", "wb") as f:
        f.write(version(n))
    os.rename(there + "/.new", there + "/file")


def read():
    fd = os.open(here + "/file", os.O_RDONLY)
    try:
        got = b""
        while part := os.read(fd, 1 << 20):
            got += part
    finally:
        os.close(fd)
    number = int(got[:7] or b"-1")
    if got != version(number):
        wrong.append(f"{len(got)} bytes that begin as version {number} of {len(version(number))}, {got.count(0)} of them zeros")


def look(pause):
    while not over:
        os.stat(here + "/file")
        os.listdir(here)
        time.sleep(pause)  # sleep: between two looks


wrong, over = [], False
put(0)
lookers = [threading.Thread(target=look, args=(pause,)) for pause in (0.005, 0.0007, 0)]
for looker in lookers:
    looker.start()
for n in range(1, rounds):
    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(n % 12 / 100)  # sleep: the replacement comes at any time of a read
    put(n)
    reader.join()
over = True
for looker in lookers:
    looker.join()
print("\n".join(wrong))
sys.exit(1 if wrong else 0)
