#!/bin/bash
# Locks and appends among local processes.
. "$(dirname "$0")/../lib.sh"
setup
mount_fs || finish
run_py "$TESTS/integ/locks.py"
check "unmounts" umount_fs
finish
