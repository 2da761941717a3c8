#!/bin/bash
# Other SSH servers: dropbear with OpenSSH's sftp-server behind it, and ProFTPD's mod_sftp with an SFTP of its own.
# (The whole suite over another one: SERVER=proftpd tests/integ/run, see doc/servers.md.)
. "$(dirname "$0")/../lib.sh"
setup_dirs
setup_keys

everyday() {
	local big=$W/local/big
	cd "$MNT"
	echo one >f
	mv f g
	eq "$(cat "$REMOTE/g")" one
	echo two >>g
	eq "$(cat "$REMOTE/g")" $'one\ntwo'
	mkdir -p d/e
	ln -s not-there l
	eq "$(readlink "$REMOTE/l")" not-there
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
	rm -r d up down copied h g l
	df . >/dev/null
}
# ProFTPD's handles know the file's size from when they were opened.
grows() {
	local fd
	head -c 300000 /dev/urandom >"$W/local/grown"
	exec {fd}<>"$MNT/grown"
	truncate -s 1000000 "$MNT/grown"
	dd if="$W/local/grown" of="$MNT/grown" bs=1000 seek=500 conv=notrunc,fsync status=none
	"$PYTHON" -c 'import os, sys; os.posix_fadvise(int(sys.argv[1]), 0, 0, os.POSIX_FADV_DONTNEED)
print(len(os.pread(int(sys.argv[1]), 9000, 900000)))' "$fd" | grep -qx 9000
	exec {fd}>&-
	same_file "$MNT/grown" "$REMOTE/grown"
}
# What is not done is not said to be done.
honest_chmod() {
	local bits
	touch "$MNT/mode"
	for bits in 600 4755 0; do
		if ! chmod "$bits" "$MNT/mode"; then
			[[ $bits == 0 ]] || die "chmod $bits failed"
			return 0
		fi
		eq "$(stat -c %a "$REMOTE/mode")" "$bits"
	done
}
with() { # KIND PROGRAM PACKAGE CHECK…
	local SERVER=$1 package=$3
	if [[ $(id -u) != 0 ]] || ! command -v "$2" >/dev/null || [[ $1 == proftpd && ! -e /usr/lib/proftpd/mod_sftp.so ]]; then
		skip "$1" "needs root and the package $package"
		return
	fi
	shift 3
	sshd_start
	write_profile
	check "$SERVER: mounts" mount_fs
	while [[ $# -gt 0 ]]; do
		check "$SERVER: $1" "${1// /_}"
		shift
	done
	check "$SERVER: unmounts" umount_fs
	sshd_kill
}
with dropbear dropbear dropbear-bin everyday
# Not installed by scripts/install-deps: the package starts an FTP server on all addresses.
with proftpd proftpd proftpd-mod-crypto everyday grows 'honest chmod'
finish
