#!/bin/bash
# The daemon is killed while a program waits for an answer about a folder in which something is told to have changed. The
# kernel takes a notice of that only when the folder is free: a thread that waited for it would keep the daemon from
# ending, and so the program from hearing that it has ended.
. "$(dirname "$0")/../lib.sh"
setup
proxy_start
write_profile "lag = 0"
mkdir "$REMOTE/d"
: >"$REMOTE/d/x"
: >"$REMOTE/d/y"
mount_fs || finish
watch() { "$BUILD/vastfs" status --json "$MNT" | jq -r ".watch.$1"; }
told_more_than() { [[ $(watch events) -gt $1 ]]; }
watches() { [[ $(watch folders) -ge 2 ]]; }

# The answer to the mkdir comes a second after what is told.
killed_meanwhile() {
	local before maker daemon
	ls -l "$MNT/d" >/dev/null
	wait_for 10 watches || return
	before=$(watch events)
	daemon=$(daemon_pid)
	proxy delay 700
	mkdir "$MNT/d/new" 2>"$W/mkdir.err" &
	maker=$!
	rm "$REMOTE/d/x"
	wait_for 5 told_more_than "$before" || return
	kill -0 "$maker" || return
	kill -KILL "$daemon"
	if ! wait_for 10 gone "$maker" || [[ -e /proc/$daemon/exe ]]; then
		umount -f "$MNT"
		return 1
	fi
	cat "$W/mkdir.err"
}
if [[ $(watch state) == no ]]; then
	skip "killed while a folder is waited for" "no watcher"
else
	check_vastfs "killed while a folder is waited for" killed_meanwhile
fi
umount -l "$MNT" 2>/dev/null
finish
