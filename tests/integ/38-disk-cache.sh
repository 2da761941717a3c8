#!/bin/bash
# The disk cache: what was read is there after a remount, and never anything that is not true.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "the disk cache" "not for $MOUNT_WITH"; finish; }
setup
V=$BUILD/vastfs
export BUILD
CACHE=$XDG_CACHE_HOME/vastfs/gpu

json() { "$V" status --json "${2:-$MNT}" | jq -er "$1"; }
is() { [[ $(json "$1") == "$2" ]]; } # FIELD VALUE
old() { find "$REMOTE/$1" -exec touch -h -d '1 hour ago' {} +; }
# All that is to be kept is on disk.
kept() { [[ $(json .disk_cache.bytes) -ge $1 ]]; }
keeps_at_most() { [[ $(json .disk_cache.bytes) -le $1 ]]; }
fetched() { json .cache.fetched_bytes; }

# What a check that failed has left mounted is none of the next one.
anew() {
	umount_all
	"$@"
}
make_tree() {
	local i
	mkdir -p "$REMOTE/tree"
	for i in $(seq 20); do
		mkdir "$REMOTE/tree/$i"
		head -c $((i * 777)) /dev/urandom >"$REMOTE/tree/$i/small"
		head -c $((i * 54321)) /dev/urandom >"$REMOTE/tree/$i/middle"
	done
	head -c 9000000 /dev/urandom >"$REMOTE/tree/large"
	: >"$REMOTE/tree/empty"
	old tree
}
make_tree
TOTAL=$(find "$REMOTE/tree" -type f -printf '%s\n' | awk '{ s += $1 } END { print s }')

