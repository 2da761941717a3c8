#!/bin/bash
# What was accepted outlives the daemon (W5, W6): kill -9, cut links, full disks, and the next mount.
. "$(dirname "$0")/../lib.sh"
setup
proxy_start
write_profile "timeout = 10"
mount_fs || finish
SPOOL=$XDG_STATE_HOME/vastfs/gpu

kill_daemon() { # [MOUNTPOINT]
	local dir=${1:-$MNT} pid
	pid=$(daemon_pid "$dir")
	kill -KILL "$pid"
	wait_for 10 gone "$pid"
	let_go "$dir"
}
# Takes a mount without a daemon away.
let_go() { # MOUNTPOINT
	umount -l "$1" 2>/dev/null || fusermount3 -u -z "$1"
}
status() { "$BUILD/vastfs" status --json "$MNT" | jq -r "$1"; }
not_connected() { [[ $(status .connected) == false ]]; }
no_link() {
	proxy refuse on >/dev/null
	proxy cut >/dev/null
	wait_for 20 not_connected
}
link_back() {
	proxy refuse off >/dev/null
	connected() { [[ $(status .connected) == true ]]; }
	is_mounted && { wait_for 40 connected || die "no link"; }
	return 0
}
spool_empty() { [[ $(status .spool.changes) == 0 ]]; }

