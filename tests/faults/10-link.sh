#!/bin/bash
# The link is cut, closed, stalled, silent, slow; programs at work on the mount go on (N1, N2).
. "$(dirname "$0")/lib.sh"
setup
proxy_start
write_profile "timeout = $LIMIT"
mount_fs || finish

# Something happens to the link while programs work; they go on, and nothing is lost.
at_work() { # COMMAND…
	work_start
	"$@"
	work_goes_on
	work_end
}
three_times() {
	"$@" && work_goes_on
	"$@" && work_goes_on
	"$@" && work_goes_on
}
stalled() { # SECONDS
	proxy stall
	sleep "$1" # sleep: the length of the stall
	proxy resume
}
dribbling() {
	proxy dribble 100
	work_goes_on list append
	proxy dribble 0
}
# A link that is gone for longer than the timeout: errors, in bounded time, and then all goes on.
gone_for() { # SECONDS HOW
	work_start
	[[ $2 != refuse ]] || proxy refuse on
	[[ $2 == blackhole ]] || proxy cut
	[[ $2 != blackhole ]] || proxy blackhole
	sleep "$1" # sleep: the length of the outage
	proxy refuse off
	proxy resume
	work_goes_on list read names append
	touch "$W/work/stop"
	wait_for $((3 * LIMIT)) work_ended || die "the programs do not end: $(cat "$W/work/out")"
	cat "$W/work/result"
	eq "$(jq -c .wrong "$W/work/result")" '[]' "wrong:"
	le "$(jq '[.list, .read, .names] | [.[].longest] | max | floor' "$W/work/result")" $((LIMIT + 2)) "seconds of the longest call:"
}
# A copy each way, cut in the middle, goes on within moments once the link is there.
resumes_soon() { # SECONDS without a link
	local copy base up
	head -c 120000000 /dev/urandom >"$W/local/c" # so that much is left when a busy machine looks late
	proxy rate 20M
	cp "$W/local/c" "$MNT/c" &
	copy=$!
	sent() { read -r up _ <<<"$(proxy_bytes)"; [[ $up -gt $((base + $1)) ]]; }
	read -r base _ <<<"$(proxy_bytes)"
	wait_for 10 sent 10000000
	proxy refuse on
	proxy cut
	sleep "$1" # sleep: the length of the outage
	read -r base _ <<<"$(proxy_bytes)"
	proxy refuse off
	timed wait_for 60 sent 1000000 || die "does not go on"
	echo "resumed after $MS_TAKEN ms"
	le "$MS_TAKEN" 4000 "milliseconds until the copy goes on"
	proxy rate 0
	wait "$copy"
	synced
	same_file "$W/local/c" "$REMOTE/c"
	rm "$MNT/c"
}
# A link that became slow, with more under way than it takes within the timeout: while data moves nothing is given up.
slow_link() {
	umount_fs
	mount_fs -o timeout=5
	head -c 60000000 /dev/urandom >"$W/local/fast"
	cp "$W/local/fast" "$MNT/fast"
	proxy rate 2M
	head -c 20000000 "$W/local/fast" >"$W/local/slow"
	timed cp "$W/local/slow" "$MNT/slow"
	echo "$MS_TAKEN ms"
	proxy rate 0
	same_file "$W/local/slow" "$REMOTE/slow"
	rm "$MNT/slow" "$MNT/fast"
	umount_fs
	mount_fs
}
# ls, stat and df on a mount whose link is dead for good come back in bounded time, with an error or what is cached.
dead_answers() {
	local command
	umount_fs
	mkdir -p "$REMOTE"/never/{seen,other,third}
	mount_fs
	proxy blackhole
	# several requests each: the first of them may wait for all of the timeout, the others no more
	for command in "ls -l $MNT/never/seen" "df $MNT" "touch $MNT/never/other/new" "ls $MNT" "cp $W/key.pub $MNT/never/third"; do
		timed timeout 80 sh -c "$command" && echo "worked: $command" || [[ $? != 124 ]] || die "hangs: $command"
		echo "$command: $MS_TAKEN ms"
		le "$MS_TAKEN" $((LIMIT * 1000 + 13000)) "milliseconds of $command:"
	done
	timed ls "$MNT/never/third" && die "should have failed"
	le "$MS_TAKEN" 13000 "milliseconds of ls on a mount known to be dead:"
	proxy resume
}
idle_cpu() {
	local used
	used=$(cpu_within 4)
	le "$used" 60 "milliseconds of CPU in 4 idle seconds"
	proxy refuse on
	proxy cut
	wait_for 10 not_connected
	used=$(cpu_within 4)
	le "$used" 150 "milliseconds of CPU in 4 seconds without a link"
	proxy refuse off
}

link_check() {
	proxy refuse off >/dev/null
	proxy resume >/dev/null
	proxy dribble 0 >/dev/null
	proxy rate 0 >/dev/null
	is_mounted || mount_fs || true
	connected() { timeout 5 ls "$MNT" >/dev/null 2>&1; }
	wait_for 40 connected || echo "# the link does not come back"
	fault_check "$@"
}
link_check "the link is cut three times" at_work three_times proxy cut
link_check "the server's side closes three times" at_work three_times proxy close
link_check "the link stalls for 5 s" at_work stalled 5
link_check "a copy goes on soon after a cut" resumes_soon 0
link_check "a copy goes on soon after 8 s without a link" resumes_soon 8
link_check "two open files of one inode, one of which writes" "$PYTHON" "$FAULTS/two_open.py" "$MNT" "$REMOTE" "$BUILD/vastfs" "$TOOLS/delayproxy" "$W/proxy.ctl"
link_check "a link that gives a hundred bytes at a time" at_work dribbling
link_check "a copy over a link that became slow" slow_link
link_check "the daemon uses no CPU while idle, and little without a link" idle_cpu
if [[ -n $LONG ]]; then
	CHECK_TIMEOUT=400
	link_check "the link stalls for 17 s" at_work stalled 17
	link_check "the link stalls for 90 s" gone_for 90 stall
	link_check "a black hole for 40 s" gone_for 40 blackhole
	link_check "the link is refused for 60 s" gone_for 60 refuse
	link_check "a copy goes on soon after 12 s without a link" resumes_soon 12
	link_check "programs on a dead mount get their errors" dead_answers
fi
check "unmounts" umount_fs
finish
