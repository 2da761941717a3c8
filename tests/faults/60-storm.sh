#!/bin/bash
# Many programs at work on the mount while everything breaks at random: the link, the server, the disks of both sides, the
# daemon, the mountpoint. What was accepted is there at the end, what is read is right, nothing hangs.
# STORM: seconds of each of ROUNDS rounds; without it and without --long there is none. SEED: of the first one. STORM_FAULTS:
# some of the faults alone; STORM_KEEP=PATH: what each program did stays in PATH.SEED.
. "$(dirname "$0")/lib.sh"
if [[ -z $LONG && -z ${STORM:-} ]]; then
	skip "a storm of faults" "takes long"
	setup_dirs
	finish
fi
STORM=${STORM:-60}
ROUNDS=${ROUNDS:-1}
SEED=${SEED:-$RANDOM}
LIMIT=${STORM_LIMIT:-6}
if [[ $(id -u) != 0 ]]; then
	skip "a storm of faults" "needs root"
	setup_dirs
	finish
fi
setup_dirs
setup_keys
MNT=$W/mounts/first SECOND=$W/mounts/second
trap 'umount_all; umount -l "$REMOTE" "$XDG_STATE_HOME" "$W/mounts" 2>/dev/null; cleanup' EXIT
mkdir -p "$W/mounts" "$XDG_STATE_HOME"
mount -t tmpfs -o size=260m none "$REMOTE"
mount -t tmpfs -o size=100m none "$XDG_STATE_HOME"
# nothing can be written where there is no mount just now
mount -t tmpfs -o size=100k none "$W/mounts"
mkdir "$MNT" "$SECOND"
mount -o remount,ro "$W/mounts"
mkdir "$REMOTE/ro"
"$PYTHON" - "$REMOTE/ro" <<-'END'
	import os, random, sys
	for name, size in [("big", 12_000_000)] + [(f"s{i}", 3000 + i) for i in range(60)]:
	    with open(f"{sys.argv[1]}/{name}", "wb") as f:
	        f.write(random.Random(name).randbytes(size))
	    os.utime(f.name, (1e9, 1e9))
END
sshd_start
proxy_start --delay 3
write_profile "timeout = $LIMIT" "attr_timeout = 5" "spool_size = 60" "cache_size = 30M" "connections = ${CONNECTIONS:-4}"

fuse_mounted() { grep -F " $1 " /proc/self/mountinfo | grep -q ' - fuse'; }
sleeps() { "$PYTHON" -c 'import sys, time; time.sleep(float(sys.argv[1]))' "$1"; } # sleep: how long a fault lasts
some_ms() { sleeps "$((RANDOM % ($2 - $1) + $1))e-3"; }
daemons() { daemon_pid "${1:-$MNT}" || true; }
mount_at() { # DIR; it may fail, but not hang, and not by a signal
	local rc=0
	timeout -k 5 $((LIMIT * 10)) setsid -w "$BUILD/mount.vastfs" gpu "$1" >"$W/mount.out" 2>&1 </dev/null || rc=$?
	[[ ! -d $W/storm ]] || sed "s/^/$(date +%T) /" "$W/mount.out" >>"$W/storm/mounts"
	case $rc in 0 | 2 | 32 | 1) [[ $rc == 0 ]] || echo "# $rc: $(tail -n 2 "$W/mount.out")" >&2 ;; *) echo "wrong: exit status $rc of mount.vastfs: $(cat "$W/mount.out")" ;; esac
}
kill_daemon() { # DIR
	local pid
	pid=$(daemons "$1")
	[[ -n $pid ]] || return 0
	kill -KILL "$pid"
	wait_for 10 gone "$pid" || echo "wrong: the daemon $pid can't be killed"
}
crashed() { # the daemon of DIR has gone by itself
	fuse_mounted "$1" || return 1
	[[ -z $(daemons "$1") ]]
}
paused() { [[ -e $W/storm/paused ]]; }

