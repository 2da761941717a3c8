#!/bin/bash
# Lines of fstab, by mount(8) itself: as root and as the ordinary user that `user` allows it, also one that was sshfs's; and
# the desktop's trash on a mount. In a mount namespace where /etc/fstab and /sbin are ours.
. "$(dirname "$0")/../lib.sh"
if [[ $MOUNT_WITH != vastfs || $(id -u) != 0 ]]; then
	skip "fstab" "needs root, and vastfs"
	finish
fi
setup
[[ $SERVER == external || $SERVER == internal ]] || { skip "fstab" "needs OpenSSH"; finish; }

echo there >"$REMOTE/file"
ln -s /etc/hostname "$REMOTE/link"
# of an ordinary user, who can't look into $W
USERS=$(mktemp -d /tmp/vastfs-user.XXXXXX)
mkdir "$USERS/mnt" "$USERS/auto"
cp "$W/key" "$W/known_hosts" "$USERS"
sed "s|$W/|$USERS/|; s|path = .*|path = $REMOTE|" "$XDG_CONFIG_HOME/vastfs/config.ini" >"$USERS/ini"
chown -R nobody "$USERS"
chmod 755 "$USERS"
# as on an installed system, where ordinary users may open it
mknod -m 666 "$W/fuse" c 10 229
cat >"$W/fstab" <<-END
	gpu $USERS/mnt vastfs noauto,user,x-systemd.automount,_netdev,config=$USERS/ini 0 0
	gpu $USERS/auto vastfs nofail,_netdev,allow_other,config=$XDG_CONFIG_HOME/vastfs/config.ini 0 0
	root@127.0.0.1:$REMOTE $MNT vastfs noauto,_netdev,port=$SSHD_PORT,IdentityFile=$W/key,UserKnownHostsFile=$W/known_hosts,idmap=user,reconnect,ServerAliveInterval=15,ServerAliveCountMax=3,follow_symlinks,max_conns=2,dcache_timeout=20,default_permissions,noexec 0 0
END

# Runs the function, with its words, where /etc/fstab and /sbin are ours.
apart() { # FUNCTION WORD…
	# shellcheck disable=SC2016
	unshare -m --propagation private bash -c '
		set -e
		. "$1/lib.sh"
		W=$2 USERS=$3 MNT=$4 REMOTE=$5
		sbin=$(readlink -f /sbin)
		mkdir -p "$W/over"
		mount -t tmpfs none "$W/over"
		mkdir "$W/over/u" "$W/over/w"
		mount -t overlay none -o "lowerdir=$sbin,upperdir=$W/over/u,workdir=$W/over/w" "$sbin"
		rm -f "$sbin/mount.vastfs"
		cp "$BUILD/mount.vastfs" "$sbin/mount.vastfs"
		mount --bind "$W/fstab" /etc/fstab
		mount --bind "$W/fuse" /dev/fuse
		eval "$6"
		shift 6
		"$@"
	' - "$TESTS" "$W" "$USERS" "$MNT" "$REMOTE" "$(declare -f as_user "$1")" "$@"
}
as_user() { su nobody -s /bin/sh -c "unset XDG_RUNTIME_DIR XDG_CONFIG_HOME XDG_CACHE_HOME XDG_STATE_HOME; HOME=$USERS $*"; }

by_user() {
	as_user mount "$USERS/mnt"
	eq "$(as_user cat "$USERS/mnt/file")" there
	eq "$(findmnt -n -o SOURCE,FSTYPE "$USERS/mnt" | xargs)" "gpu fuse.vastfs"
	has "$(findmnt -n -o OPTIONS "$USERS/mnt")" "nosuid,nodev,noexec"
	as_user touch "$USERS/mnt/by-user"
	as_user umount "$USERS/mnt"
	! is_mounted "$USERS/mnt" || die "still mounted"
	present "$REMOTE/by-user"
}
not_allowed() { # the line has no `user`
	! as_user mount "$USERS/auto" || die "mounted"
	! is_mounted "$USERS/auto" || die "mounted after all"
}
all() {
	mount -a
	is_mounted "$USERS/auto" || die "mount -a has left it out"
	! is_mounted "$USERS/mnt" || die "mounted, with noauto"
	eq "$(df --output=source,fstype "$USERS/auto" | tail -n 1 | xargs)" "gpu fuse.vastfs"
	eq "$(as_user cat "$USERS/auto/file")" there
	mount -a # it is there already
	umount "$USERS/auto"
	! is_mounted "$USERS/auto" || die "still mounted"
}
line_of_sshfs() {
	mount "$MNT"
	eq "$(stat -c %F "$MNT/link")" "regular file"
	eq "$(<"$MNT/link")" "$(</etc/hostname)"
	has "$(findmnt -n -o OPTIONS "$MNT")" noexec
	has "$(findmnt -n -o OPTIONS "$MNT")" default_permissions
	umount "$MNT"
}
trash() { # as file managers do it
	mount_fs
	echo old >"$MNT/unwanted"
	gio trash "$MNT/unwanted"
	absent "$MNT/unwanted"
	eq "$(<"$MNT/.Trash-$(id -u)/files/unwanted")" old
	synced
	grep -q "^Path=unwanted" "$REMOTE/.Trash-$(id -u)/info/unwanted.trashinfo"
	umount_fs
}

check "an ordinary user mounts and unmounts what fstab allows" apart by_user
check "and nothing else" apart not_allowed
check "mount -a" apart all
check "a line that was sshfs's" apart line_of_sshfs
if command -v gio >/dev/null; then check "the trash" trash; else skip "the trash" "no gio"; fi
rm -rf "$USERS"
finish
