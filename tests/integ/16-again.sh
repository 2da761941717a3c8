#!/bin/bash
# What was listed is kept by the kernel: a second walk asks neither the instance nor the daemon, and yet shows what has changed.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || FINISHES_ITSELF=1 exit 0
setup
"$PYTHON" - "$REMOTE" <<-'END'
	import os, sys, time
	root, old = sys.argv[1], time.time() - 86400
	for i in range(40):
	    os.makedirs(f"{root}/tree/{i % 4}/{i}")
	    for j in range(10):
	        open(f"{root}/tree/{i % 4}/{i}/{j}", "w").close()
	for i in range(40):
	    os.makedirs(f"{root}/known/{i % 4}/{i}")
	    for j in range(10):
	        open(f"{root}/known/{i % 4}/{i}/{j}", "w").close()
	for i in range(20):
	    os.makedirs(f"{root}/files/{i}")
	    for j in range(20):
	        with open(f"{root}/files/{i}/{j}", "w") as file:
	            file.write("words\n" * 500)
	os.mkdir(f"{root}/large")
	for i in range(3000):
	    open(f"{root}/large/name-{i}", "w").close()
	for path, _, names in os.walk(root):
	    for name in names:
	        os.utime(f"{path}/{name}", (old, old))
	    os.utime(path, (old, old))
END
proxy_start --delay 10
write_profile "attr_timeout = 3"
mount_fs || finish

received() { "$BUILD/vastfs" status --json "$MNT" | "$PYTHON" -c "import json, sys; print(json.load(sys.stdin)['requests']['received'])"; }

walked_again() {
	local before
	find "$MNT/tree" -size +1 | wc -l
	find "$MNT/tree" -size +1 | wc -l
	before=$(received)
	eq "$(find "$MNT/tree" | wc -l)" 445
	eq "$(find "$MNT/tree" -type f -size 0 | wc -l)" 400
	le $(($(received) - before)) 10 "requests"
}
# The kernel forgets the times of a file that it reads, and all when their time is over: it gets them with the names, not file by file.
walked_after_reading() {
	local before
	eq "$(find "$MNT/files" -type f -size +0 | wc -l)" 400
	eq "$(grep -rL words "$MNT/files")" ""
	before=$(received)
	eq "$(find "$MNT/files" -type f -size +0 | wc -l)" 400
	le $(($(received) - before)) 100 "requests"
}
# A program that knows all names lists no folders, as git status. Each folder would cost four round trips.
walked_by_names() {
	local before
	waited() { "$BUILD/vastfs" status --json "$MNT" | jq .requests.waited; }
	before=$(waited)
	for i in $(seq 0 39); do echo "$MNT/known/$((i % 4))/$i/"{0..9}; done | sort -V | xargs stat >/dev/null
	le $(($(waited) - before)) 75 "requests that waited"
}
# Counting them asks for something itself, at times.
asks() { # PATH
	local first second
	first=$(received)
	second=$(received)
	stat "$1" >/dev/null
	[[ $(($(received) - second)) -gt $((second - first)) ]]
}
walked_later() {
	local before
	eq "$(find "$MNT/files" -type f -size +0 | wc -l)" 400
	wait_for 10 asks "$MNT/files/0/0"
	before=$(received)
	eq "$(find "$MNT/files" -type f -size +0 | wc -l)" 400
	le $(($(received) - before)) 100 "requests"
}
changed_here() {
	local dir=$MNT/tree/0/0
	ls "$dir" >/dev/null
	echo x >"$dir/new"
	listed "$dir" new
	mv "$dir/new" "$dir/moved"
	listed "$dir" moved && not_listed "$dir" new
	ln "$dir/moved" "$dir/link" && mkdir "$dir/folder"
	eq "$(ls "$dir" | wc -l)" 13
	rm "$dir/moved" "$dir/link" && rmdir "$dir/folder"
	eq "$(ls "$dir" | wc -l)" 10
	cp -r "$MNT/tree/1" "$dir/copied" # many changes, answered early
	eq "$(find "$dir/copied" | wc -l)" 111
	rm -r "$dir/copied"
	eq "$(ls "$dir" | wc -l)" 10
}
changed_there() {
	local dir=$MNT/tree/2/2
	ls "$dir" >/dev/null
	touch "$REMOTE/tree/2/2/there"
	touch -d yesterday "$REMOTE/tree/2/2" # the second time of the folder does not tell
	wait_for 5 listed "$dir" there || die "never seen"
	rm "$REMOTE/tree/2/2/there"
	wait_for 5 not_listed "$dir" there || die "never gone"
}
# Found out by somebody who looks at the file: then the listing does not wait for its time, half a minute.
found_out() {
	local dir=$MNT/tree/3/3
	touch "$REMOTE/tree/3/3/2" # trusted for a second; the folder for half a minute
	write_profile
	remount_fs
	ls "$dir" >/dev/null
	rm "$REMOTE/tree/3/3/2"
	wait_for 10 absent "$dir/2" || die "can still be seen"
	wait_for 5 not_listed "$dir" 2 || die "still listed"
}
# Names that come and go while a program reads the folder: each that was there all the time once, also by telldir and seekdir.
read_meanwhile() {
	"$PYTHON" - "$MNT/large" <<-'END'
		import collections, ctypes, os, sys
		path = sys.argv[1]
		met = collections.Counter()
		for n, entry in enumerate(os.scandir(path)):
		    met[entry.name] += 1
		    if n == 500:
		        for i in range(0, 3000, 3):
		            os.unlink(f"{path}/name-{i}")
		        for i in range(100):
		            open(f"{path}/other-{i}", "w").close()
		assert all(met[f"name-{i}"] == 1 for i in range(3000) if i % 3), "a name is missing, or met twice"
		assert max(met.values()) == 1, "met twice"
		assert len(os.listdir(path)) == 2100, len(os.listdir(path))

		class Dirent(ctypes.Structure):
		    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("len", ctypes.c_uint16), ("type", ctypes.c_uint8),
		                ("name", ctypes.c_char * 256)]
		libc = ctypes.CDLL(None)
		libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
		libc.readdir.argtypes = libc.telldir.argtypes = [ctypes.c_void_p]
		libc.telldir.restype = ctypes.c_long
		libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
		folder = libc.opendir(path.encode())
		places, names = [], []
		while True:
		    places.append(libc.telldir(folder))
		    entry = libc.readdir(folder)
		    if not entry:
		        break
		    names.append(ctypes.cast(entry, ctypes.POINTER(Dirent)).contents.name)
		assert len(names) == 2102
		for i in (2101, 1000, 1, 0, 1999, 700):
		    libc.seekdir(folder, places[i])
		    entry = libc.readdir(folder)
		    assert ctypes.cast(entry, ctypes.POINTER(Dirent)).contents.name == names[i], i
	END
}
rm_all() {
	rm -r "$MNT/large"
	synced
	fails test -e "$REMOTE/large"
}

check "a walk by names that are known from elsewhere is recognised, too" walked_by_names
check "a second walk asks nobody" walked_again
check "a walk after all files were read gets the attributes folder by folder" walked_after_reading
check "and so does one when their time is over" walked_later
check "changes made here are listed at once" changed_here
check "changes made there are listed when their time has come" changed_there
check "and sooner when they are found out" found_out
check "a folder that changes while it is read" read_meanwhile
check "rm -r of a large folder" rm_all
finish
