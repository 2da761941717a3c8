"""The measurements behind tests/bench/run, which sets up the server, the proxy and the environment. One thread; each row is a
function (tool, sizes) that returns a figure or None where the tool can't do it. Those of trees and large files: transfers.py."""
import argparse
import csv
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time

import plot
import transfers
from mounts import ALL_TOOLS, E, MNT, MOUNTS, REMOTE, W, cold, mount, proxy, quiet, run, timed, unmount
from rows import Scaled, big_file, row, rows, small_tree

# What --quick leaves out: what takes long and tells little. sshfs keeps nothing on the disk; rclone waits for nothing in a save,
# and for each file of a tree, as cp -r shows.
SMALL_WRITES = {name + suffix for name in ("lines", "pages", "sqlite", "wal") for suffix in ("", "0")}
OTHER_WRITES = {"upcp", "untar", "clone", "fsync"}  # tell in small what up and write do
NOT_QUICK = {"rclone": {"find", "grep", "rm", "save", "again", "memory"}, "sshfs": {"again", "remount"}, "local": {"again"}}
PLOTTED = ("down", "find", "grep", "read")
PLOTTED_RTTS = [0, 10, 50, 100, 200]
args = None


class Sizes:
    def __init__(self, quick):
        self.files = 400 if quick else 2000
        self.slow_files = 6 if quick else 100  # for tools that wait for each file
        self.patience = 6 if quick else 150  # seconds that a run with all files may take
        self.cloned = 300 if quick else 3000
        self.big = (64 if quick else 1024) << 20
        self.slow_big = (16 if quick else 256) << 20
        self.zero = (256 if quick else 1024) << 20
        self.names = 10_000 if quick else 1_000_000


# --- rows --------------------------------------------------------------------

@row("save", "editor save: temporary file, fsync, rename", "round trips")
def _(tool, sizes):
    if tool not in MOUNTS:
        return None
    cold(tool)
    doc = f"{MNT}/document"
    with open(doc, "w"):
        pass
    taken = []
    for _n in range(5):
        time.sleep(0.3)  # sleep: an isolated save
        begin = time.monotonic()
        fd = os.open(doc + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, b"text" * 1000)
        os.fsync(fd)
        os.close(fd)
        os.rename(doc + ".tmp", doc)
        taken.append(time.monotonic() - begin)
    return statistics.median(taken) / (args.rtt / 1000)


def small_writes(tool, work):
    "Seconds that work(folder) takes, with all of it on the server."
    if tool not in MOUNTS:
        return None
    shutil.rmtree(f"{REMOTE}/small-writes", ignore_errors=True)
    os.mkdir(f"{REMOTE}/small-writes")
    with open(f"{REMOTE}/small-writes/pages", "wb") as f:
        f.write(os.urandom(16 << 20))
    cold(tool)
    return timed(lambda: work(f"{MNT}/small-writes"))


def append_lines(folder):
    with open(f"{folder}/log", "ab", buffering=0) as f:
        for n in range(5000):
            f.write(b"%-79d\n" % n)
        os.fsync(f.fileno())


def write_pages(folder):
    rnd = random.Random(1)
    with open(f"{folder}/pages", "r+b", buffering=0) as f:
        for _n in range(2000):
            f.seek(rnd.randrange(4096) * 4096)
            f.write(bytes(4096))
        os.fsync(f.fileno())


def transactions(mode):
    def work(folder):
        db = sqlite3.connect(f"{folder}/db-{mode}", isolation_level=None)
        if mode == "WAL":  # without shared memory, which sshfs has not
            db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute(f"PRAGMA journal_mode={mode}")
        db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        for n in range(20):
            db.execute("INSERT INTO t VALUES (?, ?)", (n, "text" * 50))
        db.close()
    return work


for _rtt in (None, 0):
    _where, _suffix = ("", "") if _rtt is None else (" without delay", "0")
    for _name, _words, _work in (
            ("lines", "5,000 lines of 80 bytes appended, fsync", append_lines),
            ("pages", "2,000 blocks of 4 KiB at random, fsync", write_pages),
            ("sqlite", "20 transactions of SQLite", transactions("DELETE")),
            ("wal", "20 transactions of SQLite, WAL", transactions("WAL"))):
        row(_name + _suffix, _words + _where, "s", _rtt)(lambda tool, _sizes, work=_work: small_writes(tool, work))


def again_tree():
    "A tree on the local disk, with a git repository in it."
    files = 20 if args.quick else 200
    local = f"{W}/again"
    if not os.path.isdir(local):
        shutil.copytree(small_tree(f"{W}/small-{files}", files), local)
        for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"]):
            run(["git", "-C", local, *command])
    return local


def look_at_all(path):
    quiet(["find", path, "-type", "f", "-size", "+0"])
    subprocess.run(["grep", "-rqa", "no such words in it", path])
    quiet(["git", "-c", "safe.directory=*", "-C", path, "status", "--porcelain"])


def times_local(path):
    local = again_tree()
    look_at_all(path)
    look_at_all(local)
    return timed(lambda: look_at_all(path)) / timed(lambda: look_at_all(local))


