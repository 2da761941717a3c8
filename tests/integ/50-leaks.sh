#!/bin/bash
# Thousands of operations leave the server's handles, the daemon's memory, threads and descriptors where they were.
. "$(dirname "$0")/../lib.sh"
setup
mkdir -p "$REMOTE/tree"
(cd "$REMOTE/tree" && for i in $(seq 20); do mkdir "$i" && head -c 5000 /dev/zero | tee "$i"/{1..20} >/dev/null; done)
mount_fs || finish

rss() { awk '/VmRSS/ { print $2 }' "/proc/$(daemon_pid)/status"; }
threads() { awk '/Threads/ { print $2 }' "/proc/$(daemon_pid)/status"; }
fds() { find "/proc/$(daemon_pid)/fd" -type l | wc -l; }

work() { # ROUNDS
	"$PYTHON" - "$MNT" "$1" <<-'END'
		import os, subprocess, sys
		mnt, rounds = sys.argv[1], int(sys.argv[2])
		for n in range(rounds):
		    d = f"{mnt}/work"
		    os.mkdir(d)
		    for i in range(20):
		        with open(f"{d}/{i}", "wb") as f:
		            f.write(b"x" * (i * 997))
		        os.stat(f"{d}/{i}")
		    fds = [os.open(f"{d}/{i}", os.O_RDWR) for i in range(20)]
		    for i, fd in enumerate(fds):
		        os.pread(fd, 5000, 0)
		        os.pwrite(fd, b"y" * 3000, 100)
		        if i % 3 == 0:
		            os.unlink(f"{d}/{i}")
		        elif i % 3 == 1:
		            os.rename(f"{d}/{i}", f"{d}/r{i}")
		        os.fstat(fd)
		    for fd in fds:
		        os.close(fd)
		    for name in os.listdir(d):
		        os.unlink(f"{d}/{name}")
		    os.rmdir(d)
		    for k in range(10):
		        try:
		            os.stat(f"{mnt}/missing-{n}-{k}")
		        except FileNotFoundError:
		            pass
		        try:
		            os.rmdir(f"{mnt}/tree")
		        except OSError:
		            pass
		    for root, _dirs, files in os.walk(f"{mnt}/tree/{n % 20 + 1}"):
		        for name in files:
		            with open(os.path.join(root, name), "rb") as f:
		                f.read()
	END
}
no_handles() { [[ $(server_handles) == 0 ]]; }
handles_closed() { wait_for 15 no_handles || die "$(server_handles) files open on the server"; }


warm() {
	wait_for 20 all_up # they come one after another
	work 20
	handles_closed
	rss >"$W/rss"
	threads >"$W/threads"
	fds >"$W/fds"
}
steady() {
	local more=4
	# over ssh(1) each further channel has three
	[[ ${TRANSPORT:-} != ssh ]] || more=16
	work "$1"
	handles_closed
	le "$(fds)" $(($(cat "$W/fds") + more)) "descriptors of the daemon"
	le "$(threads)" $(($(cat "$W/threads") + 4)) "threads of the daemon"
	le "$(rss)" $(($(cat "$W/rss") + 12000)) "KiB of the daemon"
}
interrupted_readers() {
	local i
	head -c 20000000 /dev/zero >"$REMOTE/long"
	seen "$MNT/long"
	for i in $(seq 30); do
		timeout -s KILL 0.05 cat "$MNT/long" >/dev/null 2>&1 || true
		head -c 1000 "$MNT/long" >/dev/null
	done
	handles_closed
}
mounts() {
	local i
	for i in $(seq 8); do
		umount_fs
		mount_fs
		ls "$MNT" >/dev/null
	done
	eq "$(pgrep -c -f "$BUILD/mount.vastfs.*$MNT")" 1 "daemons"
	one_pool() { [[ $(sftp_servers | wc -l) -le 16 ]]; }
	wait_for 10 one_pool || die "sftp-server processes left: $(sftp_servers | wc -l)"
}
server_is_left_clean() {
	umount_fs
	none() { [[ -z $(sftp_servers) ]]; }
	wait_for 10 none || die "sftp-server processes left"
}
check "a first round" warm
rounds=150
case $BUILD in */build/*) rounds=30 ;; esac
if [[ $MOUNT_WITH == vastfs && $BUILD == "$ROOT/build" ]]; then
	check "ten thousand operations more: handles, descriptors, threads, memory" steady $rounds
else
	check "operations more: handles" work $rounds
fi
check "readers that are killed leave no handle" interrupted_readers
check_vastfs "eight mounts in turn" mounts
check "after the unmount nothing runs on the server" server_is_left_clean
finish
