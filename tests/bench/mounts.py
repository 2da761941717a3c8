"""Mounts of each tool, with cold caches and the proxy between; commands and their times. One thread."""
import os
import shutil
import subprocess
import time

E = os.environ
W, REMOTE, MNT, BUILD = (E.get(k, "") for k in ("W", "REMOTE", "MNT", "BUILD"))
MOUNTS = ("vastfs", "sshfs", "rclone", "local")  # local: the server's folder itself, as a mount of its own
ALL_TOOLS = ("vastfs", "sshfs", "rclone", "scp", "tar", "local")
USER = subprocess.run(["id", "-un"], capture_output=True, text=True).stdout.strip()
SSH = ["-i", f"{W}/key", "-o", f"UserKnownHostsFile={W}/known_hosts", "-o", "LogLevel=ERROR"]


def run(command, **more):
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **more)


def quiet(command, **more):
    return run(command, stdout=subprocess.DEVNULL, **more)


def over_ssh(script, path, command):
    """script: of bash, where $0 is path and ssh "$@" runs command there."""
    run(["bash", "-c", script, path, *SSH, "-p", E["PORT"], f"{USER}@127.0.0.1", command])


def scp(*words):
    quiet(["scp", "-q", *SSH, "-P", E["PORT"], *words])


def proxy(*words):
    quiet([E["TOOLS"] + "/delayproxy", "--send", E["CTL"], *map(str, words)])


def mounted():
    with open("/proc/self/mountinfo") as f:
        return any(f" {MNT} " in line for line in f)


def wait_until(condition, seconds, words):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(words)
        time.sleep(0.01)  # sleep: polls


rclone_process = None


def mount(tool):
    global rclone_process
    if tool == "vastfs":
        run([BUILD + "/mount.vastfs", "gpu", MNT])
    elif tool == "local":
        run(["mount", "--bind", REMOTE, MNT])
    elif tool == "sshfs":
        run(["sshfs", "-o", f"IdentityFile={W}/key,UserKnownHostsFile={W}/known_hosts,Port={E['PORT']}",
             f"{USER}@127.0.0.1:{REMOTE}", MNT])
    else:
        env = dict(E, RCLONE_CONFIG_S_TYPE="sftp", RCLONE_CONFIG_S_HOST="127.0.0.1", RCLONE_CONFIG_S_PORT=E["PORT"],
                   RCLONE_CONFIG_S_USER=USER, RCLONE_CONFIG_S_KEY_FILE=f"{W}/key", RCLONE_CONFIG_S_SHELL_TYPE="unix",
                   RCLONE_CONFIG_S_KNOWN_HOSTS_FILE=f"{W}/known_hosts", RCLONE_CONFIG=f"{W}/rclone.conf")
        open(f"{W}/rclone.conf", "a").close()
        rclone_process = subprocess.Popen(
            ["rclone", "mount", f"s:{REMOTE}", MNT, "--vfs-cache-mode", "full", "--vfs-write-back", "0s", "--cache-dir",
             f"{W}/rclone-cache"], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(f"{W}/rclone.log", "a"))
        wait_until(mounted, 30, "rclone does not mount")


def unmount(tool):
    global rclone_process
    if mounted():
        if tool == "vastfs":
            quiet([BUILD + "/vastfs", "umount", MNT])
        elif tool == "local":
            run(["umount", MNT])
        else:
            run(["fusermount3", "-u", MNT])
    if rclone_process:
        rclone_process.wait()
        rclone_process = None
    wait_until(lambda: not mounted(), 10, "still mounted")


def cold(tool):
    "Empty caches on this side, a new mount."
    if tool in MOUNTS:
        unmount(tool)
        shutil.rmtree(f"{W}/rclone-cache", ignore_errors=True)
        shutil.rmtree(E.get("XDG_CACHE_HOME", f"{W}/none"), ignore_errors=True)
        mount(tool)
    shutil.rmtree(f"{W}/out", ignore_errors=True)
    os.mkdir(f"{W}/out")


def count(path):
    "Files and bytes, of a folder or of one file."
    if os.path.isfile(path):
        return 1, os.path.getsize(path)
    n = size = 0
    for root, _dirs, files in os.walk(path):
        for name in files:
            n += 1
            size += os.stat(os.path.join(root, name)).st_size
    return n, size


def synced(tool, path, like):
    "Waits until the server has all of it."
    if tool == "vastfs":
        quiet([BUILD + "/vastfs", "sync", MNT])
    elif tool == "rclone":
        want = count(like)
        wait_until(lambda: count(path) == want, 900, "rclone does not upload")


def timed(function):
    begin = time.monotonic()
    function()
    return time.monotonic() - begin
