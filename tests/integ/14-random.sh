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
random_calls() {
	local seed pids=()
	for seed in 1 2; do
		mkdir "$MNT/t$seed" "$W/local/t$seed"
		"$PYTHON" "$TESTS/integ/treex.py" "$MNT/t$seed" "$REMOTE/t$seed" "$W/local/t$seed" "$seed" 1200 &
		pids+=($!)
	done
	for seed in "${pids[@]}"; do wait "$seed"; done
}
check_vastfs "random calls by several processes" random_calls
check_vastfs "unmounts" umount_fs
finish
