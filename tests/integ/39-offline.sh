#!/bin/bash
# R5: what is cached can be listed and read while there is no link, also by a mount that comes up without it.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "offline" "not for $MOUNT_WITH"; finish; }
setup
V=$BUILD/vastfs
PORT=$SSHD_PORT

json() { "$V" status --json "$MNT" | jq -er "$1"; }
is() { [[ $(json "$1") == "$2" ]]; } # FIELD VALUE
kept() { [[ $(json .disk_cache.bytes) -ge $1 ]]; }
anew() {
	umount_all
	tcp_open "$PORT" || sshd_start "$PORT"
	"$@"
}

mkdir -p "$REMOTE/a/b/c" "$REMOTE/unseen"
for i in $(seq 30); do head -c $((i * 3333)) /dev/urandom >"$REMOTE/a/b/$i"; done
head -c 3000000 /dev/urandom >"$REMOTE/a/large"
echo deep >"$REMOTE/a/b/c/file"
yes unread | head -c 2000000 >"$REMOTE/a/unread"
ln -s b/1 "$REMOTE/a/link"
echo x >"$REMOTE/unseen/x"
find "$REMOTE" -exec touch -h -d '1 hour ago' {} +
shape() { (cd "$1" && find a -printf '%p %y %s %m %T@\n' | sort); }

unknown() {
	sshd_kill
	rc_is 32 mount_fs -o offline,timeout=3
	has "$OUT" "knows nothing"
}
as_usual() {
	mount_fs -o offline
	echo y >"$MNT/new"
	rm "$MNT/new"
	ls "$MNT" >/dev/null
	shape "$MNT" >"$W/shape"
	cat "$MNT/a/b/"* "$MNT/a/large" "$MNT/a/b/c/file" >/dev/null 2>&1 || true
	wait_for 10 kept 4000000
	umount_fs
}
comes_up() {
	sshd_kill
	mount_fs -o offline,timeout=2
	has "$(cat "$W/mount.out")" "for reading"
	eq "$(json .connected)" false
	same_file "$W/shape" <(shape "$MNT")
	same_file "$REMOTE/a/large" "$MNT/a/large"
	for i in $(seq 30); do same_file "$REMOTE/a/b/$i" "$MNT/a/b/$i"; done
	eq "$(cat "$MNT/a/b/c/file")" deep
	rc_is 1 cat "$MNT/a/nothing"
	has "$OUT" "No such file"
	rc_is 1 tail -c 9 "$MNT/a/unread"
	has "$OUT" "timed out"
	rc_is 1 mkdir "$MNT/a/d"
	has "$OUT" "Read-only"
	rc_is 1 rm "$MNT/a/large"
	has "$OUT" "Read-only"
	rc_is 1 chmod 600 "$MNT/a/large"
	has "$OUT" "Read-only"
	rc_is 1 mv "$MNT/a/large" "$MNT/a/l"
	fails truncate -s 5 "$MNT/a/large"
	fails cp "$W/shape" "$MNT/z"
	rc_is 2 ls "$MNT/unseen/y"
	# an open file goes on when there is a link
	exec 5<"$MNT/a/unread"
	echo news >"$REMOTE/a/later"
	rm "$REMOTE/a/b/1"
	sshd_start "$PORT" 5<&-
	wait_for 20 is .connected true
	wait_for 20 touch "$MNT/a/made"
	cmp - "$REMOTE/a/unread" <&5
	exec 5<&-
	eq "$(cat "$MNT/a/later")" news
	fails test -e "$MNT/a/b/1"
	[[ -e $REMOTE/a/made ]] || die "not made there"
	eq "$(ls "$MNT/unseen")" x
	eq "$(ls "$MNT/a/b" | wc -l)" 30
	echo w >"$MNT/a/large"
	umount_fs
	eq "$(cat "$REMOTE/a/large")" w
}
# The link goes while it is mounted: names that this mount has not seen yet are there all the same.
lost_later() {
	mount_fs -o timeout=3
	sshd_kill
	wait_for 20 is .connected false
	eq "$(find "$MNT/a/b" -type f | wc -l)" 30
	same_file "$REMOTE/a/b/7" "$MNT/a/b/7"
	sshd_start "$PORT"
	wait_for 20 is .connected true
	echo 1 >"$MNT/a/back"
	umount_fs
}

check "an instance that was never mounted can't be mounted offline" anew unknown
check "with the instance there, offline changes nothing" anew as_usual
check "a mount without the instance: lists, reads, refuses changes, and then is as usual" anew comes_up
check "the link goes: folders that only an earlier mount has seen" anew lost_later
umount_all
finish
