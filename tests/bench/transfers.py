"""Rows that move a tree of small files or one large file."""
import glob
import os
import shutil
import subprocess

from mounts import BUILD, MNT, MOUNTS, REMOTE, USER, W, cold, count, over_ssh, quiet, run, scp, synced, timed
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
    scp("-r", tree, f"{USER}@127.0.0.1:{REMOTE}/up")


def tar_tree(tree, _folder):
    os.mkdir(f"{REMOTE}/up")
    over_ssh('tar -C "$0" -cf - . | ssh "$@"', tree, f"tar -C {REMOTE}/up -xf -")


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
    there += timed(lambda: over_ssh('ssh "$@" <"$0"', pack, f"cat >{REMOTE}/pack"))
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
            scp("-r", f"{USER}@127.0.0.1:{tree}", f"{W}/out/small")
        elif tool == "tar":
            over_ssh('ssh "$@" | tar -C "$0" -xf -', f"{W}/out", f"tar -C {REMOTE} -cf - small-{files}")
        else:
            run(["cp", "-r", f"{MNT}/small-{files}", f"{W}/out/small"])
    taken = timed(go)
    assert count(f"{W}/out") == count(tree), "not all is there"
    return taken


def first_look(tool, files, look):
    "look(tree) over all of them, in a new mount."
    if tool not in MOUNTS:
        return None
    server_tree(files)
    cold(tool)
    return timed(lambda: look(f"{MNT}/small-{files}"))


@row("find", "find over the tree, first time")
@with_tree
def _(tool, files):
    return first_look(tool, files, lambda tree: quiet(["find", tree, "-type", "f", "-size", "+0"]))


@row("grep", "grep -r over the tree, first time")
@with_tree
def _(tool, files):
    return first_look(tool, files, lambda tree: subprocess.run(["grep", "-rqa", "no such words in it", tree]))


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
            scp(f"{USER}@127.0.0.1:{REMOTE}/{name}", f"{W}/out/big")
        elif tool == "tar":
            over_ssh('ssh "$@" | tar -C "$0" -xf -', f"{W}/out", f"tar -C {REMOTE} -cf - {name}")
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
            scp(source, f"{USER}@127.0.0.1:{target}")
        elif tool == "tar":
            over_ssh('tar -C "${0%/*}" -cf - "${0##*/}" | ssh "$@"', source,
                     f"tar -C {REMOTE} -xf - --transform s/.*/written/")
        else:
            run(["dd", f"if={source}", f"of={MNT}/written", "bs=1M", "conv=fsync", "status=none"] if fsync else
                ["cp", source, f"{MNT}/written"])
            synced(tool, target, source)
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
