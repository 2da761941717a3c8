#!/bin/bash
# The server dies, restarts, moves, rekeys, has another host key, has few channels or handles; programs at work go on.
. "$(dirname "$0")/lib.sh"
setup_dirs
setup_keys
sshd_start
write_profile "timeout = $LIMIT"

server_restarts() {
	work_start
	sshd_kill
	sshd_start "$SSHD_PORT"
	work_goes_on
	work_end
}
# The instance has moved: its address in the profile is edited while the mount looks for it at the old one.
address_changes() {
	local old=$SSHD_PORT
	work_start
	sshd_kill
	wait_for 10 not_connected
	sshd_start # on another port
	write_profile "timeout = $LIMIT"
	work_goes_on
	eq "$(status .port)" "$SSHD_PORT" "the port in use:"
	# and back, where the other checks look for it
	sshd_kill
	sshd_start "$old"
	write_profile "timeout = $LIMIT"
	work_goes_on
	work_end
}
# One sftp-server after the other is killed; the connection stays.
processes_die() {
	local pid i
	work_start
	for i in 1 2 3; do
		for pid in $(sftp_servers); do
			kill -KILL "$pid" 2>/dev/null || true
			work_goes_on list
		done
		echo "round $i"
	done
	work_goes_on
	work_end
}
# All that is open is replaced while the link is away: ESTALE, and never another file's data.
replaced() {
	proxy_start
	write_profile "timeout = $LIMIT"
	umount_fs
	mount_fs
	"$PYTHON" - "$MNT" "$REMOTE" "$TOOLS/delayproxy" "$W/proxy.ctl" <<-'END'
		import errno, os, subprocess, sys, time
		mnt, remote, tool, ctl = sys.argv[1:]
		def proxy(*words):
		    subprocess.run([tool, "--send", ctl, *words], check=True, stdout=subprocess.DEVNULL)
		old, new = b"old!" * 500_000, b"new?" * 500_000
		for name in ("read", "write", "log"):
		    with open(f"{remote}/{name}", "wb") as f:
		        f.write(old)
		    # a version is known by size and time, which has whole seconds: not one of now
		    os.utime(f"{remote}/{name}", (1e9, 1e9))
		end = time.monotonic() + 5
		while not os.path.exists(mnt + "/log") and time.monotonic() < end:
		    time.sleep(0.1)  # sleep: until it is seen
		r = os.open(mnt + "/read", os.O_RDONLY)
		w = os.open(mnt + "/write", os.O_RDWR)
		a = os.open(mnt + "/log", os.O_WRONLY | os.O_APPEND)
		assert os.pread(r, 4, 0) == b"old!"
		assert os.pread(w, 4, 0) == b"old!"
		os.write(a, b"line")
		os.fsync(a)
		proxy("refuse", "on")
		proxy("cut")
		for name in ("read", "write", "log"):
		    with open(f"{remote}/{name}.new", "wb") as f:
		        f.write(new)
		    os.rename(f"{remote}/{name}.new", f"{remote}/{name}")
		proxy("refuse", "off")
		def stale(what, call):
		    try:
		        got = call()
		    except OSError as error:
		        print(what, errno.errorcode[error.errno])
		        assert error.errno == errno.ESTALE, what
		        return
		    assert not isinstance(got, bytes) or got == b"old!", f"{what}: {got[:10]}"
		    assert isinstance(got, bytes), f"{what} worked"
		    print(what, "cached")
		os.posix_fadvise(r, 0, 0, os.POSIX_FADV_DONTNEED)
		stale("read", lambda: os.pread(r, 4, 1_500_000))
		stale("write and fsync", lambda: (os.pwrite(w, b"mine", 8), os.fsync(w)))
		stale("append and fsync", lambda: (os.write(a, b"mine"), os.fsync(a)))
		for fd in (r, w, a):
		    try:
		        os.close(fd)
		    except OSError as error:
		        assert error.errno == errno.ESTALE
		for name in ("read", "write", "log"):
		    with open(f"{remote}/{name}", "rb") as f:
		        assert f.read() == new, name
		with open(mnt + "/read", "rb") as f:
		    assert f.read() == new
	END
	proxy_stop
	PROXY_PORT=''
	write_profile "timeout = $LIMIT"
	umount_fs
	mount_fs
}
# Another host key at the same address: refused, said in status, and what is cached is served.
key_changes() {
	ssh-keygen -q -t ed25519 -N '' -f "$W/other_key"
	mkdir -p "$REMOTE/kept"
	head -c 100000 /dev/urandom >"$REMOTE/kept/file"
	touch -d '1 hour ago' "$REMOTE/kept/file" "$REMOTE/kept"
	seen "$MNT/kept/file"
	cp "$MNT/kept/file" "$W/local/kept"
	ls -l "$MNT/kept" >"$W/local/listing"
	sshd_kill
	cp "$W/known_hosts" "$W/known_hosts.saved"
	HOST_KEY=$W/other_key sshd_start "$SSHD_PORT"
	cp "$W/known_hosts.saved" "$W/known_hosts"
	timeout 10 cat "$MNT/not-cached" >/dev/null 2>&1 || true
	refused() { [[ $(status '.sessions[0].state') == refused ]]; }
	wait_for 20 refused || die "not refused: $(status .sessions)"
	has "$(status '.sessions[0].last_error')" "host key"
	has "$("$BUILD/vastfs" status "$MNT")" "HAS CHANGED"
	not_connected
	same_file "$MNT/kept/file" "$W/local/kept"
	eq "$(ls -l "$MNT/kept")" "$(cat "$W/local/listing")"
	le "$(cpu_within 3)" 150 "milliseconds of CPU in 3 seconds while refused"
	# the old key again: the mount comes back by itself, after a minute's pause at most
	sshd_kill
	sshd_start "$SSHD_PORT"
	wait_for 75 is_connected || die "not connected again"
	same_file "$MNT/kept/file" "$REMOTE/kept/file"
}
with_server() { # WORDS [MOUNT OPTIONS]: mounts on a server of its own, with programs at work for a while
	local words=$1
	shift
	umount_all
	sshd_kill
	sshd_start
	write_profile "timeout = $LIMIT"
	fault_check "$words: mounts" mount_fs "$@"
	is_mounted || return 0
	fault_check "$words" busy
}
busy() {
	local file=$W/local/bulk
	[[ -e $file ]] || head -c 60000000 /dev/urandom >"$file"
	work_start
	cp "$file" "$MNT/bulk" &
	cat "$MNT/work-$NUMBER/steady" >/dev/null
	wait $!
	cmp "$file" "$MNT/bulk"
	work_goes_on
	work_end
	rm "$MNT/bulk"
}
# More open files than the server has handles: errors for those beyond, and the others go on.
few_handles() {
	"$PYTHON" - "$MNT" <<-'END'
		import errno, os, sys
		mnt = sys.argv[1]
		fds, errors = [], set()
		for n in range(80):
		    try:
		        fds.append((n, os.open(f"{mnt}/handle{n}", os.O_RDWR | os.O_CREAT)))
		    except OSError as error:
		        errors.add(errno.errorcode[error.errno])
		print(len(fds), errors)
		assert len(fds) >= 5 and errors <= {"EMFILE", "ENFILE", "EIO"}, errors
		os.listdir(mnt)
		# a create may be answered before it is sent: then its error comes with the data
		for n, fd in list(fds):
		    try:
		        os.write(fd, b"number %d" % n)
		        os.fsync(fd)
		    except OSError as error:
		        print(n, errno.errorcode[error.errno])
		        fds.remove((n, fd))
		        try:
		            os.close(fd)
		        except OSError:
		            pass
		assert len(fds) >= 5, len(fds)
		for n, fd in fds:
		    os.close(fd)
		for n, _fd in fds:
		    assert open(f"{mnt}/handle{n}").read() == f"number {n}"
		open(f"{mnt}/after", "w").close()
	END
}

