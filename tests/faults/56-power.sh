#!/bin/bash
# Power cuts: what was fsynced is on the instance's disk, whatever happens to both sides; a spool of which only a part reached
# the local disk is sent as far as it goes, and harms nothing. And a local disk that is too small for the spool.
. "$(dirname "$0")/lib.sh"
if [[ $(id -u) != 0 ]]; then
	skip "power cuts" "needs root"
	setup_dirs
	finish
fi
setup_dirs
setup_keys
LIMIT=6
trap 'umount -l "$REMOTE" "$W/after" "$XDG_STATE_HOME" 2>/dev/null; cleanup' EXIT
truncate -s 300m "$W/disk"
if ! { mkfs.ext4 -q "$W/disk" && mount -o loop "$W/disk" "$REMOTE"; } >"$W/loop.out" 2>&1; then
	skip "power cuts" "no loop device: $(cat "$W/loop.out")"
	finish
fi
sshd_start
proxy_start --delay 3
write_profile "timeout = $LIMIT" "spool_size = 100"
SPOOL=$XDG_STATE_HOME/vastfs/gpu

kill_daemon() {
	local pid
	pid=$(daemon_pid)
	kill -KILL "$pid"
	wait_for 10 gone "$pid"
	umount -l "$MNT"
}
# The disk as it is when the machine loses its power: a copy of the image, without what the kernel has not written to it.
fsynced() {
	local worker
	mkdir "$MNT/f" "$W/after"
	"$PYTHON" "$FAULTS/power.py" work "$MNT/f" "$W/told" &
	worker=$!
	some() { [[ -e $W/told && $(wc -l <"$W/told") -gt 100 ]]; }
	wait_for 20 some
	cp "$W/told" "$W/told.cut"
	cp --sparse=always "$W/disk" "$W/disk.cut"
	sshd_kill
	kill_daemon
	wait "$worker"
	mount -o loop "$W/disk.cut" "$W/after"
	"$PYTHON" "$FAULTS/power.py" look "$W/after/f" "$W/told.cut"
	umount "$W/after"
	# and all that was told since, once the daemon has come back
	sshd_start "$SSHD_PORT"
	mount_fs
	"$PYTHON" "$FAULTS/power.py" look "$REMOTE/f" "$W/told"
	eq "$(find "$REMOTE" -name '*conflict*')" ''
}
# 40 files as editors save them, over older ones, and new ones; nothing of it sent. Then the spool is torn at many places.
leave() {
	"$PYTHON" - "$MNT/t" "$TOOLS/delayproxy" "$W/proxy.ctl" <<-'END'
		import os, subprocess, sys
		top, tool, ctl = sys.argv[1:]
		os.mkdir(top)
		for n in range(40):
		    with open(f"{top}/f{n}", "w") as f:
		        f.write(f"old {n}\n" * 400)
		subprocess.run(["sync", top], check=True)
		for n in range(40):
		    if n == 8:
		        subprocess.run([tool, "--send", ctl, "stall"], check=True, stdout=subprocess.DEVNULL)
		    with open(f"{top}/tmp{n}", "w") as f:
		        f.write(f"new {n}\n" * 500)
		    os.rename(f"{top}/tmp{n}", f"{top}/f{n}")
	END
	kill_daemon
	proxy cut >/dev/null
	proxy resume >/dev/null
	cp -a "$XDG_STATE_HOME/vastfs" "$W/spool.saved"
	cp -a "$REMOTE/t" "$W/there.saved"
}
torn_at() { # HOW POSITION (of 1000)
	local segment size at
	rm -rf "$XDG_STATE_HOME/vastfs" "$REMOTE/t"
	cp -a "$W/spool.saved" "$XDG_STATE_HOME/vastfs"
	cp -a "$W/there.saved" "$REMOTE/t"
	segment=$(find "$SPOOL" -type f ! -name lock -size +5k | head -1)
	size=$(stat -c %s "$segment")
	at=$((4160 + (size - 4160) * $2 / 1000))
	case $1 in
	cut) truncate -s "$at" "$segment" ;;
	zeros) # a page that was not written yet
		at=$((at / 4096 * 4096))
		dd if=/dev/zero of="$segment" bs=4096 seek=$((at / 4096)) count=1 conv=notrunc status=none
		;;
	esac
	touch -d @"$(stat -c %Y "$(find "$W/spool.saved" -name "${segment##*/}")")" "$segment"
	mount_fs
	grep -o "sending.*\|.*sent.*\|.*can't be read.*" "$W/mount.out" || true
	"$PYTHON" - "$REMOTE/t" "$1 $2" "$W/there.saved" <<-'END'
		import os, sys
		top, how, before = sys.argv[1:]
		new = old = aside = 0
		for n in range(40):
		    with open(f"{top}/f{n}") as f:
		        data = f.read()
		    assert data in (f"old {n}\n" * 400, f"new {n}\n" * 500), (how, n, len(data), data[:20])
		    new += data.startswith("new")
		aside = [name for name in os.listdir(top) if "conflict" in name]
		was = sum(open(f"{before}/f{n}").read(3) == "new" for n in range(40))
		assert new >= was, (how, new, was)
		if how.startswith("cut"):
		    assert not aside, aside
		    # in order: nothing after the first that is missing
		    states = [open(f"{top}/f{n}").read(3) for n in range(40)]
		    assert states == sorted(states), states
		print(how, ":", new, "are new,", len(aside), "beside")
	END
	# the first part is what was done before
	[[ $1 == cut || $2 -lt 500 ]] || has "$(cat "$W/mount.out")" "can't be read any more"
	kill_daemon
}
torn() {
	local at
	leave
	for at in 1 500 777 990; do torn_at cut "$at"; done
	for at in 200 600 800; do torn_at zeros "$at"; done
	if [[ -n $LONG ]]; then
		for ((at = 5; at < 1000; at += 61)); do
			torn_at cut "$at"
			torn_at zeros "$at"
		done
	fi
	rm -rf "$XDG_STATE_HOME/vastfs"
	mount_fs
}
# The local disk does not give back a part of the spool: the rest is sent, what it is lies there for later, and the daemon lives.
failing_disk() {
	local segment at
	rm -rf "$REMOTE/t"
	cp -a "$W/there.saved" "$REMOTE/t"
	truncate -s 64m "$W/bad"
	mkfs.ext4 -q -b 4096 -N 128 -O ^has_journal "$W/bad"
	mount -o loop,errors=continue "$W/bad" "$XDG_STATE_HOME"
	cp -a "$W/spool.saved" "$XDG_STATE_HOME/vastfs"
	segment=$(find "$SPOOL" -type f ! -name lock -size +5k | head -1)
	sync -f "$segment"
	at=$(filefrag -v "$segment" | awk '$1 == "0:" { print $4 + 0 }')
	truncate -s $(((at + $(stat -c %s "$segment") * 3 / 4 / 4096) * 4096)) "$W/bad" # three quarters of it can be read
	"$PYTHON" -c 'import os, sys; os.posix_fadvise(os.open(sys.argv[1], os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)' "$segment"
	fails cat "$segment" >"$W/segment"
	[[ -s $W/segment ]]
	mount_fs
	has "$(cat "$W/mount.out")" "can't be read"
	[[ -e $segment.broken ]] || die "nothing is kept: $(ls -R "$SPOOL")"
	grep -q new "$REMOTE/t/f12" || die "what could be read was not sent"
	echo after >"$MNT/after-bad"
	eq "$(cat "$REMOTE/after-bad")" after
	umount_fs || true
	fails is_mounted
	umount "$XDG_STATE_HOME"
}
# The local disk has 6 MB for a spool that may take 100: programs wait for the instance, nothing fails and nothing is lost.
small_disk() {
	local rc=0 i
	mkdir -p "$XDG_STATE_HOME"
	mount -t tmpfs -o size=6m none "$XDG_STATE_HOME"
	mount_fs
	head -c 20000000 /dev/urandom >"$W/local/big"
	proxy rate 8M >/dev/null
	cp "$W/local/big" "$MNT/big"
	sync "$MNT/big"
	same_file "$W/local/big" "$REMOTE/big"
	# full of something else
	head -c 10M /dev/zero >"$XDG_STATE_HOME/filler" 2>/dev/null || true
	cp "$W/local/big" "$MNT/big2"
	has "$("$BUILD/vastfs" status "$MNT")" "No space left"
	mkdir "$MNT/many"
	for i in {1..30}; do echo "$i" >"$MNT/many/$i"; done
	"$BUILD/vastfs" sync "$MNT"
	same_file "$W/local/big" "$REMOTE/big2"
	eq "$(find "$REMOTE/many" -type f | wc -l)" 30
	# without a link: what fits is taken, then a writer waits and is told; what was taken arrives
	rm "$XDG_STATE_HOME/filler"
	spool_works() { [[ $("$BUILD/vastfs" status --json "$MNT" | jq -r .spool.error) == '' ]]; }
	wait_for 10 spool_works
	exec 5>"$MNT/cut"
	proxy refuse on >/dev/null
	proxy cut >/dev/null
	timed timeout -k 5 60 dd if="$W/local/big" bs=100000 >&5 2>"$W/dd.out" || rc=$?
	cat "$W/dd.out"
	[[ $rc != 0 && $rc != 124 ]] || die "exit status $rc from a write that could not be kept anywhere, after $MS_TAKEN ms"
	le "$MS_TAKEN" $(((LIMIT + 4) * 1000))
	exec 5>&- || true
	proxy refuse off >/dev/null
	proxy rate 0 >/dev/null
	"$BUILD/vastfs" sync "$MNT" || true
	rc=$(stat -c %s "$REMOTE/cut")
	echo "$rc bytes were kept"
	ge "$rc" 2000000
	cmp -n "$rc" "$W/local/big" "$REMOTE/cut"
	# the rest of the mount works
	echo after >"$MNT/after"
	eq "$(cat "$REMOTE/after")" after
	umount_fs || true
	umount "$XDG_STATE_HOME"
}
fault_check "mounts" mount_fs
fault_check "what was fsynced is on the instance's disk after both sides lost their power" fsynced
fault_check "a spool that is torn, or has holes: the rest is sent, and nothing good is replaced by half of something" torn
umount "$MNT"
fault_check "a local disk that does not give back a part of the spool" failing_disk
umount -l "$MNT" "$XDG_STATE_HOME" 2>/dev/null
fault_check "a local disk too small for the spool" small_disk
umount -l "$MNT" 2>/dev/null
umount -l "$REMOTE"
finish
