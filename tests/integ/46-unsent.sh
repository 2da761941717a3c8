#!/bin/bash
# What can't be sent is named, and kept (W5): the instance's disk is full, then has room again.
. "$(dirname "$0")/../lib.sh"
setup
if [[ $(id -u) != 0 ]]; then
	skip "a full disk" "needs root"
	finish
fi
# within the server's own mounts there is no tmpfs of ours: it is made before the server starts
sshd_kill
mkdir "$REMOTE/small"
mount -t tmpfs -o size=1m none "$REMOTE/small" || { skip "a full disk" "no tmpfs"; finish; }
trap 'umount -l "$REMOTE/small" 2>/dev/null; cleanup' EXIT
sshd_start "$SSHD_PORT"
mount_fs || finish

status() { "$BUILD/vastfs" status --json "$MNT" | jq -r "$1"; }
some_failed() { [[ $(status '.spool.failed | length') -gt 0 ]]; }

# In a burst a close is answered before the data is there: nobody is left to be told.
full_disk() {
	mkdir "$W/local/t"
	local i
	for i in {1..30}; do head -c 60000 /dev/urandom >"$W/local/t/f$i"; done
	cp -r "$W/local/t" "$MNT/small/" 2>/dev/null || true
	wait_for 20 some_failed || die "$(status .spool)"
	has "$(status '.spool.failed[].error')" "No space left on device"
	has "$("$BUILD/vastfs" status "$MNT")" "NOT SENT: $REMOTE/small/t/f"
	rc_is 1 "$BUILD/vastfs" sync "$MNT"
	has "$OUT" "not on the instance: $REMOTE/small/t/f"
	has "$OUT" "$XDG_STATE_HOME/vastfs/gpu"
	rc_is 1 "$BUILD/vastfs" spool "$MNT" retry
	some_failed
}
# What was renamed, and done, while files are kept back is not done again by the next mount: the name may be another's.
renamed_meanwhile() {
	echo old >"$MNT/log"
	mv "$MNT/log" "$MNT/log.1"
	echo new >"$MNT/log"
	mkdir "$MNT/a"
	mv "$MNT/a" "$MNT/b"
	rmdir "$MNT/b"
	mkdir "$MNT/a"
	rc_is 1 "$BUILD/vastfs" umount "$MNT"
	mount_fs
	some_failed
	eq "$(cat "$REMOTE/log" "$REMOTE/log.1")" "new"$'\n'"old"
	[[ -d $REMOTE/a && ! -e $REMOTE/b ]] || die "$(ls "$REMOTE")"
}
# What its writer writes anew is no conflict with what could not be sent of it before: neither file by file nor in a burst.
written_anew() {
	local names name
	mount -o remount,size=8m "$REMOTE/small"
	nsenter -t "$(pgrep -P "$(pid_of sshd)" | head -1)" -m mount -o remount,size=8m "$REMOTE/small" 2>/dev/null || true
	mapfile -t names < <(status '.spool.failed[].path' | head -6)
	[[ ${#names[@]} == 6 ]]
	mkdir "$W/local/new"
	for name in "${names[@]##*/}"; do head -c 20000 /dev/urandom >"$W/local/new/$name"; done
	for name in "${names[@]:0:2}"; do sh -c "exec cat '$W/local/new/${name##*/}' >'$MNT/small/t/${name##*/}'"; done
	cp "$W/local/new"/* "$MNT/small/t/"
	"$BUILD/vastfs" sync "$MNT" || true # the others are not there
	for name in "${names[@]}"; do
		cmp "$name" "$W/local/new/${name##*/}"
		fails grep -qx "$name" <<<"$(status '.spool.failed[].path')"
	done
	cp "$W/local/new"/* "$W/local/t/"
}
# What has become of a file since is not overwritten with what could not be written before that, nor taken away.
newer_there() {
	local name conflict
	name=$(status '.spool.failed[0].path')
	echo newer >"$name"
	touch -d '+1 minute' "$name"
	"$BUILD/vastfs" spool "$MNT" retry || true
	eq "$(cat "$name")" newer
	conflict=$(compgen -G "$name.vastfs-conflict-*")
	cmp "$conflict" "$W/local/t/${name##*/}"
	rm "$conflict" "$name"
}
retry() {
	local name failed
	failed=$(status '.spool.failed[].path')
	"$BUILD/vastfs" spool "$MNT" retry
	has "$("$BUILD/vastfs" spool "$MNT" retry)" "Nothing is kept back"
	rc_is 1 "$BUILD/vastfs" spool "$MNT" discard /nothing
	has "$OUT" "is not among"
	eq "$(status '.spool.failed | length')" 0 "$(status .spool)"
	"$BUILD/vastfs" sync "$MNT" || true
	for name in $failed; do
		[[ $name != *.vastfs* ]] || continue
		cmp "$name" "$W/local/t/${name##*/}" || die "$(status .spool) $(ls -l "$REMOTE/small/t")"
	done
	eq "$(find "$REMOTE/small" -name '*conflict*')" ""
}
# The same by the next mount, where neither link nor daemon was lost in between.
newer_here() {
	local name other since
	mkdir "$W/local/u"
	for i in {1..6}; do head -c 60000 /dev/urandom >"$W/local/u/f$i"; done
	head -c 9m /dev/zero >"$REMOTE/small/filler" 2>/dev/null || true
	cp -r "$W/local/u" "$MNT/small/" || true # told of some, maybe: those are not kept
	kept() { status '.spool.failed[].path' | grep "/u/f"; }
	two_kept() { [[ $(kept | wc -l) -ge 2 ]]; }
	wait_for 20 two_kept
	since=$(date +%s)
	name=$(kept | sed -n 1p) other=$(kept | sed -n 2p)
	rm "$REMOTE/small/filler"
	later() { [[ $(date +%s) -ge $((since + 4)) ]]; }
	wait_for 6 later
	echo newer >"$name"
	rc_is 1 "$BUILD/vastfs" umount "$MNT"
	mount_fs
	eq "$(cat "$name")" newer
	cmp "$(compgen -G "$name.vastfs-conflict-*")" "$W/local/u/${name##*/}"
	cmp "$other" "$W/local/u/${other##*/}"
}
# Who reads sees what was accepted until its writer was told, and then what is there.
refused() {
	head -c 9m /dev/zero >"$REMOTE/small/filler" 2>/dev/null || true
	"$PYTHON" - "$MNT/small/seen" "$REMOTE/small/seen" "$BUILD/vastfs" "$MNT" <<-'END'
		import errno, json, os, subprocess, sys, time

		here, there, vastfs, mount = sys.argv[1:]

		def failed():
		    status = json.loads(subprocess.run([vastfs, "status", "--json", mount], capture_output=True).stdout)
		    return [f for f in status["spool"]["failed"] if f["path"] == there]

		def until(condition):
		    end = time.time() + 20
		    while not condition() and time.time() < end:
		        time.sleep(0.05)  # sleep: between two looks
		    assert condition()

		data = os.urandom(700_000)
		fd = os.open(here, os.O_RDWR | os.O_CREAT)
		assert os.pwrite(fd, data, 0) == len(data)
		until(failed)  # children that close it take nothing away
		other = os.open(here, os.O_RDONLY)
		for at, n in (0, 700_000), (300_000, 5000), (699_999, 10):
		    for by in fd, other:
		        os.posix_fadvise(by, 0, 0, os.POSIX_FADV_DONTNEED)
		        assert os.pread(by, n, at) == data[at : at + n], (at, n)
		assert os.fstat(other).st_size == len(data)
		try:
		    os.fsync(fd)
		    sys.exit("fsync says nothing")
		except OSError as error:
		    assert error.errno == errno.ENOSPC, error
		until(lambda: not failed())
		with open(there, "rb") as f:
		    left = f.read()
		until(lambda: os.fstat(other).st_size == len(left))
		assert os.pread(other, 700_000, 0) == left
		os.close(fd)
	END
	rm "$REMOTE/small/filler" "$MNT/small/seen"
}
# What a full disk refused of a log does not count for where its next lines are looked for after a crash.
appended_after_that() {
	umount_fs || true
	proxy_start
	write_profile
	head -c 4096 /dev/zero >"$REMOTE/small/lines"
	mount_fs
	"$PYTHON" - "$MNT/small/lines" "$REMOTE/small/filler" "$TOOLS/delayproxy" "$W/proxy.ctl" "$(daemon_pid)" <<-'END'
		import errno, os, signal, subprocess, sys, threading, time
		path, filler, tool, ctl, daemon = sys.argv[1:]
		fill = os.open(filler, os.O_WRONLY | os.O_CREAT)
		try:
		    while True:
		        os.write(fill, bytes(65536))
		except OSError:
		    pass
		fd = os.open(path, os.O_WRONLY | os.O_APPEND)
		os.write(fd, b"x" * 100)
		try:
		    os.fsync(fd)
		    sys.exit("fsync says nothing")
		except OSError as error:
		    assert error.errno == errno.ENOSPC, error
		os.close(fd)
		os.close(fill), os.unlink(filler)
		fd = os.open(path, os.O_WRONLY | os.O_APPEND)
		os.write(fd, b"line 1\n")
		os.fsync(fd)
		subprocess.run([tool, "--send", ctl, "stall"], check=True, stdout=subprocess.DEVNULL)
		os.write(fd, b"line 2\n")
		threading.Thread(target=os.fsync, args=(fd,), daemon=True).start()
		time.sleep(0.5)  # sleep: until it was sent
		os.kill(int(daemon), signal.SIGKILL)
		os._exit(0)
	END
	proxy cut >/dev/null
	proxy resume >/dev/null
	echo "line 2" >>"$REMOTE/small/lines"
	mount_fs
	eq "$(tail -c +4097 "$REMOTE/small/lines")" "line 1"$'\n'"line 2"
}
progress() {
	OUT=$("$BUILD/vastfs" sync --progress "$MNT" 2>&1)
	rc_is 1 "$BUILD/vastfs" sync
}
check_vastfs "a full disk with nobody to be told: kept and named" full_disk
check_vastfs "what was renamed meanwhile is not renamed again" renamed_meanwhile
check_vastfs "what is written anew is not kept back" written_anew
check_vastfs "what has changed there since is not overwritten" newer_there
check_vastfs "vastfs spool retry sends it when there is room" retry
check_vastfs "nor by the next mount" newer_here
check_vastfs "what is refused is seen until its writer is told" refused
check_vastfs "vastfs sync --progress" progress
check_vastfs "what was refused of a log does not have its next lines twice after a crash" appended_after_that
check "unmounts" umount_fs
umount -l "$REMOTE/small"
finish
