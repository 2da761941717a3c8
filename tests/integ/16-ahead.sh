#!/bin/bash
# Small files are fetched before they are opened: fast where a program reads file after file, never stale or mixed, and no
# more than a little where the guess is wrong.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || FINISHES_ITSELF=1 exit 0
setup
proxy_start --delay 30
write_profile
mount_fs || finish

figure() { "$BUILD/vastfs" status --json "$MNT" | "$PYTHON" -c "import json, sys; print(json.load(sys.stdin)['cache']['$1'])"; }

# A tree of old small files: TREE FOLDERS FILES
make_tree() {
	"$PYTHON" - "$@" <<-'END'
		import os, random, sys, time
		root, folders, files = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
		random.seed(root)
		old = time.time() - 86400
		for i in range(folders):
		    path = f"{root}/{i % 5}/{i}" if folders > 1 else root
		    os.makedirs(path, exist_ok=True)
		    for j in range(files):
		        with open(f"{path}/{j:04}", "wb") as f:
		            f.write(os.urandom(random.choice((1, 100, 5000, 20000, 150000))))
		        os.utime(f"{path}/{j:04}", (old, old))
		for path, _, _ in os.walk(root):
		    os.utime(path, (old, old))
	END
}

# Most files were opened without asking. With a round trip for each it would have taken so much longer that even a busy
# machine can't hide it.
mostly_ahead() { # FILES COMMAND…
	local files=$1 before used
	shift
	before=$(figure files_read_ahead_used)
	timed "$@" || die "failed: $*"
	used=$(($(figure files_read_ahead_used) - before))
	ge $((used * 100)) $((files * 80)) "of $files files, opened without asking (times 100)"
	le "$MS_TAKEN" $((files * CHECK_TIMEOUT)) "milliseconds" # more with sanitizers
}

