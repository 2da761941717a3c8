#!/bin/bash
# What fails in the middle of a burst (W5): the instance's disk fills up, its inodes run out, a limit like a quota is
# reached, a folder is forbidden, the server dies, the link is lost. Each accepted file is there, or is named with the
# reason and kept; the next mount sends it once the cause has gone.
. "$(dirname "$0")/lib.sh"
if [[ $(id -u) != 0 ]]; then
	skip "late failures" "needs root"
	setup_dirs
	finish
fi
setup_dirs
setup_keys
LIMIT=4
trap 'umount -l "$REMOTE" 2>/dev/null; cleanup' EXIT
# the disk of the instance, and a login that is not root there: it is seen before the server has mounts of its own
mount -t tmpfs -o size=300m,nr_inodes=20000 none "$REMOTE" || { skip "late failures" "no file system can be mounted"; finish; }
chmod 777 "$REMOTE"
chown 65534 "$W/server-home"
NOBODY=65534
cat >"$W/sftp" <<-END
	#!/bin/sh
	trap '' XFSZ # a limit that is reached is an error
	exec setpriv --reuid $NOBODY --regid $NOBODY --clear-groups /usr/lib/openssh/sftp-server
END
chmod 755 "$W" "$W/sftp"
SFTP_SERVER=$W/sftp sshd_start
proxy_start --delay 10
write_profile "timeout = $LIMIT"

cat >"$W/fault" <<-END
	#!/bin/bash
	set -e
	W=$W TOOLS=$TOOLS
	$(declare -f proxy sshd_kill descendants pid_of sftp_servers wait_for gone)
	case \$1 in
	full)
		head -c 400M /dev/zero >"$REMOTE/filler" 2>/dev/null || truncate -s -200000 "$REMOTE/filler" ;;
	inodes) mkdir "$REMOTE/filler"; cd "$REMOTE/filler"; seq \$((\$(df --output=iavail "$REMOTE" | tail -1) - 20)) | xargs touch ;;
	quota) for pid in \$(sftp_servers); do setpriv --reuid $NOBODY --regid $NOBODY --clear-groups prlimit --pid "\$pid" --fsize=20000; done ;;
	denied) chmod -R 555 "$REMOTE"/here-* ;;
	cut) proxy refuse on; proxy cut ;;
	stall) proxy stall ;;
	sshd) sshd_kill ;;
	heal)
		rm -rf "$REMOTE/filler"
		chmod -R u+w "$REMOTE"/here-*
		proxy refuse off
		proxy resume
		[[ -e /proc/\$(pid_of sshd) ]] || exit 3 ;;
	esac
END
# A burst with the fault in the middle; a sync, and what the status says; the unmount; then the cause goes, and the next mount
# sends what was kept.
HERE='' STATE=''
late() { # FAULT
	local rc=0
	STATE=$W/state-$1 HERE=here-$1
	mkdir "$MNT/$HERE"
	"$PYTHON" "$FAULTS/late.py" burst "$MNT/$HERE" "$STATE" bash "$W/fault" "$1"
	timeout 60 "$BUILD/vastfs" sync "$MNT" >"$W/sync.out" 2>&1 || rc=$?
	[[ $rc != 124 ]] || die "the sync does not end"
	"$BUILD/vastfs" status --json "$MNT" >"$W/status.json"
	RC=$rc "$PYTHON" "$FAULTS/late.py" judge "$REMOTE/$HERE" "$STATE" "$W/status.json"
	# once more in vain changes nothing: what depends on what failed is not done either
	if [[ $(jq '.spool.failed | length' "$W/status.json") -gt 0 ]]; then
		rc_is 1 "$BUILD/vastfs" spool "$MNT" retry
	fi
	unmounts "$rc"
}
unmounts() { # STATUS OF SYNC
	local out rc=0 waiting pid
	waiting=$(jq .spool.changes "$W/status.json")
	pid=$(daemon_pid)
	out=$(timed timeout 60 "$BUILD/vastfs" umount "$MNT" 2>&1) || rc=$?
	echo "sync: $1, umount: $rc, $waiting changes in the spool"
	echo "$out" | head -n 4
	fails is_mounted
	gone "$pid" || die "the daemon goes on"
	[[ $waiting != 0 ]] || return 0
	eq "$rc" 1 "exit status of umount"
	has "$out" "$XDG_STATE_HOME/vastfs/gpu"
	if [[ $(jq '.spool.failed | length' "$W/status.json") == 0 ]]; then
		has "$out" "not on the instance yet: $REMOTE/$HERE"
	else
		has "$out" "not on the instance: $REMOTE/$HERE"
	fi
}
healed() { # FAULT
	local rc=0
	STATE=$W/state-$1 HERE=here-$1
	bash "$W/fault" heal >/dev/null || SFTP_SERVER=$W/sftp sshd_start "$SSHD_PORT"
	timed mount_fs
	"$BUILD/vastfs" sync "$MNT" || die "$(cat "$W/mount.out")"
	"$PYTHON" "$FAULTS/late.py" whole "$REMOTE/$HERE" "$STATE" || die "$(cat "$W/mount.out")"
	eq "$("$BUILD/vastfs" status --json "$MNT" | jq -c '[.spool.changes, (.spool.failed | length)]')" "[0,0]"
	umount_fs
	rm -rf "${REMOTE:?}/$HERE" "$STATE"
}
after() { # umount_all would take the disk away too
	! is_mounted || timeout 60 "$BUILD/vastfs" umount "$MNT" || umount -l "$MNT"
}
faults=(full denied sshd)
[[ -z $LONG ]] || faults+=(inodes quota cut stall)
for fault in "${faults[@]}"; do
	mount_fs || break
	fault_check "in the middle of a burst: $fault" late "$fault"
	after
	fault_check "... and the next mount sends what was kept" healed "$fault"
	after
done
umount -l "$REMOTE"
finish
