#!/bin/bash
# symlinks=follow, which is sshfs's follow_symlinks: no links are seen, but what they lead to on the instance; looked at from
# both sides.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "symlinks=follow" "not for $MOUNT_WITH"; finish; }
setup

mkdir "$REMOTE/dir" "$REMOTE/dir/below" "$W/outside"
echo inside >"$REMOTE/file"
echo below >"$REMOTE/dir/below/deep"
echo outside >"$W/outside/file"
ln -s file "$REMOTE/to-file"
ln -s dir "$REMOTE/to-dir"
ln -s "$W/outside" "$REMOTE/to-outside"
ln -s "$W/outside/file" "$REMOTE/to-outside-file"
ln -s nothing "$REMOTE/dangling"
ln -s circle "$REMOTE/circle"
ln -s . "$REMOTE/dir/self"

kind() { stat -c %F "$1"; }
# -L "$1" would ask the same of the kernel
is_link() { [[ $(kind "$1") == "symbolic link" ]]; }

shown() {
	mount_fs -o follow_symlinks
	cd "$MNT"
	eq "$(kind to-file)" "regular file"
	eq "$(kind to-dir)" directory
	eq "$(kind to-outside)" directory
	eq "$(<to-file)" inside
	eq "$(<to-dir/below/deep)" below
	eq "$(<to-outside/file)" outside
	eq "$(<to-outside-file)" outside
	eq "$(stat -c %s to-outside-file)" 8
	eq "$(find . -maxdepth 1 -type l | sort | xargs)" "./circle ./dangling"
	eq "$(find . -maxdepth 1 -type d | sort | xargs)" ". ./dir ./to-dir ./to-outside"
	# looked up before any listing, too
	cd /
	remount_fs -o symlinks=follow
	eq "$(kind "$MNT/to-dir")" directory
	eq "$(kind "$MNT/to-outside/file")" "regular file"
	is_link "$MNT/dangling"
	fails cat "$MNT/dangling"
	fails cat "$MNT/circle"
}
# find(1) comes to an end: of so many links in one path the instance follows none any more.
circles() {
	eq "$(<"$MNT/dir/self/self/self/below/deep")" below
	ge "$(find "$MNT/dir/self" -name deep | wc -l)" 30 "files found"
	is_link "$MNT/dir/$(printf 'self/%.0s' {1..40})self"
}
changed_through() { # writes, sizes, modes and times go to what a link leads to
	cd "$MNT"
	echo more >>to-outside-file
	eq "$(<"$W/outside/file")" $'outside\nmore'
	echo new >to-file
	eq "$(<"$REMOTE/file")" new
	eq "$(<file)" new
	truncate -s 2 to-file
	eq "$(stat -c %s "$REMOTE/file")" 2
	chmod 640 to-file
	touch -d @1000000000 to-file
	eq "$(stat -c '%a %Y' "$REMOTE/file")" "640 1000000000"
	echo made >to-outside/made
	mkdir to-outside/folder
	mv to-outside/made to-outside/folder/moved
	eq "$(<"$W/outside/folder/moved")" made
	rm -r to-outside/folder
	absent "$W/outside/folder"
	[[ -L $REMOTE/to-file && -L $REMOTE/to-outside && -L $REMOTE/to-outside-file ]] || die "a link is gone"
}
# A link under two names is one file there: what one program has closed the other one sees when it opens.
two_names() {
	local i
	cd "$MNT"
	echo first >to-file
	for i in 1 2 3 4 5 6 7 8; do
		echo "line $i" >>to-file
		eq "$(tail -n 1 "$REMOTE/file")" "line $i"
	done
	within 2000 contains_line file "line 8"
	mkdir dir/burst
	within 2000 present to-dir/burst
	for i in 1 2 3 4 5 6 7 8; do echo "$i" >"to-dir/burst/$i"; done
	eq "$(cat "$REMOTE"/dir/burst/? | xargs)" "1 2 3 4 5 6 7 8"
}
contains_line() { [[ $(tail -n 1 "$1") == "$2" ]]; }
link_itself() { # what is done to a name is done to the link
	cd "$MNT"
	mv to-outside-file renamed
	[[ -L $REMOTE/renamed ]] || die "the link was not renamed"
	eq "$(<renamed)" $'outside\nmore'
	rm renamed
	absent "$REMOTE/renamed"
	[[ ! -L $REMOTE/renamed ]] || die "the link is still there"
	present "$W/outside/file"
	rm dangling
	[[ ! -L $REMOTE/dangling ]] || die "the dangling link is still there"
	echo other >other
	mv other to-file
	[[ ! -L $REMOTE/to-file && -f $REMOTE/to-file ]] || die "the link was not replaced"
	eq "$(<"$REMOTE/to-file")" other
	eq "$(tail -n 1 "$REMOTE/file")" "line 8"
	ln -s file made-here
	[[ -L $REMOTE/made-here ]] || die "no link was made"
	eq "$(tail -n 1 made-here)" "line 8"
	fails mkdir to-dir
	fails rmdir to-dir
	[[ -L $REMOTE/to-dir ]] || die "the link to a folder is gone"
}
# What was written to an open file is not given up with one of its names.
removed_while_open() {
	echo before >"$W/outside/log"
	ln -s "$W/outside/log" "$REMOTE/log"
	seen "$MNT/log"
	exec 3>>"$MNT/log"
	echo one >&3
	rm "$MNT/log"
	echo two >&3
	exec 3>&-
	eq "$(<"$W/outside/log")" $'before\none\ntwo'
	[[ ! -L $REMOTE/log ]] || die "the link is still there"
}
changed_there() { # links that are made, turned and removed there
	remount_fs -o symlinks=follow,attr_timeout=2
	ln -s file "$REMOTE/turns"
	seen "$MNT/turns"
	eq "$(kind "$MNT/turns")" "regular file"
	ln -sfn dir "$REMOTE/turns"
	wait_for 5 is_kind "$MNT/turns" directory || die "still a $(kind "$MNT/turns")"
	present "$MNT/turns/below/deep"
	ln -sfn nowhere "$REMOTE/turns"
	wait_for 5 is_kind "$MNT/turns" "symbolic link" || die "still a $(kind "$MNT/turns")"
	rm "$REMOTE/turns"
	wait_for 5 no_name "$MNT/turns" || die "still there"
	echo later >>"$W/outside/file"
	wait_for 5 contains_line "$MNT/to-outside/file" later || die "an old one: $(<"$MNT/to-outside/file")"
}
is_kind() { [[ $(kind "$1") == "$2" ]]; }
no_name() { ! kind "$1" 2>/dev/null; }
# More than are asked for at once, and names of every kind between them.
many() {
	local i
	mkdir "$REMOTE/many"
	for i in {1..300}; do
		echo "$i" >"$W/outside/n$i"
		ln -s "$W/outside/n$i" "$REMOTE/many/l$i"
		: >"$REMOTE/many/f$i"
	done
	seen "$MNT/many"
	eq "$(find "$MNT/many" -type f | wc -l)" 600
	eq "$(cat "$MNT"/many/l* | sort -n | tail -n 1)" 300
}
# The disk cache of this mount is none of one that shows links, and the other way round.
other_mounts() {
	ls -lR "$MNT/many" >/dev/null
	remount_fs -o symlinks=raw
	is_link "$MNT/many/l1"
	is_link "$MNT/to-dir"
	find "$MNT" >/dev/null
	remount_fs -o symlinks=follow
	eq "$(kind "$MNT/many/l1")" "regular file"
	eq "$(kind "$MNT/to-dir")" directory
}
link_lost() { # in the middle of it
	local pid
	remount_fs -o symlinks=follow
	ls "$MNT" >/dev/null
	for pid in $(sftp_servers); do kill -KILL "$pid" 2>/dev/null || true; done
	eq "$(find "$MNT/many" -type f | wc -l)" 600
	eq "$(kind "$MNT/to-dir")" directory
	umount_fs
}

check "files and folders in place of links, also of what lies outside" shown
check "links that lead back" circles
check "changes go to what they lead to" changed_through
check "two names of one file" two_names
check "renames and removals are the link's" link_itself
check "a name that is removed while its file is open" removed_while_open
check "links that change on the instance" changed_there
check "a folder of many links" many
check "mounts that show links, before and after" other_mounts
check "a link that is lost" link_lost
finish
