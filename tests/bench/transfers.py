"""Rows that move a tree of small files or one large file."""
import glob
import os
import shutil
import subprocess

from mounts import BUILD, E, MNT, MOUNTS, REMOTE, SSH, USER, W, cold, count, quiet, run, synced, timed, wait_until
from rows import big_file, row, small_tree, with_tree


def tree_up(tool, files, put, wait=True):
    "put(tree, folder) in the mount; without wait the time ends with it."
    tree = small_tree(f"{W}/small-{files}", files)
    shutil.rmtree(f"{REMOTE}/up", ignore_errors=True)
    cold(tool)

    def go():
        put(tree, f"{MNT}/up")
        if wait:
            synced(tool, f"{REMOTE}/up", tree)
    taken = timed(go)
    if not wait:
        synced(tool, f"{REMOTE}/up", tree)
    assert count(f"{REMOTE}/up") == count(tree), "not all is there"
    return taken


def scp_tree(tree, _folder):
    quiet(["scp", "-q", "-r", *SSH, "-P", E["PORT"], tree, f"{USER}@127.0.0.1:{REMOTE}/up"])


def tar_tree(tree, _folder):
    os.mkdir(f"{REMOTE}/up")
    run(["bash", "-c", 'tar -C "$0" -cf - . | ssh "$@"', tree, *SSH, "-p", E["PORT"], f"{USER}@127.0.0.1",
         f"tar -C {REMOTE}/up -xf -"])


def copy_tree(tree, folder):
    run(["cp", "-r", tree, folder])


def unpack_tree(tree, folder):
    os.mkdir(folder)
    run(["bash", "-c", 'tar -C "$0" -cf - . | tar -C "$1" -xf -', tree, folder])


@row("up", "cp -r of small files up, synced")
@with_tree
def _(tool, files):
    return tree_up(tool, files, {"scp": scp_tree, "tar": tar_tree}.get(tool, copy_tree))


@row("upcp", "the same until cp returns")
@with_tree
def _(tool, files):
    return tree_up(tool, files, copy_tree, wait=False) if tool in MOUNTS else None


@row("untar", "tar x of small files into it, synced")
@with_tree
def _(tool, files):
    return tree_up(tool, files, tar_tree if tool == "tar" else unpack_tree) if tool in MOUNTS or tool == "tar" else None


def repository(files):
    path = f"{W}/repository-{files}"
    if not os.path.isdir(path):
        shutil.copytree(small_tree(f"{W}/small-{files}", files), path)
        git = ["git", "-C", path, "-c", "user.name=x", "-c", "user.email=x@example.com"]
        for words in ["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"], ["gc", "-q"]:
            quiet(git + words)
    return path


@row("clone", "git clone into it, times that there and the transfer of its pack", "x")
def _(tool, sizes):
    if tool not in ("vastfs", "local"):  # the others wait for each file, as cp -r shows
        return None
    source = repository(sizes.cloned)
    (pack,) = glob.glob(f"{source}/.git/objects/pack/*.pack")

    def clone(path):
        shutil.rmtree(f"{REMOTE}/clone", ignore_errors=True)
        run(["git", "clone", "-q", "--no-local", source, path])
    there = timed(lambda: clone(f"{REMOTE}/clone"))
    there += timed(lambda: run(["bash", "-c", 'ssh "$@" <"$0"', pack, *SSH, "-p", E["PORT"], f"{USER}@127.0.0.1",
                                f"cat >{REMOTE}/pack"]))
    shutil.rmtree(f"{REMOTE}/clone")
    cold(tool)
    taken = timed(lambda: clone(f"{MNT}/clone"))
    synced(tool, f"{REMOTE}/clone", source)
    return taken / there


def server_tree(files):
    return small_tree(f"{REMOTE}/small-{files}", files)


