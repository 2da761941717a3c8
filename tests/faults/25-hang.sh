#!/bin/bash
# SFTP servers that hang while their sshd is well; programs at work go on.
. "$(dirname "$0")/lib.sh"
LIMIT=20
setup_dirs
setup_keys
# Hangs before it greets while there is $W/hung.
cat >"$W/server" <<END
#!/bin/bash
echo >>"$W/servers"
while [[ -e $W/hung ]]; do sleep 0.2; done # sleep: this is what hangs
exec /usr/lib/openssh/sftp-server
END
chmod 755 "$W/server"

start() { # [SSHD LINE]
	SSHD_ENTER='mount -t proc proc /proc;' SSHD_EXTRA=${1:-} SFTP_SERVER=$W/server sshd_start
	write_profile "timeout = $LIMIT"
	mount_fs
}
stop_servers() {
	STOPPED=$(sftp_servers)
	[[ -n $STOPPED ]] || die "no SFTP server found"
	# shellcheck disable=SC2086
	kill -STOP $STOPPED
}
all_gone() {
	local pid
	for pid; do gone "$pid" || return 1; done
}
# Not even an error: what waits is asked elsewhere in time.
servers_hang() {
	work_start
	stop_servers
	work_goes_on
	has "$("$BUILD/vastfs" status "$MNT")" "hangs: no answer for"
	work_end
	# none of them may wake later and do what was done again since
	# shellcheck disable=SC2086
	all_gone $STOPPED || die "still there: $STOPPED"
}
# No command can be run there: their channels are given up, and they stay. (If they woke now they would do what they
# were told then, once more.)
servers_hang_and_stay() {
	work_start
	stop_servers
	work_goes_on
	work_end
	# shellcheck disable=SC2086
	kill -KILL $STOPPED
}
# The instance's disk hangs, and new SFTP servers with it: calls end, no heap of processes, nothing is lost.
all_hang() {
	local before began=$SECONDS stopped
	echo kept >"$MNT/kept"
	work_start read list write
	touch "$W/hung"
	stop_servers
	before=$(wc -l <"$W/servers")
	timeout $((LIMIT + 4)) stat "$MNT/nothing" && die "a file that is not there"
	wait_for 30 not_connected || die "connected: $(status .sessions)"
	has "$("$BUILD/vastfs" status "$MNT")" "hangs: no answer for"
	# the daemon's own: the programs stand still, as what they read from the cache meanwhile takes time too
	stopped=$SECONDS
	kill -STOP -- "-$(pid_of work)"
	le "$(cpu_within 2)" 150 "milliseconds of CPU in 2 seconds"
	kill -CONT -- "-$(pid_of work)"
	STOOD=$((SECONDS - stopped + 1))
	le $(($(wc -l <"$W/servers") - before)) 10 "new servers within $((SECONDS - began)) seconds:"
	rm "$W/hung"
	work_goes_on read list write
	work_end ETIMEDOUT
	eq "$(cat "$REMOTE/kept")" kept
}
umount_while_all_hang() {
	touch "$W/hung"
	stop_servers
	timeout 5 stat "$MNT/nothing" && die "a file that is not there"
	echo late >"$MNT/late" &
	wait_for 5 not_empty || true
	timeout 10 fusermount3 -u "$MNT" || timeout 10 fusermount3 -uz "$MNT"
	wait $! || true
	rm "$W/hung"
	is_mounted && die "still mounted"
	return 0
}
not_empty() { [[ $(status .requests.in_flight) -gt 0 ]]; }

check "mounts" start
fault_check "the SFTP servers hang, new ones do not" servers_hang
fault_check "all SFTP servers hang, also new ones, for a while" all_hang
rm -f "$W/hung"
fault_check "umount while all hang" umount_while_all_hang
rm -f "$W/hung"
umount_all
sshd_kill
check "a server that runs no commands: mounts" start "PermitTTY no
ForceCommand $W/server"
fault_check "the SFTP servers hang and can not be ended" servers_hang_and_stay
umount_all
sshd_kill
finish
