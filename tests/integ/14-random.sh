#!/bin/bash
# Random operations on one file through several handles, compared with a copy in memory and with the server's file.
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
check_vastfs "unmounts" umount_fs
finish
