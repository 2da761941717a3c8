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
# What programs say of a tree: all of it, with where links lead.
names_and_words() { # FOLDER
	(cd "$1" && LC_ALL=C ls -lR . | sed 's/^total .*//' && grep -rc needle . | sort)
}
account() { # FOLDER
	names_and_words "$1"
	git --no-optional-locks -c safe.directory="*" -C "$1" status --porcelain
	git -c safe.directory='*' -C "$1" log --format=%s
}
repository() {
	mkdir -p "$REMOTE/repo/src/deep" "$REMOTE/repo/links"
	for i in $(seq 20); do echo "needle $i" | tee "$REMOTE/repo/src/$i" >"$REMOTE/repo/src/deep/$i"; done
	for i in $(seq 20); do ln -s "../src/$i" "$REMOTE/repo/links/$i"; done
	git -C "$REMOTE/repo" init -q
	git -C "$REMOTE/repo" add -A
	git -C "$REMOTE/repo" -c user.name=x -c user.email=x@example.org commit -qm first
	echo changed >"$REMOTE/repo/src/3"
	touch "$REMOTE/repo/src/new"
	find "$REMOTE/repo" -exec touch -h -d '1 hour ago' {} +
}
# Also when the link goes under a mount that has not looked at it yet; then the first name that is missing waits for the
# link, and no other (git asks for many).
as_it_was() {
	repository
	mount_fs
	account "$MNT/repo" >"$W/account"
	has "$(cat "$W/account")" "?? src/new"
	has "$(cat "$W/account")" "-> ../src/7"
	umount_fs
	sshd_kill
	mount_fs -o offline,timeout=5
	same_file "$W/account" <(account "$MNT/repo")
	eq "$(readlink "$MNT/repo/links/7")" ../src/7
	eq "$(cat "$MNT/repo/links/8")" "needle 8"
	umount_fs
	sshd_start "$PORT"
	mount_fs -o timeout=40
	sshd_kill
	wait_for 20 is .connected false
	timed fails stat "$MNT/repo/src/no-such-name"
	ge "$MS_TAKEN" 4000 "milliseconds until a name is missing"
	same_file "$W/account" <(account "$MNT/repo")
	umount_fs
}
# Only what was opened, and no folder ever listed.
looked_up() {
	mkdir -p "$REMOTE/only/x/y"
	echo deep >"$REMOTE/only/x/y/file"
	ln -s y/file "$REMOTE/only/x/link"
	find "$REMOTE/only" -exec touch -h -d '1 hour ago' {} +
	"$V" cache clear gpu
	mount_fs
	eq "$(cat "$MNT/only/x/link")" deep
	umount_fs
	sshd_kill
	mount_fs -o offline,timeout=3
	eq "$(cat "$MNT/only/x/link")" deep
	eq "$(cat "$MNT/only/x/y/file")" deep
	eq "$(readlink "$MNT/only/x/link")" y/file
	fails cat "$MNT/only/x/other"
	umount_fs
}
# A link that is replaced, there or here, leads where it leads.
links_change() {
	mount_fs -o attr_timeout=1
	eq "$(readlink "$MNT/a/link")" b/1
	ln -sfn b/22 "$REMOTE/a/link"
	leads() { [[ $(readlink "$MNT/a/link") == "$1" ]]; }
	wait_for 5 leads b/22
	ln -sfn b/3 "$MNT/a/link"
	leads b/3
	rm "$MNT/a/link"
	mv "$MNT/repo/links/4" "$MNT/a/link"
	leads ../src/4
	umount_fs
}
# What is pinned is fetched when it changes, though nobody reads it.
written() { [[ $(json .disk_cache.written_bytes) -ge $1 ]]; }
changes() { # NAME BYTES
	head -c "$2" /dev/urandom >"$REMOTE/pinned/deep/$1"
	touch -d '1 minute ago' "$REMOTE/pinned/deep/$1"
}
pins_stay_fresh() {
	mkdir -p "$REMOTE/pinned/deep"
	changes 1 400000
	changes 2 3000000
	mount_fs
	"$V" cache pin "$MNT/pinned" >/dev/null
	wait_for 10 written 3400000
	umount_fs
	changes 1 410000 # while nothing is mounted
	changes 3 500000
	mount_fs -o watch=no
	wait_for 20 written 910000
	umount_fs
	mount_fs
	wait_for 20 is .watch.state python3
	changes 2 3100000
	wait_for 50 written 3100000
	# what was written here too
	head -c 420000 /dev/urandom >"$MNT/pinned/deep/1"
	touch -d '1 minute ago' "$MNT/pinned/deep/1"
	wait_for 50 written 3520000
	echo mine >"$MNT/pinned/deep/mine"
	umount_fs
	sshd_kill
	mount_fs -o offline,timeout=3
	for i in 1 2 3; do same_file "$REMOTE/pinned/deep/$i" "$MNT/pinned/deep/$i"; done
	has "$(ls -l "$MNT/pinned/deep/mine")" " 5 "
	umount_fs
}

check "an instance that was never mounted can't be mounted offline" anew unknown
check "with the instance there, offline changes nothing" anew as_usual
check "a mount without the instance: lists, reads, refuses changes, and then is as usual" anew comes_up
check "the link goes: folders that only an earlier mount has seen" anew lost_later
check "ls -lR, grep and git status without a link say what they said" anew as_it_was
check "files and links that were opened, in folders never listed" anew looked_up
check "links that are replaced" anew links_change
check "what is pinned stays fresh" anew pins_stay_fresh
umount_all
finish
