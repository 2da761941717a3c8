#!/bin/bash
# What surrounds a mount on a Linux system: keys, completion, systemd's unit and environment, the Debian package.
# PACKAGE=1: the package is built and installed too (in a namespace of its own), which takes a minute or two.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "the system's parts" "not for $MOUNT_WITH"; finish; }
setup
V=$BUILD/vastfs INI=$XDG_CONFIG_HOME/vastfs/config.ini
make -s -C "$ROOT" install "B=$BUILD" DESTDIR="$W/dest" PREFIX=/usr >/dev/null 2>&1 || die "make install"
export PATH=$BUILD:$PATH

new_key() {
	rmdir "$HOME/.ssh"
	rc_is 0 "$V" key new
	has "$OUT" "$(cat "$HOME/.ssh/id_ed25519.pub")"
	has "$OUT" "https://"
	eq "$(stat -c %a "$HOME/.ssh" "$HOME/.ssh/id_ed25519" | xargs)" "700 600"
	cp "$HOME/.ssh/id_ed25519" "$W/first"
	rc_is 0 "$V" key new
	same_file "$HOME/.ssh/id_ed25519" "$W/first"
	has "$OUT" "is there already"
	rc_is 0 "$V" key new "$W/other_key"
	grep -q ssh-ed25519 "$W/other_key.pub"
	# it works as it is
	cat "$HOME/.ssh/id_ed25519.pub" >>"$W/authorized_keys"
	sed -i '/^key/d' "$INI"
	mount_fs
	umount_fs
	write_profile
	rc_is 1 "$V" key
	rc_is 1 "$V" key old
	rc_is 0 "$PYTHON" "$TESTS/integ/pty_run.py" 'passphrase' secret "$V" key new --passphrase "$W/locked"
	has "$OUT" "ssh-add"
	fails ssh-keygen -y -P '' -f "$W/locked"
}
bash_completion() {
	cat >"$W/complete.bash" <<-'END'
		. "$1"
		try() { # WORD…: the last one is to be completed
			COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
			"_${1//./_}" 2>/dev/null
			printf '%s\n' "${COMPREPLY[@]}"
		}
		shift
		try "$@"
	END
	bc() { bash "$W/complete.bash" "$W/dest/usr/share/bash-completion/completions/vastfs" "$@"; }
	eq "$(bc vastfs dis | xargs)" ""
	eq "$(bc vastfs doc | xargs)" doctor
	for command in add list show edit remove status sync umount run ssh forward key doctor; do
		bc vastfs "" | grep -qx "$command"
	done
	eq "$(bc vastfs show g)" gpu
	eq "$(bc mount.vastfs g)" gpu
	bc mount.vastfs -o po | grep -qx "port="
	bc mount.vastfs -o ro,po | grep -qx "ro,port="
	# as bash parts the words
	eq "$(bc mount.vastfs -o host_key = | xargs)" "ask accept-new strict"
	eq "$(bc mount.vastfs -o ro,host_key = st)" strict
	eq "$(bc mount.vastfs -o ro g)" gpu
	eq "$(bc mount.vastfs gpu : /data "$W/m")" "$MNT"
	eq "$(bc vastfs cache p)" pin
	mount_fs
	eq "$(bc vastfs umount "$W/m")" "$MNT"
	umount_fs
	bash -n "$W/dest/usr/share/bash-completion/completions/mount.vastfs"
}
zsh_completion() {
	zsh -n "$W/dest/usr/share/zsh/vendor-completions/_vastfs"
	cat >"$W/complete.zsh" <<-'END'
		fpath=($1 $fpath)
		autoload -Uz compinit && compinit -D -u
		zpty_out() { zmodload zsh/zpty; zpty z "zsh -f"; zpty -w z "PS1=''; fpath=($1 \$fpath); autoload -Uz compinit; compinit -D -u; bindkey '^I' complete-word"
			zpty -w -n z "$2"$'\t'; local line all; repeat 300; do sleep 0.1; zpty -rt z line && all+=$line; [[ $all != *$3* ]] || break; done; zpty -d z; print -r -- $all; } # sleep: zsh draws
		zpty_out "$1" "vastfs doc" doctor
	END
	zsh -f "$W/complete.zsh" "$W/dest/usr/share/zsh/vendor-completions" 2>&1 | grep -q "doctor"
}
fish_completion() {
	fish -c "source $W/dest/usr/share/fish/vendor_completions.d/vastfs.fish; complete -C 'vastfs doc'" | grep -qx doctor
	fish -c "source $W/dest/usr/share/fish/vendor_completions.d/vastfs.fish; complete -C 'vastfs show g'" | grep -qx gpu
}
# The unit's own command lines, as systemd would run them: with %i and %h put in, and a socket for its word.
the_unit() {
	local unit="$W/dest/usr/lib/systemd/user/vastfs@.service" line pid catcher
	command -v systemd-analyze >/dev/null && systemd-analyze --user verify "$unit" 2>&1 | grep -i "vastfs@.*\(unknown\|invalid\)" && die "the unit"
	grep -q "^Type=notify" "$unit"
	grep -q "/usr/sbin/mount.vastfs -f" "$unit"
	sed -e "s|%i|gpu|g; s|%h|$HOME|g; s|/usr/sbin/|$BUILD/|g; s|/usr/bin/|$BUILD/|g" "$unit" >"$W/unit"
	eval "$(sed -n 's/^ExecStartPre=//p' "$W/unit")"
	"$PYTHON" - "$W/notify" >"$W/notified" <<-'END' &
		import socket, sys
		s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		s.bind(sys.argv[1])
		s.settimeout(60)
		while True:
		    print(s.recv(1000).decode(), flush=True)
	END
	catcher=$!
	wait_for 10 test -S "$W/notify"
	read -ra line <<<"$(sed -n 's/^ExecStart=//p' "$W/unit")"
	NOTIFY_SOCKET=$W/notify "${line[@]}" >"$W/unit.out" 2>&1 &
	pid=$!
	wait_for 20 grep -q "READY=1" "$W/notified" || die "no READY: $(cat "$W/unit.out")"
	is_mounted "$HOME/vastfs/gpu"
	read -ra line <<<"$(sed -n 's/^ExecStop=//p' "$W/unit")"
	"${line[@]}"
	wait "$pid" || die "status $?"
	wait_for 10 grep -q "STOPPING=1" "$W/notified"
	kill "$catcher"
}
bare_environment() {
	cp "$INI" "$W/bare.ini"
	# a mount unit of systemd has neither HOME nor PATH
	env -i "$BUILD/mount.vastfs" gpu "$MNT" -o "rw,noauto,user,x-systemd.automount,_netdev,nofail,config=$W/bare.ini"
	echo bare >"$MNT/bare"
	eq "$(findmnt -n -o SOURCE,FSTYPE "$MNT" | xargs)" "gpu fuse.vastfs"
	df --output=source,fstype "$MNT" | grep -q "gpu *fuse.vastfs"
	env -i "$BUILD/vastfs" umount "$MNT" || env -i XDG_RUNTIME_DIR="$XDG_RUNTIME_DIR" "$BUILD/vastfs" umount "$MNT"
	eq "$(cat "$REMOTE/bare")" bare
}
# In a mount namespace where /usr, /etc and /var are ours.
package() {
	# shellcheck disable=SC2016
	unshare -m --propagation private bash -c '
		set -e
		mount -t tmpfs none "$1/over"
		for dir in /usr /etc /var; do
			mkdir -p "$1/over$dir/u" "$1/over$dir/w"
			mount -t overlay none -o "lowerdir=$dir,upperdir=$1/over$dir/u,workdir=$1/over$dir/w" "$dir"
		done
		dpkg -i "$1"/deb/vastfs_*.deb
		dpkg -s vastfs | grep -q "^Status: install ok installed"
		for page in "1 vastfs" "5 vastfs.ini" "8 mount.vastfs"; do man -w $page; done || true
		mount -t vastfs gpu "$2" -o "config=$3"
		findmnt -n -o FSTYPE "$2" | grep -qx fuse.vastfs
		/usr/bin/vastfs umount "$2"
		dpkg -r vastfs
		! test -e /usr/sbin/mount.vastfs
		! test -e /usr/bin/mount.vastfs
	' - "$W" "$MNT" "$INI"
}

check "vastfs key new" new_key
check "completion for bash" bash_completion
if command -v zsh >/dev/null; then check "completion for zsh" zsh_completion; else skip "completion for zsh" "no zsh"; fi
if command -v fish >/dev/null; then check "completion for fish" fish_completion; else skip "completion for fish" "no fish"; fi
check "the systemd unit's commands, and its notification" the_unit
check "fstab's options; no HOME, no PATH" bare_environment
if [[ -n ${PACKAGE:-} && $(id -u) == 0 ]]; then
	mkdir "$W/over"
	if HOME=$REAL_HOME "$ROOT/scripts/make-deb" "$W/deb" >"$W/deb.log" 2>&1; then
		ok "the package is built, lintian finds no error"
		check "dpkg -i, mount -t vastfs, dpkg -r" package
	else
		not_ok "the package is built, lintian finds no error" "$W/deb.log"
	fi
else
	skip "the Debian package" "PACKAGE=1 builds it"
fi
finish