survives_kill_without_link() {
	mkdir "$MNT/k"
	exec 5>"$MNT/k/new" 6>>"$REMOTE/k/log"
	echo line1 >&6
	exec 6>&-
	seen "$MNT/k/log"
	exec 6>>"$MNT/k/log"
	head -c 3000000 /dev/urandom >"$W/local/big"
	exec 7>"$MNT/k/big"
	no_link
	echo "written without a link" >&5
	echo line2 >&6
	echo line3 >&6
	cat "$W/local/big" >&7
	ge "$(status .spool.changes)" 4
	kill_daemon
	exec 5>&- 6>&- 7>&- || true
	link_back
	eq "$(cat "$REMOTE/k/new")" ""
	mount_fs
	has "$(cat "$W/mount.out")" "that an earlier mount left"
	eq "$(cat "$REMOTE/k/new")" "written without a link"
	eq "$(cat "$REMOTE/k/log")" $'line1\nline2\nline3'
	same_file "$W/local/big" "$REMOTE/k/big"
	eq "$(status .spool.changes)" 0
	eq "$(status '.spool.conflicts | length')" 0
	eq "$(find "$REMOTE" -name '*conflict*' -o -name '.vastfs*')" ""
}
# What is not sent of a file that is open is sent to where its folder has gone meanwhile.
folder_moved() {
	mkdir -p "$MNT/fm/old"
	exec 5>"$MNT/fm/old/f"
	"$BUILD/vastfs" sync "$MNT"
	printf "not sent" >&5
	mv "$MNT/fm/old" "$MNT/fm/new"
	kill_daemon
	exec 5>&- || true
	[[ -d $REMOTE/fm/new ]]
	mount_fs
	eq "$(cat "$REMOTE/fm/new/f")" "not sent" || die "$(cat "$W/mount.out")"
	eq "$(find "$REMOTE/fm" | sort | tr '\n' ' ')" "$REMOTE/fm $REMOTE/fm/new $REMOTE/fm/new/f "
}
# Written to and dated in a burst, all of which was done there, but the daemon did not live to hear of it.
dated_and_not_told() {
	local n
	mkdir "$REMOTE/dt"
	for n in {1..8}; do echo "base of $n" >"$REMOTE/dt/f$n"; done
	seen "$MNT/dt/f8"
	"$PYTHON" - "$MNT/dt" "$TOOLS/delayproxy" --send "$W/proxy.ctl" delay 400 >/dev/null <<-'END'
		import os, subprocess, sys
		for n in range(8):
		    os.mkdir(f"{sys.argv[1]}/burst{n}")
		subprocess.run(sys.argv[2:], check=True)
		for n in range(1, 9):
		    path = f"{sys.argv[1]}/f{n}"
		    fd = os.open(path, os.O_WRONLY)
		    os.pwrite(fd, b"ours", 0)
		    os.close(fd)
		    os.utime(path, (1e9, 1e9 + n))
	END
	all_dated() { [[ $(stat -c %Y "$REMOTE/dt/"f{1..8}) == "$(seq 1000000001 1000000008)" ]]; }
	wait_for 10 all_dated
	kill_daemon
	proxy delay 0 >/dev/null
	mount_fs
	has "$(cat "$W/mount.out")" "that an earlier mount left"
	eq "$(status '.spool.conflicts | length')" 0
	all_dated
	for n in {1..8}; do eq "$(cat "$REMOTE/dt/f$n")" "ours of $n"; done
	eq "$(ls "$REMOTE/dt" | wc -l)" 16
}
# Written to and renamed, all of which was done there, then given another size, which was not sent.
resized_unsent() {
	mkdir "$REMOTE/ru"
	echo base >"$REMOTE/ru/old"
	touch -d '1 hour ago' "$REMOTE/ru/old"
	seen "$MNT/ru/old"
	proxy delay 50 >/dev/null
	"$PYTHON" - "$MNT/ru" "$(daemon_pid)" "$BUILD/vastfs" "$TOOLS/delayproxy" --send "$W/proxy.ctl" stall >/dev/null <<-'END'
		import os, signal, subprocess, sys
		for n in range(8):
		    os.mkdir(f"{sys.argv[1]}/burst{n}")
		fd = os.open(f"{sys.argv[1]}/old", os.O_WRONLY | os.O_APPEND)
		os.write(fd, b"ours")
		os.close(fd)
		os.rename(f"{sys.argv[1]}/old", f"{sys.argv[1]}/new")
		subprocess.run([sys.argv[3], "sync", sys.argv[1]], check=True)
		subprocess.run(sys.argv[4:], check=True)
		os.rename(f"{sys.argv[1]}/new", f"{sys.argv[1]}/newer")
		os.truncate(f"{sys.argv[1]}/newer", 5000)
		os.kill(int(sys.argv[2]), signal.SIGKILL)
	END
	proxy delay 0 >/dev/null
	proxy cut >/dev/null
	proxy resume >/dev/null
	let_go "$MNT"
	mount_fs
	eq "$(ls "$REMOTE/ru" | grep -v burst)" newer
	eq "$(stat -c %s "$REMOTE/ru/newer") $(head -n 1 "$REMOTE/ru/newer")" "5000 base"
}
# Mode and times of a new file, set more often than its change in the spool has records.
set_often() {
	mkdir "$MNT/so"
	"$PYTHON" - "$MNT/so" "$(daemon_pid)" "$TOOLS/delayproxy" --send "$W/proxy.ctl" stall >/dev/null <<-'END'
		import os, signal, subprocess, sys
		for n in range(8):
		    os.mkdir(f"{sys.argv[1]}/burst{n}")
		subprocess.run(sys.argv[3:], check=True)
		fd = os.open(f"{sys.argv[1]}/f", os.O_WRONLY | os.O_CREAT, 0o600)
		os.write(fd, b"set")
		for n in range(12):
		    os.fchmod(fd, 0o600 + n)
		    os.utime(fd, (1e9, 1e9 + n))
		os.kill(int(sys.argv[2]), signal.SIGKILL)
	END
	proxy cut >/dev/null
	proxy resume >/dev/null
	let_go "$MNT"
	mount_fs
	eq "$(stat -c '%a %Y' "$REMOTE/so/f") $(cat "$REMOTE/so/f")" "613 1000000011 set"
}
conflict() {
	echo "base" >"$MNT/c"
	exec 5<>"$MNT/c"
	no_link
	printf mine >&5
	kill_daemon
	exec 5>&- || true
	echo "somebody else wrote this" >"$REMOTE/c"
	link_back
	mount_fs
	eq "$(cat "$REMOTE/c")" "somebody else wrote this"
	local kept=("$REMOTE"/c.vastfs-conflict-*)
	eq "${#kept[@]}" 1
	has_re "${kept[0]}" 'conflict-20[0-9]{6}-[0-9]{6}$'
	has "$(cat "${kept[0]}")" mine || die "$(cat "$W/mount.out"; status .spool)"
	eq "$(status '.spool.conflicts[0].path')" "$REMOTE/c"
	eq "$(status '.spool.conflicts[0].kept_as')" "${kept[0]}"
	has "$("$BUILD/vastfs" status "$MNT")" "changed there meanwhile"
	rm "${kept[0]}"
}
goes_on_after_an_outage() {
	exec 5>"$MNT/outage"
	head -c 100000000 /dev/urandom >"$W/local/outage"
	no_link
	# more than memory holds
	timeout 50 cat "$W/local/outage" >&5
	ge "$(status .spool.bytes)" 90000000 "bytes in the spool"
	le "$(awk '/^VmRSS/ { print $2 }' "/proc/$(daemon_pid)/status")" 250000 "kB of memory"
	echo more >&5
	link_back
	exec 5>&-
	"$BUILD/vastfs" sync "$MNT"
	cat "$W/local/outage" <(echo more) | cmp - "$REMOTE/outage"
	spool_empty
	rm "$REMOTE/outage"
}
# Closed while the link is away and then removed, or replaced: nobody wants to know of its data, and nothing fails for it.
asked() { [[ $(status .requests.in_flight) -ge 1 ]]; }
removed_unsent() {
	local i pids
	proxy delay 20 >/dev/null
	for i in 1 2; do
		echo new >"$MNT/new"
		exec 5>"$MNT/gone" 6>"$MNT/over" 7>"$MNT/open"
		no_link
		head -c 20000000 /dev/zero >&5
		echo data >&6
		echo data >&7
		exec 5>&- 6>&-
		[[ $i == 1 ]] || rm "$REMOTE/gone" # by somebody there
		rm -f "$MNT/gone" "$MNT/open" &
		pids=$!
		mv "$MNT/new" "$MNT/over" &
		pids+=" $!"
		wait_for 5 asked
		link_back
		# shellcheck disable=SC2086
		wait $pids
		exec 7>&- || true
		"$BUILD/vastfs" sync "$MNT" || die "$(status '.spool, .behind')"
		"$BUILD/vastfs" sync "$MNT"
		eq "$(status '.spool.failed | length')" 0
		spool_empty
		eq "$(cat "$REMOTE/over" "$MNT/over")" $'new\nnew'
		eq "$(ls "$REMOTE" | grep -c 'gone\|open\|conflict')" 0
	done
	proxy delay 0 >/dev/null
}
fsync_waits_for_the_timeout() {
	exec 5>"$MNT/fsynced"
	no_link
	echo x >&5
	fails timed timeout 30 sync "$MNT/fsynced"
	link_back
	exec 5>&-
	eq "$(cat "$REMOTE/fsynced")" x
}
idle_gives_back_the_disk() {
	head -c 50000000 /dev/zero >"$MNT/zeros"
	no_segments() { [[ -z $(find "$SPOOL" -type f ! -name lock) ]]; }
	wait_for 10 no_segments || die "$(ls -lR "$SPOOL")"
	eq "$(stat -c %a "$SPOOL" "$SPOOL/0" "$SPOOL/0/lock" | tr '\n' ' ')" "700 700 600 "
	rm "$MNT/zeros"
}
two_mounts() {
	mkdir "$W/mnt2"
	"$BUILD/mount.vastfs" gpu "$W/mnt2"
	exec 5>"$MNT/two-a" 6>"$W/mnt2/two-b"
	no_link
	echo a >&5
	echo b >&6
	kill_daemon "$MNT"
	kill_daemon "$W/mnt2"
	exec 5>&- 6>&- || true
	link_back
	mount_fs
	eq "$(cat "$REMOTE/two-a" "$REMOTE/two-b")" $'a\nb'
}
unmounted_without_link() {
	exec 5>"$MNT/later"
	no_link
	echo later >&5
	exec 5>&- || true
	local pid
	pid=$(daemon_pid)
	fusermount3 -u "$MNT" 2>/dev/null || fusermount3 -u -z "$MNT"
	wait_for 30 gone "$pid"
	link_back
	mount_fs
	eq "$(cat "$REMOTE/later")" later
}

