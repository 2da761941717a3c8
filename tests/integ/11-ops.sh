#!/bin/bash
# Every operation, looked at from both sides; the checks are in ops.py, meta.py and dirs.py.
. "$(dirname "$0")/../lib.sh"
setup
mount_fs || finish
run_py "$TESTS/integ/ops.py"
run_py "$TESTS/integ/meta.py"
run_py "$TESTS/integ/dirs.py"
check "the daemon is still there and unmounts" umount_fs
finish
