#!/bin/bash
# Servers that lie (S2): nothing is written outside the mount's own files, nothing crashes or hangs, memory stays bounded.
. "$(dirname "$0")/lib.sh"
setup_dirs
LIMIT=3
setup_keys
# The server has a home folder of its own, which may hide this tree.
cp "$FAULTS/hostile.py" "$W/"
mkdir -p "$W/served/sub/deeper" "$W/victim"
head -c 300000 /dev/urandom >"$W/served/big"
for i in 0 1 2; do head -c 5000 /dev/urandom | tee "$W/served/file$i" >"$W/served/sub/file$i"; done
ln -s file0 "$W/served/goodlink"
TREE=$(sums "$W/served")

rss() { awk '/VmRSS/ { print int($2 / 1024) }' "/proc/$1/status"; }
# Only names that may be in a folder, each once; no link leads out of the mount.
nothing_odd() {
	eq "$(ls -a "$MNT" | sort | uniq -d)" '' "named twice:"
	fails grep -qE 'escape|nul|^a$|^b$' <(ls -a "$MNT")
	fails grep -q 'root:' <(cat "$MNT"/link* 2>/dev/null)
	fails grep -qE '^/|\.\.' <(find "$MNT" -maxdepth 1 -name 'link*' -exec readlink {} +)
}
# What people do; how it ends does not matter, but it ends.
everyday() { # MODE
	local command
	for command in "ls -la $MNT" "find $MNT -maxdepth 3" "find $MNT -maxdepth 2 -type f -exec cat {} +" "readlink $MNT/link0" \
		"for i in 0 1 2 3 4 5 6 7 8 9 10 11; do cat $MNT/link\$i; done" \
		"cp -r $MNT/sub $W/local/" "cat $MNT/big $MNT/file0" "echo x >$MNT/new" "echo y >>$MNT/file1" "mkdir $MNT/newdir" "mv $MNT/file1 $MNT/moved" \
		"rm -r $MNT/sub" "ln -s file0 $MNT/made" "truncate -s 100 $MNT/file2" "df $MNT" "cp $MNT/big $MNT/copy" "ls $MNT"; do
		# a tree without an end is never copied or removed
		[[ $1 != cycle || $command != *" -r "* ]] || continue
		timed timeout -s KILL $((LIMIT * 16)) sh -c "$command" >/dev/null 2>&1 || [[ $? != 137 ]] || die "no end: $command"
		echo "$MS_TAKEN ms: $command"
	done
}
# What is read without an error is what is served, and whole; where it is the data that the server lies about nobody can tell.
right_data() { # MODE
	local name
	case $1 in garbage | long-read | late-data | sizes | shrinks | contradict | no-attrs | handle-same | names | version*) return 0 ;; esac
	for name in big file0 sub/file1; do
		if timeout -s KILL $((LIMIT * 12)) cat "$MNT/$name" >"$W/local/got" 2>/dev/null; then
			same_file "$W/local/got" "$W/served/$name"
		fi
	done
}
# No call takes longer than the limit.
in_time() {
	timeout -s KILL $((LIMIT * 30)) "$PYTHON" - "$MNT" $((LIMIT + 3)) <<-'END'
		import os, sys, time
		mnt, limit = sys.argv[1], float(sys.argv[2])
		def call(what, *args):
		    begin = time.monotonic()
		    try:
		        return what(*args)
		    except OSError:
		        return None
		    finally:
		        took = time.monotonic() - begin
		        if took > limit:
		            sys.exit(f"{what.__name__}{args}: {took:.1f} s")
		for name in ("sub", "file2", "not-there", "goodlink", "big"):
		    call(os.lstat, f"{mnt}/{name}")
		call(os.readlink, f"{mnt}/goodlink")
		call(os.statvfs, mnt)
		fd = call(os.open, f"{mnt}/big", os.O_RDONLY)
		if fd is not None:
		    for at in (250000, 0, 299999):
		        call(os.pread, fd, 10, at)
		    call(os.close, fd)
	END
}
hostile() { # MODE
	local pid
	# another server's lies are not this one's
	rm -rf "$W/local" "$XDG_CACHE_HOME/vastfs" "$XDG_STATE_HOME/vastfs"
	mkdir "$W/local"
	SFTP_SERVER="$W/hostile.py $1 $W/served" sshd_start
	write_profile "timeout = $LIMIT" "path = $W/served" "attr_timeout = 1" "connections = 2"
	if timed mount_fs; then
		pid=$(daemon_pid)
		in_time
		# where each call takes all its time, a few are enough
		if [[ -n $LONG || $1 != halts* ]]; then
			right_data "$1"
			everyday "$1"
		fi
		case $1 in names | names-few | links) nothing_odd ;; esac
		eq "$(daemon_pid)" "$pid" "the daemon:"
		echo "$(rss "$pid") MiB"
		[[ $BUILD == *address* ]] || le "$(rss "$pid")" 300 "MiB of the daemon:"
		timed timeout 60 fusermount3 -u "$MNT"
		fails is_mounted
		wait_for 30 gone "$pid" || die "the daemon goes on"
	else
		case $1 in version2 | garbage | banner | silent | mute | handle0 | handle257 | handle-long | extended-attrs | names-few | torn | halts* | no-attrs | length* | limits | contradict | shrinks | wrong* | twice | dies | drip) ;; *) die "does not mount" ;; esac
		le "$MS_TAKEN" 60000 "milliseconds until the mount fails:"
		cat "$W/mount.out"
	fi
	eq "$(sums "$W/served")" "$TREE" "what is served:"
	eq "$(find "$W/victim" -mindepth 1)" '' "written outside:"
	[[ -z $(compgen -G "$W/san.*") ]] || cat "$W"/san.*
	fails compgen -G "$W/san.*"
	sshd_kill
}
# Those that take minutes of timeouts only with --long.
quick='version2 garbage length-huge length-lies wrong-type names names-count cycle contradict no-attrs sizes shrinks short-read long-read empty-read early-eof links dies statvfs limits handle256 names-few late-data readlink-many torn halts-data'
for mode in $("$FAULTS/hostile.py" modes /); do
	[[ -n $LONG || " $quick " == *" $mode "* ]] || continue
	CHECK_TIMEOUT=240 check "a server: $mode" hostile "$mode"
	umount_all
	sshd_kill >/dev/null 2>&1
done
finish
