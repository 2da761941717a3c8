#!/bin/bash
# Another SSH server: dropbear, with OpenSSH's sftp-server behind it.
. "$(dirname "$0")/../lib.sh"
setup_dirs
setup_keys

# As sshd_start; the login folder holds the key, as dropbear asks.
dropbear_start() {
	local keys=$W/server-home/.ssh
	mkdir -m 700 "$keys"
	install -m 600 "$W/authorized_keys" "$keys/authorized_keys"
	dropbearkey -t ed25519 -f "$W/dropbear_key" >/dev/null 2>&1
	dropbearkey -y -f "$W/dropbear_key" | grep ^ssh- >"$W/host_key.pub"
	SSHD_PORT=$(free_port)
	setsid unshare -m -p --fork --kill-child --propagation private sh -c "mount --bind '$W/server-home' '$1'
		exec dropbear -F -E -r '$W/dropbear_key' -p 127.0.0.1:$SSHD_PORT" >"$W/sshd.log" 2>&1 </dev/null &
	started sshd $!
	disown
	wait_for 10 tcp_open "$SSHD_PORT" || die "dropbear does not start: $(cat "$W/sshd.log")"
	known_host "$SSHD_PORT"
}
everyday() {
	local big=$W/local/big
	cd "$MNT"
	echo one >f
	mv f g
	eq "$(cat "$REMOTE/g")" one
	mkdir -p d/e
	ln -s g l
	chmod 640 g
	eq "$(stat -c %a "$REMOTE/g")" 640
	head -c 30000000 /dev/urandom >"$big"
	cp "$big" up
	same_file "$big" "$REMOTE/up"
	cp "$REMOTE/up" "$REMOTE/down"
	seen down
	same_file down "$big"
	cp up copied
	same_file "$big" "$REMOTE/copied"
	ln g h
	rm -r d up down copied h
	df . >/dev/null
}
if [[ $(id -u) != 0 ]] || ! command -v dropbear >/dev/null; then
	skip "dropbear" "needs root and the package dropbear-bin"
	finish
fi
dropbear_start "$(getent passwd 0 | cut -d: -f6)"
write_profile
check "mounts" mount_fs
check "everyday work" everyday
check "unmounts" umount_fs
finish
