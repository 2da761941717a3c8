#!/bin/bash
# The spool's disk gets full: no change is answered any more that would be lost with the daemon.
. "$(dirname "$0")/lib.sh"
setup_dirs
setup_keys
trap 'umount_all; umount -l "$XDG_STATE_HOME" 2>/dev/null; cleanup' EXIT
mkdir -p "$XDG_STATE_HOME"
if ! mount -t tmpfs -o size=6m none "$XDG_STATE_HOME" 2>/dev/null; then
	skip "a full spool" "no file system can be mounted"
	finish
fi
sshd_start
proxy_start --delay 10
write_profile "timeout = $LIMIT"

# A program in a burst goes on removing folders while the disk gets full; then the daemon is killed.
changes_while_full() {
	"$PYTHON" - "$MNT/names" "$(daemon_pid)" "$BUILD/vastfs" "$TOOLS/delayproxy" "$W/proxy.ctl" "$XDG_STATE_HOME/filler" >"$W/gone" <<-'END'
		import os, signal, subprocess, sys, threading, time
		where, pid, vastfs, tool, ctl, filler = sys.argv[1:]
		gone, many = [], 600
		for name in [where] + [f"{where}/{i}" for i in range(many)]:
		    os.mkdir(name)
		subprocess.run([vastfs, "sync", where], check=True)
		os.listdir(where)
		def work():
		    try:
		        for i in range(many):
		            os.rmdir(f"{where}/{i}")
		            gone.append(i)
		    except OSError as error:
		        print("ended by", error, file=sys.stderr)
		def until(condition, seconds):
		    end = time.monotonic() + seconds
		    while not condition() and time.monotonic() < end:
		        time.sleep(0.002)  # sleep: between two looks
		worker = threading.Thread(target=work)
		worker.start()
		until(lambda: len(gone) > 20, 20)
		subprocess.run([tool, "--send", ctl, "stall"], check=True, stdout=subprocess.DEVNULL)
		with open(filler, "wb", 0) as f:
		    try:
		        while f.write(bytes(4096)):
		            pass
		    except OSError:
		        pass
		then = len(gone)
		until(lambda: len(gone) == many, 2)
		print(f"{len(gone) - then} changes while it was full", file=sys.stderr)
		os.kill(int(pid), signal.SIGKILL)
		worker.join()
		print(*gone, sep="\n")
	END
	rm "$XDG_STATE_HOME/filler"
	proxy cut
	proxy resume
	umount -l "$MNT"
	mount_fs
	timeout 60 "$BUILD/vastfs" sync "$MNT"
	(cd "$REMOTE/names" && ls) | sort >"$W/there"
	eq "$(sort "$W/gone" | comm -12 - "$W/there" | wc -l)" 0 "removed, and there:"
}

check "mounts" mount_fs
fault_check "what is answered while the disk is full is not lost with the daemon" changes_while_full
check "unmounts" umount_fs
finish
