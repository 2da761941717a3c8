#!/bin/bash
# The daemon is killed while a program waits for an answer about what is told to have changed. The kernel takes a notice
# of that only when the folder, or the page, is free: a thread that waits for it keeps the daemon from ending, and so the
# program from hearing that it has ended.
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

# A reader waits for pages of a file that is seen to have changed.
# Who looks at the file may wait for the page himself.
waits_for_page() {
	stat "$MNT/large" >/dev/null 2>&1 &
	grep -q folio_lock /proc/"$1"/task/*/stack
}
reader_is_let_go() {
	local reader daemon
	proxy delay 0 >/dev/null
	proxy rate 2M >/dev/null # what is told waits behind the data under way, some MB
	head -c 50000000 /dev/zero >"$REMOTE/large"
	mount_fs "$@" || return
	daemon=$(daemon_pid)
	: >"$W/large"
	cat "$MNT/large" >>"$W/large" 2>"$W/cat.err" &
	reader=$!
	wait_for 20 test -s "$W/large" || return
	echo more >>"$REMOTE/large"
	wait_for 20 waits_for_page "$daemon" || return
	kill -KILL "$daemon"
	if ! wait_for 10 gone "$reader" || [[ -e /proc/$daemon/exe ]]; then
		umount -f "$MNT"
		return 1
	fi
	cat "$W/cat.err"
	rc_is 1 stat "$MNT"
	has "$OUT" "not connected"
	proxy rate 0 >/dev/null
	mount_fs || return
	cmp "$REMOTE/large" "$MNT/large"
	umount_fs
}
check_vastfs "killed while a page is waited for" reader_is_let_go
# Both ways to the file that ends a connection: systemd mounts fusectl, in a container nobody does.
fusectl=/sys/fs/fuse/connections
if mountpoint -q "$fusectl"; then
	check_vastfs "where fusectl is mounted" reader_is_let_go
else
	mount -t fusectl fusectl "$fusectl" && check_vastfs "where fusectl is mounted" reader_is_let_go
	umount -l "$fusectl"
fi
# What lets the reader go ends with the daemon, however that ends, and is not taken for it.
guard_of() { # DAEMON; it takes its name when it has begun
	wait_for 5 pgrep -P "$1" -x vastfs-guard >/dev/null || die "no guard of $1"
	pgrep -P "$1" -x vastfs-guard
}
guard_ends() {
	local daemon guard
	mount_fs || return
	daemon=$(daemon_pid)
	guard=$(guard_of "$daemon") || return
	has "$(tr '\0' ' ' <"/proc/$guard/cmdline")" "vastfs-guard"
	fails grep -q mount.vastfs "/proc/$guard/cmdline"
	[[ $(ls "/proc/$guard/fd") == 0 ]] || die "$(ls -l "/proc/$guard/fd")"
	umount_fs
	wait_for 5 gone "$guard" || die "after umount: $(ps -o pid,ppid,stat,args "$guard")"
	mount_fs || return
	daemon=$(daemon_pid)
	guard=$(guard_of "$daemon") || return
	kill -KILL "$daemon"
	wait_for 5 gone "$guard" || die "after kill -9: $(ps -o pid,ppid,stat,args "$guard")"
	umount -l "$MNT"
}
check_vastfs "the guard ends with the daemon" guard_ends
umount_all
# What the kernel has just been told of the folder is not taken for a sign of life, nor is a connection that ends just now.
remounted_at_once() {
	touch -d '1 hour ago' "$REMOTE"
	mount_fs || return
	for _ in 1 2 3; do
		stat "$MNT" >/dev/null
		kill -KILL "$(daemon_pid)"
		mount_fs || return
		has "$(cat "$W/mount.out")" "dead mount"
		ls "$MNT/d" >/dev/null || return
	done
	umount_fs
}
check_vastfs "the next mount, at once" remounted_at_once
finish
