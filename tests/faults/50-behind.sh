#!/bin/bash
# Changes that were answered before the instance had them: the link is cut and stalls, the daemon is killed, and each is
# on the instance in the end, or its error was told (W5, W6).
. "$(dirname "$0")/lib.sh"
setup
proxy_start --delay 10
write_profile "timeout = $LIMIT"
mkdir -p "$W/local/tree"
(cd "$W/local/tree" && for i in $(seq 15); do mkdir -p "$i/sub" && for k in $(seq 12); do head -c $((k * i * 37)) /dev/urandom >"$i/sub/$k"; done; done)
tar -C "$W/local" -cf "$W/local/tree.tar" tree
git init -q "$W/local/repo"
(cd "$W/local/repo" && mkdir tree && cp -r ../tree/[1-4] tree && git add -A && git commit -qm one && git rm -qr tree/3 && git commit -qm two)

# Runs a command while things happen to the link.
while_it_runs() { # FAULT COMMAND…
	local fault=$1 pid i
	shift
	"$@" &
	pid=$!
	for i in 1 2 3; do
		"$PYTHON" -c 'import time; time.sleep(0.1)' # sleep: in the middle of the work
		gone "$pid" && break
		"do_$fault"
		echo "fault $i"
	done
	wait "$pid" || die "exit status $? from: $*"
	timeout 60 "$BUILD/vastfs" sync "$MNT"
}
do_cut() { proxy cut; }
do_stall() {
	proxy stall
	"$PYTHON" -c 'import time; time.sleep(3)' # sleep: the length of the stall
	proxy resume
}
do_servers_die() {
	local pid
	for pid in $(sftp_servers); do kill -KILL "$pid" 2>/dev/null || true; done
}
copies() { # FAULT
	rm -rf "$MNT/up"
	while_it_runs "$1" cp -r "$W/local/tree" "$MNT/up"
	same_tree "$W/local/tree" "$REMOTE/up"
	while_it_runs "$1" rm -r "$MNT/up"
	[[ ! -e $REMOTE/up ]]
}
unpacks() { # FAULT
	mkdir "$MNT/tar"
	while_it_runs "$1" tar -C "$MNT/tar" -xf "$W/local/tree.tar"
	same_tree "$W/local/tree" "$REMOTE/tar/tree"
	rm -r "$MNT/tar"
}
clones() { # FAULT
	while_it_runs "$1" git clone -q "$W/local/repo" "$MNT/clone"
	git -C "$MNT/clone" fsck --no-progress
	eq "$(git -C "$MNT/clone" status --short)" ''
	while_it_runs "$1" git -C "$MNT/clone" checkout -q HEAD~1
	git -c safe.directory='*' -C "$REMOTE/clone" diff --exit-code --stat
	rm -rf "$MNT/clone"
}
# The daemon is killed in the middle: what programs were told to be done is sent by the next mount.
killed_behind() { # FAULT that comes just before
	"$PYTHON" - "$MNT" "$W/told" "$(daemon_pid)" "$W/proxy.ctl" "$TOOLS/delayproxy" "$1" <<-'END'
		import os, signal, subprocess, sys, threading, time
		mnt, told, pid, ctl, tool, fault = sys.argv[1:]
		done = []
		def work():
		    try:
		        os.mkdir(mnt + "/behind")
		        for d in range(25):
		            os.mkdir(f"{mnt}/behind/{d}")
		            for n in range(10):
		                data = b"%d %d\n" % (d, n) * (n * 100)
		                name = f"{mnt}/behind/{d}/{n}"
		                with open(name + ".new", "wb") as f:
		                    f.write(data)
		                os.rename(name + ".new", name)
		                done.append((f"behind/{d}/{n}", data))
		    except OSError as error:
		        print("ended by", error)
		thread = threading.Thread(target=work)
		thread.start()
		while len(done) < 30 and thread.is_alive():
		    time.sleep(0.01)  # sleep: until the work has begun
		if fault != "none":
		    subprocess.run([tool, "--send", ctl, fault], check=True, stdout=subprocess.DEVNULL)
		    time.sleep(0.2)  # sleep: some more is accepted meanwhile
		os.kill(int(pid), signal.SIGKILL)
		thread.join()
		print(len(done), "files were told to be done")
		os.mkdir(told)
		for name, data in done:
		    path = told + "/" + name.replace("/", "+")
		    with open(path, "wb") as f:
		        f.write(data)
	END
	proxy resume
	mount_fs
	timed timeout 90 "$BUILD/vastfs" sync "$MNT"
	echo "sent by the next mount after $MS_TAKEN ms"
	local file
	for file in "$W"/told/*; do
		cmp "$file" "$REMOTE/$(basename "$file" | tr + /)"
	done
	eq "$(find "$REMOTE/behind" -name '*conflict*')" '' "conflicts:"
	"$BUILD/vastfs" status "$MNT" | grep -iE 'unsent|spool' || true
	rm -r "$W/told" "$MNT/behind"
}

# Connections to the proxy in a state (as in /proc/net/tcp), with bytes that are on their way.
unsent() { # STATE
	awk -v at="$(printf '%04X' "$PROXY_PORT")" -v state="$1" \
		'split($3, far, ":") && far[2] == at && $4 == state && $5 !~ /^00000000:/' /proc/net/tcp /proc/net/tcp6
}
on_its_way() { [[ -s $REMOTE/last && -n $(unsent 01) ]]; }
# What a killed daemon had not got through is the next mount's to send: were it still delivered, it would be done behind that.
nothing_follows() {
	local pid copying
	pid=$(daemon_pid)
	proxy rate 100K
	(head -c 8M /dev/urandom >"$MNT/last") &
	copying=$!
	wait_for 20 on_its_way || die "nothing waits to be sent"
	kill -KILL "$pid"
	wait_for 10 gone "$pid"
	eq "$(unsent 04)" '' "closed, and still sent:"
	wait "$copying" || true
	proxy rate 0
	umount -l "$MNT"
	mount_fs
	timeout 60 "$BUILD/vastfs" sync "$MNT"
	rm -f "$MNT/last"
}

check "mounts" mount_fs
fault_check "a daemon is killed: what it had not got through a slow link is thrown away" nothing_follows
for fault in cut stall servers_die; do
	fault_check "cp -r and rm -r while it happens: $fault" copies "$fault"
	fault_check "tar x while it happens: $fault" unpacks "$fault"
	[[ -n $LONG ]] || continue # a minute each
	fault_check "git clone and checkout while it happens: $fault" clones "$fault"
done
for fault in none stall cut; do
	[[ -n $LONG || $fault == none ]] || continue
	is_mounted || mount_fs
	fault_check "the daemon is killed behind a program's back; before it: $fault" killed_behind "$fault"
	is_mounted || mount_fs
	proxy resume >/dev/null
done
check "unmounts" umount_fs
finish
