#!/bin/bash
# Changes made on the instance are seen within their bounds (R1, R2, R3); a file that shrinks or vanishes while it is read.
. "$(dirname "$0")/../lib.sh"
setup
write_profile "attr_timeout = 3"
mount_fs || finish

# The bound is 1 s for what changed just now, and attr_timeout (3 s here) at most; a second more for slow machines.

new_names() {
	ls "$MNT" >/dev/null
	fails stat "$MNT/new" # a negative answer is cached now
	echo x >"$REMOTE/new"
	within 3500 present "$MNT/new"
	echo x >"$REMOTE/new2"
	within 3500 listed "$MNT" new2
	rm "$REMOTE/new"
	within 3500 absent "$MNT/new"
	rm "$REMOTE/new2"
	within 3500 not_listed "$MNT" new2
}
fresh_attributes() {
	echo 1 >"$REMOTE/fresh"
	seen "$MNT/fresh"
	size_is "$MNT/fresh" 2
	echo 123 >>"$REMOTE/fresh"
	within 2000 size_is "$MNT/fresh" 6
	chmod 600 "$REMOTE/fresh"
	within 2000 mode_is "$MNT/fresh" 600
}
old_attributes() {
	echo 1 >"$REMOTE/aged"
	touch -d '1 year ago' "$REMOTE/aged"
	seen "$MNT/aged"
	size_is "$MNT/aged" 2
	echo 123 >"$REMOTE/aged"
	within 3600 size_is "$MNT/aged" 4
}
# R2: each open after a close on the instance sees it, if the last check is at least a second old.
close_to_open() {
	local i
	for i in 1 2 3; do
		echo "version $i" >"$REMOTE/versions" # the same size each time
		within 2000 contains "$MNT/versions" "version $i"
	done
}
same_second() {
	local i
	# many versions of one size within one second of mtime: the last one must win
	for i in $(seq 10 40); do
		echo "v$i" >"$REMOTE/quick"
		cat "$MNT/quick" >/dev/null 2>&1 || true
	done
	within 2000 contains "$MNT/quick" "v40"
	wait_for 3 contains "$MNT/quick" v40
	eq "$(cat "$MNT/quick")" v40
}
replaced() {
	echo old >"$REMOTE/replaced"
	seen "$MNT/replaced"
	eq "$(cat "$MNT/replaced")" old
	echo "quite new" >"$REMOTE/replaced.tmp"
	mv "$REMOTE/replaced.tmp" "$REMOTE/replaced"
	within 2000 contains "$MNT/replaced" "quite new"
}
# Who has the old file open goes on with it; who opens the new one never gets the old one's bytes.
replaced_while_open() {
	printf 'A%.0s' {1..300000} >"$REMOTE/held"
	touch -d '2 hours ago' "$REMOTE/held"
	seen "$MNT/held"
	"$PYTHON" - "$MNT/held" "$REMOTE/held" <<-'END'
		import os, sys, time
		here, there = sys.argv[1:]
		held = os.open(here, os.O_RDONLY)
		assert os.pread(held, 10, 0) == b"A" * 10
		with open(there + ".new", "w") as f:
		    f.write("B" * 300000)
		os.utime(there + ".new", (time.time() - 7000,) * 2)
		before = os.stat(here).st_mtime
		os.rename(there + ".new", there)
		end = time.monotonic() + 10
		while os.stat(here).st_mtime == before:
		    assert time.monotonic() < end, "never seen"
		    time.sleep(0.05)  # sleep: between two looks
		for _ in range(3):
		    assert os.pread(held, 10, 200000) == b"A" * 10
		    assert os.pread(held, 10, 0) == b"A" * 10
		    with open(here, "rb") as f:
		        assert f.read() == b"B" * 300000
	END
}
link_replaced() {
	local i
	echo one >"$MNT/link-a"
	ln "$MNT/link-a" "$MNT/link-b"
	synced
	echo more >>"$REMOTE/link-a" # one file still
	within 2000 contains "$MNT/link-b" $'one\nmore'
	within 2000 contains "$MNT/link-a" $'one\nmore'
	echo other >"$REMOTE/link-new"
	mv "$REMOTE/link-new" "$REMOTE/link-b"
	within 2000 contains "$MNT/link-b" other
	for i in 1 2 3; do
		eq "$(cat "$MNT/link-a")" $'one\nmore'
		eq "$(cat "$MNT/link-b")" other
	done
	within 2000 size_is "$MNT/link-a" 9
	size_is "$MNT/link-b" 6
	echo mine >>"$MNT/link-a"
	synced
	eq "$(cat "$REMOTE/link-a")" $'one\nmore\nmine'
	eq "$(cat "$REMOTE/link-b")" other
}
file_becomes_folder() {
	echo x >"$REMOTE/kind"
	seen "$MNT/kind"
	eq "$(cat "$MNT/kind")" x
	rm "$REMOTE/kind"
	mkdir "$REMOTE/kind"
	echo in >"$REMOTE/kind/inside"
	within 3500 present "$MNT/kind/inside"
	eq "$(cat "$MNT/kind/inside")" in
}
tail_follows() {
	local i out=$W/tail.out
	echo line 0 >"$REMOTE/train.log"
	seen "$MNT/train.log"
	tail -n +1 -f -s 0.1 "$MNT/train.log" >"$out" 2>&1 &
	tail=$!
	wait_for 5 grep -q "line 0" "$out"
	for i in 1 2 3 4; do
		echo "line $i" >>"$REMOTE/train.log"
		within 2000 grep -qx "line $i" "$out"
	done
	kill "$tail"
	eq "$(cat "$out")" "$(cat "$REMOTE/train.log")"
}
tail_large() {
	local out=$W/tail2.out
	head -c 5000000 /dev/urandom | base64 >"$REMOTE/large.log"
	seen "$MNT/large.log"
	tail -n 1 -f -s 0.1 "$MNT/large.log" >"$out" 2>&1 &
	tail=$!
	wait_for 5 test -s "$out"
	(for i in $(seq 500); do echo "step $i"; done) >>"$REMOTE/large.log"
	within 2000 grep -qx "step 500" "$out"
	kill "$tail"
	eq "$(tail -n +2 "$out" | sha256sum)" "$(tail -n 500 "$REMOTE/large.log" | sha256sum)"
}
shrinks() {
	head -c 3000000 /dev/zero >"$REMOTE/shrink"
	seen "$MNT/shrink"
	size_is "$MNT/shrink" 3000000
	truncate -s 10 "$REMOTE/shrink"
	within 2000 size_is "$MNT/shrink" 10
	eq "$(wc -c <"$MNT/shrink")" 10
}
vanishes() {
	echo gone >"$REMOTE/vanish"
	seen "$MNT/vanish"
	size_is "$MNT/vanish" 5
	exec 5<"$MNT/vanish"
	rm "$REMOTE/vanish"
	eq "$(cat <&5)" gone "through the open descriptor"
	exec 5<&-
	within 2000 absent "$MNT/vanish"
}
# What is known here for a second more is no reason not to make a file that is to be made.
made_anew() {
	local i
	for i in 1 2 3; do
		echo old >"$REMOTE/anew$i"
		seen "$MNT/anew$i"
		rm "$REMOTE/anew$i"
		echo new >"$MNT/anew$i"
		synced
		eq "$(<"$REMOTE/anew$i")" new
		rm "$REMOTE/anew$i"
		cat "$MNT/anew$i" 2>"$W/said" && die "a file that is gone was read"
		has "$(<"$W/said")" "No such file"
	done
}
folder_vanishes() {
	mkdir -p "$REMOTE/fv/sub"
	echo x >"$REMOTE/fv/sub/f"
	seen "$MNT/fv/sub/f"
	eq "$(cat "$MNT/fv/sub/f")" x
	rm -r "$REMOTE/fv"
	within 3500 absent "$MNT/fv/sub/f"
	within 3500 absent "$MNT/fv"
	fails ls "$MNT/fv"
	rc_is 1 touch "$MNT/fv/sub/new"
}
own_changes_at_once() {
	mkdir "$REMOTE/own"
	touch "$REMOTE/own/a"
	seen "$MNT/own/a"
	ls -l "$MNT/own" >/dev/null
	echo b >"$MNT/own/b"
	eq "$(ls "$MNT/own")" $'a\nb'
	mv "$MNT/own/a" "$MNT/own/c"
	eq "$(ls "$MNT/own")" $'b\nc'
	rm "$MNT/own/b"
	eq "$(ls "$MNT/own")" c
}

check "R1: new and removed names" new_names
check "R1: attributes of a file that changed just now, within 1 s" fresh_attributes
check "R1: attributes of an old file, within attr_timeout" old_attributes
check "R2: open sees what was closed on the instance" close_to_open
check "R2: many versions within one second of mtime" same_second
check "R2: a file replaced by rename" replaced
check "R2: a file replaced while it is open: the old bytes there, the new ones for who opens it" replaced_while_open
check "R2: one of two names given here leads to another file" link_replaced
check "a file that became a folder" file_becomes_folder
check "R3: tail -f shows each new line within about a second" tail_follows
check "R3: tail -f on a large log, many lines at once" tail_large
check "a file that shrank" shrinks
check "a file removed on the instance while open here" vanishes
check "a file removed on the instance and made here right after" made_anew
check "a folder removed on the instance" folder_vanishes
check "W1: own changes are in listings at once" own_changes_at_once
check "unmounts" umount_fs
finish
