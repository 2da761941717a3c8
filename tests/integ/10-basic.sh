#!/bin/bash
# The main job: mount by id, a file each way, listing, unmount.
. "$(dirname "$0")/../lib.sh"
setup
echo from the instance >"$REMOTE/remote.txt"
mkdir "$REMOTE/folder"

check "mounts by id" mount_fs
# everything else needs it
is_mounted || finish

reads() {
	eq "$(cat "$MNT/remote.txt")" "from the instance"
	eq "$(ls "$MNT")" $'folder\nremote.txt'
	eq "$(stat -c %s "$MNT/remote.txt")" 18
}
writes() {
	echo from here >"$MNT/folder/local.txt"
	eq "$(cat "$REMOTE/folder/local.txt")" "from here" "on the server"
	echo more >>"$MNT/folder/local.txt"
	eq "$(cat "$REMOTE/folder/local.txt")" $'from here\nmore' "on the server"
	eq "$(cat "$MNT/folder/local.txt")" $'from here\nmore' "here"
}
removes() {
	rm "$MNT/folder/local.txt"
	rmdir "$MNT/folder"
	[[ ! -e $REMOTE/folder && ! -e $MNT/folder ]]
}
large() {
	head -c 20000000 /dev/urandom >"$W/local/large"
	cp "$W/local/large" "$MNT/large"
	same_file "$W/local/large" "$REMOTE/large"
	same_file "$MNT/large" "$REMOTE/large"
}
findmnt_shows() {
	local line
	line=$(findmnt -n -o FSTYPE "$MNT")
	eq "$line" "fuse.$MOUNT_WITH"
}
refused_when_busy() {
	cd "$MNT"
	rc_is 1 fusermount3 -u "$MNT"
	is_mounted
}
unmounts() {
	umount_fs
	eq "$(ls -A "$MNT")" ""
	eq "$(cat "$REMOTE/remote.txt")" "from the instance"
}
again() {
	mount_fs
	eq "$(cat "$MNT/remote.txt")" "from the instance"
	umount_fs
}

promptly() {
	mount_fs
	eq "$(ls "$MNT/large")" "$MNT/large"
	timed umount_fs
	le "$MS_TAKEN" 3000 "milliseconds to unmount"
}
foreground() {
	local pid rc=0
	"$BUILD/mount.vastfs" -f gpu "$MNT" >"$W/foreground.out" 2>&1 &
	pid=$!
	wait_for 20 is_mounted || die "no mount: $(cat "$W/foreground.out")"
	cat "$MNT/large" >/dev/null
	echo x >"$MNT/x"
	fusermount3 -u "$MNT"
	wait "$pid" || rc=$?
	cat "$W/foreground.out"
	eq "$rc" 0 "exit status of mount.vastfs -f"
}
terminated() {
	local pid rc=0
	"$BUILD/mount.vastfs" -f gpu "$MNT" >"$W/foreground.out" 2>&1 &
	pid=$!
	wait_for 20 is_mounted
	echo y >"$MNT/y"
	kill -TERM "$pid"
	wait "$pid" || rc=$?
	fails is_mounted
	eq "$(cat "$REMOTE/y")" y
	[[ $rc == 0 || $rc == 8 ]] || die "exit status $rc after SIGTERM: $(cat "$W/foreground.out")"
}

check "reads and lists what the server has" reads
check "writes what the server then has" writes
check "removes" removes
check "20 MB of random bytes, checked on both sides" large
check "findmnt shows the type" findmnt_shows
check "a mount that is in use is not unmounted" refused_when_busy
check "unmounts, and the daemon ends" unmounts
check "mounts a second time" again
check "unmounts within three seconds" promptly
check_vastfs "in the foreground: exit status 0 after the unmount" foreground
check_vastfs "SIGTERM unmounts in good order" terminated
finish
