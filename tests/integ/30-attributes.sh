#!/bin/bash
# Attributes after own writes: they end up being the instance's again, and nobody's time is lost.
. "$(dirname "$0")/../lib.sh"
setup
write_profile "attr_timeout = 6"


# Pages written back after the last close(2) come without a flush behind them.
mapped_after_close() {
	head -c 8192 /dev/zero >"$MNT/mapped"
	"$PYTHON" - "$MNT/mapped" <<-'END'
		import ctypes, os, sys
		libc = ctypes.CDLL(None, use_errno=True)
		libc.mmap.restype = ctypes.c_void_p
		libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
		libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
		fd = os.open(sys.argv[1], os.O_RDWR)
		pages = libc.mmap(None, 8192, 3, 1, fd, 0)
		assert pages and pages != 2**64 - 1
		os.close(fd)
		ctypes.memmove(pages, b"later", 5)
		assert libc.munmap(pages, 8192) == 0
	END
	wait_for 5 grep -q later "$REMOTE/mapped"
	echo more >>"$REMOTE/mapped"
	wait_for 9 size_is "$MNT/mapped" 8197 || die "what the instance did afterwards is not seen"
}

# A change of attributes or names crosses the question for what a write made of the file.
changed_behind_a_close() {
	local i
	for i in $(seq 20); do
		echo "$i" >"$MNT/crossed.$i"
		chmod 600 "$MNT/crossed.$i"
		mv "$MNT/crossed.$i" "$MNT/c.$i"
	done
	for i in $(seq 20); do echo more >>"$REMOTE/c.$i"; done
	for i in $(seq 20); do wait_for 9 size_is "$MNT/c.$i" "$(stat -c %s "$REMOTE/c.$i")" || die "c.$i: $(stat -c %s "$MNT/c.$i")"; done
}

# One of the two times is set: the other one is the instance's, not what was known of it.
one_time() {
	echo old >"$REMOTE/times"
	touch -d 2020-01-01 "$REMOTE/times"
	seen "$MNT/times"
	eq "$(cat "$MNT/times")" old
	echo new >"$REMOTE/times"
	touch -h -a -d 2021-01-01 "$MNT/times"
	ge "$(stat -c %Y "$REMOTE/times")" $(($(date +%s) - 60)) "mtime on the instance"
	eq "$(stat -c %X "$REMOTE/times")" "$(date -d 2021-01-01 +%s)"
	wait_for 9 grep -q new "$MNT/times"
	touch -a -d 2020-05-05 "$REMOTE/times"
	touch -h -m -d 2022-01-01 "$MNT/times"
	eq "$(stat -c %X "$REMOTE/times")" "$(date -d 2020-05-05 +%s)"
	eq "$(stat -c %Y "$REMOTE/times")" "$(date -d 2022-01-01 +%s)"
}

# Somebody there makes a folder where a file is to be made here.
folder_instead() {
	ls "$MNT" >/dev/null
	mkdir "$REMOTE/taken" # not seen here for a while
	rc_is 21 "$PYTHON" -c 'import os, sys
try: os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
except OSError as error: sys.exit(error.errno)' "$MNT/taken"
	echo linked >"$REMOTE/target"
	ls "$MNT" >/dev/null
	ln -s target "$REMOTE/taken2"
	eq "$("$PYTHON" -c 'import os, sys
print(os.read(os.open(sys.argv[1], os.O_CREAT | os.O_RDONLY), 9).decode(), end="")' "$MNT/taken2")" linked
	wait_for 5 test -d "$MNT/taken"
	eq "$(server_handles)" 0
}

# Another name of a file leads to all that was written before it was made.
linked_with_data() {
	"$PYTHON" -c 'import os, sys
fd = os.open(sys.argv[1] + "/tmp", os.O_WRONLY | os.O_CREAT)
os.write(fd, b"x" * 1000)
os.link(sys.argv[1] + "/tmp", sys.argv[1] + "/final")
assert os.stat(sys.argv[2] + "/final").st_size == 1000' "$MNT" "$REMOTE"
}

check "mounts" mount_fs
check "data is there before another name of the file" linked_with_data
check "a file created where a folder appeared" folder_instead
check "a mapped page written after close" mapped_after_close
check "chmod and rename right after close" changed_behind_a_close
check "one time set, the other one kept" one_time
check "unmounts" umount_fs
finish
