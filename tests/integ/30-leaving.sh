#!/bin/bash
# The daemon's end while programs wait for it: each gets an error, nothing is left behind.
. "$(dirname "$0")/../lib.sh"
setup
proxy_start
write_profile "timeout = 4"
mkdir "$REMOTE/dir"
echo text >"$REMOTE/dir/file"
echo other >"$REMOTE/other"

daemon=''
start() {
	"$BUILD/mount.vastfs" -f gpu "$MNT" >>"$W/foreground.out" 2>&1 &
	daemon=$!
	wait_for 20 is_mounted || die "no mount: $(cat "$W/foreground.out")"
}
# The daemon's exit status into $RC; it must come within so many seconds.
ended() { # SECONDS
	wait_for "$1" gone "$daemon" || die "the daemon goes on"
	RC=0
	wait "$daemon" || RC=$?
	fails is_mounted
	[[ $RC -lt 128 ]] || die "exit status $RC: $(cat "$W/foreground.out")"
}

terminated_while_waiting() {
	local waiting=() pid
	start
	exec 9<>"$MNT/dir/file"
	cat "$MNT/other" >/dev/null
	proxy stall
	for path in a b c dir/x; do
		stat "$MNT/$path" >/dev/null 2>&1 &
		waiting+=($!)
	done
	ls "$MNT/dir" >/dev/null 2>&1 &
	waiting+=($!)
	(echo more >"$MNT/new") 2>/dev/null &
	waiting+=($!)
	mv "$MNT/other" "$MNT/moved" 2>/dev/null &
	waiting+=($!)
	ln -s x "$MNT/link" 2>/dev/null &
	waiting+=($!)
	"$BUILD/vastfs" sync "$MNT" >/dev/null 2>&1 &
	waiting+=($!)
	wait_for 5 answers_wait
	kill -TERM "$daemon"
	ended 10
	proxy resume
	for pid in "${waiting[@]}"; do
		wait_for 5 gone "$pid" || die "process $pid still waits"
	done
	exec 9>&-
}
answers_wait() { [[ $("$BUILD/vastfs" status --json "$MNT" | "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["requests"]["in_flight"])') -ge 2 ]]; }

terminated_with_open_files() {
	start
	exec 8<"$MNT/dir/file" 9>"$MNT/made"
	echo text >&9
	kill -TERM "$daemon"
	ended 10
	eq "$(cat "$REMOTE/made")" text
	exec 8>&- 9>&-
}

unsent_data_is_told() {
	local writer
	start
	# the only one to have it open: each close would wait for the data, and be told of the error
	"$PYTHON" - "$MNT/unsent" "$W/written" <<-'END' &
		import os, sys, time
		fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
		open(sys.argv[2], "w").write("opened")
		while open(sys.argv[2]).read() != "go":
		    time.sleep(0.01) # sleep: polls
		os.write(fd, bytes(300000))
		open(sys.argv[2], "w").write("written")
		time.sleep(60) # sleep: until it is killed
	END
	writer=$!
	wait_for 5 grep -q opened "$W/written"
	proxy stall
	printf go >"$W/written"
	wait_for 5 grep -q written "$W/written"
	kill -TERM "$daemon"
	ended 15
	proxy resume
	kill -KILL "$writer"
	eq "$RC" 32 "exit status with data that could not be sent"
	has "$(cat "$W/foreground.out")" "not all data could be sent"
}

refused() {
	local port
	port=$(free_port)
	rc_is 32 timeout 30 "$BUILD/mount.vastfs" -o "port=$port" gpu "$MNT"
	has "$OUT" "$port"
	fails is_mounted
}

check_vastfs "SIGTERM while programs wait on a dead link" terminated_while_waiting
check_vastfs "SIGTERM with files open sends what was written" terminated_with_open_files
check_vastfs "SIGTERM with data that can't be sent" unsent_data_is_told
check_vastfs "a mount that is refused ends in good order" refused
finish