@row("again", "second find, grep and git status, times local disk", "x")
def _(tool, sizes):
    if tool not in MOUNTS:
        return None
    shutil.rmtree(f"{REMOTE}/again", ignore_errors=True)
    run(["cp", "-a", again_tree(), f"{REMOTE}/again"])
    cold(tool)
    return times_local(f"{MNT}/again")


@row("floor", "the same over a FUSE file system that does nothing", "x", 0)
def _(tool, sizes):
    if tool != "local":
        return None
    run([f"{E['ROOT']}/build/tools/nullfs", again_tree(), MNT])
    return times_local(MNT)


def beside_copy(tool, sizes, make, look):
    """The 99th of a hundred times (of at least 200), in round trips, that a look at the next of a thousand things takes while a large file is copied in."""
    source = big_file(f"{W}/big-{sizes.big}", sizes.big)
    folder = f"{REMOTE}/looks"
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    for n in range(1000):
        make(f"{folder}/{n}")
        os.utime(f"{folder}/{n}", (time.time() - 3600,) * 2)
    cold(tool)
    taken = []
    while len(taken) < 200:
        copy = subprocess.Popen(["cp", source, f"{MNT}/bulk"])
        while copy.poll() is None and len(taken) < 1000:
            begin = time.monotonic()
            look(f"{MNT}/looks/{len(taken)}")
            taken.append(time.monotonic() - begin)
            time.sleep(0.01)  # sleep: between two looks
        copy.wait()
        os.unlink(f"{REMOTE}/bulk")
    taken.sort()
    return taken[int(len(taken) * 0.99)] / (args.rtt / 1000)


@row("stat", "stat beside a bulk copy, p99", "round trips")
def _(tool, sizes):
    # names that were never looked up, so that each asks the server (or shows that a listing answered)
    return beside_copy(tool, sizes, lambda path: open(path, "w").close(), os.stat) if tool in MOUNTS else None


@row("ls", "ls of another folder beside a bulk copy, p99", "round trips")
def _(tool, sizes):
    def make(path):
        os.mkdir(path)
        for n in range(5):
            open(f"{path}/{n}", "w").close()
    return beside_copy(tool, sizes, make, os.listdir) if tool in MOUNTS else None


@row("read0", "read one large file without delay", "MB/s", 0)
def _(tool, sizes):
    return transfers.read_file(tool, sizes.zero, "zero")


@row("write0", "write one large file without delay", "MB/s", 0)
def _(tool, sizes):
    return transfers.write_file(tool, sizes.zero)


@row("remount", "read a file again after a remount", "MB/s")
def _(tool, sizes):
    if tool not in MOUNTS:
        return None
    size = sizes.slow_big
    big_file(f"{REMOTE}/slow-big", size)
    cold(tool)
    quiet(["cat", f"{MNT}/slow-big"])
    unmount(tool)
    mount(tool)
    return size / timed(lambda: quiet(["dd", f"if={MNT}/slow-big", "of=/dev/null", "bs=1M", "status=none"])) / 1e6


