#!/bin/bash
# Other servers: rekeying all the time, none of the extensions, internal-sftp, /workspace, a dead sftp-server.
. "$(dirname "$0")/../lib.sh"
setup_dirs
setup_keys
SFTP=/usr/lib/openssh/sftp-server

big_both_ways() {
	head -c 20000000 /dev/urandom >"$W/local/big"
	cp "$W/local/big" "$MNT/big"
	same_file "$W/local/big" "$REMOTE/big"
	cp "$REMOTE/big" "$REMOTE/big2"
	seen "$MNT/big2"
	same_file "$MNT/big2" "$W/local/big"
	# both at once
	cp "$MNT/big2" "$W/local/big2" &
	local down=$!
	cp "$W/local/big" "$MNT/big3"
	wait "$down"
	same_file "$W/local/big" "$W/local/big2"
	same_file "$W/local/big" "$REMOTE/big3"
	rm "$MNT"/big*
}
everyday() { # in a folder of its own, so that one failure is one
	local here=$MNT/day-$SSHD_PORT there=$REMOTE/day-$SSHD_PORT
	mkdir "$here"
	echo one >"$here/f"
	eq "$(cat "$there/f")" one
	echo two >"$here/g"
	mv "$here/g" "$here/f"
	eq "$(cat "$there/f")" two "after a rename over a file"
	[[ ! -e $there/g ]]
	mkdir -p "$here/d/e"
	mv "$here/d" "$here/d2"
	ln -s f "$here/l"
	eq "$(readlink "$there/l")" f
	touch -d @1000000000 "$here/f"
	eq "$(stat -c %Y "$there/f")" 1000000000
	chmod 640 "$here/f"
	eq "$(stat -c %a "$there/f")" 640
	truncate -s 100 "$here/f"
	eq "$(stat -c %s "$there/f")" 100
	(umask 022 && echo x >"$here/mode")
	eq "$(stat -c %a "$there/mode")" 644 "mode of a new file"
	dd if=/dev/zero of="$here/dd" bs=100k count=3 conv=fsync status=none
	eq "$(stat -c %s "$there/dd")" 307200
	cp "$here/dd" "$here/dd2"
	same_file "$there/dd" "$there/dd2"
	rm -r "$here"
	synced
	[[ ! -e $there ]]
}
poor_links() {
	touch "$MNT/a"
	fails ln "$MNT/a" "$MNT/b"
	[[ ! -e $REMOTE/b ]]
	ln -s a "$MNT/s"
	# a link's own times can't be set: an error, and the target is not touched instead
	touch -d @1000000000 "$MNT/a"
	touch -h -d @1200000000 "$MNT/s" || true
	eq "$(stat -c %Y "$REMOTE/a")" 1000000000
	rm "$MNT/a" "$MNT/s"
}
# Where a rename can't replace, what it puts aside for a moment is seen by nobody, nor told of by the watcher.
nothing_aside() {
	mkdir "$MNT/na"
	"$PYTHON" - "$MNT/na" <<-'END'
		import os, sys, threading
		top = sys.argv[1]
		ended, seen = threading.Event(), set()
		def look():
		    while not ended.is_set():
		        seen.update(os.listdir(top))
		def put(name):
		    with open(f"{top}/{name}", "w") as f:
		        f.write(name)
		put("file")
		thread = threading.Thread(target=look)
		thread.start()
		for n in range(100):
		    put("new")
		    os.rename(f"{top}/new", f"{top}/file")
		ended.set()
		thread.join()
		assert seen <= {"file", "new"}, seen
	END
	rm -r "$MNT/na"
}
pool_death() {
	local pid i
	head -c 1000000 /dev/urandom >"$REMOTE/f"
	seen "$MNT/f"
	for i in 1 2 3; do
		for pid in $(sftp_servers); do kill -KILL "$pid"; done
		again() { timeout 10 ls "$MNT" >/dev/null 2>&1 && echo "$i" 2>/dev/null >"$MNT/after"; }
		wait_for 40 again || die "does not go on"
		eq "$(cat "$REMOTE/after")" "$i"
	done
	same_file "$MNT/f" "$REMOTE/f"
}
workspace() {
	sed -i '/^path/d' "$XDG_CONFIG_HOME/vastfs/config.ini"
	mount_fs
	eq "$(cat "$MNT/in-workspace")" "here"
	umount_fs
	write_profile
}
synced_ahead() {
	head -c 60000000 /dev/urandom >"$W/local/long"
	dd if="$W/local/long" of="$MNT/long" bs=1M conv=fsync status=none
	same_file "$W/local/long" "$REMOTE/long"
	# of what sftp-server hears: writes behind the first fsync, and none behind the last one
	awk '/^debug[13]: request [0-9]+: fsync/ { synced = 1; last = 0 }
		/^debug[13]: request [0-9]+: write/ { behind += synced; last = 1 }
		END { exit !(behind >= 10 && !last) }' "$W/said"
}
# RATE: bytes a second of a link of 50 ms
with_server() { # WORDS FUNCTION…: mounts, runs, unmounts
	local words=$1 PROXY_PORT=
	shift
	sshd_start
	if [[ -n ${RATE:-} ]]; then
		proxy_start
		proxy delay 25 >/dev/null
		proxy rate "$RATE" >/dev/null
	fi
	write_profile
	check "$words: mounts" mount_fs
	if is_mounted; then
		check "$words" "$1"
		shift
		for more; do check "$words, $more" "$more"; done
		check "$words: unmounts" umount_fs
	fi
	umount_all
	[[ -z ${RATE:-} ]] || proxy_stop
	sshd_kill
}

SSHD_EXTRA='RekeyLimit 1M' with_server "rekeying after each megabyte" big_both_ways everyday
SSHD_EXTRA='RekeyLimit 1M
Ciphers aes256-gcm@openssh.com,aes128-ctr
Compression no' with_server "aes128-ctr or gcm" big_both_ways
SFTP_SERVER="$SFTP -P posix-rename,hardlink,fsync,lsetstat,limits,expand-path,statvfs,fstatvfs,copy-data,home-directory,users-groups-by-id@openssh.com" \
	with_server "a server without extensions" everyday big_both_ways nothing_aside
if [[ $MOUNT_WITH == vastfs ]]; then
	SFTP_SERVER="$SFTP -P hardlink,lsetstat" with_server "no hard links, no times of links" poor_links
	SFTP_SERVER=internal-sftp with_server "internal-sftp" everyday
	SFTP_SERVER="$SFTP -u 077" with_server "a server with umask 077" everyday
	SSHD_EXTRA='MaxSessions 1' with_server "one channel per connection" everyday big_both_ways
	SSHD_EXTRA='MaxStartups 1:100:1' with_server "one connection at a time may log in" everyday
	with_server "sftp-server killed, again and again" pool_death
	RATE=20M SFTP_SERVER="$SFTP -e -l DEBUG3 2>>'$W/said'" \
		with_server "an fsync begins while the rest of a long file is on its way" synced_ahead
	if [[ $(id -u) == 0 ]]; then
		mkdir -p "$W/root/workspace"
		echo here >"$W/root/workspace/in-workspace"
		# ChrootDirectory wants folders of root's alone above it, which /tmp is not
		SSHD_ENTER="mount --bind '$W/root' /mnt;" SSHD_EXTRA='ChrootDirectory /mnt' SFTP_SERVER=internal-sftp sshd_start
		write_profile
		check "without path: /workspace where there is one" workspace
		sshd_kill
	fi
fi
finish
