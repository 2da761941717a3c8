#!/bin/bash
# This machine: the daemon is stopped, killed, signalled, short of memory and descriptors; a mountpoint is mounted twice.
. "$(dirname "$0")/lib.sh"
setup
write_profile "timeout = $LIMIT"

killed_and_remounted() {
	local old
	mount_fs
	old=$(daemon_pid)
	echo one >"$MNT/one"
	kill -KILL "$old"
	wait_for 5 gone "$old"
	fails ls "$MNT"
	mount_fs
	has "$(cat "$W/mount.out")" "dead mount"
	[[ $(daemon_pid) != "$old" ]]
	eq "$(cat "$MNT/one")" one
	eq "$(grep -cF " $MNT " /proc/self/mountinfo)" 1 "mounts there:"
	# with a program inside, which the dead mount can't let go of
	exec 7<"$MNT/one"
	kill -KILL "$(daemon_pid)"
	mount_fs
	eq "$(cat "$MNT/one")" one
	exec 7<&-
	umount_fs
}
stale_unmounts() {
	mount_fs
	kill -KILL "$(daemon_pid)"
	rc_is 0 timeout 20 "$BUILD/vastfs" umount "$MNT"
	fails is_mounted
	ls "$MNT" >/dev/null
	mount_fs
	kill -KILL "$(daemon_pid)"
	rc_is 0 fusermount3 -u "$MNT"
	fails is_mounted
}
# The disk of the cache is full, then has room, then its files are cut short behind the daemon's back.
cache_disk() {
	local pid
	mkdir -p "$XDG_CACHE_HOME" "$REMOTE/cached"
	mount -t tmpfs -o size=8m none "$XDG_CACHE_HOME"
	head -c 30000000 /dev/urandom >"$REMOTE/cached/big"
	head -c 300000 /dev/urandom >"$REMOTE/cached/small"
	touch -d '1 hour ago' "$REMOTE"/cached/*
	write_profile "timeout = $LIMIT" "cache_size = 100M"
	mount_fs
	pid=$(daemon_pid)
	head -c 20M /dev/zero >"$XDG_CACHE_HOME/filler" 2>/dev/null || true
	work_start
	cmp "$MNT/cached/big" "$REMOTE/cached/big"
	work_goes_on
	wait_for 10 cache_is full
	rm "$XDG_CACHE_HOME/filler"
	cached_right
	head -c 20M /dev/zero >"$XDG_CACHE_HOME/filler" 2>/dev/null || true
	cached_right
	work_goes_on
	find "$XDG_CACHE_HOME" -type f ! -name "*-shm" -exec truncate -s 5000 {} + # SQLite maps that one
	cached_right
	work_goes_on
	find "$XDG_CACHE_HOME" -type f -delete
	cached_right
	work_goes_on
	work_end
	eq "$(daemon_pid)" "$pid" "the daemon:"
	"$BUILD/vastfs" status "$MNT" >/dev/null
	umount_fs
	mount_fs
	cached_right
	umount_fs
	umount "$XDG_CACHE_HOME"
	write_profile "timeout = $LIMIT"
}
cache_is() { [[ $(status .disk_cache.state) == "$1" ]]; }
cached_right() {
	local name
	for name in small big; do
		"$PYTHON" -c 'import os, sys; os.posix_fadvise(os.open(sys.argv[1], os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)' "$MNT/cached/$name"
		cmp "$MNT/cached/$name" "$REMOTE/cached/$name"
	done
}
# In time, with exit status 1 and these words.
refused() { # WORDS COMMAND…
	rc_is 1 timeout 20 "${@:2}" && has "$OUT" "$1"
}
# A daemon that answers nothing: no program of ours waits for it for long, and each says what is the matter.
hangs() {
	local pid words
	mount_fs
	pid=$(daemon_pid)
	echo one >"$MNT/one"
	mkdir "$MNT/folder"
	kill -STOP "$pid"
	# by a name that is not known here, as what the kernel knows it may still say
	setsid cat "$MNT/hangs" >/dev/null 2>&1 &
	( # all at once, and beside the program above
		refused "$MNT" "$BUILD/mount.vastfs" gpu "$MNT" &
		refused "does not answer" "$BUILD/mount.vastfs" gpu "$MNT/unknown" &
		for words in "umount $MNT" "umount $MNT/unknown/below" "sync gpu" "status" "status $MNT" "cache pin $MNT/unknown"; do
			# shellcheck disable=SC2086
			refused "process $pid, does not answer" "$BUILD/vastfs" $words &
		done
		wait
	) >"$W/refused" 2>&1
	eq "$(cat "$W/refused")" ""
	# its queue of connections is filled up: nobody waits for room there
	"$PYTHON" - "$XDG_RUNTIME_DIR/vastfs/$pid.sock" "$BUILD/vastfs" <<-'END'
		import socket, subprocess, sys
		held = []
		while True:
		    s = socket.socket(socket.AF_UNIX)
		    s.settimeout(0)
		    try:
		        s.connect(sys.argv[1])
		    except BlockingIOError:
		        break
		    held.append(s)
		p = subprocess.run([sys.argv[2], "status"], timeout=20, capture_output=True, text=True)
		assert p.returncode == 1 and "does not answer" in p.stderr, p
	END
	kill -CONT "$pid"
	wait_for 10 is_connected
	rc_is 0 timeout 20 "$BUILD/vastfs" sync "$MNT"
	# or it is ended, and replaced
	kill -STOP "$pid"
	kill -KILL "$pid"
	wait_for 5 gone "$pid"
	mount_fs
	has "$(cat "$W/mount.out")" "dead mount"
	eq "$(cat "$MNT/one")" one
	umount_fs
}
# A signal ends the mount in order: what was written is sent first.
signalled() { # SIGNAL
	local pid
	mount_fs
	pid=$(daemon_pid)
	head -c 3000000 /dev/urandom >"$W/local/data"
	cp "$W/local/data" "$MNT/data-$1"
	kill -"$1" "$pid"
	wait_for 20 gone "$pid" || die "it goes on"
	fails is_mounted
	same_file "$W/local/data" "$REMOTE/data-$1"
}
foreground() {
	local pid
	setsid "$BUILD/mount.vastfs" -f gpu "$MNT" >"$W/fg.out" 2>&1 </dev/null &
	pid=$!
	wait_for 20 is_mounted || die "$(cat "$W/fg.out")"
	echo x >"$MNT/fg"
	kill -INT "$pid"
	wait_for 20 gone "$pid" || die "it goes on"
	wait "$pid"
	fails is_mounted
	eq "$(cat "$REMOTE/fg")" x
}
mounted_twice() {
	local pid
	mount_fs
	pid=$(daemon_pid)
	fails mount_fs
	has "$(cat "$W/mount.out")" "$MNT"
	eq "$(daemon_pid)" "$pid"
	eq "$(grep -cF " $MNT " /proc/self/mountinfo)" 1 "mounts there:"
	ls "$MNT" >/dev/null
	mkdir -p "$W/mnt2"
	"$BUILD/mount.vastfs" gpu "$W/mnt2" </dev/null
	echo two >"$W/mnt2/two"
	seen "$MNT/two"
	eq "$(cat "$MNT/two")" two
	umount_fs "$W/mnt2"
	umount_fs
}
# Stopped for longer than the link lives, then going on: programs notice nothing but the time.
stopped() {
	local pid
	mount_fs
	pid=$(daemon_pid)
	work_start
	kill -STOP "$pid"
	sleep 12 # sleep: the length of the stop
	kill -CONT "$pid"
	work_goes_on
	LIMIT=$((LIMIT + 12)) work_end
	umount_fs
}
# The same, and the server has gone away and come back meanwhile.
stopped_and_lost() {
	local pid
	mount_fs
	pid=$(daemon_pid)
	work_start
	kill -STOP "$pid"
	sshd_kill
	sshd_start "$SSHD_PORT"
	kill -CONT "$pid"
	work_goes_on
	work_end
	umount_fs
}
few_descriptors() {
	local pid
	mount_fs
	pid=$(daemon_pid)
	head -c 1000000 /dev/urandom >"$REMOTE/few"
	seen "$MNT/few"
	prlimit --pid "$pid" --nofile="$(find "/proc/$pid/fd" -type l | wc -l):$(ulimit -Hn)"
	cmp "$MNT/few" "$REMOTE/few"
	"$BUILD/vastfs" status "$MNT" >/dev/null 2>&1 || true
	# no descriptor for a new connection: errors, and no spin
	sshd_kill
	timeout 3 cat "$MNT/never-seen" >/dev/null 2>&1 || true
	sshd_start "$SSHD_PORT"
	le "$(cpu_within 3)" 300 "milliseconds of CPU in 3 seconds"
	prlimit --pid "$pid" --nofile="1024:$(ulimit -Hn)"
	same() { timeout 10 cmp "$MNT/few" "$REMOTE/few" >/dev/null 2>&1; }
	wait_for 45 same || die "does not go on"
	eq "$(daemon_pid)" "$pid"
	umount_fs
}
# Hardly any memory: errors, but no crash, and all goes on when there is some again.
little_memory() {
	local pid now
	mount_fs
	pid=$(daemon_pid)
	mkdir -p "$REMOTE/mem"
	head -c 60000000 /dev/urandom >"$REMOTE/mem/big"
	seen "$MNT/mem/big"
	now=$(awk '/VmSize/ { print $2 * 1024 }' "/proc/$pid/status")
	prlimit --pid "$pid" --as=$((now + 3000000)):unlimited
	cat "$MNT/mem/big" >/dev/null 2>&1 || true
	timeout 60 cp "$REMOTE/mem/big" "$MNT/mem/copy" 2>/dev/null || true
	(cd "$REMOTE/mem" && mkdir many && cd many && seq 20000 | xargs touch)
	timeout 60 ls "$MNT/mem/many" >/dev/null 2>&1 || true
	timeout 20 "$BUILD/vastfs" status "$MNT" >/dev/null 2>&1 || true
	prlimit --pid "$pid" --as=unlimited
	eq "$(daemon_pid)" "$pid" "the daemon:"
	same() { timeout 20 cmp "$MNT/mem/big" "$REMOTE/mem/big" 2>/dev/null; }
	wait_for 60 same || die "does not go on: $(cmp "$MNT/mem/big" "$REMOTE/mem/big" 2>&1)"
	cp "$W/key.pub" "$MNT/mem/after"
	same_file "$W/key.pub" "$REMOTE/mem/after"
	umount_fs || true # it says what it could not keep
	fails is_mounted
}

after() {
	is_mounted || return 0
	umount_all
}
fault_check "the daemon is killed: the next mount takes the place of the dead one" killed_and_remounted
after
fault_check "a dead mount can be unmounted" stale_unmounts
after
if [[ $(id -u) == 0 ]]; then
	fault_check "the disk of the cache is full, or loses its files" cache_disk
	after
	umount -l "$XDG_CACHE_HOME" 2>/dev/null
else
	skip "the disk of the cache is full, or loses its files" "needs root"
fi
fault_check "the daemon hangs: no command waits for it for long" hangs
after
for signal in TERM HUP INT; do
	fault_check "SIG$signal ends the mount in order" signalled "$signal"
	after
done
fault_check "in the foreground, Ctrl-C" foreground
after
fault_check "a second mount on the same folder is refused" mounted_twice
after
fault_check "the daemon is stopped for 12 s" stopped
after
fault_check "the daemon is stopped, and the server restarts" stopped_and_lost
after
fault_check "no descriptors left" few_descriptors
after
fault_check "hardly any memory" little_memory
after
finish