@row("memory", "memory with many known names", "MB", 0)
def _(tool, sizes):
    if tool not in MOUNTS or tool == "local":
        return None
    path = f"{REMOTE}/names-{sizes.names}"
    if not os.path.isdir(path):
        for folder in range(sizes.names // 1000):
            os.makedirs(f"{path}/{folder}")
            for n in range(1000):
                os.close(os.open(f"{path}/{folder}/image-{n:06}.jpg", os.O_CREAT | os.O_WRONLY))
    cold(tool)
    quiet(["find", f"{MNT}/names-{sizes.names}", "-size", "+1"])
    name = {"vastfs": "mount.vastfs", "sshfs": "sshfs", "rclone": "rclone"}[tool]
    pids = subprocess.run(["pgrep", "-f", f"{name}.*{MNT}"], capture_output=True, text=True).stdout.split()
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
    return total / 1000


# --- the table -----------------------------------------------------------------

def better_is_more(unit):
    return unit == "MB/s"


def ratio(unit, ours, theirs):
    if not ours or not theirs:
        return ""
    return f"{(ours / theirs if better_is_more(unit) else theirs / ours):.1f}"


def cell(value):
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def measure(function, tool, sizes, runs):
    values = []
    for _n in range(runs):
        try:
            value = function(tool, sizes)
        except (OSError, subprocess.SubprocessError, TimeoutError, AssertionError) as e:
            print(f"\n  {tool}: {e}", file=sys.stderr)
            return "failed", False
        finally:
            if tool in MOUNTS:
                try:
                    unmount(tool)
                except (OSError, subprocess.SubprocessError, TimeoutError) as e:
                    print(f"\n  {tool}: unmount: {e}", file=sys.stderr)
                    subprocess.run(["fusermount3", "-u", "-z", MNT], stderr=subprocess.DEVNULL)
        if value is None:
            return None, False
        values.append(value)
        # one run is enough where a run takes long
        if sum(values) > 60 and any(isinstance(v, Scaled) for v in values):
            break
    return statistics.median(map(float, values)), any(isinstance(v, Scaled) for v in values)


def parse():
    p = argparse.ArgumentParser()
    p.add_argument("--quick", action="store_true")
    p.add_argument("--rtt", type=float, default=50)
    p.add_argument("--rate", default="0")
    p.add_argument("--only", default="")
    p.add_argument("--tools", default=",".join(ALL_TOOLS))
    p.add_argument("--runs", type=int)
    p.add_argument("--csv", default=os.path.join(E.get("ROOT", "."), "build", "bench.csv"))
    p.add_argument("--plot", default="")
    p.add_argument("--list", action="store_true")
    return p.parse_args()


def has_tool(tool):
    if tool == "local":
        return os.getuid() == 0
    return tool in ("vastfs", "scp", "tar") or shutil.which(tool)


def make_plot(sizes, tools, names, runs):
    "Time against round-trip time, a panel for each row. A tool that has failed, or took too long, is not tried further out."
    panels = []
    failed = False
    for name, words, unit, _rtt, function in rows:
        if name not in names or unit not in ("s", "MB/s"):
            continue
        series = {}
        for tool in tools:
            for rtt in PLOTTED_RTTS:
                proxy("delay", rtt / 2)
                proxy("rate", args.rate if rtt else 0)
                value, scaled = measure(function, tool, sizes, runs)
                if value is None or value == "failed":
                    failed = failed or value == "failed"
                    break
                seconds = sizes.big / 1e6 / value if unit == "MB/s" else value
                series.setdefault(tool, []).append((rtt, max(seconds, 0.001), scaled))
                if tool == "local":  # has no link
                    series[tool] = [(r, max(seconds, 0.001), False) for r in PLOTTED_RTTS]
                print(f"{name:8} {tool:8} {rtt:4} ms {seconds:10.2f} s{'*' if scaled else ''}", flush=True)
                if tool == "local" or (seconds > sizes.patience * 4 and not scaled):
                    break
        title = f"{words} ({sizes.big >> 20} MiB)" if unit == "MB/s" else words
        panels.append((title, series))
    plot.write(args.plot, f"{sizes.files} small files; link {args.rate if args.rate != '0' else 'without limit'}", PLOTTED_RTTS,
               panels)
    print(f"The plot is in {args.plot}.")
    return 1 if failed else 0


def main():
    global args
    args = parse()
    if args.list:
        for name, words, unit, _rtt, _function in rows:
            print(f"{name:10} {words} ({unit})")
        return 0
    sizes = Sizes(args.quick)
    runs = args.runs or (1 if args.quick else 3)
    only = [name for name in args.only.split(",") if name]
    unknown = set(only) - {r[0] for r in rows}
    if unknown:
        print(f"no row is called {', '.join(sorted(unknown))}; --list prints the names", file=sys.stderr)
        return 2
    tools = [t for t in args.tools.split(",") if has_tool(t)]
    if args.plot:
        return make_plot(sizes, tools, only or PLOTTED, runs)
    return make_table(sizes, tools, only, runs)


def make_table(sizes, tools, only, runs):
    print(f"RTT {args.rtt:g} ms, link {args.rate if args.rate != '0' else 'without limit'}, {sizes.files} small files, "
          f"large file {sizes.big >> 20} MiB ({sizes.zero >> 20} MiB without delay), {sizes.names} names, {runs} run(s)")
    print("Behind each figure of another tool: how many times better vastfs is.\n")
    print(f"{'':48}" + "".join(f"{t:>16}" for t in tools), flush=True)
    out = []
    failed = False
    for name, words, unit, rtt, function in rows:
        if only and name not in only or args.quick and name in SMALL_WRITES | OTHER_WRITES:
            continue
        delay = args.rtt if rtt is None else rtt
        proxy("delay", delay / 2)
        proxy("rate", args.rate if delay else 0)
        if unit == "round trips" and not delay:
            continue
        print(f"{words + ', ' + unit:48}", end="", flush=True)
        ours = None
        for tool in tools:
            left_out = args.quick and name in NOT_QUICK.get(tool, ())
            value, was_scaled = (None, False) if left_out else measure(function, tool, sizes, runs)
            if tool == "vastfs":
                ours = value if isinstance(value, float) else None
            times = ratio(unit, ours, value) if tool != "vastfs" and isinstance(value, float) else ""
            text = cell(value) + ("*" if was_scaled else "") + (f" ({times}x)" if times else "")
            print(f"{text:>16}", end="", flush=True)
            failed = failed or value == "failed"
            if value is not None:
                out.append({"row": name, "what": words, "unit": unit, "rtt_ms": delay, "tool": tool, "value": cell(value),
                            "scaled": int(was_scaled), "vastfs_is_better_by": times})
        print(flush=True)
    os.makedirs(os.path.dirname(args.csv) or ".", exist_ok=True)
    with open(args.csv, "w", newline="") as f:
        writer = csv.DictWriter(f, ["row", "what", "unit", "rtt_ms", "tool", "value", "scaled", "vastfs_is_better_by"])
        writer.writeheader()
        writer.writerows(out)
    print(f"\n* measured with fewer files and scaled up. The figures are in {args.csv}.")
    return 1 if failed else 0


sys.exit(main())
