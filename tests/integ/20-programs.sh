#!/bin/bash
# Programs that people use on the mount.
. "$(dirname "$0")/../lib.sh"
setup
mount_fs || finish
export CARGO_HOME=/nonexistent

make_tree() { # FOLDER: 40 folders of 15 small files, some links, modes and times
	"$PYTHON" - "$1" <<-'END'
		import os, random, sys
		rnd, top = random.Random(1), sys.argv[1]
		for d in range(40):
		    path = os.path.join(top, f"d{d % 8}", f"e{d}")
		    os.makedirs(path)
		    for f in range(15):
		        name = os.path.join(path, f"file {f}.txt")
		        with open(name, "wb") as out:
		            out.write(rnd.randbytes(rnd.randrange(1, 15000)))
		        os.chmod(name, (0o644, 0o600, 0o755)[f % 3])
		        os.utime(name, (1.5e9 + f, 1.5e9 + d))
		    os.symlink("file 0.txt", os.path.join(path, "link"))
		    os.utime(os.path.join(path, "link"), (1.4e9, 1.4e9 + d), follow_symlinks=False)
		os.link(os.path.join(top, "d0/e0/file 1.txt"), os.path.join(top, "d0/hard"))
	END
}
make_tree "$W/local/tree"
listing() { (cd "$1" && find . -printf '%P %y %m %T@ %s %l\n' | sed -E 's/^([^ ]* ?.*) d ([0-9]+) [0-9.]+ [0-9]+/\1 d \2/; s/(\.[0-9]+)( [0-9]+)/\2/' | sort); }
same_listing() {
	local a b
	synced
	a=$(listing "$1")
	b=$(listing "$2")
	[[ $a == "$b" ]] || die "listings differ: $(diff <(echo "$a") <(echo "$b") | head -5)"
}