# A burst that is answered while nothing gets through, and a kill: the next mount has many changes to send.
left_behind() { # FOLDER FILES
	"$PYTHON" - "$MNT/$1" "$2" "$TOOLS/delayproxy" "$W/proxy.ctl" <<-'END'
		import os, subprocess, sys
		top, files, tool, ctl = sys.argv[1:]
		os.mkdir(top)
		for n in range(int(files)):
		    if n % 20 == 0:
		        folder = f"{top}/{n // 20}"
		        os.mkdir(folder)
		    path = f"{folder}/{n}"
		    with open(path, "w") as f:
		        f.write(f"{n}\n" * 100)
		    os.utime(path, (1000, 2000))
		    os.rename(path, path + ".done")
		    if n == 20:
		        subprocess.run([tool, "--send", ctl, "stall"], check=True, stdout=subprocess.DEVNULL)
	END
	kill_daemon
	proxy cut >/dev/null
	proxy resume >/dev/null
}
all_there() { # FOLDER FILES
	local n
	eq "$(find "$REMOTE/$1" -type f | wc -l)" "$2" "files"
	for ((n = 0; n < $2; n++)); do
		eq "$(stat -c %Y-%s "$REMOTE/$1/$((n / 20))/$n.done")" "2000-$((100 * (${#n} + 1)))"
	done
	eq "$(status .spool.changes)" 0
	eq "$(status '.spool.conflicts | length')" 0
}
many() {
	left_behind many 300
	proxy delay 25 >/dev/null
	timed mount_fs
	echo "sent within $MS_TAKEN ms"
	# one after the other they take two round trips each and more, which is two minutes
	le "$MS_TAKEN" 15000
	all_there many 300
	proxy delay 0 >/dev/null
}
cut_again() {
	left_behind again 300
	proxy delay 25 >/dev/null
	mount_fs &
	some_are_there() { [[ -d $REMOTE/again/5 ]]; }
	wait_for 20 some_are_there
	proxy cut
	wait $!
	proxy delay 0 >/dev/null
	has "$(cat "$W/mount.out")" "the connection is lost"
	all_there again 300
}

