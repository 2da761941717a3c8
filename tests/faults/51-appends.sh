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
# What an fsync that is over was waiting for fails later: the next one tells it (W5).
told_later() { # MODE of open(2)
	is_mounted || mount_fs
	timeout 60 "$PYTHON" - "$MNT/late" "$REMOTE/filler" "$TOOLS/delayproxy" "$W/proxy.ctl" "$1" <<-'END'
		import os, subprocess, sys
		path, filler, tool, ctl, mode = sys.argv[1:]
		def proxy(word):
		    subprocess.run([tool, "--send", ctl, word], check=True, stdout=subprocess.DEVNULL)
		def synced():
		    try:
		        os.fsync(f.fileno())
		    except OSError as error:
		        return error
		f = open(path, mode, 0)
		f.write(b"begun\n")
		assert not synced()
		proxy("blackhole")
		f.write(b"x" * 50000)
		print(synced())
		with open(filler, "wb", 0) as there:
		    try:
		        while there.write(bytes(4096)):
		            pass
		    except OSError:
		        pass
		proxy("resume")
		error = synced()
		print(error)
		os.unlink(filler)
		assert error, "nobody was told"
	END
	rm "$MNT/late"
	timeout 60 "$BUILD/vastfs" sync "$MNT"
}
if [[ ${hows[*]} == *full* ]]; then
	for mode in wb ab; do fault_check "what fails when an fsync is over: $mode" told_later "$mode"; done
fi
check "unmounts" umount_fs
finish