cp_both_ways() {
	cp -r "$W/local/tree" "$MNT/tree"
	same_tree "$W/local/tree" "$REMOTE/tree"
	cp -r "$MNT/tree" "$W/local/back"
	same_tree "$W/local/tree" "$W/local/back"
	cp -a "$W/local/tree" "$MNT/tree-a"
	same_listing "$W/local/tree" "$REMOTE/tree-a"
	same_listing "$W/local/tree" "$MNT/tree-a"
	diff -r "$W/local/tree" "$MNT/tree-a"
	cp -a "$MNT/tree" "$MNT/tree-b"
	same_tree "$W/local/tree" "$REMOTE/tree-b"
	rm -r "$MNT/tree-b" "$MNT/tree-a"
	synced
	[[ ! -e $REMOTE/tree-b && ! -e $REMOTE/tree-a ]]
}
finds() {
	eq "$(find "$MNT/tree" -type f | wc -l)" 601
	eq "$(find "$MNT/tree" -type l | wc -l)" 40
	eq "$(find "$MNT/tree" -perm 600 -name '*.txt' | wc -l)" 200
	eq "$(grep -r -l -a 'a' "$MNT/tree" | wc -l)" "$(grep -r -l -a 'a' "$REMOTE/tree" | wc -l)"
	eq "$(du -s --apparent-size -B1 "$MNT/tree/d1/e1" | cut -f1 | wc -l)" 1
}
tars() {
	tar -C "$W/local" -cf "$W/local/t.tar" tree
	mkdir "$MNT/untar"
	tar -C "$MNT/untar" -xpf "$W/local/t.tar"
	same_listing "$W/local/tree" "$REMOTE/untar/tree"
	eq "$(stat -c %h "$REMOTE/untar/tree/d0/hard")" 2 "hard link"
	tar -C "$MNT/untar" -cf "$MNT/t2.tar" tree
	mkdir "$W/local/untar"
	tar -C "$W/local/untar" -xpf "$REMOTE/t2.tar"
	same_listing "$W/local/tree" "$W/local/untar/tree"
	tar -C "$MNT/untar" -df "$W/local/t.tar"
	rm -rf "$MNT/untar"
}
rsyncs() {
	local out
	rsync -a "$W/local/tree/" "$MNT/rs/"
	same_listing "$W/local/tree" "$REMOTE/rs"
	out=$(rsync -ai "$W/local/tree/" "$MNT/rs/")
	eq "$out" "" "the second run copies"
	echo changed >>"$REMOTE/rs/d1/e1/file 1.txt"
	rm "$W/local/tree/d2/e2/file 2.txt"
	# R1: the change is at most this old when it is seen
	wait_for 3 grep -q changed "$MNT/rs/d1/e1/file 1.txt"
	rsync -a --delete "$W/local/tree/" "$MNT/rs/"
	same_listing "$W/local/tree" "$REMOTE/rs"
	rsync -a --inplace --checksum "$MNT/rs/" "$W/local/rs2/"
	same_listing "$W/local/tree" "$W/local/rs2"
}
gits() {
	local g="$W/local/repo"
	git init -q "$g"
	cp -r "$W/local/tree/." "$g/"
	git -C "$g" add -A
	git -C "$g" commit -qm first
	git clone -q "$g" "$MNT/clone"
	cd "$MNT/clone"
	git fsck --full --strict
	eq "$(git status --porcelain)" "" "status after clone"
	echo more >>"d1/e1/file 1.txt"
	git mv d2 moved
	eq "$(git status --porcelain | grep -c '^R')" "$(git ls-files moved | wc -l)" "renames"
	git commit -qam second
	git checkout -q -b side HEAD~1
	echo side >side.txt
	git add side.txt
	git commit -qm side
	git merge -q -m merged master 2>/dev/null || git merge -q -m merged main
	git stash list
	git gc -q --prune=now
	git fsck --full --strict
	eq "$(git status --porcelain)" "" "status at the end"
	eq "$(git log --oneline | wc -l)" 4
	# what another git on the instance's side thinks of it
	git -c safe.directory='*' -C "$REMOTE/clone" fsck --full --strict
	cd /
	git clone -q "$MNT/clone" "$W/local/clone2"
	eq "$(git -C "$W/local/clone2" rev-parse HEAD)" "$(git -C "$MNT/clone" rev-parse HEAD)"
}
sqlites() {
	local db=$MNT/base.db i pids=()
	# the rollback journal, with each of its ways
	for mode in delete truncate persist; do
		sqlite3 "$db" "pragma journal_mode=$mode; create table t_$mode(a integer primary key, b text);" >/dev/null
		sqlite3 "$db" "begin; with recursive n(i) as (select 1 union all select i+1 from n where i<2000)
			insert into t_$mode select i, hex(randomblob(50)) from n; commit;"
		sqlite3 "$db" "begin; delete from t_$mode; rollback;"
		eq "$(sqlite3 "$db" "select count(*) from t_$mode")" 2000
	done
	for i in 1 2 3; do
		(for n in $(seq 10); do
			sqlite3 -cmd ".timeout 30000" "$db" "begin immediate; insert into t_delete(b) values('$i $n'); commit;"
		done) &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	eq "$(sqlite3 "$db" "select count(*) from t_delete")" 2030
	eq "$(sqlite3 "$db" "pragma integrity_check")" ok
	eq "$(sqlite3 "$REMOTE/base.db" "pragma integrity_check")" ok "on the server"
	eq "$(sqlite3 "$REMOTE/base.db" "select count(*) from t_delete")" 2030 "on the server"
	sqlite3 "$db" vacuum
	eq "$(sqlite3 "$REMOTE/base.db" "pragma integrity_check")" ok "after vacuum"
}
builds() {
	mkdir -p "$MNT/proj"
	cd "$MNT/proj"
	for i in 1 2 3 4 5 6 7 8; do
		echo "int f$i(void) { return $i; }" >"f$i.c"
	done
	{
		echo '#include <stdio.h>'
		for i in 1 2 3 4 5 6 7 8; do echo "int f$i(void);"; done
		# shellcheck disable=SC2028
		echo 'int main(void) { printf("%d\n", f1()+f2()+f3()+f4()+f5()+f6()+f7()+f8()); return 0; }'
	} >main.c
	# shellcheck disable=SC2016
	printf 'prog: $(patsubst %%.c,%%.o,$(wildcard *.c))\n\t$(CC) -o $@ $^\n%%.o: %%.c\n\t$(CC) -MMD -c -o $@ $<\n-include *.d\n' >Makefile
	make -j4
	eq "$(./prog)" 36
	has "$(make)" "up to date"
	eq "$("$REMOTE/proj/prog")" 36 "on the server"
	echo "int f1(void) { return 101; }" >f1.c
	make
	eq "$(./prog)" 136
	has "$(make)" "up to date"
	make -q
}
vims() {
	printf 'one\ntwo\nthree\n' >"$MNT/vim.txt"
	chmod 640 "$MNT/vim.txt"
	cd "$MNT"
	# with a backup, with a swap file, by rename and by writing in place
	for copy in yes no auto; do
		vim -es -u NONE -c "set backup writebackup swapfile backupcopy=$copy" \
			-c '%s/two/two '"$copy"'/' -c wq vim.txt </dev/null
		has "$(cat "$REMOTE/vim.txt")" "two $copy"
		eq "$(stat -c %a "$REMOTE/vim.txt")" 640 "mode"
	done
	eq "$(wc -l <"$REMOTE/vim.txt")" 3
	rm -f vim.txt~
	eq "$(find . -maxdepth 1 -name '*.sw?' | wc -l)" 0 "swap files left"
	printf 'made\n' | vim -es -u NONE -c 'a|from vim' -c 'wq' new-vim.txt 2>/dev/null || true
	vim -es -u NONE -c 'call setline(1, "fresh")' -c wq fresh.txt
	eq "$(cat "$REMOTE/fresh.txt")" fresh
}
saves_by_rename() {
	"$PYTHON" - "$MNT/saved.json" "$REMOTE/saved.json" <<-'END'
		import os, sys
		here, there = sys.argv[1:]
		for n in range(30):
		    text = ("x" * (n * 700) + str(n)).encode()
		    fd = os.open(here + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
		    os.write(fd, text)
		    os.fsync(fd)
		    os.close(fd)
		    os.rename(here + ".tmp", here)
		    assert open(there, "rb").read() == text, n
		    assert open(here, "rb").read() == text, n
		assert not os.path.exists(there + ".tmp")
	END
}
huggingface() { # a cache of relative symlinks to blobs
	mkdir -p "$MNT/hub/blobs" "$MNT/hub/snapshots/abc"
	head -c 100000 /dev/urandom >"$MNT/hub/blobs/cafe"
	ln -s ../../blobs/cafe "$MNT/hub/snapshots/abc/model.bin"
	same_file "$MNT/hub/snapshots/abc/model.bin" "$REMOTE/hub/blobs/cafe"
	same_file "$REMOTE/hub/snapshots/abc/model.bin" "$MNT/hub/blobs/cafe"
	eq "$(readlink "$MNT/hub/snapshots/abc/model.bin")" ../../blobs/cafe
}
runs_and_sed() {
	# shellcheck disable=SC2016
	printf '#!/bin/sh\necho ran $0\n' >"$MNT/script.sh"
	chmod +x "$MNT/script.sh"
	has "$("$MNT/script.sh")" "ran $MNT/script.sh"
	cp /bin/true "$MNT/true"
	"$MNT/true"
	printf 'a\nb\n' >"$MNT/sed.txt"
	sed -i s/b/c/ "$MNT/sed.txt"
	eq "$(cat "$REMOTE/sed.txt")" $'a\nc'
	install -m 751 "$MNT/sed.txt" "$MNT/inst.txt"
	eq "$(stat -c %a "$REMOTE/inst.txt")" 751
	dd if=/dev/urandom of="$MNT/dd" bs=100k count=20 conv=fsync status=none
	same_file "$MNT/dd" "$REMOTE/dd"
	dd if="$MNT/dd" of="$MNT/dd2" bs=4k status=none
	same_file "$MNT/dd2" "$REMOTE/dd"
	mv "$MNT/dd2" "$W/local/dd2"
	same_file "$W/local/dd2" "$REMOTE/dd"
	mv "$W/local/dd2" "$MNT/dd3"
	same_file "$REMOTE/dd3" "$REMOTE/dd"
	(cd "$MNT" && zip -q z.zip dd sed.txt 2>/dev/null && unzip -q -t z.zip) || true
	gzip -k "$MNT/dd"
	gzip -t "$REMOTE/dd.gz"
}

check "cp -r and cp -a both ways, with checksums" cp_both_ways
check "find, grep, du" finds
check "tar both ways, with modes, times and links" tars
check "rsync -a, a second run that copies nothing, --delete, --inplace" rsyncs
check "git clone, fsck, commit, merge, gc" gits
check "sqlite3 with its journals, three writers at once" sqlites
check "make of a small project, twice" builds
check "vim's save in each of its ways" vims
check "thirty saves by temporary file, fsync and rename" saves_by_rename
check "a cache of relative symlinks" huggingface
check "scripts run; sed -i, install, dd, mv, gzip" runs_and_sed
check "the daemon is still there and unmounts" umount_fs
finish