# Makes the changes, PYTHON on the folder `top`, in a burst on a link that stalls meanwhile, so that their answers are not
# seen.
unanswered() { # FOLDER PYTHON
	local n
	for n in {1..9}; do
		"$PYTHON" - "$MNT/$1" "$TOOLS/delayproxy" "$W/proxy.ctl" "$2" <<-'END' && break
			import os, subprocess, sys, time
			top, tool, ctl, changes = sys.argv[1:]
			proxy = lambda order: subprocess.run([tool, "--send", ctl, order], check=True, stdout=subprocess.DEVNULL)
			os.listdir(top)
			for n in range(8):
			    open(f"{top}/burst{n}", "w").close()
			proxy("stall")
			began = time.monotonic()
			exec(changes)
			if time.monotonic() - began < 5:
			    sys.exit(0)
			sys.exit("no burst")
		END
		proxy resume >/dev/null
	done
}

# A rename was done there, its answer was not seen, and the old name was given to something new since: a log that is
# rotated from here.
rotated() {
	local n before
	mkdir "$REMOTE/rotated"
	for n in {1..3}; do echo "first $n" >"$REMOTE/rotated/log$n"; done
	echo "older" >"$REMOTE/rotated/log3.1"
	touch -d "@1000000000" "$REMOTE"/rotated/log*
	unanswered rotated 'for n in range(1, 4): os.rename(f"{top}/log{n}", f"{top}/log{n}.1")'
	kill_daemon
	proxy cut >/dev/null
	proxy resume >/dev/null
	for n in {1..3}; do
		before=$(cat "$REMOTE/rotated/log$n")
		eq "$before" "first $n"
		mv "$REMOTE/rotated/log$n" "$REMOTE/rotated/log$n.1"
	done
	echo "second and longer" >"$REMOTE/rotated/log1"
	echo "second" >"$REMOTE/rotated/log3"
	mount_fs
	eq "$(cat "$REMOTE/rotated/log1.1")" "first 1"
	eq "$(cat "$REMOTE/rotated/log1")" "second and longer"
	eq "$(cat "$REMOTE/rotated/log2.1")" "first 2"
	eq "$(cat "$REMOTE/rotated/log3.1")" "first 3"
	eq "$(cat "$REMOTE/rotated/log3")" "second"
	eq "$(status .spool.changes)" 0
	eq "$(status '.spool.conflicts | length')" 0
}

