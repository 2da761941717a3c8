#!/bin/bash
# What POSIX says of every call: as root; as an ordinary user whose login is root there; as an ordinary user on both sides,
# without and with default_permissions. MOUNT_WITH=local runs the same on a local folder. PARTS: which parts (names files).
. "$(dirname "$0")/../lib.sh"
# fusermount3 wants a user with a name
USER_ID=$(getent passwd | awk -F: '$3 >= 1000 && $3 < 60000 { print $3; exit }')
USER_ID=${USER_ID:-65534}
[[ $MOUNT_WITH != vastfs ]] || CHECK_TIMEOUT=$((CHECK_TIMEOUT * 2))

# In a mount namespace of our own, where ordinary users may open /dev/fuse as they can on an installed system.
own_namespace() {
	[[ -z ${OWN_NAMESPACE:-} ]] || return 0
	OWN_NAMESPACE=1 exec unshare -m --propagation private bash "$0" "$@"
}
open_fuse() {
	as_user test -w /dev/fuse && return
	mknod "$W/fuse" c 10 229
	chmod 666 "$W/fuse"
	mount --bind "$W/fuse" /dev/fuse
}

# The rest of this file goes on as an ordinary user, with copies of what he needs. The server stays root's.
user_setup() {
	setup_dirs
	open_fuse
	setup_keys
	chmod 755 "$W"
	chmod 777 "$REMOTE"
	mkdir -m 1777 "$REMOTE/sticky"
	printf theirs | tee "$REMOTE/theirs" >"$REMOTE/sticky/theirs"
	if [[ -n ${LOGIN:-} ]]; then # an account that only the server knows
		chown "$USER_ID:$USER_ID" "$W/server-home"
		{ grep -v "^[^:]*:[^:]*:$USER_ID:" /etc/passwd; echo "$LOGIN:x:$USER_ID:$USER_ID::$W/server-home:/bin/sh"; } >"$W/passwd"
		{ cat /etc/shadow; echo "$LOGIN:*:19000:0:99999:7:::"; } >"$W/shadow"
		SSHD_ENTER="mount --bind '$W/passwd' /etc/passwd; mount --bind '$W/shadow' /etc/shadow;"
	fi
	sshd_start
	mkdir "$W/build"
	cp "$BUILD/mount.vastfs" "$BUILD/vastfs" "$W/build/"
	cp -r "$TESTS/integ" "$W/integ"
	write_profile "user = ${LOGIN:-root}"
	chown -R "$USER_ID:$USER_ID" "$W/home" "$W/run" "$W/mnt" "$W/key" "$W/local" "$W/known_hosts"
}
as_user() { setpriv "--reuid=$USER_ID" "--regid=$USER_ID" --clear-groups --inh-caps=-all -- "$@"; }
user_mount() { # [OPTION…]
	if [[ $MOUNT_WITH == local ]]; then
		mount --bind "$REMOTE" "$MNT"
	else
		as_user timeout 60 "$W/build/mount.vastfs" "$@" gpu "$MNT"
	fi
}
user_umount() {
	if [[ $MOUNT_WITH == local ]]; then umount "$MNT"; else as_user timeout 60 "$W/build/vastfs" umount "$MNT"; fi
}
user_parts() { # PARTS
	local part parts real=$PYTHON
	read -ra parts <<<"${PARTS:-$1}"
	PYTHON=$W/as_user
	printf '#!/bin/sh\nexec setpriv --reuid=%d --regid=%d --clear-groups --inh-caps=-all -- %s "$@"\n' "$USER_ID" "$USER_ID" "$real" >"$W/as_user"
	chmod 755 "$W/as_user"
	for part in "${parts[@]}"; do TESTS=$W run_py "$W/integ/posix_$part.py"; done
	PYTHON=$real
}

case ${1:-all} in
all)
	# each in a shell of its own, as each has its own server and folder
	for who in root user both kernel; do
		bash "$0" "$who" | tee "${TMPDIR:-/tmp}/vastfs-posix.$$"
		read -r p _ f _ s _ < <(tail -n 1 "${TMPDIR:-/tmp}/vastfs-posix.$$")
		rm "${TMPDIR:-/tmp}/vastfs-posix.$$"
		PASSED=$((PASSED + p)) FAILED=$((FAILED + f)) SKIPPED=$((SKIPPED + s))
	done
	echo "$PASSED passed, $FAILED failed, $SKIPPED skipped"
	[[ $FAILED == 0 && $PASSED -gt 0 ]]
	exit
	;;
root)
	setup
	mount_fs || finish
	read -ra parts <<<"${PARTS:-names files pairs}"
	for part in "${parts[@]}"; do run_py "$TESTS/integ/posix_$part.py"; done
	check "the daemon is still there and unmounts" umount_fs
	;;
user) # root there, an ordinary user here
	own_namespace "$@"
	user_setup
	check "an ordinary user mounts" user_mount
	user_parts "names files"
	check "and unmounts" user_umount
	;;
both | kernel) # an ordinary user on both sides; the kernel checks too
	own_namespace "$@"
	LOGIN=vastfs-test
	user_setup
	if [[ $1 == both ]]; then
		check "an ordinary user mounts" user_mount
		user_parts "names files perms pairs"
	else
		export KERNEL_CHECKS=1
		check "an ordinary user mounts with default_permissions" user_mount -o default_permissions
		user_parts "perms"
	fi
	check "and unmounts" user_umount
	;;
esac
finish
