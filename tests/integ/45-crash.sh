#!/bin/bash
# kill -9 of the daemon at random points of a history of changes, then a remount: nothing that was accepted is missing
# or torn (W6). POINTS: how many (a long run: POINTS=200 CHECK_TIMEOUT=900 tests/integ/run 45-); SEED.
. "$(dirname "$0")/../lib.sh"
setup
proxy_start
write_profile "timeout = 20"
mount_fs || finish
POINTS=${POINTS:-12}
SEED=${SEED:-$RANDOM}

kill_daemon() {
	local pid
	pid=$(daemon_pid)
	kill -KILL "$pid"
	wait_for 10 gone "$pid"
	umount -l "$MNT" 2>/dev/null || fusermount3 -u -z "$MNT"
}
# A point: the history, the kill after some milliseconds, what happens to the link or the server, the next mount.
point() { # NUMBER MS HOW
	local dir=p$1 worker
	mkdir "$MNT/$dir" "$W/local/$dir"
	proxy delay $((10 + $1 % 70)) >/dev/null
	"$PYTHON" "$TESTS/integ/crash.py" run "$MNT/$dir" "$W/local/$dir" "$1" >"$W/doubt" 2>"$W/worker.err" &
	worker=$!
	"$PYTHON" -c 'import sys, time; time.sleep(int(sys.argv[1]) / 1000)' "$2" # sleep: a random time
	case $3 in
	stall) proxy stall >/dev/null ;;
	cut) proxy cut >/dev/null ;;
	sshd) sshd_kill ;;
	esac
	kill_daemon
	wait "$worker" || die "$(cat "$W/worker.err")"
	proxy resume >/dev/null
	proxy delay 0 >/dev/null
	[[ $3 != sshd ]] || sshd_start "$SSHD_PORT"
	mount_fs || die "no mount"
	"$PYTHON" "$TESTS/integ/crash.py" compare "$REMOTE/$dir" "$W/local/$dir" "$W/doubt" ||
		die "seed $1: $(cat "$W/mount.out")"
	[[ $("$BUILD/vastfs" status --json "$MNT" | jq -c .spool.failed) == "[]" ]] || die "seed $1: $(cat "$W/mount.out"; tail -n 5 "$W/doubt")"
	echo "$(tail -n 1 "$W/doubt") $(grep -o "sending.*\|sent.*" "$W/mount.out" | tr "\n" ";")"
	rm -rf "${REMOTE:?}/$dir" "$W/local/$dir" "$W/local/$dir.after"
}
points() { # HOW COUNT
	local i seed
	for ((i = 0; i < $2; i++)); do
		seed=$((SEED + i))
		is_mounted || mount_fs
		point "$seed" $((100 + seed * 7919 % 900)) "$1"
	done
}
check_vastfs "kill -9 at $POINTS random points (seed $SEED)" points none "$POINTS"
export KINDS="mkdir cp cp cp cp cp cp cp cp"
check_vastfs "the same of a burst, as cp -r makes it" points none $((POINTS / 2))
export KINDS="mkdir mkdir cp cp cp cp cp cp cp object object object link symlink unlink rename"
check_vastfs "the same of a burst of other changes" points none $((POINTS / 2))
unset KINDS
check_vastfs "the same with the link cut" points cut $((POINTS / 4))
check_vastfs "the same with the link stalled" points stall $((POINTS / 4))
check_vastfs "the same with the server killed" points sshd $((POINTS / 4))
is_mounted && check "unmounts" umount_fs
finish
