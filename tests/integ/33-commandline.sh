#!/bin/bash
# The command line and the profile: what is bad is named in one line with exit status 1, mount(8) and fstab options work.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "the command line" "not for $MOUNT_WITH"; finish; }
setup
INI=$XDG_CONFIG_HOME/vastfs/config.ini
M=$BUILD/mount.vastfs

# Exit status 1, one line on standard error with each of these words.
bad() { # WORD… -- ARGUMENT…
	local words=() word
	while [[ $1 != -- ]]; do
		words+=("$1")
		shift
	done
	shift
	rc_is 1 timeout 20 "$M" "$@"
	fails is_mounted
	eq "$(wc -l <<<"$OUT")" 1 "lines of message"
	for word in "${words[@]}"; do has "$OUT" "$word"; done
}
# A line of the profile is bad: the message names file:line.
bad_line() { # LINE WORD…
	local line=$1
	shift
	write_profile "$line"
	bad "$INI:$(wc -l <"$INI")" "$@" -- gpu "$MNT"
	write_profile
}
profile_lines() {
	bad_line "hots = x" hots
	bad_line "port = 0" port 0
	bad_line "port = 70000" port 70000
	bad_line "port = ssh" port ssh
	bad_line "connections = 0" connections
	bad_line "timeout = -1" timeout
	bad_line "attr_timeout = 5x" attr_timeout
	bad_line "forward = nonsense:" forward
	bad_line "forward = 1:2:3:4:5" forward
	bad_line "forward = 80800:localhost:80" forward
	bad_line "host_key = maybe" host_key ask
	bad_line "symlinks = all" symlinks
	bad_line "no equals sign"
	write_profile "port = 22" "port = 23"
	bad "$INI:$(wc -l <"$INI")" port -- gpu "$MNT"
	write_profile
}
options() {
	bad colour -- -o colour=red gpu "$MNT"
	bad port 70000 -- -o port=70000 gpu "$MNT"
	bad port -- -o port=0 gpu "$MNT"
	bad port -- -o port gpu "$MNT"
	bad forward -- -L nonsense: gpu "$MNT"
	bad -- -o
	bad -Z -- -Z gpu "$MNT"
	bad "" --
	bad "" -- gpu
	bad "" -- gpu "$MNT" more
}
sections() {
	bad "[nosuch]" "$INI" -- nosuch "$MNT"
	bad "$W/none.ini" -- -o "config=$W/none.ini" gpu "$MNT"
	cp "$INI" "$W/closed.ini"
	if [[ $(id -u) != 0 ]]; then
		chmod 000 "$W/closed.ini"
		bad "$W/closed.ini" -- -o "config=$W/closed.ini" gpu "$MNT"
	fi
	bad "$W" -- -o "config=$W" gpu "$MNT"
	printf '[gpu]\nport = 22\n' >"$W/nohost.ini"
	bad "host" "$W/nohost.ini" -- -o "config=$W/nohost.ini" gpu "$MNT"
}
mountpoints() {
	bad "$W/missing" -- gpu "$W/missing"
	touch "$W/plain"
	bad "$W/plain" -- gpu "$W/plain"
	mkdir -p "$W/full"
	touch "$W/full/file"
	bad "$W/full" "empty" -- gpu "$W/full"
	mount_fs
	rc_is 1 "$M" gpu "$MNT"
	has "$OUT" "$MNT"
	has "$OUT" mounted
	umount_fs
}
information() {
	rc_is 0 "$M" -V
	has_re "$OUT" 'vastfs [0-9]+\.[0-9]+'
	rc_is 0 "$M" -h
	has "$OUT" usage
	for key in host port user key path forward known_hosts host_key connections timeout attr_timeout; do
		has "$OUT" "$key="
	done
	rc_is 0 "$BUILD/vastfs" help
	has "$OUT" "vastfs umount"
}
config_places() {
	cp "$INI" "$W/other.ini"
	sed -i 's/\[gpu\]/[box]/' "$W/other.ini"
	"$M" -o "config=$W/other.ini" box "$MNT" && umount_fs
	VASTFS_CONFIG=$W/other.ini "$M" box "$MNT" && umount_fs
	rm -rf "$HOME/.config/vastfs"
	XDG_CONFIG_HOME='' VASTFS_CONFIG='' rc_is 1 "$M" gpu "$MNT"
	write_profile
	env -u XDG_CONFIG_HOME "$M" gpu "$MNT"
	umount_fs
}
precedence() {
	mkdir -p "$REMOTE/a" "$REMOTE/b"
	touch "$REMOTE/a/in-a" "$REMOTE/b/in-b"
	write_profile
	sed -i "1i [defaults]\nuser = nobody-at-all\npath = $REMOTE/b\n" "$INI"
	sed -i "s|^path = $REMOTE\$|path = $REMOTE/a|" "$INI"
	mount_fs
	ls "$MNT/in-a"
	umount_fs
	mount_fs -o "path=$REMOTE/b"
	ls "$MNT/in-b"
	umount_fs
	sed -i "s|^path = $REMOTE/a\$||" "$INI"
	mount_fs
	ls "$MNT/in-b"
	umount_fs
	write_profile
}
without_profile() {
	rm "$INI"
	echo here >"$REMOTE/f"
	"$M" "$(id -un)@127.0.0.1:$REMOTE" "$MNT" -o "port=$SSHD_PORT,key=$W/key,known_hosts=$W/known_hosts"
	eq "$(cat "$MNT/f")" here
	umount_fs
	"$M" -o "host=127.0.0.1,port=$SSHD_PORT,user=$(id -un),key=$W/key,known_hosts=$W/known_hosts,path=$REMOTE" new "$MNT"
	eq "$(cat "$MNT/f")" here
	umount_fs
	write_profile
}
folder_in_id() {
	mkdir -p "$REMOTE/sub dir"
	echo in >"$REMOTE/sub dir/f"
	"$M" "gpu:$REMOTE/sub dir" "$MNT"
	eq "$(cat "$MNT/f")" in
	umount_fs
}
login_folder() {
	echo home >"$W/server-home/hasbooted"
	sed -i '/^path/d' "$INI"
	mount_fs
	eq "$(cat "$MNT/hasbooted")" home
	umount_fs
	write_profile
}
mount_options() {
	mount_fs -o ro
	has "$(findmnt -n -o OPTIONS "$MNT")" "ro"
	rc_is 1 touch "$MNT/new"
	has "$OUT" "Read-only"
	umount_fs
	mount_fs -o nosuid,nodev,noexec,noatime,users,_netdev,nofail,noauto,x-systemd.automount,x-foo=bar,rw
	has "$(findmnt -n -o OPTIONS "$MNT")" "noexec"
	printf '#!/bin/sh\n' >"$MNT/script"
	chmod +x "$MNT/script"
	rc_is 126 "$MNT/script"
	eq "$(findmnt -n -o SOURCE "$MNT")" gpu
	umount_fs
	mount_fs -o fsname=mygpu
	eq "$(findmnt -n -o SOURCE "$MNT")" mygpu
	umount_fs
	"$M" gpu "$MNT" -n -o rw -v
	umount_fs
	"$M" -s -o sloppy-unknown gpu "$MNT"
	umount_fs
}
raw_symlinks() {
	ln -sfn /etc/hostname "$REMOTE/raw"
	mount_fs -o symlinks=raw
	eq "$(readlink "$MNT/raw")" /etc/hostname
	umount_fs
}
idmap_none() {
	touch "$REMOTE/owned"
	chown 4242:4243 "$REMOTE/owned"
	mount_fs -o idmap=none
	eq "$(stat -c %u:%g "$MNT/owned")" 4242:4243
	umount_fs
	mount_fs -o uid=99,gid=98,umask=027
	touch "$REMOTE/plain2"
	seen "$MNT/plain2"
	eq "$(stat -c %u:%g:%a "$MNT/plain2")" 99:98:640
	umount_fs
}
one_connection() {
	mount_fs -o connections=1
	head -c 3000000 /dev/urandom >"$W/local/f"
	cp "$W/local/f" "$MNT/f"
	same_file "$W/local/f" "$REMOTE/f"
	umount_fs
}
installed() {
	make -s -C "$ROOT" install "B=$BUILD" DESTDIR="$W/dest" PREFIX=/usr
	[[ -x $W/dest/usr/bin/vastfs && -x $W/dest/usr/bin/mount.vastfs ]]
	"$W/dest/usr/bin/mount.vastfs" -V
	"$W/dest/usr/sbin/mount.vastfs" -V
	eq "$(readlink -f "$W/dest/sbin/mount.vastfs")" "$(readlink -f "$W/dest/usr/sbin/mount.vastfs" || true)" "the helper of mount(8)" ||
		eq "$(readlink "$W/dest/sbin/mount.vastfs")" /usr/sbin/mount.vastfs
}
# mount(8) finds helpers in /sbin alone: in a mount namespace of our own, /sbin is ours too.
with_mount_8() {
	# shellcheck disable=SC2016
	unshare -m --propagation private bash -c '
		set -e
		mkdir -p "$1/upper" "$1/work"
		target=$(readlink -f /sbin)
		mount -t tmpfs none "$1/work"
		mkdir "$1/work/u" "$1/work/w"
		mount -t overlay none -o "lowerdir=$target,upperdir=$1/work/u,workdir=$1/work/w" "$target"
		rm -f "$target/mount.vastfs"
		cp "$3/mount.vastfs" "$target/mount.vastfs"
		mount -t vastfs gpu "$2" -o "rw,noatime,config=$4"
		findmnt -n -o FSTYPE "$2" | grep -qx fuse.vastfs
		echo by mount >"$2/by-mount"
		umount "$2"
	' - "$W" "$MNT" "$BUILD" "$INI"
	eq "$(cat "$REMOTE/by-mount")" "by mount"
}
uninstalled() {
	make -s -C "$ROOT" uninstall "B=$BUILD" DESTDIR="$W/dest" PREFIX=/usr
	eq "$(find "$W/dest" -type f -o -type l | wc -l)" 0 "files left"
}

check "bad lines of the profile, each with file:line" profile_lines
check "bad options and arguments" options
check "missing sections and files" sections
check "bad mountpoints" mountpoints
check "-V and -h" information
check "the places of the profile" config_places
check "-o wins over the section, the section over [defaults]" precedence
check "without a profile: user@host:/path, and -o host=" without_profile
check "a folder behind the id" folder_in_id
if [[ $(id -u) == 0 ]]; then
	if [[ -e /workspace ]]; then
		skip "without path and /workspace: the login folder" "this machine has a /workspace"
	else
		check "without path and /workspace: the login folder" login_folder
	fi
	check "idmap=none, uid=, gid= and umask=" idmap_none
fi
check "options of mount(8) and fstab" mount_options
check "symlinks=raw" raw_symlinks
check "connections=1" one_connection
if [[ -e $ROOT/doc/mount.vastfs.8 ]]; then
	check "make install with DESTDIR" installed
	check "make uninstall leaves nothing" uninstalled
fi
if [[ $(id -u) == 0 ]]; then
	check "mount -t vastfs" with_mount_8
else
	skip "mount -t vastfs" "needs root"
fi
finish