remount_moves_nothing() {
	local before
	mount_fs
	same_tree "$REMOTE/tree" "$MNT/tree"
	wait_for 10 kept "$TOTAL"
	ge "$(fetched)" "$TOTAL"
	remount_fs
	same_tree "$REMOTE/tree" "$MNT/tree"
	eq "$(fetched)" 0 "bytes fetched"
	# nor did the small ones come with their opens
	le "$(json '[.sessions[].bytes_in] | add')" "$(find "$REMOTE/tree" -name small -printf '%s\n' | awk '{ s += $1 } END { print s }')" "bytes from there"
	ge "$(json .disk_cache.hit_bytes)" "$TOTAL"
	eq "$(json .disk_cache.checksum_failures)" 0
	# and once more from memory, but for what the kernel has let go
	before=$(json .disk_cache.hit_bytes)
	same_tree "$REMOTE/tree" "$MNT/tree"
	le "$(json .disk_cache.hit_bytes)" $((before + TOTAL / 10)) "bytes from the disk"
	umount_fs
}
own_links() { # S2: those that the instance has made are not
	mkdir -p "$REMOTE/links/there"
	mount_fs
	mkdir "$MNT/links/d" "$MNT/links/b"
	ln -s a/../b "$MNT/links/d/text"
	ln -s /usr/bin/python3 "$MNT/links/d/out"
	touch -h -d "1 hour ago" "$MNT/links/d/text"
	ln -sf /usr/bin/true "$MNT/links/d/other"
	mv "$MNT/links/d" "$MNT/links/e"
	remount_fs
	ln -s /usr/bin/python3 "$REMOTE/links/there/out"
	ln -s a/../b "$REMOTE/links/there/text"
	ln -sf /usr/bin/false "$REMOTE/links/e/other"
	for _ in asked known; do
		eq "$(readlink "$MNT/links/e/text")" a/../b
		eq "$(readlink "$MNT/links/e/out")" /usr/bin/python3
		eq "$(readlink "$MNT/links/there/text")" b
		fails readlink "$MNT/links/there/out"
		fails readlink "$MNT/links/e/other"
	done
	rm "$MNT/links/e/out"
	ln -s /usr/bin/python3 "$REMOTE/links/e/out"
	fails readlink "$MNT/links/e/out"
	umount_fs
}
is_private() {
	eq "$(find "$CACHE" -type d ! -perm 700)" ""
	eq "$(find "$CACHE" -type f ! -perm 600)" ""
}
changed_there() {
	mount_fs
	cat "$MNT/tree/3/small" "$MNT/tree/4/middle" >/dev/null
	umount_fs
	head -c $((3 * 777)) /dev/urandom >"$REMOTE/tree/3/small" # the same size
	echo more >>"$REMOTE/tree/4/middle"
	touch -d '30 minutes ago' "$REMOTE/tree/3/small" "$REMOTE/tree/4/middle"
	mount_fs
	same_tree "$REMOTE/tree" "$MNT/tree"
	ge "$(fetched)" 1
	umount_fs
}
# Changed here, and given the time that it had: it is still another file.
changed_here() {
	mount_fs
	cat "$MNT/tree/5/small" "$MNT/tree/6/small" "$MNT/tree/7/small" >/dev/null
	touch -r "$REMOTE/tree/5/small" "$W/stamp"
	head -c $((5 * 777)) /dev/urandom >"$W/new"
	cat "$W/new" >"$MNT/tree/5/small"
	touch -r "$W/stamp" "$MNT/tree/5/small"
	same_file "$W/new" "$MNT/tree/5/small"
	mv "$MNT/tree/6/small" "$MNT/tree/6/renamed"
	head -c $((6 * 777)) /dev/urandom >"$W/new"
	cp "$W/new" "$MNT/tree/6/small"
	touch -r "$W/stamp" "$MNT/tree/6/small"
	truncate -s 5 "$MNT/tree/7/small"
	truncate -s $((7 * 777)) "$MNT/tree/7/small"
	touch -r "$W/stamp" "$MNT/tree/7/small"
	remount_fs
	same_tree "$REMOTE/tree" "$MNT/tree"
	same_file "$W/new" "$MNT/tree/6/small"
	same_file "$REMOTE/tree/7/small" "$MNT/tree/7/small"
	umount_fs
}
# Another version within the same second, of the same size: what was read before it is not kept.
same_second() {
	local at
	mount_fs -o watch=no,attr_timeout=1
	at=$(date +%s)
	head -c 5000 /dev/urandom >"$REMOTE/tree/trap"
	touch -d "@$at" "$REMOTE/tree/trap"
	same_file "$REMOTE/tree/trap" "$MNT/tree/trap"
	head -c 5000 /dev/urandom >"$W/new"
	cat "$W/new" >"$REMOTE/tree/trap"
	touch -d "@$at" "$REMOTE/tree/trap"
	sleep 3 # sleep: until nothing can pass for it any more, without a look in between
	same_file "$W/new" "$MNT/tree/trap"
	rm "$MNT/tree/trap"
	umount_fs
}
renamed_folder() {
	mount_fs
	cat "$MNT/tree/8/"* >/dev/null
	mv "$MNT/tree/8" "$MNT/tree/eight"
	remount_fs
	same_file "$REMOTE/tree/eight/middle" "$MNT/tree/eight/middle"
	same_file "$REMOTE/tree/eight/small" "$MNT/tree/eight/small"
	eq "$(fetched)" 0 "bytes fetched"
	mv "$MNT/tree/eight" "$MNT/tree/8"
	umount_fs
}
damaged() {
	local file
	file=$(find "$CACHE/files" -type f -size +5M)
	printf 'XXXX' | dd of="$file" bs=1 seek=2000000 conv=notrunc status=none
	mount_fs
	same_file "$REMOTE/tree/large" "$MNT/tree/large"
	eq "$(json .disk_cache.checksum_failures)" 1
	le "$(fetched)" 300000
	umount_fs
	mount_fs
	same_file "$REMOTE/tree/large" "$MNT/tree/large"
	eq "$(json .disk_cache.checksum_failures)" 0
	eq "$(fetched)" 0
	umount_fs
}
damaged_index() {
	dd if=/dev/urandom of="$CACHE/index" bs=4096 count=3 conv=notrunc status=none
	mount_fs
	same_tree "$REMOTE/tree" "$MNT/tree"
	eq "$(json .disk_cache.state)" on
	wait_for 10 kept 9000000
	umount_fs
	mount_fs
	same_file "$REMOTE/tree/large" "$MNT/tree/large"
	eq "$(fetched)" 0
	umount_fs
}
none() {
	mount_fs -o cache_size=0
	same_file "$REMOTE/tree/large" "$MNT/tree/large"
	eq "$(json .disk_cache.state)" off
	has "$("$V" status "$MNT")" "cache_size is 0"
	umount_fs
	mount_fs -o "cache_dir=$W/elsewhere"
	cat "$MNT/tree/large" >/dev/null
	wait_for 10 kept 9000000
	[[ -e $W/elsewhere/gpu/index ]] || die "no cache in $W/elsewhere"
	umount_fs
	mount_fs -o "cache_dir=/proc/nowhere"
	same_file "$REMOTE/tree/large" "$MNT/tree/large"
	eq "$(json .disk_cache.state)" off
	umount_fs
}
# Reads at random: LENGTHS, how many, which to align; prints bytes wanted. (The kernel asks for more on its own.)
read_at_random() {
	"$PYTHON" - "$MNT/tree/huge" "$@" <<-'END'
		import os, random, sys
		random.seed(7)
		lengths, n, wanted = eval(sys.argv[2]), int(sys.argv[3]), 0
		fd = os.open(sys.argv[1], os.O_RDONLY)
		size = os.fstat(fd).st_size
		for _ in range(n):
		    length = random.choice(lengths)
		    at = random.randrange((size - length) // 4096) * 4096
		    assert len(os.pread(fd, length, at)) == length
		    wanted += length
		print(wanted)
	END
}
asked_for() { json '.cache.hit_bytes + .cache.miss_bytes'; }
over_the_link() {
	local wanted
	head -c 100000000 /dev/urandom >"$REMOTE/tree/huge"
	old tree/huge
	mount_fs -o cache_size=0
	wanted=$(read_at_random '[4096]' 300)
	le "$(fetched)" $((wanted * 11 / 10)) "bytes fetched, of pages at random:"
	remount_fs -o cache_size=0
	read_at_random '[4096, 16384, 65536, 131072, 262144]' 150 >/dev/null
	le "$(fetched)" $(($(asked_for) * 11 / 10 + 1000000)) "bytes fetched, of pieces at random:"
	remount_fs -o cache_size=0
	cat "$MNT/tree/large" >/dev/null
	eq "$(fetched)" 9000000 "bytes fetched, of one file:"
	cat "$MNT/tree/large" >/dev/null
	eq "$(fetched)" 9000000 "bytes fetched, when it was read again:"
	umount_fs
	rm "$REMOTE/tree/huge"
}
limited() {
	mount_fs -o "cache_dir=$W/elsewhere,cache_size=3M"
	cat "$MNT"/tree/*/middle "$MNT/tree/large" >/dev/null
	same_tree "$REMOTE/tree" "$MNT/tree"
	wait_for 10 keeps_at_most 3500000
	umount_fs
	le "$(du -sk "$W/elsewhere/gpu/files" | cut -f1)" 6000
}
two_mounts() {
	mkdir -p "$W/mnt2"
	mount_fs
	setsid -w "$BUILD/mount.vastfs" gpu "$W/mnt2" >"$W/second.out" 2>&1 </dev/null
	has "$(cat "$W/second.out")" "another mount"
	same_file "$REMOTE/tree/large" "$W/mnt2/tree/large"
	same_file "$REMOTE/tree/large" "$MNT/tree/large"
	eq "$(json .disk_cache.state "$W/mnt2")" off
	has "$("$V" status "$W/mnt2")" "another mount"
	eq "$(json .disk_cache.state "$MNT")" on
	umount_fs "$W/mnt2"
	umount_fs
}
full_disk() {
	mkdir -p "$W/small"
	mount -t tmpfs -o size=3m none "$W/small"
	chmod 700 "$W/small"
	mount_fs -o "cache_dir=$W/small,cache_size=1G"
	same_tree "$REMOTE/tree" "$MNT/tree"
	wait_for 10 is .disk_cache.state full
	has "$("$V" status "$MNT")" "No space left"
	same_tree "$REMOTE/tree" "$MNT/tree"
	umount_fs
	mount_fs -o "cache_dir=$W/small,cache_size=1G"
	same_tree "$REMOTE/tree" "$MNT/tree"
	umount_fs
	umount "$W/small"
}
killed() {
	local pid
	mount_fs
	cat "$MNT/tree/large" >/dev/null
	wait_for 10 kept 9000000
	pid=$(daemon_pid)
	kill -KILL "$pid"
	wait_for 10 gone "$pid"
	umount -l "$MNT"
	mount_fs
	same_tree "$REMOTE/tree" "$MNT/tree"
	eq "$(json .disk_cache.state)" on
	eq "$(json .disk_cache.checksum_failures)" 0
	umount_fs
}

commands() {
	mount_fs -o "cache_dir=$W/pinned,cache_size=3M"
	rc_is 0 "$V" cache pin "$MNT/tree/20"
	rc_is 0 "$V" cache pin "$MNT/tree/19/middle"
	rc_is 0 "$V" cache show
	has "$OUT" "pinned      $REMOTE/tree/20"
	has "$OUT" "pinned      $REMOTE/tree/19/middle"
	cat "$MNT"/tree/*/middle "$MNT/tree/large" >/dev/null
	same_tree "$REMOTE/tree" "$MNT/tree"
	wait_for 10 keeps_at_most 3500000
	remount_fs -o "cache_dir=$W/pinned,cache_size=3M"
	same_tree "$REMOTE/tree/20" "$MNT/tree/20"
	same_file "$REMOTE/tree/19/middle" "$MNT/tree/19/middle"
	eq "$(fetched)" 0 "bytes fetched"
	rc_is 0 "$V" cache unpin "$MNT/tree/20"
	rc_is 1 "$V" cache unpin "$MNT/tree/20"
	rc_is 0 "$V" cache clear gpu
	eq "$(json .disk_cache.bytes)" 0
	rc_is 0 "$V" cache show "$MNT"
	has "$OUT" "pinned      $REMOTE/tree/19/middle"
	[[ $OUT != *"$REMOTE/tree/20"* ]] || die "still pinned"
	same_tree "$REMOTE/tree" "$MNT/tree"
	umount_fs
	rc_is 1 "$V" cache show
	rc_is 1 "$V" cache pin
	# the default folder, with nothing mounted
	mount_fs
	cat "$MNT/tree/large" >/dev/null
	wait_for 10 kept 9000000
	umount_fs
	rc_is 0 "$V" cache clear gpu
	eq "$(find "$CACHE/files" -type f)" ""
	rc_is 1 "$V" cache clear nobody
}

check "a remount reads everything again without the link" anew remount_moves_nothing
check "the cache is its user's alone" anew is_private
check "files that changed on the instance meanwhile" anew changed_there
check "files that were changed here and given their old time" anew changed_here
check "another version within the same second" anew same_second
check "a renamed folder is found under its new name" anew renamed_folder
check "a damaged block is fetched again and counted" anew damaged
check "a damaged index begins afresh" anew damaged_index
check "cache_size=0, cache_dir, and a folder that can't be made" anew none
check "links made here are shown as they were made by later mounts" anew own_links
check "no more than a tenth too much comes over the link" anew over_the_link
check "cache_size is kept" anew limited
check "a second mount of the instance goes without, and says so" anew two_mounts
if [[ $(id -u) == 0 ]]; then check "a full disk" anew full_disk; else skip "a full disk" "needs root"; fi
check "kill -9 leaves what was kept" anew killed
check "vastfs cache show, clear, pin, unpin" anew commands
umount_all
run_py "$TESTS/integ/disk.py"
finish
