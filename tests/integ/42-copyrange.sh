#!/bin/bash
# copy_file_range is done on the instance; caches save traffic: measured by the bytes on the link.
. "$(dirname "$0")/../lib.sh"
setup
proxy_start
write_profile
head -c 50000000 /dev/urandom >"$REMOTE/checkpoint"
touch -d '1 hour ago' "$REMOTE/checkpoint" # a file that changed just now is not trusted (R2)
mount_fs || finish

# Runs a command and sets UP and DOWN to the bytes that it cost.
traffic() {
	local up down rc=0
	read -r up down <<<"$(proxy_bytes)"
	"$@" || rc=$?
	read -r UP DOWN <<<"$(proxy_bytes)"
	UP=$((UP - up)) DOWN=$((DOWN - down))
	return "$rc"
}
cp_inside() {
	traffic cp "$MNT/checkpoint" "$MNT/copy"
	same_file "$REMOTE/checkpoint" "$REMOTE/copy"
	le $((UP + DOWN)) 2000000 "bytes on the link for a copy of 50 MB"
	eq "$(stat -c %s "$MNT/copy")" 50000000
}
copy_part() {
	printf 'head of a new file' >"$MNT/part"
	"$PYTHON" - "$MNT/checkpoint" "$MNT/part" <<-'END'
		import os, sys
		a, b = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_RDWR)
		done = 0
		while done < 7_000_000:
		    n = os.copy_file_range(a, b, 7_000_000 - done, 1234 + done, 5 + done)
		    assert n > 0
		    done += n
		assert os.pread(b, 5, 0) == b"head "
		assert os.fstat(b).st_size == 7_000_005
		assert os.copy_file_range(a, b, 1000, 49_999_900, 0) == 100  # to the end of the source
		assert os.copy_file_range(a, b, 1000, 50_000_000, 0) == 0
	END
	cmp -i 1334:105 -n 6999900 "$REMOTE/checkpoint" "$REMOTE/part"
}
copy_unsent() { # data that is written but not sent yet is copied too, and the target's old pages are gone
	"$PYTHON" - "$MNT" <<-'END'
		import os, sys
		os.chdir(sys.argv[1])
		a = os.open("unsent", os.O_RDWR | os.O_CREAT)
		b = os.open("target", os.O_RDWR | os.O_CREAT)
		os.write(b, b"old" * 100000)
		os.pread(b, 300000, 0)
		os.write(a, b"new" * 100000)
		done = 0
		while done < 300000:
		    n = os.copy_file_range(a, b, 300000 - done, done, done)
		    assert n > 0
		    done += n
		assert os.pread(b, 300000, 0) == b"new" * 100000
	END
	eq "$(sha256sum <"$REMOTE/target")" "$(sha256sum <"$REMOTE/unsent")"
}
copy_in_a_burst() { # to files that were opened without waiting for the instance
	head -c 100000 /dev/urandom >"$REMOTE/source"
	mkdir "$REMOTE/many"
	for i in {1..30}; do echo old >"$REMOTE/many/$i"; done
	touch -d '1 hour ago' "$REMOTE/source" "$REMOTE"/many/*
	seen "$MNT/many/30"
	"$PYTHON" - "$MNT" <<-'END'
		import os, sys
		os.chdir(sys.argv[1])
		os.listdir("many")
		source = os.open("source", os.O_RDONLY)
		for n in range(1, 31):
		    fd = os.open(f"many/{n}", os.O_WRONLY | (os.O_TRUNC if n % 3 == 0 else 0))
		    done = 0
		    while done < 100000:
		        done += os.copy_file_range(source, fd, 100000 - done, done, done)
		    os.close(fd)
	END
	synced
	for i in {1..30}; do same_file "$REMOTE/source" "$REMOTE/many/$i"; done
}
# The channel that copies opens both by name, and finds another file there, at times when the watcher has told of it.
copy_of_replaced() {
	for i in {1..20}; do replace_and_copy "replaced$i" || return; done
}
replace_and_copy() { # NAME, which nothing is known of yet: what was looked at within a second need not be asked for
	head -c 300000 /dev/urandom | tee "$W/local/kept" >"$REMOTE/$1"
	echo other >"$REMOTE/other"
	echo old >"$REMOTE/$1.copy"
	touch -d '1 hour ago' "$REMOTE/$1" "$REMOTE/other"
	seen "$MNT/$1.copy"
	seen "$MNT/$1"
	"$PYTHON" - "$MNT/$1" "$REMOTE" <<-'END'
		import os, sys
		path, there = sys.argv[1:]
		a, b = os.open(path, os.O_RDONLY), os.open(path + ".copy", os.O_WRONLY)
		os.read(a, 10)
		os.rename(f"{there}/other", f"{there}/{os.path.basename(path)}")
		done = 0
		while done < 300000:
		    got = os.copy_file_range(a, b, 300000 - done, done, done)
		    assert got, f"the file ends after {done} bytes"
		    done += got
		os.close(b)
	END
	synced
	same_file "$W/local/kept" "$REMOTE/$1.copy"
}
within_one_file() {
	"$PYTHON" - "$MNT/one" <<-'END'
		import os, sys
		fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
		os.write(fd, b"0123456789")
		done = 0
		while done < 10:
		    n = os.copy_file_range(fd, fd, 10 - done, done, 10 + done)
		    assert n > 0
		    done += n
		assert os.pread(fd, 100, 0) == b"0123456789" * 2
	END
	eq "$(cat "$REMOTE/one")" 01234567890123456789
}
# 100 GB (sparse there; the copy is not), given up in the middle.
ctrl_c() {
	local size
	truncate -s 100G "$REMOTE/huge"
	touch -d '1 hour ago' "$REMOTE/huge"
	seen "$MNT/huge"
	traffic setsid -w "$PYTHON" - "$MNT" "$REMOTE/huge.copy" <<-'END'
		import os, signal, subprocess, sys, time
		mnt, there = sys.argv[1:]
		cp = subprocess.Popen(["env", "--default-signal=INT", "cp", f"{mnt}/huge", f"{mnt}/huge.copy"], start_new_session=True)
		deadline = time.monotonic() + 50
		while not os.path.exists(there) or os.path.getsize(there) < 100_000_000:
		    assert cp.poll() is None and time.monotonic() < deadline
		    time.sleep(0.01)  # sleep: polls
		os.stat(f"{mnt}/checkpoint")
		begin = time.monotonic()
		os.killpg(cp.pid, signal.SIGINT)
		assert cp.wait(20) == -signal.SIGINT
		print(f"{time.monotonic() - begin:.2f} s after Ctrl-C it has ended, {os.path.getsize(there)} bytes are copied")
	END
	le $((UP + DOWN)) 2000000 "bytes on the link"
	size=$(stat -c %s "$REMOTE/huge.copy")
	le "$size" 20000000000
	rm "$MNT/huge.copy" "$MNT/huge"
	"$BUILD/vastfs" sync "$MNT"
	[[ ! -e $REMOTE/huge.copy ]]
}
read_once() {
	cat "$MNT/checkpoint" >/dev/null
	traffic cat "$MNT/checkpoint" >/dev/null
	le $((UP + DOWN)) 100000 "bytes on the link for a second read"
	traffic sha256sum "$MNT/checkpoint"
	le $((UP + DOWN)) 100000 "bytes on the link for a third"
}
written_then_read() {
	head -c 8000000 /dev/urandom >"$W/local/w"
	traffic cp "$W/local/w" "$MNT/w"
	ge "$UP" 8000000
	le "$UP" 9000000 "bytes up for 8 MB"
	le "$DOWN" 500000 "bytes down"
	traffic cmp "$W/local/w" "$MNT/w"
	le "$DOWN" 9000000 "bytes down to read it back"
}
small_overhead() {
	traffic head -c 1000 "$MNT/checkpoint"
	traffic dd if="$MNT/copy" bs=4k skip=100 count=1 status=none of=/dev/null
	le "$DOWN" 4000000 "bytes down for 4 KiB"
}

check_vastfs "cp inside the mount moves no data over the link" cp_inside
check "copy_file_range of a part, to an offset, and past the end" copy_part
check "copy_file_range of data that is not sent yet" copy_unsent
check "copy_file_range within one file" within_one_file
check "copy_file_range to files opened in a burst" copy_in_a_burst
check "copy_file_range of a file that is replaced on the instance meanwhile" copy_of_replaced
check_vastfs "Ctrl-C in the middle of a copy of 100 GB" ctrl_c
check_vastfs "a file read twice crosses the link once" read_once
check_vastfs "a file written crosses the link once" written_then_read
check_vastfs "reading 4 KiB of a large file" small_overhead
check "unmounts" umount_fs
finish
