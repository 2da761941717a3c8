# shellcheck shell=bash
# shellcheck disable=SC2164,SC2034 # steps run with set -e; the lists are for tests/suites/run
# What people run on a file system, as steps of tests/suites/run: each in a new folder of the mount ($PWD), with $W/local
# beside it on the local disk; a step that ends with an error has failed.

# --- git ------------------------------------------------------------------------------------

a_repo() { # NAME: with a few hundred files and commits
	git init -q "$1"
	(
		cd "$1" || exit
		git config gc.auto 0
		for n in $(seq 12); do
			mkdir -p "d$n/e"
			for f in $(seq 15); do echo "$n $f $RANDOM" >"d$n/e/f$f.txt"; done
			git add -A
			git commit -qm "change $n"
		done
	)
}
git_fresh() {
	a_repo r
	eq "$(git -C r status --porcelain)" ""
	git -C r fsck --full --strict
	git clone -q r c
	git clone -q --bare r b.git
	git -C c pull -q
	git -C c fsck --full --strict
	diff -r --exclude=.git r c
}
git_branches() {
	a_repo r
	cd r
	git checkout -q -b side HEAD~6
	echo side >side.txt
	git add side.txt
	git commit -qm side
	echo two >>side.txt
	git commit -qam 'side two'
	git rebase -q master 2>/dev/null || git rebase -q main
	eq "$(git log --oneline | wc -l)" 14
	git checkout -q -
	git merge -q --no-ff -m merged side
	git cherry-pick --no-commit HEAD^2 2>/dev/null || git reset -q --hard
	git tag -a v1 -m v1
	git branch -d side
	git bisect start HEAD HEAD~8 >/dev/null
	git bisect run sh -c 'test ! -e d9/e/f1.txt' >/dev/null
	git bisect reset
	git fsck --full --strict
	eq "$(git status --porcelain)" ""
}
git_stash() {
	a_repo r
	cd r
	echo changed >d1/e/f1.txt
	echo new >untracked
	git stash -q -u
	eq "$(git status --porcelain)" ""
	[[ ! -e untracked ]]
	git stash pop -q
	eq "$(cat d1/e/f1.txt)" changed
	eq "$(cat untracked)" new
	git checkout -q -- .
	git clean -qfd
	eq "$(git status --porcelain)" ""
	git mv d1 moved
	git rm -q -r d2
	git reset -q --hard
	eq "$(git status --porcelain)" ""
}
git_gc() {
	a_repo r
	cd r
	git gc -q --prune=now --aggressive
	git repack -q -a -d -f
	git pack-refs --all
	git prune
	git count-objects -v
	git fsck --full --strict
	eq "$(git log --oneline | wc -l)" 12
	git commit-graph write --reachable
	git multi-pack-index write
	git fsck --full
	git maintenance run --task=loose-objects --task=incremental-repack --quiet
	eq "$(git status --porcelain)" ""
}
git_worktree() {
	a_repo r
	cd r
	git worktree add -q ../w1 -b w1
	git worktree add -q ../w2 HEAD~3
	echo x >../w1/x
	git -C ../w1 add x
	git -C ../w1 commit -qm x
	git worktree list
	eq "$(git -C ../w2 status --porcelain)" ""
	git worktree remove ../w2
	git worktree move ../w1 ../w3
	git -C ../w3 fsck
	git worktree remove ../w3
	git worktree prune
}
git_submodule_and_push() {
	a_repo r
	a_repo s
	git clone -q --bare r b.git
	git clone -q b.git c
	cd c
	git -c protocol.file.allow=always submodule --quiet add "$PWD/../s" sub
	git commit -qm sub
	git push -q
	git -C ../b.git fsck --full --strict
	git -c protocol.file.allow=always clone -q --recurse-submodules ../b.git ../d
	eq "$(cd ../d/sub && git log --oneline | wc -l)" 12
}
git_concurrent() {
	local n pids=()
	a_repo r
	for n in 1 2 3 4; do
		(git clone -q r "c$n" && cd "c$n" && echo "$n" >"new$n" && git add . && git commit -qm "$n" && git push -q origin "HEAD:refs/heads/b$n") &
		pids+=($!)
	done
	for n in "${pids[@]}"; do wait "$n"; done
	eq "$(git -C r branch | wc -l)" 5
	git -C r fsck --full --strict
	# index.lock keeps the second out
	touch r/.git/index.lock
	fails git -C r commit --allow-empty -qm no
	rm r/.git/index.lock
	git -C r commit --allow-empty -qm yes
}
git_archive_and_apply() {
	a_repo r
	git -C r archive --format=tar HEAD | tar -xf - -C "$(mkdir -p x && echo x)"
	diff -r --exclude=.git r x
	cd r
	git format-patch -q -3 -o ../p
	git checkout -q -b y HEAD~3
	git am -q ../p/*.patch
	git bundle create -q ../all.bundle --all
	git clone -q ../all.bundle ../z
	git diff --quiet HEAD master 2>/dev/null || git diff --quiet HEAD main
	git fast-export --all >../fe
	git init -q ../fi
	git -C ../fi fast-import --quiet <../fe
	git -C ../fi fsck --full
}
GIT_STEPS=(git_fresh git_branches git_stash git_gc git_worktree git_submodule_and_push git_concurrent git_archive_and_apply)

# --- sqlite -------------------------------------------------------------------------------------

sqlite_modes() {
	local mode n
	for mode in delete truncate persist memory off wal; do
		# WAL needs shared memory, which a FUSE mount without DAX has through mmap of a file: it must work or be declined
		n=$(sqlite3 "$mode.db" "pragma journal_mode=$mode" | tail -1)
		sqlite3 "$mode.db" "create table t(a integer primary key, b text);
			with recursive n(i) as (select 1 union all select i+1 from n where i<3000) insert into t select i, hex(randomblob(40)) from n;"
		sqlite3 "$mode.db" "begin; update t set b='x' where a%2; rollback;" || [[ $mode == off || $mode == memory ]]
		eq "$(sqlite3 "$mode.db" "select count(*) from t")" 3000 "$mode ($n)"
		eq "$(sqlite3 "$mode.db" "pragma integrity_check")" ok "$mode"
	done
	cd "$REMOTE/sqlite"
	for mode in delete truncate persist; do eq "$(sqlite3 "$mode.db" "pragma integrity_check")" ok "$mode there"; done
}
sqlite_writers() {
	"$PYTHON" - <<-'END'
		import multiprocessing, sqlite3
		def work(n, db):
		    c = sqlite3.connect(db, timeout=60, isolation_level=None)
		    for i in range(25):
		        c.execute("begin immediate")
		        v = c.execute("select v from n").fetchone()[0]
		        c.execute("update n set v=?", (v + 1,))
		        c.execute("insert into t values(?,?)", (n, i))
		        c.execute("commit")
		for mode in ("delete", "truncate", "wal"):
		    db = mode + ".db"
		    c = sqlite3.connect(db)
		    c.execute("pragma journal_mode=" + mode)
		    c.executescript("create table n(v); insert into n values(0); create table t(a, b);")
		    c.close()
		    ps = [multiprocessing.Process(target=work, args=(n, db)) for n in range(5)]
		    for p in ps: p.start()
		    for p in ps: p.join()
		    assert all(p.exitcode == 0 for p in ps), mode
		    c = sqlite3.connect(db)
		    assert c.execute("select v from n").fetchone()[0] == 125, mode
		    assert c.execute("select count(*) from t").fetchone()[0] == 125, mode
		    assert c.execute("pragma integrity_check").fetchone()[0] == "ok"
	END
}
sqlite_killed() { # a writer killed in the middle leaves a journal that the next one plays back
	local n pid
	sqlite3 k.db "create table t(a); create table u(a)"
	for n in 1 2 3 4 5; do
		"$PYTHON" -c '
import sqlite3
c = sqlite3.connect("k.db", isolation_level=None, timeout=30)
while True:
    c.execute("begin immediate")
    for i in range(50): c.execute("insert into t values(1)")
    for i in range(50): c.execute("insert into u values(1)")
    c.execute("commit")' &
		pid=$!
		wait_for 10 test -s k.db
		sleep 0.$((n * 13)) # sleep: to kill it anywhere
		kill -9 "$pid"
		wait "$pid" 2>/dev/null || true
		eq "$(sqlite3 -cmd '.timeout 30000' k.db "pragma integrity_check")" ok
		eq "$(sqlite3 k.db "select (select count(*) from t) = (select count(*) from u)")" 1
	done
}
sqlite_backup() {
	sqlite3 a.db "create table t(a, b); with recursive n(i) as (select 1 union all select i+1 from n where i<20000)
		insert into t select i, hex(randomblob(100)) from n; create index x on t(b);"
	sqlite3 a.db ".backup b.db"
	sqlite3 a.db "vacuum into 'c.db'"
	sqlite3 a.db .dump | sqlite3 d.db
	for f in b c d; do eq "$(sqlite3 $f.db "select count(*), sum(a) from t; pragma integrity_check")" $'20000|200010000\nok' $f; done
	sqlite3 a.db "pragma mmap_size=268435456; select count(*) from t where b > 'A'; delete from t where a % 2; vacuum; pragma integrity_check"
	sqlite3 "file:$PWD/b.db?mode=ro&immutable=1" "select count(*) from t"
}
SQLITE_STEPS=(sqlite_modes sqlite_writers sqlite_killed sqlite_backup)

# --- other programs ---------------------------------------------------------------------------------

a_tree() { # NAME [FOLDERS [FILES]]
	"$PYTHON" - "$@" <<-'END'
		import os, random, sys
		top, folders, files = sys.argv[1], int((sys.argv + ["", "", "8"])[2] or 8), int((sys.argv + ["", "", "12"])[3] or 12)
		rnd = random.Random(3)
		for d in range(folders):
		    p = os.path.join(top, f"dir {d}", "sub")
		    os.makedirs(p)
		    for f in range(files):
		        with open(os.path.join(p, f"file{f}.txt"), "wb") as out:
		            out.write(rnd.randbytes(rnd.choice([0, 1, 500, 4096, 30000])))
		        os.utime(out.name, ns=(10**18 + f, 10**18 + f * 10**9 + 123456789))
		    os.symlink("file1.txt", os.path.join(p, "link"))
		    os.link(os.path.join(p, "file0.txt"), os.path.join(p, "hard"))
		os.chmod(os.path.join(top, "dir 0"), 0o750)
	END
}
rsync_twice() {
	a_tree "$W/local/programs/t"
	rsync -a "$W/local/programs/t/" r/
	eq "$(rsync -ai "$W/local/programs/t/" r/)" "" "the second run"
	eq "$(rsync -aic "$W/local/programs/t/" r/)" "" "by checksum"
	eq "$(rsync -aiH r/ "$W/local/programs/back/" | grep -c '^>f')" 104 "back"
	diff -r r "$W/local/programs/t"
	rsync -aH --delete r/ r2/
	eq "$(rsync -aiH --delete r/ r2/)" ""
	rsync -a --link-dest="$PWD/r2" r/ r3/
	rsync -a --append-verify --partial --inplace r/ r2/
	diff -r r r3
	rm -rf "$W/local/programs/t" "$W/local/programs/back"
}
hardlink_backup() {
	a_tree t
	cp -al t b1
	cp -al b1 b2
	eq "$(stat -c %h 't/dir 1/sub/file3.txt')" 3
	sed -i s/a/b/ 't/dir 1/sub/file2.txt'
	cmp 'b1/dir 1/sub/file2.txt' 'b2/dir 1/sub/file2.txt'
	rm -r b1
	eq "$(stat -c %h 'b2/dir 1/sub/file3.txt')" 2
	cmp 't/dir 1/sub/file3.txt' 'b2/dir 1/sub/file3.txt'
}
find_and_du() {
	a_tree t
	touch stamp
	sleep 1.1 # sleep: whole seconds on the server
	echo new >'t/dir 3/sub/file5.txt'
	eq "$(find t -newer stamp -type f)" 't/dir 3/sub/file5.txt'
	eq "$(find t -type f | wc -l)" 104
	eq "$(find t -type l | wc -l)" 8
	eq "$(find t -empty -type f | wc -l)" "$(find "$REMOTE/programs/t" -empty -type f | wc -l)"
	eq "$(find t -samefile 't/dir 1/sub/hard' | wc -l)" 2
	eq "$(find t -links +1 -type f | wc -l)" 16
	eq "$(du -sb t | cut -f1)" "$(du -sb t | cut -f1)"
	[[ $(du -s --apparent-size t | cut -f1) -gt 100 ]]
	find t -name 'file1*' -delete
	eq "$(find t -name 'file1*' | wc -l)" 0
	find t -type f -exec chmod 600 {} +
	eq "$(find t -type f -perm 600 | wc -l)" "$(find t -type f | wc -l)"
}
tar_and_zip() {
	a_tree t
	tar -cf t.tar t
	tar -df t.tar
	mkdir x1 x2 x3
	tar -xpf t.tar -C x1
	diff -r t x1/t
	eq "$(stat -c %y 't/dir 2/sub/file4.txt')" "$(stat -c %y 'x1/t/dir 2/sub/file4.txt' | sed 's/\..* /.123456789 /')" "time"
	tar -czf t.tgz t && tar -xzf t.tgz -C x2 && diff -r t x2/t
	zip -qry t.zip t
	unzip -q t.zip -d x3
	diff -r t x3/t
	zip -qd t.zip 't/dir 1/*'
	unzip -tq t.zip
	tar --append -f t.tar t.zip
	tar --delete -f t.tar t.zip
	tar -df t.tar
	find t | cpio -o 2>/dev/null >t.cpio || true
}
npm_install() {
	command -v npm >/dev/null || return 0
	export HOME=$W/home
	mkdir -p pkg-a/lib pkg-b app
	echo '{"name":"pkg-a","version":"1.0.0","main":"lib/a.js","bin":{"pkg-a":"lib/a.js"}}' >pkg-a/package.json
	printf '#!/usr/bin/env node\nmodule.exports = 1; if (require.main === module) console.log("a runs");\n' >pkg-a/lib/a.js
	chmod +x pkg-a/lib/a.js
	for n in $(seq 60); do echo "exports.x=$n" >"pkg-a/lib/m$n.js"; done
	echo '{"name":"pkg-b","version":"1.0.0","dependencies":{"pkg-a":"file:../pkg-a"}}' >pkg-b/package.json
	echo 'module.exports = require("pkg-a") + 1' >pkg-b/index.js
	(cd pkg-a && npm pack --silent --offline)
	cd app
	echo '{"name":"app","version":"1.0.0","private":true}' >package.json
	npm install --offline --no-audit --no-fund --install-links ../pkg-a/pkg-a-1.0.0.tgz ../pkg-b
	eq "$(node -e 'console.log(require("pkg-b"))')" 2
	eq "$(node_modules/.bin/pkg-a)" "a runs"
	[[ -s package-lock.json ]]
	cp -a node_modules ../copy
	diff -r node_modules ../copy
	npm ci --offline --no-audit --no-fund --install-links
	rm -r node_modules
}
builds() {
	mkdir src
	for n in $(seq 20); do echo "int f$n(void) { return $n; }" >"src/f$n.c"; done
	{ for n in $(seq 20); do echo "int f$n(void);"; done; echo 'int main(void) { return f1() + f20() - 21; }'; } >src/main.c
	cat >CMakeLists.txt <<-'END'
		cmake_minimum_required(VERSION 3.13)
		project(p C)
		file(GLOB S src/f*.c)
		add_library(l STATIC ${S})
		add_library(so SHARED ${S})
		add_executable(m src/main.c)
		target_link_libraries(m l)
		install(TARGETS m so DESTINATION bin)
	END
	cmake -S . -B b -DCMAKE_INSTALL_PREFIX="$PWD/inst" >/dev/null
	make -C b -j3 >/dev/null
	b/m
	has "$(make -C b)" "Built target"
	eq "$(make -C b 2>&1 | grep -c Building)" 0 "a second make builds"
	echo 'int f1(void) { return 1 + 0; }' >src/f1.c
	eq "$(make -C b 2>&1 | grep -c 'Building C')" 2 "what is out of date"
	make -C b install >/dev/null
	inst/bin/m
	gcc -g -o direct src/*.c && ./direct && strip direct && ./direct && objdump -f direct >/dev/null
	ar t b/libl.a | wc -l
	ranlib b/libl.a
}
editors() {
	printf 'one\ntwo\n' >v.txt
	chmod 664 v.txt
	for copy in yes no auto; do
		vim -es -u NONE -c "set backup writebackup swapfile undofile undodir=. backupcopy=$copy" -c "%s/two/two $copy/" -c wq v.txt
	done
	eq "$(stat -c %a v.txt)" 664
	has "$(cat v.txt)" "two auto"
	ln -s v.txt l.txt
	vim -es -u NONE -c "set backupcopy=auto" -c '%s/one/1/' -c wq l.txt
	[[ -L l.txt ]]
	has "$(cat v.txt)" 1
	if command -v emacs >/dev/null; then
		emacs --batch -Q --eval '(progn (setq create-lockfiles t) (find-file "e.txt") (insert "from emacs\n") (save-buffer) (insert "again\n")
			(set-buffer-modified-p t) (save-buffer) (setq backup-by-copying t) (insert "3\n") (save-buffer))'
		eq "$(cat e.txt)" $'from emacs\nagain\n3'
		[[ ! -L .#e.txt ]]
	fi
	sed -i s/1/uno/ v.txt && has "$(cat v.txt)" uno
	sed -i.bak s/uno/1/ v.txt && has "$(cat v.txt.bak)" uno
	perl -pi -e 's/1/un/' v.txt && has "$(cat v.txt)" un
	printf '%s\n' '1s/un/UN/' w q | ed -s v.txt 2>/dev/null || true
	patch -s v.txt <<<$'1c1\n< un\n---\n> eins' || true
}
text_tools() {
	seq 200000 | shuf --random-source=<(yes) >n
	sort -n -T . -S 1M --parallel=2 n -o n
	seq 200000 | cmp - n
	split -b 100k n part.
	cat part.* | cmp - n
	split -n 7 n eq. && cat eq.* | cmp - n
	csplit -s n 1000 100000
	jq -n '[range(5000)|{a:., b:"x\(.)"}]' >j.json
	jq '.[100].b' j.json >q && eq "$(cat q)" '"x100"'
	jq 'map(.a)|add' j.json | grep -qx 12497500
	tee t1 t2 <n >/dev/null && cmp t1 t2
	dd if=/dev/urandom of=d bs=64k count=40 conv=fsync status=none
	dd if=d of=d2 bs=4k oflag=direct status=none && cmp d d2
	dd if=d of=d3 bs=1000 seek=3 conv=notrunc,sync status=none
	truncate -s 10M sp && dd if=d of=sp bs=64k seek=100 conv=notrunc status=none && cp --sparse=always sp sp2 && cmp sp sp2
	comm -12 n n | head -1 && uniq n | wc -l && paste n n | tail -1 && tac n | tac | cmp - n
	shred -u -n 1 d3 && [[ ! -e d3 ]]
	fallocate -l 1M fa && eq "$(stat -c %s fa)" 1048576
	gzip -k n && xz -k n 2>/dev/null; bzip2 -k n 2>/dev/null; zcat n.gz | cmp - n
	sha256sum n part.* >sums && sha256sum -c --quiet sums
	install -D -m 640 n i/j/k && eq "$(stat -c %a i/j/k)" 640
	mktemp -p . >/dev/null && mktemp -d -p . >/dev/null
	logrotate_like
}
logrotate_like() {
	exec 7>>app.log
	echo one >&7
	mv app.log app.log.1
	echo two >&7
	eq "$(cat app.log.1)" $'one\ntwo'
	exec 7>>app.log
	echo three >&7
	cp app.log copy && : >app.log
	echo four >&7
	eq "$(cat app.log)" four
	exec 7>&-
}
moves() {
	a_tree t
	mv t "$W/local/programs/mv"
	[[ ! -e t ]]
	mv "$W/local/programs/mv" back
	eq "$(find back -type f | wc -l)" 104
	mv back/dir\ 1 back/dir\ 2/
	mv -n back/dir\ 3/sub/file1.txt back/dir\ 4/sub/file2.txt
	mv -T back renamed
	cp -a renamed c && diff -r renamed c
	cp -r --reflink=auto renamed c2 && diff -r renamed c2
	cp -u renamed/dir\ 5/sub/* c2/dir\ 5/sub/
	rm -rf renamed c c2
	eq "$(ls)" ""
}
pip_install() {
	mkdir -p proj/pk
	echo 'x = 7' >proj/pk/__init__.py
	for n in $(seq 40); do echo "y = $n" >"proj/pk/m$n.py"; done
	printf '[build-system]\nrequires=[]\nbuild-backend="b"\nbackend-path=["."]\n[project]\nname="pk"\nversion="1"\n' >proj/pyproject.toml
	cat >proj/b.py <<-'END'
		import os, zipfile
		def build_wheel(d, c=None, m=None):
		    n = "pk-1-py3-none-any.whl"
		    with zipfile.ZipFile(os.path.join(d, n), "w") as z:
		        for f in os.listdir("pk"):
		            if f.endswith(".py"): z.write("pk/" + f)
		        z.writestr("pk-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: pk\nVersion: 1\n")
		        z.writestr("pk-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: b\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
		        z.writestr("pk-1.dist-info/RECORD", "")
		    return n
		def get_requires_for_build_wheel(c=None): return []
	END
	/usr/bin/python3.11 -m venv v
	v/bin/python -m pip install -q --no-index --no-deps --no-build-isolation ./proj
	eq "$(v/bin/python -c 'import pk, pk.m9; print(pk.x, pk.m9.y)')" "7 9"
	v/bin/python -m pip install -q --no-index --no-deps --no-build-isolation --force-reinstall ./proj
	v/bin/python -m pip uninstall -q -y pk
	fails v/bin/python -c 'import pk'
	/usr/bin/python3.11 -m compileall -q proj
}
tails() {
	local pid
	: >log
	tail -n +1 -f log >"$W/local/programs/tailed" &
	pid=$!
	for n in 1 2 3 4 5; do echo "line $n" >>log; done
	wait_for 5 grep -q 'line 5' "$W/local/programs/tailed"
	echo there >>"$REMOTE/programs/log"
	wait_for 5 grep -q there "$W/local/programs/tailed"
	kill "$pid"
	eq "$(cat "$W/local/programs/tailed")" "$(cat log)"
}
PROGRAM_STEPS=(rsync_twice hardlink_backup find_and_du tar_and_zip npm_install builds editors text_tools moves pip_install tails)
