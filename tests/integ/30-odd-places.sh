#!/bin/bash
# Folders that may be entered but not listed, hard links of symlinks, a mountpoint that is no UTF-8.
. "$(dirname "$0")/../lib.sh"
setup_dirs
setup_keys
if [[ $(id -u) == 0 ]]; then
	chmod 711 "$W"
	chmod 777 "$REMOTE"
	SFTP_SERVER="/usr/bin/setpriv --reuid=65534 --regid=65534 --clear-groups /usr/lib/openssh/sftp-server"
fi
sshd_start
write_profile
mkdir -m 711 "$REMOTE/closed"
for i in 1 2 3 4 5 6 7 8 9; do echo "$i" >"$REMOTE/closed/$i"; done
[[ $(id -u) == 0 ]] || chmod 111 "$REMOTE/closed"
mkdir -p "$REMOTE/d/e"
ln -s ../../x "$REMOTE/d/e/up"
[[ $(id -u) != 0 ]] || chown -hR 65534:65534 "$REMOTE/d"

names_in_a_closed_folder() {
	local i
	for i in 1 2 3 4 5 6 7 8 9; do eq "$(cat "$MNT/closed/$i")" "$i"; done
	fails ls "$MNT/closed"
	fails stat "$MNT/closed/none"
	fails stat "$MNT/closed/none2"
	for i in 9 8 7 6 5 4; do eq "$(stat -c %s "$MNT/closed/$i")" 2; done
}

# "../../x" stays inside from d/e, and would lead out from the top.
linked_symlink() {
	eq "$(readlink "$MNT/d/e/up")" ../../x
	ln -P "$MNT/d/e/up" "$MNT/d/deep" # one up: still met from d/e and d
	fails readlink "$MNT/d/deep"
	rm "$MNT/d/deep"
	eq "$(readlink "$MNT/d/e/up")" ../../x
}

status_of_odd_mountpoint() {
	local dir=$W/$'m\xffnt'
	mkdir "$dir"
	timeout 60 "$BUILD/mount.vastfs" gpu "$dir"
	rc_is 0 "$BUILD/vastfs" status --json
	has "$OUT" 'm?nt'
	fusermount3 -u "$dir"
}

# A stopped daemon does not hide the others, a starting one keeps its socket, and the inner of two mounts is meant.
several_mounts() {
	local outer inner sock
	mkdir -p "$MNT/d/inner"
	timeout 60 "$BUILD/mount.vastfs" gpu "$MNT/d/inner"
	outer=$(daemon_pid) inner=$(daemon_pid "$MNT/d/inner")
	eq "$("$BUILD/vastfs" status --json "$MNT/d/inner/d" | grep -c "\"pid\": $inner")" 1
	eq "$("$BUILD/vastfs" status --json "$MNT/d" | grep -c "\"pid\": $outer")" 1
	kill -STOP "$inner"
	timed "$BUILD/vastfs" status --json >"$W/status.out" 2>"$W/status.err" || eq $? 1 "status"
	has "$(cat "$W/status.err")" "process $inner, does not answer"
	le "$MS_TAKEN" 8000 "milliseconds"
	kill -CONT "$inner"
	has "$(cat "$W/status.out")" "\"pid\": $outer"
	umount_fs "$MNT/d/inner"
	rmdir "$MNT/d/inner"
	sock=$XDG_RUNTIME_DIR/vastfs/$$.sock
	"$PYTHON" -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$sock" # not yet listening
	"$BUILD/vastfs" status >/dev/null
	[[ -S $sock ]] || die "the socket of a daemon that starts is gone"
	mv "$sock" "$XDG_RUNTIME_DIR/vastfs/999999999.sock"
	"$BUILD/vastfs" status >/dev/null
	[[ ! -e $XDG_RUNTIME_DIR/vastfs/999999999.sock ]] || die "the socket of a dead daemon stays"
}

check_vastfs "mounts" mount_fs
check_vastfs "status of several mounts, one of them stopped" several_mounts
check_vastfs "names in a folder that can't be listed" names_in_a_closed_folder
check_vastfs "a symlink with two names" linked_symlink
check_vastfs "unmounts" umount_fs
check_vastfs "status of a mountpoint that is no UTF-8" status_of_odd_mountpoint
[[ $(id -u) == 0 ]] || chmod 755 "$REMOTE/closed"
finish
