#!/bin/bash
# Random operations on one file through several handles, compared with a copy in memory and with the server's file; and
# random changes of names and calls of all kinds, compared with the same in a local folder.
. "$(dirname "$0")/../lib.sh"
setup_dirs
setup_keys
sshd_start
write_profile

random_operations() { "$PYTHON" "$TESTS/integ/fsx.py" "$MNT/fsx$1" "$REMOTE/fsx$1" "$1" 400; }

check_vastfs "mounts" mount_fs
for seed in 1 2 3; do
	check_vastfs "random operations, seed $seed" random_operations "$seed"
done
# Three at once, so that each meets what is under way for the others.
random_names() {
	local seed pids=()
	for seed in 11 12 13; do
		"$PYTHON" "$TESTS/integ/nsx.py" "$MNT/n$seed" "$REMOTE/n$seed" "$W/local/n$seed" "$seed" 1000 &
		pids+=($!)
	done
	for seed in "${pids[@]}"; do wait "$seed"; done
}
check_vastfs "random changes of names" random_names
random_calls() { # SEED…
	local seed pids=()
	for seed; do
		mkdir "$MNT/t$seed" "$W/local/t$seed"
		"$PYTHON" "$TESTS/integ/treex.py" "$MNT/t$seed" "$REMOTE/t$seed" "$W/local/t$seed" "$seed" 1200 &
		pids+=($!)
	done
	for seed in "${pids[@]}"; do wait "$seed"; done
}
check_vastfs "random calls by several processes" random_calls 1 2
random_links() { # SEED…
	local seed pids=()
	for seed; do
		mkdir "$MNT/l$seed"
		"$PYTHON" "$TESTS/integ/linkx.py" "$MNT/l$seed" "$REMOTE/l$seed" "$seed" 500 &
		pids+=($!)
	done
	for seed in "${pids[@]}"; do wait "$seed"; done
}
check_vastfs "files with several names show the same by each" random_links 1 2 3

# What several users make through root's mount is theirs, as on a local disk.
others_mount() {
	umount_fs
	chmod 711 "$W"
	mount_fs -o allow_other,default_permissions
}
random_calls_of_users() { TREEX_USERS=0,1000,1001 random_calls 3 4; }
in_setgid_folders() {
	local top
	for top in "$MNT" "$W/local"; do
		mkdir -p "$top/sg/group" "$top/sg/own"
		chgrp 1001 "$top/sg/group"
		chmod 2777 "$top/sg/group"
		chmod 777 "$top/sg/own"
		# the first ones wait for their answer, the others do not
		setpriv --reuid=1000 --regid=1000 --clear-groups -- sh -c "
			for n in 1 2 3 4 5 6 7 8; do
				for d in '$top/sg/group' '$top/sg/own'; do mkdir \$d/d\$n; : >\$d/f\$n; ln -s x \$d/l\$n; done
			done"
	done
	synced
	for top in mnt remote local; do (cd "$W/$top/sg" && find . -mindepth 2 -printf '%P %m %U %G\n' | sort) >"$W/sg-$top"; done
	cmp "$W/sg-mnt" "$W/sg-local"
	cmp "$W/sg-remote" "$W/sg-local"
}
if [[ $(id -u) == 0 ]]; then
	check_vastfs "root mounts for others" others_mount
	check_vastfs "random calls by several users" random_calls_of_users
	check_vastfs "what another user makes in setgid folders has their group" in_setgid_folders
fi
check_vastfs "unmounts" umount_fs
finish