copy_tree() {
	make_tree "$REMOTE/tree" 20 15
	seen "$MNT/tree"
	mostly_ahead 300 cp -r "$MNT/tree" "$W/local/tree"
	same_tree "$REMOTE/tree" "$W/local/tree"
	le "$(server_handles)" 2 "files open on the server"
}
grep_tree() {
	rm -rf "$W/local/tree" # its content is here: only checks are needed
	mostly_ahead 300 grep -rc x "$MNT/tree" >/dev/null
}
# The kernel keeps what find has read of the folders, and tells of no opening of them any more.
later_than() { [[ $(now_ms) -gt $1 ]]; }
listed_before() {
	make_tree "$REMOTE/found" 60 4
	seen "$MNT/found"
	find "$MNT/found" -size +1 >/dev/null
	wait_for 10 later_than $(($(now_ms) + 2500)) # the walk is over
	mostly_ahead 240 grep -rc x "$MNT/found" >/dev/null
}
tar_tree() {
	make_tree "$REMOTE/tarred" 20 15
	seen "$MNT/tarred"
	mostly_ahead 300 tar -C "$MNT" -cf "$W/local/x.tar" tarred
	mkdir "$W/local/x" && tar -C "$W/local/x" -xf "$W/local/x.tar"
	same_tree "$REMOTE/tarred" "$W/local/x/tarred"
}
by_name() {
	make_tree "$REMOTE/names" 1 300
	seen "$MNT/names"
	mostly_ahead 300 md5sum "$MNT/names/"* >"$W/local/sums"
	sed "s|$MNT|$REMOTE|" "$W/local/sums" | md5sum --quiet -c
}
# All files below FOLDER in no order, by four threads; what is read is right.
in_no_order() { # FOLDER THERE
	"$PYTHON" - "$@" <<-'END'
		import os, random, sys
		from concurrent.futures import ThreadPoolExecutor
		here, there = sys.argv[1:]
		def same(name):
		    return open(f"{here}/{name}", "rb").read() == open(f"{there}/{name}", "rb").read()
		names = [os.path.relpath(f"{path}/{name}", here) for path, _, names in os.walk(here) for name in names]
		random.Random(7).shuffle(names)
		with ThreadPoolExecutor(4) as pool:
		    assert all(pool.map(same, names))
	END
}
# At first no more is fetched than is read; the rest is opened without asking.
shuffled() { # NAME FOLDERS FILES-IN-EACH LEAST
	local before used
	make_tree "$REMOTE/$1" "$2" "$3"
	seen "$MNT/$1"
	before=$(figure files_read_ahead_used)
	in_no_order "$MNT/$1" "$REMOTE/$1"
	used=$(($(figure files_read_ahead_used) - before))
	ge "$used" "$4" "of $(($2 * $3)) files, opened without asking"
}
# Spread by hash: two files in each of many folders, read in no order. NAME FOLDERS READ: what was fetched is in $AHEAD, and
# what of it was used in $USED.
sharded() {
	local before used
	"$PYTHON" - "$REMOTE/$1" "$2" <<-'END'
		import hashlib, os, sys, time
		old = time.time() - 86400
		for i in range(2 * int(sys.argv[2])):
		    name = hashlib.md5(str(i).encode()).hexdigest()
		    folder = f"{sys.argv[1]}/{i // 2:04x}"
		    os.makedirs(folder, exist_ok=True)
		    with open(f"{folder}/{name}", "w") as f:
		        f.write(name * 20)
		    os.utime(f.name, (old, old))
		for path, _, _ in os.walk(sys.argv[1]):
		    os.utime(path, (old, old))
	END
	seen "$MNT/$1"
	before=$(figure files_read_ahead) used=$(figure files_read_ahead_used)
	"$PYTHON" - "$MNT/$1" "$REMOTE/$1" "$3" <<-'END'
		import os, random, sys
		here, there, most = sys.argv[1:]
		names = [os.path.relpath(f"{path}/{name}", there) for path, _, names in os.walk(there) for name in names]
		random.Random(5).shuffle(names)
		for name in names[:int(most)]:
		    assert open(f"{here}/{name}").read() == os.path.basename(name) * 20
	END
	AHEAD=$(($(figure files_read_ahead) - before)) USED=$(($(figure files_read_ahead_used) - used))
}
all_shards() {
	sharded shards 100 200
	echo "$AHEAD fetched ahead, $USED of them used" >&2
	ge "$USED" 120 "of 200 files, opened without asking"
	le "$AHEAD" 220 "files fetched ahead of 200"
}
few_shards() {
	sharded some-shards 300 30
	echo "$AHEAD fetched ahead, $USED of them used" >&2
	ge "$AHEAD" 8 "files fetched ahead of 30"
	le "$AHEAD" 45 "files fetched ahead of 30"
}
# img9 before img10, by a process for each, in a folder that nobody has listed.
numbered() {
	local i
	mkdir "$REMOTE/numbered"
	for i in $(seq 200); do echo "$i" >"$REMOTE/numbered/img$i.txt"; done
	touch -d '1 day ago' "$REMOTE"/numbered/*
	cats() { for i in $(seq 200); do contains "$MNT/numbered/img$i.txt" "$i" || return; done; }
	mostly_ahead 200 cats
}
# Too large to be fetched as a whole: no more than the program reads itself.
too_large() {
	local before
	"$PYTHON" - "$REMOTE/too-large" <<-'END'
		import os, sys, time
		os.mkdir(sys.argv[1])
		for i in range(700):
		    with open(f"{sys.argv[1]}/{i}", "wb") as f:
		        f.write(os.urandom(100 * 1024))
		    os.utime(f.name, (time.time() - 86400,) * 2)
	END
	seen "$MNT/too-large"
	before=$(figure files_read_ahead)
	"$PYTHON" - "$MNT/too-large" <<-'END'
		import os, random, sys
		names = os.listdir(sys.argv[1])
		random.seed(1)
		random.shuffle(names)
		for name in names[:80]:
		    open(f"{sys.argv[1]}/{name}", "rb").read()
	END
	le $(($(figure files_read_ahead) - before)) 100 "files fetched ahead of 80"
	ge $(($(figure files_read_ahead) - before)) 40 "files fetched ahead of 80"
}
stops() {
	local before
	make_tree "$REMOTE/long" 1 200
	seen "$MNT/long"
	ls "$MNT/long" >/dev/null
	before=$(figure files_read_ahead)
	cat "$MNT/long/0000" "$MNT/long/0001" "$MNT/long/0002" >/dev/null
	le $(($(figure files_read_ahead) - before)) 16 "files fetched ahead of three"
}
changed_since() {
	make_tree "$REMOTE/changed" 1 20
	seen "$MNT/changed"
	cat "$MNT/changed/"* >/dev/null
	for i in 0003 0004 0005; do echo "new $i" >"$REMOTE/changed/$i"; done
	rm "$REMOTE/changed/0006"
	sleep 1.2 # sleep: R2's bound for a check, and a little
	for i in 0003 0004 0005; do eq "$(cat "$MNT/changed/$i")" "new $i"; done
	fails cat "$MNT/changed/0006"
}

# What stays open is soon opened there too: it goes on with its file whatever becomes of the name.
none_open() { [[ $(server_handles) == 0 ]]; }
all_open() { [[ $(server_handles) -ge 20 ]]; }
kept_open() {
	local file fd fds=()
	make_tree "$REMOTE/kept" 1 20
	seen "$MNT/kept"
	cat "$MNT/kept/"* >/dev/null
	for file in "$MNT/kept/"*; do
		exec {fd}<"$file"
		fds+=("$fd")
	done
	eq "${#fds[@]}" 20
	wait_for 20 all_open || die "$(server_handles) of 20 files are open there"
	for fd in "${fds[@]}"; do exec {fd}<&-; done
	wait_for 10 none_open
}
not_in_walks() {
	make_tree "$REMOTE/unwalked" 10 1
	umount_fs
	mount_fs -o readahead_dirs=no
	find "$MNT/unwalked" >/dev/null
	find "$MNT/unwalked" -type f -exec cat {} + >/dev/null
	eq "$(figure folders_listed_ahead)" 0
	remount_fs
}

check "cp -r reads ahead, across folders" copy_tree
check "grep -r of what is cached checks ahead" grep_tree
check "grep -r of what find has gone through reads ahead" listed_before
check "tar reads ahead" tar_tree
check "a folder read by name is read ahead" by_name
check "a folder read in no order, by several threads" shuffled one 1 600 360
check "a tree read in no order, by several threads" shuffled many 30 20 300
check "two files in each of many folders, read in no order" all_shards
check "a few of many such folders, ahead by what was read of them" few_shards
check "files by number, in a folder that was never listed" numbered
check "a large folder in no order, ahead by what was read of it" too_large
check "a program that stops is not read ahead of any further" stops
check "what was read ahead and then changed is read again" changed_since
check "what stays open is opened on the server" kept_open
check "readahead_dirs=no: no folder is listed ahead" not_in_walks
finish
