#!/bin/bash
# vastfs status, sync and umount.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "the control socket" "not for $MOUNT_WITH"; finish; }
setup
V=$BUILD/vastfs

status_of_nothing() {
	rc_is 0 "$V" status
	has "$OUT" "No vastfs is mounted"
	eq "$("$V" status --json | jq -c .)" "[]"
	rc_is 1 "$V" status "$MNT"
	rc_is 1 "$V" sync "$MNT"
	rc_is 1 "$V" umount "$MNT"
	has "$OUT" "$MNT"
}
check "without a mount: status says so, sync and umount fail" status_of_nothing
mount_fs || finish

private_socket() {
	local n=0 file
	for file in "$XDG_RUNTIME_DIR"/vastfs/*; do
		[[ -S $file ]] || continue
		eq "$(stat -c %a "$file")" 600 "mode of $file"
		# one for each ssh, which may be there already
		[[ ${file##*/} == ssh-* ]] || n=$((n + 1))
	done
	# and one for what that asks, where one carries bulk data
	le "$n" 2 "sockets"
	ge "$n" 1 "sockets"
	eq "$(stat -c %a "$XDG_RUNTIME_DIR/vastfs")" 700 "mode of the folder"
}
for_people() {
	head -c 3000000 /dev/zero >"$MNT/f"
	rc_is 0 "$V" status
	has "$OUT" "$MNT"
	has "$OUT" gpu
	has "$OUT" 127.0.0.1
	has_re "$OUT" 'ms'
	rc_is 0 "$V" status "$MNT"
	rc_is 0 "$V" status gpu
	rc_is 1 "$V" status other
}
json() { "$V" status --json "$MNT" | jq -er "$1"; }
for_programs() {
	local out
	out=$("$V" status --json "$MNT")
	jq -e . <<<"$out" >/dev/null
	eq "$(json .id)" gpu
	eq "$(json .mountpoint)" "$MNT"
	eq "$(json .path)" "$REMOTE"
	eq "$(json .pid)" "$(daemon_pid)"
	eq "$(json .connected)" true
	eq "$(json '.sessions[0].state')" up
	ge "$(json '[.sessions[].bytes_out] | add')" 3000000 "bytes out"
	has_re "$(json '.sessions[0].rtt_ms')" '^[0-9.]+$'
	json '.requests.in_flight, .requests.open_files, .cache.names, .cache.dirty_bytes, .forwards' >/dev/null
	eq "$("$V" status --json | jq length)" 1 "mounts in the list"
}
rtt_measured() {
	local rtt
	proxy_start --delay 20
	write_profile
	remount_fs
	ls "$MNT" >/dev/null
	rtt=$(json '[.sessions[] | select(.state == "up") | .min_rtt_ms | select(. > 0)] | min')
	has_re "$rtt" '^[0-9.]+$'
	ge "${rtt%.*}" 39 "round trip in ms"
	le "${rtt%.*}" 60 "round trip in ms"
	umount_fs
	proxy_stop
	PROXY_PORT='' write_profile
	mount_fs
}
syncs() {
	"$PYTHON" - "$MNT/open" <<-'END' &
		import os, sys, time
		fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
		os.write(fd, b"written" * 20000)
		open(sys.argv[1] + ".ready", "w").close()
		time.sleep(30)  # sleep: keeps the file open until killed
	END
	writer=$!
	wait_for 10 test -e "$REMOTE/open.ready"
	rc_is 0 "$V" sync "$MNT"
	eq "$(stat -c %s "$REMOTE/open")" 140000 "size on the server after sync, the file still open"
	kill "$writer"
	wait "$writer" || true
	rc_is 0 "$V" sync gpu
}
just_closed() {
	exec 7<"$MNT"
	sleep 0.2 & # sleep: has the folder open for so long
	exec 7<&-
	rc_is 0 "$V" umount "$MNT"
	wait
	mount_fs
}
busy() {
	exec 5<"$MNT/f"
	rc_is 1 "$V" umount "$MNT"
	has "$OUT" "in use"
	is_mounted
	exec 5<&-
	ls "$MNT" >/dev/null
}
umounts() {
	local pid
	pid=$(daemon_pid)
	rc_is 0 "$V" umount "$MNT"
	fails is_mounted
	gone "$pid" || die "umount returned before the daemon's end"
	eq "$(find "$XDG_RUNTIME_DIR" -type s | wc -l)" 0 "sockets left"
}
umount_by_id() {
	mount_fs
	rc_is 0 "$V" umount gpu
	fails is_mounted
}
two_mounts() {
	mkdir "$W/mnt2" "$REMOTE/sub"
	echo in >"$REMOTE/sub/file"
	mount_fs
	"$BUILD/mount.vastfs" "gpu:$REMOTE/sub" "$W/mnt2"
	eq "$(cat "$W/mnt2/file")" in
	eq "$("$V" status --json | jq length)" 2
	rc_is 1 "$V" umount gpu # which of the two?
	rc_is 0 "$V" umount "$W/mnt2"
	is_mounted
	rc_is 0 "$V" umount "$MNT"
}
killed() {
	local pid
	mount_fs
	pid=$(daemon_pid)
	kill -KILL "$pid"
	wait_for 5 gone "$pid"
	# the mount is stale, its socket dead: nothing may hang or lie
	rc_is 0 timeout 10 "$V" status
	mount_fs
	has "$(cat "$W/mount.out")" "dead mount"
	ls "$MNT" >/dev/null
	rc_is 0 "$V" umount "$MNT"
}
usage() {
	rc_is 1 "$V"
	rc_is 1 "$V" nonsense
	has "$OUT" nonsense
	rc_is 1 "$V" umount
	rc_is 1 "$V" sync
	rc_is 0 "$V" --version
	rc_is 0 "$V" --help
}

check "the control socket is the user's alone" private_socket
check "status for people" for_people
check "status --json" for_programs
check "status measures the round trip" rtt_measured
check "sync sends what an open file has" syncs
check "umount right after the last close" just_closed
check "umount of a mount in use fails and changes nothing" busy
check "umount returns when all is over" umounts
check "umount by id" umount_by_id
check "two mounts of one instance" two_mounts
check "after kill -9 of the daemon: status, a clear message, and a new mount" killed
# As one that is killed at this moment.
hangs_up() {
	local pid i rc
	"$PYTHON" - "$XDG_RUNTIME_DIR/vastfs" <<-'END' &
		import os, socket, sys
		s = socket.socket(socket.AF_UNIX)
		s.bind(f"{sys.argv[1]}/{os.getpid()}.sock")
		s.listen()
		while True:
		    s.accept()[0].close()
	END
	pid=$!
	wait_for 5 test -S "$XDG_RUNTIME_DIR/vastfs/$pid.sock"
	for i in $(seq 30); do
		rc=0
		"$V" status >/dev/null 2>"$W/err" || rc=$?
		[[ $rc -le 1 ]] || break
	done
	kill "$pid"
	rm -f "$XDG_RUNTIME_DIR/vastfs/$pid.sock"
	le "$rc" 1 "exit status, after $i times"
}
check "a daemon that hangs up" hangs_up
check "usage errors" usage
finish
