#!/bin/bash
# An instance whose clock is an hour behind ours, or ahead: how old files are is counted by its own (R1 to R3).
. "$(dirname "$0")/../lib.sh"

# A change that shows neither in the size nor in the second, right after the first one was read.
same_second() {
	local second
	second=$(date +%s)
	echo one >"$REMOTE/file"
	seen "$MNT/file"
	touch -d "@$second" "$REMOTE/file"
	eq "$(cat "$MNT/file")" one
	echo two >"$REMOTE/file"
	touch -d "@$second" "$REMOTE/file"
	# what was read while it was new is believed for a second
	wait_for 4 contains "$MNT/file" two || die "the other version is never seen"
}
grows() {
	echo 1 >"$REMOTE/grows"
	seen "$MNT/grows"
	eq "$(stat -c %s "$MNT/grows")" 2
	echo 2 >>"$REMOTE/grows"
	wait_for 4 size_is "$MNT/grows" 4 || die "not seen to grow: it is taken for an old file"
}
followed() {
	local pid
	echo 1 >"$REMOTE/log"
	seen "$MNT/log"
	tail -s 0.2 -n +1 -f "$MNT/log" >"$W/tailed" &
	pid=$!
	wait_for 5 grep -q 1 "$W/tailed"
	echo 2 >>"$REMOTE/log"
	wait_for 4 grep -q 2 "$W/tailed" || die "tail -f does not see the new line"
	kill "$pid"
}
times_stay() {
	touch -d @1500000000.5 "$MNT/timed"
	eq "$(stat -c %.1Y "$MNT/timed")" 1500000000.5
	cp -p "$MNT/timed" "$MNT/timed2"
	eq "$(stat -c %.1Y "$MNT/timed2")" 1500000000.5
}

setup_dirs
setup_keys
# The server has a home folder of its own, which may hide this tree.
cp "$TESTS/fake/clock_sftp.py" "$W/"
for seconds in -3600 3600; do
	SFTP_SERVER="$W/clock_sftp.py $seconds" sshd_start
	write_profile "watch = no"
	check "a clock that is $seconds s ahead: mounts" mount_fs
	check "another version of the same size and second is seen" same_second
	check "a new file is looked at again soon" grows
	check "tail -f" followed
	check "times that are set stay" times_stay
	check "unmounts" umount_fs
	sshd_kill
	rm -f "$REMOTE"/*
done
finish
