#!/bin/bash
# As 48-watched.sh, on an instance without python3 that has inotifywait.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || FINISHES_ITSELF=1 exit 0
if [[ $(id -u) != 0 ]] || ! command -v inotifywait >/dev/null; then
	skip "watching by inotifywait" "needs root, and inotify-tools"
	finish
fi
setup_dirs
setup_keys
PAST='1 year ago'
# What stands for python3 on the instance.
printf '#!/bin/sh\nexit 127\n' >"$W/python3"
chmod 755 "$W/python3"
# shellcheck disable=SC2034
SSHD_ENTER="mount --bind '$W/python3' '$(readlink -f "$(PATH=/usr/bin:/bin command -v python3)")';"
sshd_start
write_profile "attr_timeout = 3600"

watch() { "$BUILD/vastfs" status --json "$MNT" | jq -r ".watch.$1"; }
watch_is() { [[ $(watch state) == "$1" ]]; }
watches() { [[ $(watch folders) -ge $1 ]]; }
proven() { [[ $(watch pings) -gt $1 ]]; }
settle() { # FOLDERS
	wait_for 10 watch_is inotifywait
	ls -lR "$MNT/t" >/dev/null
	wait_for 10 watches "$1"
	wait_for 10 proven "$(watch pings)"
}
asked() { grep -cE ': (LSTAT|STAT|OPENDIR|READDIR|OPEN|READ|FSTAT)\b' "$W/daemon.log" || true; }
# The shell on the instance, and all that it has started.
watcher_pids() {
	local pid
	for pid in $(descendants "$(pid_of sshd)"); do
		! tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qE '^(/bin/sh -c PATH|inotifywait )' || echo "$pid"
	done
}
no_watcher() { [[ -z $(watcher_pids) ]]; }
its_folder() {
	local pid
	for pid in $(watcher_pids); do
		tr '\0' '\n' <"/proc/$pid/cmdline" | sed -n 's,^\(/tmp/vastfs-watch[^/]*\)/.*,\1,p'
	done | head -n 1
}

