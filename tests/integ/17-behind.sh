#!/bin/bash
# Write-behind of changes in a burst: order, what is visible where, late failures, lost links (W1 to W5).
. "$(dirname "$0")/../lib.sh"
export BUILD TOOLS
setup
proxy_start
write_profile
mount_fs || finish

run_py "$TESTS/integ/behind.py" order
run_py "$TESTS/integ/behind.py" histories 1 2 3
run_py "$TESTS/integ/behind.py" broken
# Nothing that was answered fails because its answer is late, be the link stalled for longer than the timeout.
umount_fs
mount_fs -o timeout=2 || finish
run_py "$TESTS/integ/behind.py" stalled
# Told of what others make meanwhile, it would not be late.
umount_fs
mount_fs -o watch=no || finish
run_py "$TESTS/integ/behind.py" late

# What failed late stays in the spool until somebody decides: here, that it is not wanted.
give_up() {
	local path
	while read -r path; do "$BUILD/vastfs" spool "$MNT" discard "$path"; done < <(failed_paths)
	[[ -z $(failed_paths) ]]
}
failed_paths() { "$BUILD/vastfs" status --json "$MNT" | jq -r '.spool.failed[]?.path'; }
lag_zero() {
	give_up
	umount_fs
	mount_fs -o lag=0
	"$PYTHON" - "$MNT/waits" "$REMOTE/waits" <<-'END'
		import os, sys
		here, there = sys.argv[1:]
		os.mkdir(here)
		for n in range(30):
		    with open(f"{here}/{n}", "w") as f:
		        f.write("text")
		    assert os.path.getsize(f"{there}/{n}") == 4, n
	END
}
umount_fails() {
	umount_fs
	mount_fs
	"$PYTHON" - "$MNT/fails" "$REMOTE/fails" <<-'END'
		import os, sys
		here, there = sys.argv[1:]
		for attempt in range(9):  # a machine that is busy for a second ends the burst
		    folder = f"/{attempt}"
		    os.makedirs(here + folder)
		    for n in range(8):
		        open(f"{here}{folder}/{n}", "w").close()
		    os.mkdir(there + folder + "/taken")
		    try:
		        with open(here + folder + "/taken", "w") as f:
		            f.write("ours")
		        break
		    except IsADirectoryError:
		        continue
	END
	rc_is 1 "$BUILD/vastfs" sync "$MNT"
	rc_is 1 "$BUILD/vastfs" sync "$MNT"
	"$BUILD/vastfs" status "$MNT" >"$W/status"
	has_re "$(cat "$W/status")" "FAILED.*$REMOTE/fails/[0-9]/taken"
	give_up
	rc_is 0 "$BUILD/vastfs" sync "$MNT"
}
check "lag=0: each change waits" lag_zero
check "vastfs sync fails while something that failed late is kept, and status names it" umount_fails
# A large file whose data is still on its way over several connections, and another one that takes its name.
replaced_on_its_way() {
	umount_fs
	proxy delay 25
	mount_fs
	"$PYTHON" - "$MNT/replaced" "$REMOTE/replaced" <<-'END'
		import os, sys
		here, there = sys.argv[1:]
		os.mkdir(here)
		def put(name, data):
		    with open(f"{here}/{name}", "xb", 0) as f:
		        for at in range(0, len(data), 65536):
		            f.write(data[at : at + 65536])
		for i in range(20):
		    for k in range(4): # so that it is a burst
		        put(f"w{i}.{k}", b"x")
		    put(f"f{i}", b"old%05d" % i * 187500)
		    put(f".t{i}", b"new%05d" % i * 100000)
		    os.rename(f"{here}/.t{i}", f"{here}/f{i}")
		    if i % 5 == 4:
		        fd = os.open(here, os.O_RDONLY)
		        os.fsync(fd)
		        os.close(fd)
		for i in range(20):
		    data = open(f"{there}/f{i}", "rb").read()
		    assert data == b"new%05d" % i * 100000, (i, len(data), data.count(b"old"))
	END
	proxy delay 0
}
check "a file takes the name of another one whose data is on its way" replaced_on_its_way
finish
