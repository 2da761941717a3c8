#!/bin/bash
# Long, slow, stalled and broken links (N1, N2, N3) and the number of round trips.
. "$(dirname "$0")/../lib.sh"
setup
proxy_start
write_profile "timeout = 20"
mount_fs || finish
RTT=60 # ms, for the counts of round trips

# Milliseconds as round trips, rounded to the nearest.
round_trips() { echo $((($1 + RTT / 2) / RTT)); }

editor_save() {
	proxy delay $((RTT / 2))
	"$PYTHON" - "$MNT/doc" "$RTT" <<-'END'
		import os, sys, time
		doc, rtt = sys.argv[1], float(sys.argv[2]) / 1000
		open(doc, "w").close()
		os.listdir(os.path.dirname(doc))
		taken = []
		for n in range(7):
		    time.sleep(0.3)  # sleep: an isolated save, not one of a burst
		    begin = time.monotonic()
		    fd = os.open(doc + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
		    os.write(fd, b"text" * 1000)
		    os.fsync(fd)
		    os.close(fd)
		    os.rename(doc + ".tmp", doc)
		    taken.append((time.monotonic() - begin) / rtt)
		middle = sorted(taken)[len(taken) // 2]
		print("round trips:", " ".join(f"{t:.1f}" for t in taken))
		assert middle <= 4.4, f"{middle:.1f} round trips"
	END
	proxy delay 0
}
fsynced_records() {
	proxy delay $((RTT / 2))
	"$PYTHON" - "$MNT/journal" "$REMOTE/journal" "$RTT" <<-'END'
		import os, sys, time
		here, there, rtt = sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000
		for flags in os.O_APPEND, 0:
		    fd = os.open(here, os.O_WRONLY | os.O_CREAT | flags, 0o644)
		    taken = []
		    for n in range(15):
		        begin = time.monotonic()
		        os.write(fd, b"%079d\n" % n)
		        os.fsync(fd)
		        taken.append((time.monotonic() - begin) / rtt)
		        with open(there, "rb") as f:
		            f.seek(80 * n)
		            assert f.read() == b"%079d\n" % n if flags else f.read(80) == b"%079d\n" % n
		    os.close(fd)
		    middle = sorted(taken)[len(taken) // 2]
		    print("round trips:", " ".join(f"{t:.1f}" for t in taken))
		    assert middle <= 1.7, f"{middle:.1f} round trips"
	END
	proxy delay 0
}
small_files() {
	local n
	for n in 1 2 3 4 5 6 7; do
		mkdir "$REMOTE/small-$n"
		head -c $((n * 5000)) /dev/urandom >"$REMOTE/small-$n/file"
		touch -d '1 hour ago' "$REMOTE/small-$n/file"
	done
	proxy delay $((RTT / 2))
	"$PYTHON" - "$MNT" "$REMOTE" "$RTT" <<-'END'
		import os, sys, time
		here, there, rtt = sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000
		taken = []
		for n in range(1, 8):
		    name = f"/small-{n}/file"
		    os.stat(here + name)
		    begin = time.monotonic()
		    with open(here + name, "rb") as f:
		        data = f.read()
		    taken.append((time.monotonic() - begin) / rtt)
		    with open(there + name, "rb") as f:
		        assert f.read() == data
		print("round trips:", " ".join(f"{t:.1f}" for t in taken))
		middle = sorted(taken)[len(taken) // 2]
		assert middle <= 1.6, f"{middle:.1f} round trips"
	END
	proxy delay 0
}
find_first() {
	mkdir -p "$REMOTE/tree"
	(cd "$REMOTE/tree" && for i in $(seq 100); do mkdir "$i" && touch "$i"/{1..20}; done)
	seen "$MNT/tree"
	proxy delay 25
	timed find "$MNT/tree" -type f -size -1 >"$W/found"
	proxy delay 0
	eq "$(wc -l <"$W/found")" 2000
	le "$MS_TAKEN" 3000 "milliseconds for find over 2,000 files at 50 ms"
}
ls_beside_copy() {
	mkdir -p "$REMOTE/other"
	touch "$REMOTE/other"/{1..20}
	head -c 300000000 /dev/zero >"$W/local/bulk"
	seen "$MNT/other"
	proxy delay $((RTT / 2))
	cp "$W/local/bulk" "$MNT/bulk" &
	local copy=$!
	"$PYTHON" - "$MNT/other" "$RTT" "$copy" <<-'END'
		import os, sys, time
		path, rtt, pid = sys.argv[1], float(sys.argv[2]) / 1000, sys.argv[3]
		taken = []
		while len(taken) < 200 and os.path.exists(f"/proc/{pid}"):
		    begin = time.monotonic()
		    os.listdir(path)
		    os.stat(f"{path}/{len(taken) % 20 + 1}")
		    taken.append((time.monotonic() - begin) / rtt)
		    time.sleep(0.02)  # sleep: between two looks
		taken.sort()
		print(f"{len(taken)} looks, median {taken[len(taken) // 2]:.1f}, worst {taken[-1]:.1f} round trips")
		assert len(taken) >= 50, "the copy was over too soon"
		assert taken[int(len(taken) * 0.99)] <= 3.5, "p99 above 3 round trips"
	END
	wait "$copy"
	proxy delay 0
	eq "$(stat -c %s "$REMOTE/bulk")" 300000000
	rm "$MNT/bulk" "$W/local/bulk"
}
interrupts() {
	local pid program
	echo data >"$REMOTE/stalled"
	head -c 2000000 /dev/urandom >"$REMOTE/stalled2"
	seen "$MNT/stalled" "$MNT/stalled2"
	proxy stall
	for program in "cat $MNT/stalled2" "ls $MNT/never-seen" "touch $MNT/new-file" "rm $MNT/stalled" "mkdir $MNT/new-dir" \
		"find $MNT -newer /" "cp $MNT/stalled2 /dev/null" "dd if=/dev/zero of=$MNT/dd bs=1M count=1 conv=fsync" \
		"stat -f $MNT" "mv $MNT/stalled $MNT/stalled3"; do
		env --default-signal=INT sh -c "exec $program" >/dev/null 2>&1 &
		pid=$!
		"$PYTHON" -c 'import time; time.sleep(0.3)' # sleep: until it waits for the link
		if gone "$pid"; then
			echo "did not wait: $program"
			continue
		fi
		kill -INT "$pid"
		timed wait "$pid" || true
		le "$MS_TAKEN" 500 "milliseconds until Ctrl-C ends: $program"
	done
	proxy resume
	lists() { ls "$MNT" >/dev/null; }
	wait_for 10 lists
}
killed_too() {
	local pid
	proxy stall
	cat "$MNT/stalled2" >/dev/null 2>&1 &
	pid=$!
	"$PYTHON" -c 'import time; time.sleep(0.3)' # sleep: until it waits for the link
	kill -KILL "$pid"
	timed wait "$pid" || true
	le "$MS_TAKEN" 500 "milliseconds until SIGKILL ends it"
	proxy resume
}
cached_while_down() {
	local listing
	mkdir -p "$REMOTE/cache"
	head -c 500000 /dev/urandom >"$REMOTE/cache/file"
	touch -d '1 hour ago' "$REMOTE/cache/file" "$REMOTE/cache"
	seen "$MNT/cache/file"
	sha256sum <"$MNT/cache/file" >"$W/sum1"
	listing=$(ls -l "$MNT/cache")
	proxy refuse on
	proxy cut
	not_connected() { [[ $("$BUILD/vastfs" status --json "$MNT" | jq .connected) == false ]]; }
	wait_for 10 not_connected
	eq "$(timeout 5 ls -l "$MNT/cache")" "$listing" "listing while the link is down"
	eq "$(timeout 5 sha256sum <"$MNT/cache/file")" "$(cat "$W/sum1")" "read while the link is down"
	fails timeout 1 cat "$MNT/cache/never-seen"
}
timeouts() {
	local rc=0
	# Of what was listed it is known that other names are missing; nothing is listed ahead in a new mount.
	umount_fs
	mkdir -p "$REMOTE/unlisted"
	mount_fs
	stat "$MNT/unlisted"
	proxy stall
	timed timeout 60 cat "$MNT/unlisted/unseen-name" >"$W/out" 2>&1 || rc=$?
	[[ $rc != 124 ]] || die "no answer within 60 s"
	eq "$rc" 1
	fails grep -q "No such file" "$W/out" # not a lie
	le "$MS_TAKEN" 26000 "milliseconds until the error (timeout = 20)"
	proxy resume
	lists() { ls "$MNT" >/dev/null; }
	wait_for 40 lists
}
open_files_go_on() {
	"$PYTHON" - "$MNT" "$TOOLS/delayproxy" "$W/proxy.ctl" "$1" <<-'END'
		import os, subprocess, sys
		mnt, tool, ctl, how = sys.argv[1:]
		data = os.urandom(3_000_000)
		r = os.open(mnt + "/open-r", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
		os.write(r, data)
		os.fsync(r)
		w = os.open(mnt + "/open-w", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
		os.write(w, data[:1_000_000])
		subprocess.run([tool, "--send", ctl, how], check=True, stdout=subprocess.DEVNULL)
		os.write(w, data[1_000_000:])
		assert os.pread(r, 100, 2_500_000) == data[2_500_000:2_500_100]
		os.fsync(w)
		os.pwrite(r, b"changed", 1000)
		os.close(r)
		os.close(w)
	END
	eq "$(stat -c %s "$REMOTE/open-w")" 3000000
	eq "$(dd if="$REMOTE/open-r" bs=1 skip=1000 count=7 status=none)" changed
	cmp -n 900 "$REMOTE/open-w" "$REMOTE/open-r"
	cmp "$MNT/open-w" "$REMOTE/open-w"
}
cut_during_copy() {
	head -c 60000000 /dev/urandom >"$W/local/c"
	proxy rate 30M
	cp "$W/local/c" "$MNT/c" &
	local copy=$!
	sent() { local up; read -r up _ <<<"$(proxy_bytes)"; [[ $up -gt $((base + 20000000)) ]]; }
	local base
	read -r base _ <<<"$(proxy_bytes)"
	wait_for 10 sent
	proxy cut
	wait "$copy"
	proxy rate 0
	"$BUILD/vastfs" sync "$MNT" # without a link, close does not wait
	same_file "$W/local/c" "$REMOTE/c"
	rm "$REMOTE/c"
	cp "$W/local/c" "$REMOTE/c2"
	seen "$MNT/c2"
	proxy rate 30M
	cmp "$MNT/c2" "$W/local/c" &
	copy=$!
	read -r _ base <<<"$(proxy_bytes)"
	sent() { local down; read -r _ down <<<"$(proxy_bytes)"; [[ $down -gt $((base + 20000000)) ]]; }
	wait_for 10 sent
	proxy cut
	wait "$copy"
	proxy rate 0
}
silent_link() {
	# nothing is answered and nothing refused: noticed within 15 s, and a new connection is made
	proxy blackhole
	cat "$MNT/after-blackhole" >/dev/null 2>&1 &
	local reader=$!
	lost() { [[ $("$BUILD/vastfs" status --json "$MNT" | jq .connected) == false ]]; }
	timed wait_for 25 lost || die "not noticed"
	le "$MS_TAKEN" 16500 "milliseconds until a silent link is noticed"
	proxy resume
	wait "$reader" || true
	lists() { timeout 5 ls "$MNT" >/dev/null; }
	timed wait_for 45 lists || die "not connected again"
}
server_restart() {
	echo before >"$MNT/restart"
	sshd_kill
	timeout 1 ls "$MNT/never" >/dev/null 2>&1 || true
	is_mounted
	sshd_start "$SSHD_PORT"
	lists() { timeout 5 cat "$MNT/restart" >/dev/null 2>&1; }
	wait_for 45 lists || die "not connected again"
	eq "$(cat "$MNT/restart")" before
	echo after >"$MNT/restart"
	eq "$(cat "$REMOTE/restart")" after
}
dead_umount() { # HOW
	local pid
	pid=$(daemon_pid)
	proxy stall
	case $1 in
	fusermount) timed timeout 30 fusermount3 -u "$MNT" ;;
	vastfs) timed timeout 40 "$BUILD/vastfs" umount "$MNT" || true ;;
	umount) timed timeout 30 umount "$MNT" ;;
	esac
	le "$MS_TAKEN" $((30 * 1000)) "milliseconds to unmount with a dead link"
	fails is_mounted
	wait_for 30 gone "$pid" || die "the daemon goes on"
	proxy resume
	mount_fs
}
dribbles() {
	proxy dribble 7
	echo slowly >"$MNT/dribble"
	eq "$(cat "$REMOTE/dribble")" slowly
	head -c 30000 /dev/urandom >"$REMOTE/dribble2"
	seen "$MNT/dribble2"
	same_file "$MNT/dribble2" "$REMOTE/dribble2"
	proxy dribble 0
}

# Who only reads on, without a look at the size, sees what a log gained meanwhile; the kernel trusts an old file's size for
# half a minute.
log_grows_meanwhile() {
	local before
	seq 10 >"$REMOTE/old-log"
	touch -d '1 hour ago' "$REMOTE/old-log"
	seen "$MNT/old-log"
	exec 6<"$MNT/old-log"
	before=$(cat <&6)
	eq "$before" "$(seq 10)"
	proxy refuse on
	proxy cut
	down() { [[ $("$BUILD/vastfs" status --json "$MNT" | jq .connected) == false ]]; }
	wait_for 10 down
	seq 11 2000 >>"$REMOTE/old-log"
	proxy refuse off
	more() { cat <&6 >>"$W/more"; [[ $(tail -n 1 "$W/more") == 2000 ]]; }
	wait_for 12 more || die "nothing new: $(tail -n 1 "$W/more")"
	exec 6<&-
	eq "$(cat "$W/more")" "$(seq 11 2000)"
}

# Who opened a file without a link goes on with what was known of it, or is told, when it is another one there now; who opens it
# then gets that, whole.
replaced_meanwhile() { # WATCH
	remount_fs -o "watch=$1"
	mkdir "$REMOTE/other-$1"
	"$PYTHON" "$TESTS/integ/meanwhile.py" "$MNT/other-$1" "$REMOTE/other-$1" "$TOOLS/delayproxy" "$W/proxy.ctl" "$BUILD/vastfs"
}

# Each begins with a link in order.
link_check() {
	proxy refuse off >/dev/null
	proxy resume >/dev/null
	proxy delay 0 >/dev/null
	proxy rate 0 >/dev/null
	if [[ $MOUNT_WITH == vastfs ]]; then
		is_mounted || mount_fs || true
		connected() { timeout 5 ls "$MNT" >/dev/null 2>&1; }
		wait_for 40 connected || echo "# the link does not come back"
	fi
	check_vastfs "$@"
}
link_check "an isolated editor save takes at most 4 round trips" editor_save
check_vastfs "a record and its fsync take one round trip" fsynced_records
check_vastfs "a small file that was looked at is opened and read in one round trip" small_files
link_check "find over 2,000 files, first time, at 50 ms" find_first
link_check "ls in another folder during a bulk copy: p99 at most 3 round trips" ls_beside_copy
link_check "a link that gives seven bytes at a time" dribbles
link_check "Ctrl-C ends programs that wait for a stalled link" interrupts
link_check "so does SIGKILL" killed_too
link_check "R5: what is cached is read while the link is down" cached_while_down
link_check "N1: requests are answered with an error within the timeout" timeouts
link_check "N2: open files go on when the link is cut" open_files_go_on cut
link_check "N2: open files go on when the server closes" open_files_go_on close
link_check "R3: a log that grew while the link was down" log_grows_meanwhile
link_check "R5: a file that was opened while the link was down, and replaced there" replaced_meanwhile auto
link_check "the same without a watcher" replaced_meanwhile no
link_check "a copy each way goes on when the link is cut" cut_during_copy
link_check "N2: a silent link is noticed within 15 s and made anew" silent_link
link_check "the server is killed and restarted: the mount goes on" server_restart
link_check "fusermount3 -u with a dead link" dead_umount fusermount
link_check "vastfs umount with a dead link" dead_umount vastfs
[[ $(id -u) != 0 ]] || link_check "umount with a dead link" dead_umount umount
proxy resume >/dev/null
check "unmounts" umount_fs
finish