link_stalls() { proxy stall; some_ms 200 5000; proxy resume; }
link_is_cut() { proxy cut; }
link_is_closed() { proxy close; }
link_is_refused() { proxy refuse on; proxy cut; some_ms 200 9000; proxy refuse off; }
link_is_dark() { proxy blackhole; some_ms 500 9000; proxy resume; }
link_dribbles() { proxy dribble 700; some_ms 500 3000; proxy dribble 0; }
link_is_slow() { proxy rate 400K; some_ms 500 4000; proxy rate 0; }
link_is_far() { proxy delay $((RANDOM % 60)); }
a_server_dies() {
	local pids
	mapfile -t pids < <(sftp_servers)
	[[ ${#pids[@]} == 0 ]] || kill -KILL "${pids[RANDOM % ${#pids[@]}]}"
}
server_restarts() { sshd_kill; some_ms 10 3000; sshd_start "$SSHD_PORT"; }
server_stops() { # as a machine that swaps
	local pids
	mapfile -t pids < <(sftp_servers)
	kill -STOP "${pids[@]}" 2>/dev/null
	some_ms 100 4000
	kill -CONT "${pids[@]}" 2>/dev/null
}
disk_there_full() { head -c 260m /dev/zero >"$REMOTE/.filler" 2>/dev/null; some_ms 100 4000; rm "$REMOTE/.filler"; }
disk_here_full() { head -c 100m /dev/zero >"$XDG_STATE_HOME/filler" 2>/dev/null; some_ms 100 4000; rm "$XDG_STATE_HOME/filler"; }
daemon_killed() { kill_daemon "$MNT"; some_ms 1 1000; mount_at "$MNT"; }
daemon_killed_in_the_dark() { proxy refuse on; proxy cut; some_ms 10 1000; kill_daemon "$MNT"; some_ms 1 500; proxy refuse off; mount_at "$MNT"; }
daemon_stops() {
	local pid
	pid=$(daemons)
	[[ -n $pid ]] || return 0
	kill -STOP "$pid"
	some_ms 100 4000
	kill -CONT "$pid"
}
daemon_ended() {
	local pid
	pid=$(daemons)
	[[ -n $pid ]] || return 0
	kill -"$(shuf -n1 -e TERM INT HUP)" "$pid"
	wait_for $((LIMIT * 6)) gone "$pid" || echo "wrong: the daemon goes on after a signal"
	mount_at "$MNT"
}
unmounted_while_busy() {
	local rc=0
	timeout -k 5 $((LIMIT * 6)) "$BUILD/vastfs" umount "$MNT" >"$W/umount.out" 2>&1 || rc=$?
	[[ $rc -lt 2 ]] || echo "wrong: exit status $rc of umount: $(cat "$W/umount.out")"
	fuse_mounted "$MNT" || mount_at "$MNT"
}
lazily_unmounted() {
	touch "$W/storm/pause"
	wait_for $((LIMIT * 4)) paused || echo "wrong: no pause"
	(cd "$MNT/ro" && exec setsid sleep $((RANDOM % 5 + 1))) & # sleep: a program that stays inside
	some_ms 50 200
	umount -l "$MNT"
	mount_at "$MNT"
	rm "$W/storm/pause"
}
second_mount() {
	if fuse_mounted "$SECOND"; then
		if [[ $((RANDOM % 2)) == 0 ]]; then
			kill_daemon "$SECOND"
			umount -l "$SECOND"
		else
			timeout -k 5 $((LIMIT * 6)) "$BUILD/vastfs" umount "$SECOND" >"$W/umount.out" 2>&1 || echo "umount: $(cat "$W/umount.out")"
		fi
	else
		mount_at "$SECOND"
	fi
}
FAULTS_ALL=(link_stalls link_is_cut link_is_closed link_is_refused link_is_dark link_dribbles link_is_slow link_is_far a_server_dies
	server_restarts server_stops disk_there_full disk_here_full daemon_killed daemon_killed daemon_killed_in_the_dark
	daemon_stops daemon_ended unmounted_while_busy lazily_unmounted second_mount second_mount)
[[ -z ${STORM_FAULTS:-} ]] || read -ra FAULTS_ALL <<<"$STORM_FAULTS"

all_sent() { timeout 60 "$BUILD/vastfs" sync "$MNT" >"$W/sync.out" 2>&1; }
retried() {
	"$BUILD/vastfs" spool "$MNT" retry >"$W/retry.out" 2>&1
	all_sent
}
calm() {
	local dir pid
	proxy refuse off
	proxy resume
	proxy dribble 0
	proxy rate 0
	proxy delay 1
	rm -f "$REMOTE/.filler" "$XDG_STATE_HOME/filler" "$W/storm/pause"
	tcp_open "$SSHD_PORT" || sshd_start "$SSHD_PORT"
	fuse_mounted "$MNT" || mount_at "$MNT"
	fuse_mounted "$SECOND" || mount_at "$SECOND"
	stopped() { [[ -e $W/storm/stopped ]]; }
	touch "$W/storm/stop"
	wait_for $((LIMIT * 8)) stopped || die "the programs do not end: $(cat "$W/storm.out")"
	wait_for 60 all_sent || wait_for 60 retried || die "not all is sent: $(cat "$W/sync.out"; "$BUILD/vastfs" spool "$MNT")"
	for dir in "$SECOND" "$MNT"; do
		pid=$(daemon_pid "$dir") || die "no daemon at $dir"
		MNT=$dir wait_for 60 retried || die "not all is sent at $dir: $(cat "$W/sync.out")"
		# what the kernel or the daemon still trusts is a while old (R1)
	done
	sleeps 2
	touch "$W/storm/calm"
}
outage() { # FAULT
	[[ $1 != link_* && $1 != *server* && $1 != *_dark ]] || touch "$W/storm/outage"
}
storm() { # SEED
	local until fault pid
	set +e
	rm -rf "$W/storm"
	mkdir "$W/storm"
	RANDOM=$1
	fuse_mounted "$MNT" || mount_at "$MNT"
	BUILD=$BUILD "$PYTHON" "$FAULTS/storm.py" "$MNT" "$SECOND" "$REMOTE" "$W/storm" $((LIMIT * 2 + 8)) "$1" >"$W/storm.out" 2>&1 &
	pid=$!
	until=$((SECONDS + STORM))
	while [[ $SECONDS -lt $until ]]; do
		fault=${FAULTS_ALL[RANDOM % ${#FAULTS_ALL[@]}]}
		echo "$(date +%T.%N | cut -c1-12) $fault"
		outage "$fault"
		"$fault" | grep "^wrong"
		outage "$fault"
		for dir in "$MNT" "$SECOND"; do
			! crashed "$dir" || echo "wrong: the daemon of $dir is gone after $fault"
		done
		some_ms 50 2500
	done >"$W/storm.faults" 2>&1
	(calm) >"$W/calm.out" 2>&1 || sed 's/^/wrong: calm: /' "$W/calm.out" "$W/mount.out" >>"$W/storm.faults"
	touch "$W/storm/stop" "$W/storm/calm"
	wait "$pid" || echo "wrong: (see above)"
	cat "$W/storm.faults" "$W/storm.out"
	# what had failed for want of room there, and was then written again, is kept beside that when it is retried
	grep -q disk_there_full "$W/storm.faults" || find "$REMOTE" -name '*conflict*' | sed 's/^/wrong: /' | tee "$W/conflicts"
	touch "$W/conflicts"
	[[ -z ${STORM_KEEP:-} ]] || { rm -rf "$STORM_KEEP.$1"; cp -r "$W/storm" "$STORM_KEEP.$1"; cat "$W/storm.faults" "$W/storm.out" >"$STORM_KEEP.$1/out"; }
	grep -q '^wrong' "$W/storm.faults" "$W/storm.out" "$W/conflicts" && die "seed $1"
	[[ -z $(compgen -G "$W/san.*") ]] || { cat "$W"/san.*; die "a sanitizer's report"; }
	for dir in "$SECOND" "$MNT"; do
		pid=$(daemon_pid "$dir")
		timeout 60 "$BUILD/vastfs" umount "$dir" || die "umount fails"
		wait_for 20 gone "$pid" || die "the daemon $pid goes on"
	done
	rm -rf "$W/conflicts" "${REMOTE:?}"/{records,second,more,keep,log,far,names}
	[[ -z $(compgen -G "$W/san.*") ]] || { cat "$W"/san.*; die "a sanitizer's report"; }
}
for ((i = 0; i < ROUNDS; i++)); do
	CHECK_TIMEOUT=$((STORM + 400)) fault_check "a storm of faults for $STORM s (seed $((SEED + i)))" storm $((SEED + i))
	for dir in "$SECOND" "$MNT"; do
		! fuse_mounted "$dir" || umount -l "$dir"
	done
done
finish
