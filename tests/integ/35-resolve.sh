#!/bin/bash
# An instance found by its number: a provider's API of our own says where it is, in all its moods.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "the provider's API" "not for $MOUNT_WITH"; finish; }
setup
export VAST_API_KEY=secret-key-0815
INI=$XDG_CONFIG_HOME/vastfs/config.ini
echo '{}' >"$W/state"
: >"$W/api.log"
setsid "$PYTHON" "$TESTS/tools/fake_api.py" "$W/state" "$W/api.port" "$W/api.log" >"$W/api.out" 2>&1 </dev/null &
started api $!
disown
wait_for 10 test -s "$W/api.port" || die "the API does not start"
API=http://127.0.0.1:$(cat "$W/api.port")

# A profile without an address.
no_host() {
	write_profile
	sed -i "/^host =/d; /^port =/d; s/^\[gpu\]/[defaults]/" "$INI"
	echo "api_url = $API" >>"$INI"
}
running() { # PORT [PROXYPORT]: what the API says of a running instance
	cat <<-END
		{"instances": {"id": 12345678, "actual_status": "running", "intended_status": "running",
		"public_ipaddr": " 127.0.0.1\n", "ports": {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "$1"}]},
		"ssh_host": "localhost", "ssh_port": ${2:-1}, "image_runtype": "ssh"}}
	END
}
status_is() { echo "{\"instances\": {\"actual_status\": $1, \"intended_status\": \"$2\"}}"; }
# The state file is renamed into place, as it is read at any time.
says() {
	cat >"$W/state.new"
	mv "$W/state.new" "$W/state"
}
try() { timeout 50 "$BUILD/mount.vastfs" "$@" 12345678 "$MNT" </dev/null; }
json() { "$BUILD/vastfs" status --json "$MNT" | jq -er "$1"; }
asked() { wc -l <"$W/api.log"; }

