#!/bin/bash
# Files from 0 bytes to 3 GiB, 20,000 names in a folder, odd names, many processes at once.
. "$(dirname "$0")/../lib.sh"
setup
mount_fs || finish

sparse_there() {
	truncate -s 3G "$REMOTE/huge"
	printf 'at 2.5G' | dd of="$REMOTE/huge" bs=1M seek=2560 conv=notrunc status=none
	printf 'end' | dd of="$REMOTE/huge" bs=1 seek=$((3 * 1024 * 1024 * 1024 - 3)) conv=notrunc status=none
	seen "$MNT/huge"
	eq "$(stat -c %s "$MNT/huge")" $((3 * 1024 * 1024 * 1024)) size
	eq "$(dd if="$MNT/huge" bs=1M skip=2560 count=1 status=none | head -c 7)" "at 2.5G"
	eq "$(tail -c 3 "$MNT/huge")" "end"
	cmp -n 1000000 "$MNT/huge" /dev/zero
}
sparse_here() {
	truncate -s 3G "$MNT/huge2"
	printf 'end' | dd of="$MNT/huge2" bs=1 seek=$((3 * 1024 * 1024 * 1024 - 3)) conv=notrunc status=none
	eq "$(stat -c %s "$REMOTE/huge2")" $((3 * 1024 * 1024 * 1024)) size
	eq "$(tail -c 3 "$REMOTE/huge2")" "end"
	le "$(stat -c %b "$REMOTE/huge2")" 10000 "blocks on the server"
}
whole_gib() {
	truncate -s 1G "$REMOTE/gib"
	for at in 0 100 511 700 1023; do
		head -c 100000 /dev/urandom | dd of="$REMOTE/gib" bs=1M seek="$at" conv=notrunc status=none
	done
	truncate -s 1G "$REMOTE/gib"
	seen "$MNT/gib"
	same_file "$MNT/gib" "$REMOTE/gib"
}
sizes() {
	local n
	for n in 0 1 2 511 512 513 4095 4096 4097 32767 32768 32769 65536 131071 131072 131073 261119 261120 261121 \
		1048576 5000001; do
		head -c "$n" /dev/urandom >"$W/local/f"
		cp "$W/local/f" "$MNT/size-$n"
		same_file "$W/local/f" "$REMOTE/size-$n"
		cp "$W/local/f" "$REMOTE/back-$n"
		eq "$(stat -c %s "$MNT/size-$n")" "$n" size
	done
	seen "$MNT/back-5000001"
	for n in "$REMOTE"/back-*; do
		same_file "$n" "$MNT/${n##*/}"
	done
}
twenty_thousand() {
	mkdir "$REMOTE/names"
	(cd "$REMOTE/names" && seq -f 'name-%05g.jpg' 20000 | xargs touch)
	seen "$MNT/names/name-20000.jpg"
	eq "$(find "$MNT/names" -type f | wc -l)" 20000
	eq "$(ls -l "$MNT/names" | grep -c 'name-.*jpg')" 20000
	eq "$(ls "$MNT/names" | sort | sha256sum)" "$(ls "$REMOTE/names" | sort | sha256sum)"
}
many_created() {
	local i
	mkdir "$MNT/created"
	for i in 1 2 3 4; do
		"$PYTHON" - "$MNT/created" "$i" <<-'END' &
			import sys
			for n in range(1000):
			    with open(f"{sys.argv[1]}/{sys.argv[2]}-{n}", "w") as f:
			        f.write(f"{n}")
		END
	done
	wait
	synced
	eq "$(find "$REMOTE/created" -type f -size -5c -size +0 | wc -l)" 4000 "files on the server"
	eq "$(cat "$REMOTE/created/3-777")" 777
	rm -rf "$MNT/created"
	synced
	[[ ! -e $REMOTE/created ]]
}
odd_names() {
	"$PYTHON" - "$MNT/odd" "$REMOTE/odd" <<-'END'
		import os, sys, time
		here, there = (os.fsencode(p) for p in sys.argv[1:])
		names = [b"a space", b" ", b"new\nline", b"tab\tbell\a", b"back\\slash", b"quo'te\"s", b"-rf", b"--", b"...", b"..a",
		         b".hidden", b"*", b"?[x]", b"~", b"$HOME", b"%s%n", b"caf\xc3\xa9", b"cafe\xcc\x81", "\u65e5\u672c\u8a9e".encode(),
		         b"\xf0\x9f\x9a\x80", b"latin-\xe9", b"\xff\xfe", b"\x01\x7f", b"semi;colon&|", b"c:d", b"x" * 255,
		         ("\u00e9" * 127).encode(), b"#file#", b"file~", b".#lock", b"user@host:path", b"=", b"CON", b"trail ", b"trail."]
		os.mkdir(here)
		top = os.open(here, os.O_RDONLY)
		for i, name in enumerate(names):
		    side = (here, there)[i % 2]
		    with open(os.path.join(side, name), "wb") as f:
		        f.write(name)
		deadline = time.monotonic() + 5
		os.fsync(top)
		while len(os.listdir(here)) < len(names) and time.monotonic() < deadline:
		    time.sleep(0.05) # sleep: polls
		for side in (here, there):
		    listed = os.listdir(side)
		    assert sorted(listed) == sorted(names), set(listed) ^ set(names)
		    for name in names:
		        with open(os.path.join(side, name), "rb") as f:
		            assert f.read() == name, name
		for name in names:
		    os.rename(os.path.join(here, name), os.path.join(here, name[:250] + b"-r"))
		os.fsync(top)
		assert sorted(os.listdir(there)) == sorted(n[:250] + b"-r" for n in names)
		os.mkdir(os.path.join(here, b"dir\nwith\xff"))
		os.symlink(b"target\nwith\xff", os.path.join(here, b"dir\nwith\xff", b"link"))
		os.fsync(top)
		assert os.readlink(os.path.join(there, b"dir\nwith\xff", b"link")) == b"target\nwith\xff"
	END
}
many_processes() {
	local i pids=()
	head -c 3000000 /dev/urandom >"$REMOTE/shared"
	seen "$MNT/shared"
	for i in $(seq 24); do
		(
			set -e
			mkdir "$MNT/p$i"
			head -c $((i * 10000)) "$MNT/shared" >"$MNT/p$i/a"
			cp "$MNT/p$i/a" "$MNT/p$i/b"
			cmp "$MNT/p$i/a" "$MNT/p$i/b"
			mv "$MNT/p$i/b" "$MNT/p$i/c"
			ls -l "$MNT/p$i" >/dev/null
			ls "$MNT" >/dev/null
			cmp -n $((i * 10000)) "$REMOTE/shared" "$REMOTE/p$i/c"
			rm -r "$MNT/p$i"
		) &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	synced
	eq "$(ls -d "$REMOTE"/p[0-9]* 2>/dev/null | wc -l)" 0 "folders left"
}

check "sizes around every boundary, both ways" sizes
check "a sparse file of 3 GiB made on the server" sparse_there
check "a sparse file of 3 GiB made here" sparse_here
check "1 GiB read whole" whole_gib
check "20,000 names in a folder" twenty_thousand
check "4,000 files made by four processes, and removed" many_created
check "odd names, both ways" odd_names
check "24 processes at once" many_processes
check "the daemon is still there and unmounts" umount_fs
finish
