"""A file that the instance replaces many times a second, on a busy machine: each read gives one version, all of it.

replaced_often.py MOUNTED THERE SECONDS
"""
import os, random, signal, sys, threading, time

here, there, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])


def version(n):
    return b"%07d|" % n + random.Random(n).randbytes(500 + n * 7919 % 60000)


def replace():
    global latest
    while not over:
        with open(there + "/.new", "wb") as f:
            f.write(version(latest + 1))
        os.rename(there + "/.new", there + "/often")
        latest += 1
        time.sleep(random.random() * 0.05)  # sleep: at any time of a read


def look():
    while not over:
        os.listdir(here)
        os.stat(here + "/often")
        time.sleep(0.003)  # sleep: between two looks


hogs = []
for _ in range(4):
    pid = os.fork()
    if not pid:
        end = time.time() + 2 * seconds
        while time.time() < end:
            pass
        os._exit(0)
    hogs.append(pid)
latest, over, wrong, reads = 0, False, 0, 0
with open(there + "/often", "wb") as f:
    f.write(version(0))
threads = [threading.Thread(target=replace), threading.Thread(target=look)]
for thread in threads:
    thread.start()
end = time.time() + seconds
try:
    while time.time() < end:
        with open(here + "/often", "rb") as f:
            got = f.read()
        reads += 1
        whole = version(int(got[:7] or b"-1"))
        if got != whole:
            wrong += 1
            print(f"{len(got)} bytes that begin as those of a version of {len(whole)}")
finally:
    over = True
    for thread in threads:
        thread.join()
    for pid in hogs:
        os.kill(pid, signal.SIGKILL)
print(f"{reads} reads, {wrong} of them wrong")
sys.exit(1 if wrong or not reads else 0)
