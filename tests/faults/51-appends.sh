#!/bin/bash
# Appends that are under way when the daemon is killed, by lines that are all the same: the next mount can't tell them
# apart by what they are, only by where they go.
LIMIT=4
. "$(dirname "$0")/lib.sh"
setup_dirs
setup_keys
trap 'umount_all; umount -l "$REMOTE" 2>/dev/null; cleanup' EXIT
hows=(nothing answers outage torn)
if mount -t tmpfs -o size=8m none "$REMOTE" 2>/dev/null; then
	hows+=(full)
else
	skip "the appends under way are there once; before them: full" "no file system can be mounted"
fi
sshd_start
proxy_start --delay 10
write_profile "timeout = $LIMIT"

appended_once() { # HOW, as appends.py has it
	is_mounted || mount_fs
	"$PYTHON" "$FAULTS/appends.py" "$MNT" "$REMOTE" "$BUILD/vastfs" "$TOOLS/delayproxy" "$W/proxy.ctl" "$(daemon_pid)" "$1" >"$W/size"
	umount -l "$MNT"
	mount_fs
	timeout 60 "$BUILD/vastfs" sync "$MNT"
	eq "$(stat -c %s "$REMOTE/log")" "$(cat "$W/size")" "bytes:"
	eq "$(tail -n 10 "$REMOTE/log" | sort -u | wc -l)" 1 "different lines:"
	rm "$MNT/log"
}

for how in "${hows[@]}"; do
	fault_check "the appends under way are there once; before them: $how" appended_once "$how"
done
check "unmounts" umount_fs
finish
