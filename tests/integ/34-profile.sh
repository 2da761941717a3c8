#!/bin/bash
# vastfs add, list, show, edit and remove: the console's string becomes a mount; the file stays the user's.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "the profile's commands" "not for $MOUNT_WITH"; finish; }
setup
V=$BUILD/vastfs INI=$XDG_CONFIG_HOME/vastfs/config.ini

from_console() {
	local port
	port=$(free_port)
	rm -r "$XDG_CONFIG_HOME/vastfs"
	rc_is 0 "$V" add 12345678 "ssh -p $SSHD_PORT $(id -un)@127.0.0.1 -L $port:localhost:$SSHD_PORT -i $W/key -o UserKnownHostsFile=$W/known_hosts"
	has "$OUT" "mount.vastfs 12345678 ~/gpu"
	eq "$(stat -c %a "$INI")" 600 "mode of the file"
	eq "$(stat -c %a "$XDG_CONFIG_HOME/vastfs")" 700 "mode of its folder"
	"$BUILD/mount.vastfs" -o "path=$REMOTE" 12345678 "$MNT"
	echo there >"$MNT/f"
	eq "$(cat "$REMOTE/f")" there
	eq "$("$V" status --json "$MNT" | jq -r '.forwards[0].forward')" "127.0.0.1:$port -> localhost:$SSHD_PORT"
	rc_is 0 "$V" list
	has_re "$OUT" "12345678 +$(id -un)@127.0.0.1:$SSHD_PORT +$MNT"
	rc_is 0 "$V" show 12345678
	has_re "$OUT" "port += $SSHD_PORT"
	has "$OUT" "mounted on $MNT"
	for key in $(sed -nE 's/^ *FILE_KEY\("([a-z_]+)".*/\1/p' "$ROOT/conf/profile_keys.c"); do
		has_re "$OUT" $'\n'"(; )?$key( |:)"
	done
	umount_fs
}
keeps_file() {
	cat >"$INI" <<-'END'
		# my instances

		[defaults]
		timeout = 30 ; a comment

		# the big one
		[big]
		host = 1.2.3.4
		# its port changes
		port = 22
		attr_timeout = 5
		# the small one
		[small]
		host = 5.6.7.8
	END
	chmod 644 "$INI"
	cp "$INI" "$W/before"
	"$V" add new 'root@9.9.9.9 -p 99'
	diff "$W/before" "$INI" >"$W/diff" || true
	eq "$(grep -c '^<' "$W/diff" || true)" 0 "lines lost"
	eq "$(tail -n 5 "$INI")" $'\n[new]\nhost = 9.9.9.9\nport = 99\nuser = root'
	eq "$(stat -c %a "$INI")" 600 "mode of the file"
	"$V" remove new
	eq "$(cat "$INI")" "$(cat "$W/before")" # but for empty lines at the end
	rc_is 1 "$V" add big 'root@4.4.4.4 -p 44'
	has "$OUT" "--force"
	"$V" add --force big 'root@4.4.4.4 -p 44'
	grep -q "host = 4.4.4.4" "$INI"
	grep -q "# its port changes" "$INI"
	grep -q "attr_timeout = 5" "$INI"
	fails grep -q "1.2.3.4" "$INI"
	"$V" remove small
	grep -q "# the small one" "$INI"
	fails grep -q "5.6.7.8" "$INI"
	eq "$("$V" list --ids)" big
	rc_is 1 "$V" remove small
	rc_is 1 "$V" remove defaults
}
links_are_followed() {
	mkdir -p "$W/dotfiles"
	mv "$INI" "$W/dotfiles/vastfs.ini"
	ln -s "$W/dotfiles/vastfs.ini" "$INI"
	"$V" add linked root@1.1.1.1
	[[ -L $INI ]] || die "the link was replaced"
	grep -q linked "$W/dotfiles/vastfs.ini"
	rm "$INI"
}
many_at_once() {
	local i pids=()
	for i in {1..12}; do
		"$V" add "box$i" "root@10.0.0.$i" >/dev/null &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	eq "$("$V" list --ids | wc -l)" 12 "sections"
	eq "$(find "$(dirname "$INI")" -type f | wc -l)" 1 "files"
}
bad_words() {
	rc_is 1 "$V" add "a b" root@h
	rc_is 1 "$V" add defaults root@h
	rc_is 1 "$V" add root@h root@h
	rc_is 1 "$V" add ../x root@h
	rc_is 1 "$V" add x 'ssh -p 99999 root@h'
	has "$OUT" 99999
	rc_is 1 "$V" add x
	rc_is 1 "$V" add x "root@h -i 'a\"b'"
	rc_is 1 "$V" show nosuch
	cp "$INI" "$W/good"
	echo nonsense >>"$INI"
	rc_is 1 "$V" add x root@h
	has "$OUT" "$INI:"
	fails grep -q "\[x\]" "$INI"
	cp "$W/good" "$INI"
}
alias_of_ssh() {
	mkdir -p "$W/bin"
	printf 'Host gpubox\n HostName 127.0.0.9\n Port 4422\n User me\n LocalForward 8080 localhost:8080\n' >"$W/ssh_config"
	# shellcheck disable=SC2016
	printf '#!/bin/sh\nexec /usr/bin/ssh -F %s "$@"\n' "$W/ssh_config" >"$W/bin/ssh"
	chmod +x "$W/bin/ssh"
	PATH=$W/bin:$PATH "$V" add viaalias gpubox
	grep -A4 viaalias "$INI" >"$W/section"
	grep -qx "host = 127.0.0.9" "$W/section"
	grep -qx "port = 4422" "$W/section"
	grep -qx "user = me" "$W/section"
	grep -q "^forward = 8080:" "$W/section"
	# where the alias stays, its port is no less the one that it has there
	printf 'Host behind\n Port 4433\n ProxyJump gpubox\n' >>"$W/ssh_config"
	PATH=$W/bin:$PATH rc_is 0 "$V" add aliased root@gpubox
	has "$OUT" $'host = gpubox\n    port = 4422\n    user = root\n'
	PATH=$W/bin:$PATH rc_is 0 "$V" add jumped behind
	has "$OUT" $'host = behind\n    port = 4433\n'
}
# No port is better than one that was guessed: the mount asks again.
alias_unanswered() {
	printf 'Host slow\n HostName 127.0.0.1\n Port %s\n IdentityFile %s\n UserKnownHostsFile %s\nMatch exec "test ! -e %s || cat %s"\n' \
		"$SSHD_PORT" "$W/key" "$W/known_hosts" "$W/hangs" "$W/hangs" >"$HOME/.ssh/config"
	mkfifo "$W/hangs"
	rc_is 0 "$V" add --force slowbox "root@slow:$REMOTE"
	has "$OUT" "ssh -G slow does not answer within five seconds"
	has "$OUT" "-p PORT"
	[[ $OUT != *"port ="* ]] || die "a port nobody knows: $OUT"
	rm "$W/hangs"
	rc_is 0 "$V" show slowbox
	has_re "$OUT" "port += $SSHD_PORT"
	echo "no such word" >>"$HOME/.ssh/config"
	rc_is 0 "$V" add --force slowbox root@slow
	has "$OUT" "ssh -G slow fails"
	[[ $OUT != *"port ="* ]] || die "a port nobody knows: $OUT"
	rm "$HOME/.ssh/config"
}
edits() {
	local pid
	printf '[gpu]\nhost = 1.1.1.1\n' >"$INI"
	EDITOR='sed -i s/1.1.1.1/2.2.2.2/' rc_is 0 "$V" edit gpu
	grep -q 2.2.2.2 "$INI"
	EDITOR='sed -i s/host/hots/' rc_is 1 "$V" edit
	has "$OUT" "hots"
	grep -q "host = 2.2.2.2" "$INI"
	EDITOR=false rc_is 1 "$V" edit
	EDITOR=true rc_is 0 "$V" edit
	has "$OUT" "Nothing is changed"
	rc_is 1 "$V" edit nosuch
	# what is broken can be mended
	echo garbage >>"$INI"
	EDITOR='sed -i /garbage/d' rc_is 0 "$V" edit
	fails grep -q garbage "$INI"
	# while the editor is open, others wait and then say why not
	mkfifo "$W/go"
	EDITOR="cat $W/go; true" "$V" edit >/dev/null &
	pid=$!
	wait_for 5 test -e "$INI.edit.$pid.ini"
	rc_is 1 "$V" add late root@3.3.3.3
	has "$OUT" "vastfs edit"
	echo >"$W/go"
	wait "$pid"
	rc_is 0 "$V" add late root@3.3.3.3
}

check "add takes the console's string, the mount works" from_console
check "comments, order and other keys stay" keeps_file
check "a symbolic link to the file is followed" links_are_followed
check "twelve adds at once" many_at_once
check "what can't be added is refused" bad_words
check "an alias of ~/.ssh/config" alias_of_ssh
check "an alias that ssh does not tell of" alias_unanswered
check "edit checks what the editor left" edits
finish