@row("down", "cp -r of small files down")
@with_tree
def _(tool, files):
    tree = server_tree(files)
    cold(tool)

    def go():
        if tool == "scp":
            quiet(["scp", "-q", "-r", *SSH, "-P", E["PORT"], f"{USER}@127.0.0.1:{tree}", f"{W}/out/small"])
        elif tool == "tar":
            run(["bash", "-c", 'ssh "$@" | tar -C "$0" -xf -', f"{W}/out", *SSH, "-p", E["PORT"], f"{USER}@127.0.0.1",
                 f"tar -C {REMOTE} -cf - small-{files}"])
        else:
            run(["cp", "-r", f"{MNT}/small-{files}", f"{W}/out/small"])
    taken = timed(go)
    assert count(f"{W}/out") == count(tree), "not all is there"
    return taken


@row("find", "find over the tree, first time")
@with_tree
def _(tool, files):
    if tool not in MOUNTS:
        return None
    server_tree(files)
    cold(tool)
    return timed(lambda: quiet(["find", f"{MNT}/small-{files}", "-type", "f", "-size", "+0"]))


@row("grep", "grep -r over the tree, first time")
@with_tree
def _(tool, files):
    if tool not in MOUNTS:
        return None
    server_tree(files)
    cold(tool)
    return timed(lambda: subprocess.run(["grep", "-rqa", "no such words in it", f"{MNT}/small-{files}"]))


@row("rm", "rm -rf of the tree")
@with_tree
def _(tool, files):
    if tool not in MOUNTS:
        return None
    tree = server_tree(files)
    shutil.rmtree(f"{REMOTE}/doomed", ignore_errors=True)
    shutil.copytree(tree, f"{REMOTE}/doomed")
    cold(tool)

    def go():
        run(["rm", "-rf", f"{MNT}/doomed"])
        if tool == "vastfs":
            quiet([BUILD + "/vastfs", "sync", MNT])
    taken = timed(go)
    assert not os.path.exists(f"{REMOTE}/doomed"), "not gone"
    return taken


def read_file(tool, size, name):
    big_file(f"{REMOTE}/{name}", size)
    cold(tool)

    def go():
        if tool == "scp":
            quiet(["scp", "-q", *SSH, "-P", E["PORT"], f"{USER}@127.0.0.1:{REMOTE}/{name}", f"{W}/out/big"])
        elif tool == "tar":
            run(["bash", "-c", 'ssh "$@" | tar -C "$0" -xf -', f"{W}/out", *SSH, "-p", E["PORT"], f"{USER}@127.0.0.1",
                 f"tar -C {REMOTE} -cf - {name}"])
        else:
            run(["dd", f"if={MNT}/{name}", "of=/dev/null", "bs=1M", "status=none"])
    return size / timed(go) / 1e6


def write_file(tool, size, fsync=False):
    source = big_file(f"{W}/big-{size}", size)
    target = f"{REMOTE}/written"
    if os.path.exists(target):
        os.unlink(target)
    cold(tool)

    def go():
        if tool == "scp":
            quiet(["scp", "-q", *SSH, "-P", E["PORT"], source, f"{USER}@127.0.0.1:{target}"])
        elif tool == "tar":
            run(["bash", "-c", 'tar -C "${0%/*}" -cf - "${0##*/}" | ssh "$@"', source, *SSH, "-p", E["PORT"],
                 f"{USER}@127.0.0.1", f"tar -C {REMOTE} -xf - --transform s/.*/written/"])
        else:
            run(["dd", f"if={source}", f"of={MNT}/written", "bs=1M", "conv=fsync", "status=none"] if fsync else
                ["cp", source, f"{MNT}/written"])
            if tool == "vastfs":
                quiet([BUILD + "/vastfs", "sync", MNT])
            elif tool == "rclone":
                wait_until(lambda: os.path.exists(target) and os.path.getsize(target) == size, 900, "not uploaded")
    rate = size / timed(go) / 1e6
    assert os.path.getsize(target) == size
    os.unlink(target)
    return rate


@row("read", "read one large file", "MB/s")
def _(tool, sizes):
    slow = tool == "sshfs"
    return read_file(tool, sizes.slow_big if slow else sizes.big, "slow-big" if slow else "big")


@row("write", "write one large file, synced", "MB/s")
def _(tool, sizes):
    return write_file(tool, sizes.big)


@row("fsync", "write one large file, dd conv=fsync", "MB/s")
def _(tool, sizes):
    return write_file(tool, sizes.big, fsync=True) if tool in MOUNTS else None