tree() {
	local i
	mkdir -p "$REMOTE/t/a/b" "$REMOTE/t/with some *?\\ in it"
	for i in 1 2 3; do echo "$i" | tee "$REMOTE/t/f$i" "$REMOTE/t/a/f$i" >"$REMOTE/t/a/b/f$i"; done
	find "$REMOTE" -depth -exec touch -h -d "$PAST" {} +
}
known() {
	ls -lR "$MNT/t" >/dev/null
	cat "$MNT"/t/*/*/f? "$MNT"/t/*/f? "$MNT"/t/f? >/dev/null
	settle 5
}
tree
mount_fs || finish

shown() {
	known
	has "$("$BUILD/vastfs" status "$MNT")" "watch       by inotifywait: "
}
check "status names it" shown
at_once() {
	local odd="$MNT/t/with some *?\\ in it" name
	known
	echo two >"$REMOTE/t/f2"
	within 1000 contains "$MNT/t/f2" two
	chmod 640 "$REMOTE/t/a/f1"
	within 1000 mode_is "$MNT/t/a/f1" 640
	rm "$REMOTE/t/a/b/f3"
	within 1000 absent "$MNT/t/a/b/f3"
	fails stat "$MNT/t/a/new"
	echo x >"$REMOTE/t/a/new"
	within 1000 test -e "$MNT/t/a/new"
	mkdir "$REMOTE/t/a/dir"
	within 1000 listed "$MNT/t/a" dir
	rmdir "$REMOTE/t/a/dir"
	within 1000 not_listed "$MNT/t/a" dir
	# shellcheck disable=SC2016
	for name in ' \c%s|$(x)*' $'tab\there' "it's"; do
		echo odd >"$REMOTE/t/with some *?\\ in it/$name"
		within 1000 contains "$odd/$name" odd
		rm "$REMOTE/t/with some *?\\ in it/$name"
		within 1000 absent "$odd/$name"
	done
}
check "what changes on the instance is seen within a second (attr_timeout=3600)" at_once
# Nobody is told which name it is: the folder is given up, and looked at anew.
newline() {
	known
	echo x >"$REMOTE/t/a/two"$'\n'"lines"
	within 5000 test -e "$MNT/t/a/two"$'\n'"lines"
	rm "$REMOTE/t/a/two"$'\n'"lines"
	known
}
same_attributes() {
	known
	echo abc >"$REMOTE/t/same"
	touch -d "$PAST" "$REMOTE/t/same"
	seen "$MNT/t/same"
	contains "$MNT/t/same" abc
	settle 2
	echo xyz >"$REMOTE/t/same"
	touch -d "@$(stat -c %Y "$MNT/t/same")" "$REMOTE/t/same"
	within 1000 contains "$MNT/t/same" xyz
}
check "a name of two lines" newline
check "other bytes of the same size and time" same_attributes
folders_move() {
	known
	mkdir -p "$REMOTE/u/a/b"
	echo other >"$REMOTE/u/a/b/f1"
	mv "$REMOTE/t" "$REMOTE/gone"
	mv "$REMOTE/u" "$REMOTE/t"
	within 1000 contains "$MNT/t/a/b/f1" other
	rm -r "$REMOTE/t"
	within 1000 absent "$MNT/t/a/b"
	mv "$REMOTE/gone" "$REMOTE/t"
	seen "$MNT/t/a/b/f1"
}
check "folders replaced, removed and put back" folders_move
# More folders, one after another, than there may be inotifywaits: those become one.
many() {
	local i
	known
	for i in $(seq 26); do
		mkdir "$REMOTE/t/more$i"
		echo 1 >"$REMOTE/t/more$i/f"
	done
	for i in $(seq 26); do
		wait_for 5 test -e "$MNT/t/more$i/f"
		wait_for 10 watches $((i + 4))
	done
	le "$(watcher_pids | wc -l)" 90 "processes"
	for i in 1 25; do
		echo other >"$REMOTE/t/more$i/f"
		within 1500 contains "$MNT/t/more$i/f" other
	done
	rm -r "$REMOTE"/t/more*
	within 1500 absent "$MNT/t/more26"
}
check "more folders than there may be programs" many
umount_fs
wait_for 10 no_watcher

write_profile "attr_timeout = 1"
tree
DAEMON_LOG=1
mount_fs -d || finish
old() { # PINGS BEFORE
	ls -lR "$MNT/t" >/dev/null
	proven "$(($1 + 3))"
}
nothing_asked() {
	local before
	known
	wait_for 20 old "$(watch pings)"
	before=$(asked)
	ls -lR "$MNT/t" >/dev/null
	cat "$MNT"/t/*/*/f? "$MNT"/t/*/f? "$MNT"/t/f? >/dev/null
	eq "$(asked)" "$before" "requests, of them before:"
}
check "beyond attr_timeout, nothing is asked that nobody has changed" nothing_asked
# inotifywait does not say that its queue ran over.
overflow() {
	local pid
	known
	for pid in $(watcher_pids); do kill -STOP "$pid"; done
	"$PYTHON" - "$REMOTE/t/a" <<-'END'
		import os, sys
		for i in range(9000):
		    name = sys.argv[1] + '/many%d' % i
		    open(name, 'w').close()
		    os.unlink(name)
	END
	echo unheard >"$REMOTE/t/f1"
	for pid in $(watcher_pids); do kill -CONT "$pid"; done
	within 2500 contains "$MNT/t/f1" unheard
	wait_for 40 old "$(watch pings)"
	wait_for 20 watches 5
	echo heard >"$REMOTE/t/f1"
	within 1500 contains "$MNT/t/f1" heard
}
check "more changes than can be told: the time bounds, then watched again" overflow
# One of those that it runs ends.
killed() {
	local pid
	known
	for pid in $(watcher_pids); do
		[[ $(cat "/proc/$pid/comm") != inotifywait ]] || kill -KILL "$pid"
	done
	echo bounds >"$REMOTE/t/f2"
	within 2500 contains "$MNT/t/f2" bounds
	known
	echo again >"$REMOTE/t/f2"
	within 1500 contains "$MNT/t/f2" again
}
check "inotifywait killed: the time bounds, then it is started again" killed
leaves() {
	local folder
	folder=$(its_folder)
	test -d "$folder"
	umount_fs
	wait_for 10 no_watcher
	wait_for 5 absent "$folder"
}
check "it ends with the mount, and leaves nothing behind" leaves
finish
