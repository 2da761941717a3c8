#!/bin/bash
# Writers on the instance, readers on the mount, with the watcher and without, and while the daemon is killed again and again.
# BOTH_LONG=SECONDS: each of them for that long.
. "$(dirname "$0")/../lib.sh"
setup
export BOTH_SECONDS=${BOTH_LONG:-4}

again() { rm -rf "$REMOTE"/both-sides*; }
# The next mount takes the place of the one whose daemon was killed.
kills() { # SECONDS
	local end=$((SECONDS + $1)) pid
	while [[ $SECONDS -lt $end ]]; do
		sleep "$((RANDOM % 2)).$((RANDOM % 10))" # sleep: until a moment that nobody has chosen
		pid=$(daemon_pid) && kill -KILL "$pid" && wait_for 5 gone "$pid"
		mount_fs "${OPTIONS[@]}" || return 1
	done
}
for watch in auto no; do
	OPTIONS=(-o "watch=$watch")
	again
	mount_fs "${OPTIONS[@]}" || finish
	echo "# watch=$watch"
	run_py "$TESTS/integ/both_sides.py"
	again
	kills "${BOTH_SECONDS%.*}" >"$W/kills.out" 2>&1 &
	killer=$! # run_py starts programs of its own
	echo "# watch=$watch, with kills"
	BOTH_KILLS=1 run_py "$TESTS/integ/both_sides.py"
	wait "$killer" || not_ok "the mount takes the place of the one killed" "$W/kills.out"
	umount_fs
done
replaced() { # SCRIPT FOLDER ROUNDS [OPTION…]
	local ended=0 script=$1 folder=$2 rounds=$3
	shift 3
	mount_fs "$@"
	"$PYTHON" "$TESTS/integ/$script" "$MNT$folder" "$REMOTE$folder" "$rounds" || ended=1
	umount_fs
	return "$ended"
}
# What a program reads under a lock is what the one that had it before has written, be that on the instance.
locked() {
	local ended=0
	mount_fs -o watch=no
	"$PYTHON" - "$MNT" "$REMOTE" <<-'END' || ended=1
		import os, sys
		here, there = sys.argv[1:]
		def put(name, value):
		    with open(f"{there}/{name}", "w") as file:
		        file.write(value)
		def get(name):
		    with open(f"{here}/{name}") as file:
		        return file.read()
		def exclusive(name):
		    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
		take = {"open": exclusive, "mkdir": os.mkdir, "symlink": lambda name: os.symlink("me", name),
		        "link": lambda name: os.link(f"{here}/other", name)}
		put("other", "")
		for how in take:
		    put(f"count-{how}", "1")
		    os.utime(f"{there}/count-{how}", (1000, 1000))
		wrong = []
		for how, lock in take.items():
		    name = f"count-{how}"
		    before = [get(name), get(name)]
		    put(name, "2")
		    lock(f"{here}/count.lock")
		    now = get(name)
		    (os.rmdir if how == "mkdir" else os.unlink)(f"{here}/count.lock")
		    if before != ["1", "1"] or now != "2":
		        wrong.append((how, before, now))
		assert not wrong, wrong
	END
	umount_fs
	return "$ended"
}
check_vastfs "a lock taken here lets nothing be read that is older than it" locked
check_vastfs "a file with a time of long ago that is replaced while it is read in pieces" replaced replaced_dated.py "" 200
proxy_start --delay 20
write_profile
mkdir "$REMOTE/replaced"
check_vastfs "a file that is replaced while it is read" replaced replaced.py /replaced 40
check_vastfs "the same without the watcher" replaced replaced.py /replaced 40 -o watch=no
proxy delay 1 >/dev/null
check_vastfs "a file that is replaced many times a second" replaced replaced_often.py /replaced 6
finish
