#!/bin/bash
# The instance tells what changes in folders that are known here: seen at once, and nothing is asked in between.
. "$(dirname "$0")/../lib.sh"
setup
DAEMON_LOG=1
PAST='1 year ago'

watch() { "$BUILD/vastfs" status --json "$MNT" | jq -r ".watch.$1"; }
watch_is() { [[ $(watch state) == "$1" ]]; }
watches() { [[ $(watch folders) -ge $1 ]]; }
proven() { [[ $(watch pings) -gt $1 ]]; }
# What is known is watched: a ping that was sent after all of it has been answered.
settle() { # FOLDERS
	wait_for 10 watch_is python3
	ls -lR "$MNT/t" >/dev/null # what was looked at before is not watched yet
	wait_for 10 watches "$1"
	wait_for 10 proven "$(watch pings)"
}
# Beyond what attr_timeout=1 and R2 allow without the watcher; pings are frequent while it is of use.
old() { # PINGS BEFORE
	ls -lR "$MNT/t" >/dev/null
	proven "$(($1 + 3))"
}
# The program on the instance.
watcher_pids() {
	local pid
	for pid in $(descendants "$(pid_of sshd)"); do
		! tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q '^python3 -I' || echo "$pid"
	done
}
no_watcher() { [[ -z $(watcher_pids) ]]; }
mtime_is() { [[ $(stat -c %Y "$1") == "$2" ]]; }
asked() { grep -cE ': (LSTAT|STAT|OPENDIR|READDIR|OPEN|READ|FSTAT)\b' "$W/daemon.log" || true; }

