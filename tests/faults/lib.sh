# shellcheck shell=bash
# What the fault tests share beside tests/lib.sh: programs at work, their results, the daemon's figures.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
FAULTS=$TESTS/faults
LONG=${LONG:-}
LIMIT=${LIMIT:-20} # seconds: the profile's timeout in these tests
CHECK_TIMEOUT=180
STOOD=0 # seconds for which the programs were stopped: their calls seem to take as much longer

# Programs begin to work in a new folder of the mount.
work_start() { # [KIND…]
	rm -rf "$W/work"
	mkdir "$W/work"
	HERE=$MNT/work-$NUMBER THERE=$REMOTE/work-$NUMBER
	mkdir "$HERE"
	setsid "$PYTHON" "$FAULTS/work.py" "$HERE" "$W/work" "$@" >"$W/work/out" 2>&1 </dev/null &
	started work $!
	disown
	work_goes_on "$@"
}
beats() { cat "$W/work/beat.$1" 2>/dev/null || echo 0; }
beats_beyond() { [[ $(beats "$1") -gt $2 ]]; }
# Waits until each of them has done another two rounds.
work_goes_on() { # [KIND…]
	local kind
	[[ $# -gt 0 ]] || set -- write read keep append list names
	for kind; do
		wait_for $((LIMIT + 20)) beats_beyond "$kind" $(($(beats "$kind") + 1)) || {
			"$BUILD/vastfs" status "$MNT" || true
			die "$kind does not go on: $(cat "$W/work/out" "$W/work/result")"
		}
	done
}
work_ended() { [[ -e $W/work/result ]]; }
# Ends them: no call took longer than the limit, nothing was wrong, and what is on the server is what was written.
# Errors are none but those named.
work_end() { # [ERRNO…]
	local allowed=" $* " name
	touch "$W/work/stop"
	wait_for $((3 * LIMIT)) work_ended || die "the programs do not end: $(cat "$W/work/out")"
	cat "$W/work/result"
	eq "$(jq -c .wrong "$W/work/result")" '[]' "wrong:"
	for name in $(jq -r 'del(.wrong) | .[].errors | keys[]' "$W/work/result" | sort -u); do
		has "$allowed" " $name "
	done
	le "$(jq 'del(.wrong) | [.[].longest] | max | floor' "$W/work/result")" $((LIMIT + 2 + STOOD)) "seconds of the longest call:"
	[[ ! -e $W/work/keep.sum ]] || eq "$(sha256sum <"$THERE/keep" | cut -d' ' -f1)" "$(cat "$W/work/keep.sum")" "the file kept open:"
	[[ ! -e $W/work/log.lines ]] || same_lines
}
same_lines() {
	seq -f 'line %.0f' 0 $(($(cat "$W/work/log.lines") - 1)) >"$W/work/lines"
	cmp "$W/work/lines" "$THERE/log" || die "the appended log differs"
}
longest() { jq 'del(.wrong) | [.[].longest] | max' "$W/work/result"; }

status() { timeout 10 "$BUILD/vastfs" status --json "$MNT" | jq -r "$1"; }
is_connected() { [[ $(status .connected) == true ]]; }
not_connected() { [[ $(status .connected) == false ]]; }
# CPU time of the daemon so far, in ms.
cpu_ms() {
	local user system
	read -r user system < <(proc_stat "$(daemon_pid)" | cut -d ' ' -f 12,13)
	echo $(((user + system) * 1000 / $(getconf CLK_TCK)))
}
# The CPU time that the daemon uses within some seconds, in ms.
cpu_within() { # SECONDS
	local before
	before=$(cpu_ms)
	sleep "$1" # sleep: CPU time is measured over a time
	echo $(($(cpu_ms) - before))
}

# A check; its programs do not outlive it.
fault_check() { # WORDS COMMAND…
	check "$@"
	[[ ! -e $W/work.pid ]] || kill -KILL "$(pid_of work)" 2>/dev/null || true
}