finds() {
	: >"$W/known_hosts"
	running "$SSHD_PORT" | says
	rc_is 0 try -o host_key=accept-new
	echo there >"$MNT/f"
	eq "$(cat "$REMOTE/f")" there
	eq "$(json .id)" 12345678
	eq "$(json .address_from)" direct
	eq "$(json .port)" "$SSHD_PORT"
	eq "$(findmnt -n -o SOURCE "$MNT")" 12345678
	eq "$(tail -n 1 "$W/api.log")" "/api/v0/instances/12345678/ key"
	# the key is pinned for the number, not for an address that is soon somebody else's
	grep -q "^vastfs-12345678 ssh-ed25519" "$W/known_hosts"
	fails grep -q "^\[127" "$W/known_hosts"
	umount_fs
	rc_is 0 try -o host_key=strict
	umount_fs
}
key_files() {
	mkdir -p "$XDG_CONFIG_HOME/vastai"
	echo "secret-key-0815" >"$XDG_CONFIG_HOME/vastai/vast_api_key"
	VAST_API_KEY='' rc_is 0 try
	umount_fs
	mv "$XDG_CONFIG_HOME/vastai/vast_api_key" "$HOME/.vast_api_key"
	VAST_API_KEY='' rc_is 0 try
	umount_fs
	rm "$HOME/.vast_api_key"
	VAST_API_KEY='' rc_is 1 try
	has "$OUT" ".vast_api_key"
	has "$OUT" "vastfs add 12345678"
}
proxy_second() {
	running 1 "$SSHD_PORT" | says
	rc_is 0 try
	eq "$(json .address_from)" proxy
	umount_fs
	rc_is 32 try -o resolve=direct
	has "$OUT" "127.0.0.1:1"
	running "$SSHD_PORT" 1 | says
	rc_is 32 try -o resolve=proxy
	has "$OUT" "localhost:1"
	rc_is 1 try -o resolve=off
}
states() {
	local state
	for state in stopped exited frozen; do
		status_is "\"$state\"" stopped | says
		rc_is 32 try
		has "$OUT" "not running ($state)"
		has "$OUT" "start"
		eq "$(wc -l <<<"$OUT")" 1 "lines of message"
	done
	for state in created loading rebooting unknown; do
		status_is "\"$state\"" running | says
		rc_is 32 try
		has "$OUT" "not ready yet ($state)"
		has "$OUT" "--wait"
	done
	status_is null running | says
	rc_is 32 try
	has "$OUT" "no status yet"
	status_is '"offline"' running | says
	rc_is 32 try
	has "$OUT" "offline"
	echo '{"instances": null}' | says
	rc_is 32 try
	has "$OUT" "no instance 12345678"
}
errors() {
	echo '{"status": 404, "body": "x"}' | says
	rc_is 32 try
	has "$OUT" "no instance 12345678"
	running "$SSHD_PORT" | says
	VAST_API_KEY=wrong-key-99 rc_is 32 try
	has "$OUT" "refuses the API key"
	[[ $OUT != *wrong-key-99* ]] || die "the key is shown"
	echo '{"status": 500, "body": "oops"}' | says
	rc_is 32 try
	has "$OUT" "HTTP 500"
	for body in 'not json' '' '[]' '{}' '{\"instances\": 5}' '{\"instances\": {\"actual_status\": \"running\"'; do
		echo "{\"body\": \"$body\"}" | says
		rc_is 32 try
		has "$OUT" "can't be understood"
	done
	rc_is 32 try -o api_url=http://127.0.0.1:1
	has "$OUT" "does not answer"
	rc_is 32 try -o api_url=http://example.org
	has "$OUT" "https"
	rc_is 32 try -o "api_url=http://127.0.0.1:9@example.org"
	has "$OUT" "https"
}
odd_answers() {
	# control characters where JSON has none, bytes that are no UTF-8, a host that is a trap
	"$PYTHON" - "$SSHD_PORT" >"$W/state.new" <<-'END'
		import json, sys
		body = '{"instances": {"label": "a\x01\x1b[31m\tb\udcff", "actual_status": "running", \n"public_ipaddr": "127.0.0.1", ' \
			'"ports": {"22/tcp": [{"HostPort": "%s"}]}}}' % sys.argv[1]
		print(json.dumps({"body": body}))
	END
	mv "$W/state.new" "$W/state"
	rc_is 0 try
	umount_fs
	# shellcheck disable=SC2016
	for host in '-oProxyCommand=x' 'a b' '$(id)' 'x;y'; do
		running 22 | sed "s/\" 127.0.0.1\\\\n\"/\"$host\"/; s/\"localhost\"/\"$host\"/" | says
		rc_is 32 try
		fails is_mounted
	done
}
backs_off() {
	local before
	before=$(asked)
	echo "{\"sequence\": [$(for _ in $(seq "$before"); do echo '{"status": 429},'; done) {\"status\": 429, \"body\": \"\"},
		$(running "$SSHD_PORT")]}" | says
	timed rc_is 0 try
	eq "$(($(asked) - before))" 2 "requests"
	ge "$MS_TAKEN" 1900 "milliseconds"
	umount_fs
	echo '{"status": 429, "body": ""}' | says
	before=$(asked)
	rc_is 32 try
	has "$OUT" "429"
	le "$(($(asked) - before))" 4 "requests"
}
waits() {
	local port mount
	port=$SSHD_PORT
	status_is null running | says
	timeout 60 "$PYTHON" "$TESTS/integ/pty_run.py" 'no such question' x "$BUILD/mount.vastfs" --wait=50 12345678 "$MNT" >"$W/wait.out" 2>&1 &
	mount=$!
	wait_for 20 grep -q . "$W/api.log"
	: >"$W/api.log"
	status_is '"loading"' running | says
	wait_for 20 test -s "$W/api.log"
	# it runs, but its sshd does not yet, and then has no key
	cp "$W/authorized_keys" "$W/keys.kept"
	: >"$W/authorized_keys"
	sshd_kill
	: >"$W/api.log"
	running "$port" | says
	wait_for 20 test -s "$W/api.log"
	sshd_start "$port"
	wait_for 20 grep -q "Failed publickey\|Connection closed by authenticating" "$W/sshd.log" || true
	cp "$W/keys.kept" "$W/authorized_keys"
	wait "$mount" || die "status $?: $(cat "$W/wait.out")"
	is_mounted || die "not mounted: $(cat "$W/wait.out")"
	has "$(cat "$W/wait.out")" "12345678: loading…"
	umount_fs
}
waits_not_for_ever() {
	status_is '"loading"' running | says
	timed rc_is 32 try --wait=2
	has "$OUT" "not ready yet (loading)"
	le "$MS_TAKEN" 10000 "milliseconds"
	status_is '"exited"' stopped | says
	timed rc_is 32 try --wait
	le "$MS_TAKEN" 10000 "milliseconds"
	has "$OUT" "not running"
	# Ctrl-C ends it
	status_is '"loading"' running | says
	env --default-signal=INT timeout 50 "$BUILD/mount.vastfs" --wait 12345678 "$MNT" >"$W/int.out" 2>&1 </dev/null &
	: >"$W/api.log"
	wait_for 10 test -s "$W/api.log"
	kill -INT -- -$!
	timed wait $! || true
	le "$MS_TAKEN" 4000 "milliseconds until Ctrl-C works"
	rc_is 1 "$BUILD/mount.vastfs" --wait=x 12345678 "$MNT"
}
moved() {
	local old
	running "$SSHD_PORT" | says
	rc_is 0 try
	echo before >"$MNT/before"
	exec 5<"$MNT/before"
	old=$SSHD_PORT
	sshd_kill
	sshd_start 5<&-
	[[ $old != "$SSHD_PORT" ]] || die "the port is the same"
	running "$SSHD_PORT" | says
	wait_for 40 seen_up
	eq "$(cat "$MNT/before")" before
	eq "$(json .port)" "$SSHD_PORT"
	eq "$(cat <&5)" before
	exec 5<&-
	umount_fs
	sshd_kill
	sshd_start "$old"
}
seen_up() { [[ $(json .connected) == true && $(json .port) == "$SSHD_PORT" ]]; }
other_key() {
	# somebody else's instance behind the address: refused, whatever the provider says
	running "$SSHD_PORT" | says
	rc_is 0 try
	umount_fs
	sshd_kill
	ssh-keygen -q -t ed25519 -N '' -f "$W/other_key"
	HOST_KEY=$W/other_key sshd_start "$SSHD_PORT"
	rc_is 32 try -o host_key=accept-new
	has "$OUT" "HAS CHANGED"
	has "$OUT" "vastfs-12345678"
	# another instance at an address that is known for an earlier one's key is no alarm
	echo "[127.0.0.1]:$SSHD_PORT $(cut -d' ' -f1,2 <"$W/host_key.pub")" >"$W/known_hosts"
	timeout 50 "$BUILD/mount.vastfs" -o host_key=accept-new 222 "$MNT" </dev/null
	umount_fs
	eq "$(grep -c "^\[127" "$W/known_hosts")" 1 "lines for the address"
	grep -q "^vastfs-222 " "$W/known_hosts"
	sshd_kill
	sshd_start "$SSHD_PORT"
}
stale_profile() {
	printf '\n[12345678]\nhost = 127.0.0.1\nport = 1\n' >>"$INI"
	running "$SSHD_PORT" | says
	rc_is 0 try
	eq "$(json .address_from)" direct
	umount_fs
	rc_is 32 try -o resolve=off
	has "$OUT" "127.0.0.1:1"
	# without the provider's help: the profile is read again
	sed -i "s/^port = 1\$/port = $SSHD_PORT/" "$INI"
	rc_is 0 try -o resolve=off
	sshd_kill
	sed -i "s/^port = $SSHD_PORT\$/port = PORT/" "$INI"
	sshd_start
	sed -i "s/^port = PORT\$/port = $SSHD_PORT/" "$INI"
	wait_for 40 seen_up
	eq "$(json .address_from)" profile
	umount_fs
}
keeps_secret() {
	local pid
	running "$SSHD_PORT" | says
	timeout 50 "$BUILD/mount.vastfs" -f -d 12345678 "$MNT" >"$W/debug.log" 2>&1 </dev/null &
	wait_for 20 is_mounted
	pid=$(daemon_pid)
	fails grep -q secret-key "/proc/$pid/cmdline"
	"$BUILD/vastfs" status --json >"$W/status.out"
	"$BUILD/vastfs" status >>"$W/status.out"
	umount_fs
	grep -q "asking http" "$W/debug.log"
	fails grep -q "secret-key" "$W/debug.log" "$W/status.out"
}

no_host
each() { # the same state for each, whatever the one before it left
	umount_all
	check "$@"
}
each "a number is enough: the direct endpoint, the key pinned by number" finds
each "the key's three places" key_files
each "resolve=auto takes the proxy second; direct, proxy and off" proxy_second
each "an instance that is not running: plain words" states
each "what goes wrong with the API: plain words, no key shown" errors
each "control characters, bad bytes and traps in the answer" odd_answers
each "HTTP 429: asks again after a pause, not for ever" backs_off
each "--wait: loading, sshd, key" waits
each "--wait ends" waits_not_for_ever
each "an instance that has moved is found again, open files go on" moved
each "the host key belongs to the number" other_key
each "the key is in no log, argument or status" keeps_secret
each "a profile whose address is out of date, and one that is edited meanwhile" stale_profile
finish