tree() { # a tree that is a year old
	local i
	mkdir -p "$REMOTE/t/a/b"
	for i in 1 2 3; do echo "$i" | tee "$REMOTE/t/f$i" "$REMOTE/t/a/f$i" >"$REMOTE/t/a/b/f$i"; done
	find "$REMOTE" -depth -exec touch -h -d "$PAST" {} +
}
known() {
	ls -lR "$MNT/t" >/dev/null
	cat "$MNT"/t/*/*/f? "$MNT"/t/*/f? "$MNT"/t/f? >/dev/null
	settle 4
}
tree
write_profile "attr_timeout = 3600"
mount_fs -d || finish

at_once() {
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
	touch -d '2001-02-03' "$REMOTE/t"
	within 1000 mtime_is "$MNT/t" "$(stat -c %Y "$REMOTE/t")"
}
check "what changes on the instance is seen within a second (attr_timeout=3600)" at_once
# The very same attributes: only that it was written tells.
same_attributes() {
	echo abc >"$REMOTE/t/same"
	touch -d "$PAST" "$REMOTE/t/same"
	seen "$MNT/t/same"
	contains "$MNT/t/same" abc
	settle 2
	echo xyz >"$REMOTE/t/same"
	touch -d "@$(stat -c %Y "$MNT/t/same")" "$REMOTE/t/same"
	within 1000 contains "$MNT/t/same" xyz
	echo 123 >"$REMOTE/t/other"
	touch -r "$REMOTE/t/same" "$REMOTE/t/other"
	mv "$REMOTE/t/other" "$REMOTE/t/same"
	within 1000 contains "$MNT/t/same" 123
}
check "other bytes of the same size and time, and another file in its place" same_attributes
folders_move() {
	known
	mkdir -p "$REMOTE/u/a/b"
	echo other >"$REMOTE/u/a/b/f1"
	mv "$REMOTE/t" "$REMOTE/gone"
	mv "$REMOTE/u" "$REMOTE/t"
	within 1000 contains "$MNT/t/a/b/f1" other
	echo again >"$REMOTE/t/a/b/f1"
	within 1500 contains "$MNT/t/a/b/f1" again
	rm -r "$REMOTE/t"
	within 1000 absent "$MNT/t/a/b"
	mv "$REMOTE/gone" "$REMOTE/t"
	seen "$MNT/t/a/b/f1"
}
check "folders replaced, removed and put back" folders_move
# A file with two names is not told of: its folder is given up, and looked at anew.
lost_and_found() {
	known
	ln "$REMOTE/t/a/f1" "$REMOTE/t/a/second-name"
	echo meanwhile >"$REMOTE/t/a/f2"
	touch "$REMOTE/t/a/another"
	within 3000 test -e "$MNT/t/a/another"
	within 3000 contains "$MNT/t/a/f2" meanwhile
	rm "$REMOTE/t/a/second-name"
	wait_for 10 watches 4
	echo later >"$REMOTE/t/a/f2"
	within 1000 contains "$MNT/t/a/f2" later
}
check "a folder whose watch was lost is watched again" lost_and_found
# Told of while it is looked up: who has gone into it meanwhile still knows where he is.
new_folders() {
	known
	"$PYTHON" - "$REMOTE/t" "$MNT/t" <<-'END'
		import os, sys
		there, here = sys.argv[1:]
		for i in range(60):
		    os.mkdir(f"{there}/new{i}")
		    while not os.path.exists(f"{here}/new{i}"):
		        pass
		    os.open(f"{here}/new{i}", os.O_DIRECTORY)
		for i in range(60):
		    os.rename(f"{there}/new{i}", f"{there}/old{i}")
		    while os.path.exists(f"{here}/new{i}"):
		        pass
		    while not os.path.exists(f"{here}/old{i}"):
		        pass
		    os.open(f"{here}/old{i}", os.O_DIRECTORY)
		os.mkdir(f"{there}/last")
		while not os.path.exists(f"{here}/last"):
		    pass
		lost = [p for p in (os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if n > "2")
		        if p.endswith(" (deleted)") and "/old" in p]
		assert not lost, lost
	END
	rmdir "$REMOTE"/t/old* "$REMOTE/t/last"
	within 1000 absent "$MNT/t/last"
}
check "a folder made there keeps its path here" new_folders
# R3 with an open file.
appended() {
	echo one >"$REMOTE/t/log"
	seen "$MNT/t/log"
	tail -f "$MNT/t/log" >"$W/tail.out" &
	local tail=$!
	wait_for 5 grep -q one "$W/tail.out"
	echo two >>"$REMOTE/t/log"
	within 2500 grep -q two "$W/tail.out"
	kill "$tail"
}
check "a log that is followed shows its new lines" appended
umount_fs

write_profile "attr_timeout = 1"
tree
mount_fs -d || finish
nothing_asked() {
	local before
	known
	wait_for 20 old "$(watch pings)"
	before=$(asked)
	ls -lR "$MNT/t" >/dev/null
	fails stat "$MNT/t/no-such-name"
	cat "$MNT"/t/*/*/f? "$MNT"/t/*/f? "$MNT"/t/f? >/dev/null
	find "$MNT" -newer "$REMOTE" >/dev/null
	eq "$(asked)" "$before" "requests, of them before:"
}
check "beyond attr_timeout, nothing is asked that nobody has changed" nothing_asked
opened() { grep -cE '> (OPEN|OPENDIR)\b' "$W/daemon.log" || true; }
# git makes and removes a lock in .git, and goes on below it.
change_above() {
	local before
	known
	wait_for 20 old "$(watch pings)"
	mkdir "$MNT/t/a/lock"
	before=$(opened)
	cat "$MNT"/t/a/b/f? >/dev/null
	rmdir "$MNT/t/a/lock"
	fails stat "$MNT/t/a/b/no-such-name"
	cat "$MNT"/t/a/b/f? >/dev/null
	# and the folders above stay watched
	wait_for 20 old "$(watch pings)"
	wait_for 20 old "$(watch pings)"
	# but for the folder itself, which is listed anew where the look-up comes late
	le $(($(opened) - before)) 1 "files and folders opened:"
}
check "a change made here leaves what is below the folder known" change_above
# Opened once a second or more: R2 wants more than a ping of five seconds ago.
ours_stay() {
	local before
	known
	echo mine >"$MNT/t/mine"
	mkdir "$MNT/t/ours"
	synced
	wait_for 20 old "$(watch pings)"
	stat "$MNT/t/mine" "$MNT/t/ours" >/dev/null
	contains "$MNT/t/mine" mine
	wait_for 20 old "$(watch pings)"
	before=$(asked)
	stat "$MNT/t/mine" "$MNT/t/ours" >/dev/null
	contains "$MNT/t/mine" mine
	eq "$(asked)" "$before" "requests, of them before:"
}
check "changes made here end up as well known" ours_stay
# A later mount asks whether what this one has seen still holds, in one message for each folder.
files() { find "$1" -mindepth 1 -printf '%P %y %m %Ts ' \( -type f -printf '%s\n' -o -printf '\n' \) | sort; }
mount_watched() {
	umount_fs
	"$@"
	: >"$W/daemon.log"
	mount_fs -d
	wait_for 10 watch_is python3
}
changed_meanwhile() {
	echo new >"$REMOTE/r/a/new"
	rm "$REMOTE/r/a/b/f1"
	touch -d '1 day ago' "$REMOTE/r/f1"
	mv "$REMOTE/r/a/b" "$REMOTE/r/a/c"
	mkdir "$REMOTE/r/a/b"
	echo other >"$REMOTE/r/a/b/f9"
}
remounted() {
	cp -a "$REMOTE/t" "$REMOTE/r"
	seen "$MNT/r"
	files "$MNT/r" >/dev/null
	mount_watched true
	eq "$(files "$MNT/r")" "$(files "$REMOTE/r")"
	le "$(opened)" 1 "files and folders opened:" # one by a guess, beside the look-up of r
	mount_watched changed_meanwhile
	eq "$(files "$MNT/r")" "$(files "$REMOTE/r")"
	fails stat "$MNT/r/a/c/f1"
	contains "$MNT/r/a/b/f9" other
	ge "$(opened)" 1
	# and again when nobody can tell, from what was seen then
	mount_watched true
	eq "$(files "$MNT/r")" "$(files "$REMOTE/r")"
}
check "a later mount asks only whether folders are as they were" remounted
links_too() {
	echo 1 >"$REMOTE/t/l1"
	ln "$REMOTE/t/l1" "$REMOTE/t/a/l2"
	seen "$MNT/t/l1" "$MNT/t/a/l2"
	ls -l "$MNT/t" "$MNT/t/a" >/dev/null
	settle 3
	echo changed >"$REMOTE/t/a/l2"
	within 2500 contains "$MNT/t/l1" changed
	# a name that nobody tells of, given later
	echo 1 >"$REMOTE/t/l3"
	touch -d "$PAST" "$REMOTE/t/l3"
	seen "$MNT/t/l3"
	ls -l "$MNT/t" >/dev/null
	contains "$MNT/t/l3" 1
	settle 2
	ln "$REMOTE/t/l3" "$W/l4"
	echo 2 >"$W/l4"
	within 6000 contains "$MNT/t/l3" 2
}
check "a file with two names is not taken on trust" links_too
links_are() { # COUNT FILE
	ls -l "${2%/*}" >/dev/null # only listings carry link counts
	[[ $(stat -c %h "$2") == "$1" ]]
}
counted() { # by what the folder holds when it is watched again
	ls -lR "$MNT/t" >/dev/null
	settle 4
	links_are 1 "$MNT/t/a/f3"
	ln "$REMOTE/t/a/f3" "$REMOTE/t/a/g3"
	seen "$MNT/t/a/g3"
	wait_for 10 watches 4
	wait_for 10 proven "$(watch pings)"
	within 6000 links_are 2 "$MNT/t/a/f3"
}
check "a link made there is counted" counted

# --- when it goes -----------------------------------------------------------------

overflow() {
	local pid
	known
	pid=$(watcher_pids)
	kill -STOP "$pid"
	"$PYTHON" - "$REMOTE/t/a" <<-'END'
		import os, sys
		for i in range(9000):
		    name = sys.argv[1] + '/many%d' % i
		    open(name, 'w').close()
		    os.unlink(name)
	END
	echo unheard >"$REMOTE/t/f1"
	kill -CONT "$pid"
	within 2500 contains "$MNT/t/f1" unheard
	wait_for 20 old "$(watch pings)" # it has been told that all was lost
	wait_for 10 watches 4
	echo heard >"$REMOTE/t/f1"
	within 1000 contains "$MNT/t/f1" heard
}
check "more changes than can be told: the time bounds, then watched again" overflow
killed() {
	known
	kill -KILL "$(watcher_pids)"
	wait_for 5 watch_is no
	echo bounds >"$REMOTE/t/f2"
	within 2500 contains "$MNT/t/f2" bounds
	wait_for 20 watch_is python3
	known
	echo again >"$REMOTE/t/f2"
	within 1000 contains "$MNT/t/f2" again
}
check "the watcher killed: the time bounds, then it is started again" killed
leaves() {
	local pid
	pid=$(watcher_pids)
	[[ $pid ]]
	umount_fs
	wait_for 10 no_watcher
}
check "it ends with the mount" leaves
switched_off() {
	mount_fs -o watch=no
	ls -lR "$MNT" >/dev/null
	eq "$(watch state): $(watch why)" "no: watch=no"
	no_watcher
	has "$("$BUILD/vastfs" status "$MNT")" "watch       no: watch=no"
	umount_fs
}
check "watch=no" switched_off

# --- instances that can't -----------------------------------------------------------

another_sshd() { # another sshd, another mount
	is_mounted && umount_fs
	sshd_kill
	sshd_start
	write_profile "attr_timeout = 1"
	mount_fs
}
goes_without() { # WHY
	cat "$MNT/t/f1" >/dev/null
	wait_for 10 watch_is no
	has_re "$(watch why)" "$1"
	echo bounds >"$REMOTE/t/f1"
	within 2500 contains "$MNT/t/f1" bounds
	! grep -i watch "$W/mount.out" || die "it was not silent"
}
unset DAEMON_LOG
forced() {
	SSHD_EXTRA="ForceCommand internal-sftp" SFTP_SERVER=internal-sftp another_sshd
	goes_without 'neither python3 nor inotifywait runs'
}
check "a login for SFTP alone" forced
noisy() {
	echo 'echo "Welcome to the instance"; echo more' >"$W/server-home/.bashrc"
	SFTP_SERVER=internal-sftp another_sshd
	cat "$MNT/t/f1" >/dev/null
	settle 2
}
quiet() { rm "$W/server-home/.bashrc"; }
hostile_python() { # what stands for python3, and for inotifywait, on the instance
	local name path
	# shellcheck disable=SC2034
	cat >"$W/python3"
	chmod 755 "$W/python3"
	SSHD_ENTER=''
	for name in python3 inotifywait; do
		path=$(PATH=/usr/bin:/bin command -v "$name") || continue
		SSHD_ENTER+="mount --bind '$W/python3' '$(readlink -f "$path")'; "
	done
	another_sshd
}
missing() {
	hostile_python <<<$'#!/bin/sh\nexit 127'
	goes_without 'neither python3 nor inotifywait runs'
}
nonsense() {
	hostile_python <<-'END'
		#!/bin/sh
		cat >/dev/null &
		printf '\0\0\0\025\002vastfs-watch\0\0\0\001\0\0\040\0'
		printf '\0\0\0\077\006\0\0\0\001\007'
		exec head -c 100000 /dev/urandom
	END
	goes_without "makes no sense|which can't be"
}
endless() {
	hostile_python <<<$'#!/bin/sh\nexec cat /dev/zero'
	goes_without 'neither python3 nor inotifywait runs|prints'
}
if [[ $(id -u) == 0 ]]; then
	check "a login shell that prints" noisy
	quiet
	check "no python3" missing
	check "a watcher that says nonsense" nonsense
	check "a watcher that never stops" endless
else
	skip "instances without python3, or with another" "needs root"
fi
finish