# Creates that are answered before they are sent are open there until their data has followed.
few_handles_burst() {
	local n
	mkdir "$W/local/burst"
	for n in {1..60}; do echo "number $n" >"$W/local/burst/$n"; done
	cp -r "$W/local/burst" "$MNT/burst"
	"$BUILD/vastfs" sync "$MNT"
	same_tree "$W/local/burst" "$REMOTE/burst"
	eq "$(status .behind.failed)" 0 "failed late:"
	# and a program that reads while they are under way
	cp -r "$MNT/burst" "$MNT/burst2"
	same_tree "$W/local/burst" "$REMOTE/burst2"
}

check "mounts" mount_fs
fault_check "sshd is killed and started again" server_restarts
fault_check "the address changes, and the profile is edited" address_changes
fault_check "sftp-servers are killed one by one" processes_die
fault_check "files that were replaced meanwhile are stale" replaced
SSHD_EXTRA='RekeyLimit 16M' with_server "rekeying each 16 MB while data goes both ways"
SSHD_EXTRA='MaxSessions 1' with_server "one channel for each connection"
SSHD_EXTRA='MaxStartups 1:100:1' with_server "one login at a time"
SSHD_EXTRA='ClientAliveInterval 0
TCPKeepAlive no' with_server "no keepalives of the server"
umount_all
sshd_kill
# one that does not say how few
printf '#!/bin/sh\nulimit -n 20\nexec /usr/lib/openssh/sftp-server -P limits\n' >"$W/few"
chmod 755 "$W/few"
SFTP_SERVER=$W/few sshd_start
proxy_start --delay 10
write_profile "timeout = $LIMIT"
check "a server of few handles: mounts" mount_fs
fault_check "a server of few handles: a burst of new files" few_handles_burst
fault_check "a server of few handles" few_handles
proxy_stop
PROXY_PORT=''
umount_all
sshd_kill
if [[ -n $LONG ]]; then
	CHECK_TIMEOUT=200
	sshd_start
	write_profile "timeout = $LIMIT"
	check "mounts" mount_fs
	fault_check "the host key changes" key_changes
	if /usr/sbin/sshd -T -o PerSourcePenalties=yes -f /dev/null -h "$W/host_key" >/dev/null 2>&1; then
		SSHD_EXTRA='PerSourcePenalties yes' with_server "penalties for sources that fail"
		fault_check "sshd is killed and started again, with penalties" server_restarts
	else
		skip "penalties for sources that fail" "this sshd has none (OpenSSH 9.8 has)"
	fi
fi
finish