# A file was made and renamed there, the answers were not seen, and somebody took the old name while the mount lived.
taken() {
	mkdir "$REMOTE/taken"
	unanswered taken 'open(f"{top}/file", "w").close(); os.rename(f"{top}/file", f"{top}/file.1")'
	: >"$REMOTE/taken/file.1"
	echo "somebody's" >"$REMOTE/taken/file"
	wait_for 3 newer_than "$REMOTE/taken/file"
	kill_daemon
	proxy cut >/dev/null
	proxy resume >/dev/null
	mount_fs
	eq "$(cat "$REMOTE/taken/file")" "somebody's"
	eq "$(cat "$REMOTE/taken/file.1")" ""
	eq "$(status .spool.changes)" 0
}
newer_than() { [[ $(stat -c %Y "$1") -lt $(date +%s) ]]; }

# How far a sync is: a bar on a terminal, lines elsewhere.
progress() {
	local i out
	mkdir "$W/local/slow"
	for i in {1..40}; do head -c 80000 /dev/urandom >"$W/local/slow/$i"; done
	proxy rate 1M >/dev/null
	cp -r "$W/local/slow" "$MNT/slow1"
	out=$("$PYTHON" "$TESTS/integ/pty_run.py" 'no question' '' "$BUILD/vastfs" sync --progress "$MNT" | tr '\r' '\n')
	has_re "$out" '\[#+ +\] [0-9]+ of [0-9]+ files, [0-9.]+ of [0-9.]+ MiB, [0-9.]+ MiB/s, [0-9]+ s left'
	has_re "$out" '\[#{30}\] ([0-9]+) of [0-9]+ files'
	rm -r "$MNT/slow1"
	cp -r "$W/local/slow" "$MNT/slow2"
	out=$("$BUILD/vastfs" sync --progress "$MNT" 2>&1)
	has_re "$out" '^[0-9]+ of [0-9]+ files, [0-9.]+ of [0-9.]+ MiB, [0-9.]+ MiB/s'
	fails grep -q '\[#' <<<"$out"
	proxy rate 0 >/dev/null
	same_tree "$W/local/slow" "$REMOTE/slow2"
	eq "$("$BUILD/vastfs" sync --progress "$MNT" 2>&1)" ''
}

check_vastfs "what was written without a link survives kill -9" survives_kill_without_link
check_vastfs "what was written in a folder that was renamed survives too" folder_moved
check_vastfs "what was written to and dated, and done before the daemon was killed, is still ours" dated_and_not_told
check_vastfs "what was written to, and given a size that was not sent, is still ours" resized_unsent
check_vastfs "what was set of a new file survives too, however often" set_often
check_vastfs "a file that was changed there meanwhile is kept, ours beside it" conflict
check_vastfs "writers go on into the spool while there is no link" goes_on_after_an_outage
check_vastfs "what was removed before it was sent is not wanted any more" removed_unsent
check_vastfs "fsync waits for the link up to the timeout" fsync_waits_for_the_timeout
check_vastfs "vastfs sync --progress says how far it is" progress
check_vastfs "an idle spool takes no disk" idle_gives_back_the_disk
check_vastfs "two mounts of an instance" two_mounts
check_vastfs "many changes are sent at once by the next mount" many
check_vastfs "the link is lost while they are sent: the mount waits for it" cut_again
check_vastfs "a rename that was done is not done again to what has the old name since" rotated
check_vastfs "a file that somebody made at the old name of a new one is not ours" taken
check_vastfs "unmounted without a link: the next mount sends it" unmounted_without_link
proxy refuse off >/dev/null
check "unmounts" umount_fs
finish
