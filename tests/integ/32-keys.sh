#!/bin/bash
# Keys that libssh2 alone can't use: PuTTY's of both versions, with a passphrase and without, and RSA in each format and
# in the agent. transport=libssh2, so that ssh(1) does not help out.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "keys" "not for $MOUNT_WITH"; finish; }
setup

printf secret >"$W/pass"
printf '' >"$W/nopass"
printf '#!/bin/sh\necho secret\n' >"$W/askpass"
printf '#!/bin/sh\necho wrong\n' >"$W/wrongpass"
chmod 755 "$W/askpass" "$W/wrongpass"
echo hello >"$REMOTE/file"

# Each key once, without a passphrase; the server knows all.
make_keys() {
	local type
	for type in "ed25519 -b 255" "ecdsa -b 256" "ecdsa -b 521" "rsa -b 2048"; do
		# shellcheck disable=SC2086
		puttygen -q -t $type --new-passphrase "$W/nopass" -o "$W/${type%% *}${type##* }.ppk"
	done
	for type in "$W"/*.ppk; do puttygen "$type" -O public-openssh >>"$W/authorized_keys"; done
	chmod 600 "$W"/*.ppk
	as ed25519255 enc3.ppk -O private -P --new-passphrase "$W/pass"
	as rsa2048 enc2.ppk -O private -P --new-passphrase "$W/pass" --ppk-param version=2
}
as() { # FROM TO PUTTYGEN-OPTION…: the same key in another form
	local from=$1 to=$2
	shift 2
	puttygen -q "$W/$from.ppk" --old-passphrase "$W/nopass" -o "$W/$to" "$@" >/dev/null
	chmod 600 "$W/$to"
}
try() { timeout 50 "$BUILD/mount.vastfs" -o transport=libssh2 "$@" gpu "$MNT" </dev/null; }
logs_in() { # FILE [OPTION…]
	local file=$1
	shift
	SSH_ASKPASS=$W/askpass rc_is 0 try -o "key=$W/$file" "$@"
	eq "$(<"$MNT/file")" hello
	umount_fs
}
refused() { # WORD… -- OPTION…
	local words=()
	while [[ $1 != -- ]]; do
		words+=("$1")
		shift
	done
	shift
	rc_is 32 try "$@"
	for word in "${words[@]}"; do has "$OUT" "$word"; done
}

putty_plain() {
	logs_in ed25519255.ppk
	logs_in ecdsa521.ppk
	logs_in rsa2048.ppk
	as ecdsa256 v2.ppk -O private -P --new-passphrase "$W/nopass" --ppk-param version=2
	logs_in v2.ppk
}
putty_passphrase() {
	logs_in enc3.ppk
	logs_in enc2.ppk
}
# The window's program is one of its own: no signal is kept from it (1 to 28: two behind them are the C library's).
window_hears() { # OPTION…
	# no shell, which would begin with no signal blocked
	# shellcheck disable=SC2016
	printf '#!/usr/bin/awk -f\nBEGIN { while ((getline < "/proc/self/status") > 0) if (/^Sig(Blk|Ign)/) print $1, substr($2, 10) >"%s"\n\tprint "secret" }\n' \
		"$W/signals" >"$W/tells"
	chmod 755 "$W/tells"
	SSH_ASKPASS=$W/tells rc_is 0 env --default-signal "$BUILD/mount.vastfs" -o "key=$W/$1" "${@:2}" gpu "$MNT"
	umount_fs
	eq "$(tr '\n' ' ' <"$W/signals")" "SigBlk: 0000000 SigIgn: 0000000 "
}
putty_near() { # where bulk data would go through ssh(1)
	logs_in ed25519255.ppk -o transport=auto
}
putty_messages() {
	SSH_ASKPASS=$W/wrongpass refused enc3.ppk "does not open with this passphrase" -- -o "key=$W/enc3.ppk"
	rc_is 1 try -o "key=$W/enc3.ppk"
	for word in "-o key" enc3.ppk passphrase SSH_ASKPASS; do has "$OUT" "$word"; done
	sed 's/^Private-MAC: ..../Private-MAC: 0000/' "$W/ed25519255.ppk" >"$W/bad.ppk"
	sed 's/File-3/File-9/' "$W/ed25519255.ppk" >"$W/new.ppk"
	chmod 600 "$W/bad.ppk" "$W/new.ppk"
	refused bad.ppk "is damaged" MAC -- -o "key=$W/bad.ppk"
	refused new.ppk "not known here" puttygen -- -o "key=$W/new.ppk"
	refused "puttygen '$W/ed25519255.ppk' -O private-openssh" -- -o "key=$W/ed25519255.ppk" -o transport=ssh
}
rsa_files() {
	as rsa2048 rsa.pem -O private-openssh
	logs_in rsa.pem
	as rsa2048 encrypted.pem -O private-openssh -P --new-passphrase "$W/pass"
	logs_in encrypted.pem
	as rsa2048 rsa -O private-openssh-new
	logs_in rsa
	cp "$W/rsa" "$W/encrypted"
	ssh-keygen -q -p -P '' -N secret -f "$W/encrypted"
	logs_in encrypted
	SSH_ASKPASS=$W/wrongpass refused encrypted "passphrase" -- -o "key=$W/encrypted"
}
rsa_agent() {
	local out
	out=$(ssh-agent -s -a "$W/agent.sock")
	started agent "$(sed -n 's/.*SSH_AGENT_PID=\([0-9]*\).*/\1/p' <<<"$out")"
	export SSH_AUTH_SOCK=$W/agent.sock
	ssh-add -q "$W/rsa"
	sed -i '/^key/d' "$XDG_CONFIG_HOME/vastfs/config.ini"
	rc_is 0 try
	eq "$(<"$MNT/file")" hello
	umount_fs
	kill "$(pid_of agent)"
}
# ssh(1) asks for the passphrase of each connection; a person does not sit there for long
ssh_passphrase() {
	local pid
	printf '#!/bin/sh\necho asked >>%s\necho secret\n' "$W/asked" >"$W/asks"
	chmod 755 "$W/asks"
	SSH_ASKPASS=$W/asks rc_is 0 try -o "key=$W/encrypted" -o transport=ssh
	wait_for 20 all_up || die "connections without the passphrase"
	eq "$(wc -l <"$W/asked")" 1 "times asked"
	for pid in $(descendants "$(daemon_pid)"); do kill -KILL "$pid" 2>/dev/null || true; done
	wait_for 20 all_up || die "no connection after a lost link"
	eq "$(<"$MNT/file")" hello
	eq "$(wc -l <"$W/asked")" 1 "times asked"
	! grep -l secret /proc/"$(daemon_pid)"/environ || die "a secret in the environment"
	eq "$(find "$XDG_RUNTIME_DIR/vastfs" -perm /077 ! -type d)" "" "sockets that others can use"
	umount_fs
	eq "$(ls "$XDG_RUNTIME_DIR/vastfs")" "" "files left behind"
}
ssh_terminal() { # host key and passphrase
	local shown
	shown=$("$PYTHON" "$TESTS/integ/pty_run.py" "connecting .yes/no/.fingerprint" yes "$BUILD/mount.vastfs" \
		-o "transport=ssh,known_hosts=$W/no_hosts" gpu "$MNT")
	has "$shown" "can't be established"
	is_mounted || die "not mounted: $shown"
	umount_fs
	"$PYTHON" "$TESTS/integ/pty_run.py" "Enter passphrase for key" secret "$BUILD/mount.vastfs" \
		-o "key=$W/encrypted,transport=ssh" gpu "$MNT"
	umount_fs
	fails "$PYTHON" "$TESTS/integ/pty_run.py" "Enter passphrase for key" wrong "$BUILD/mount.vastfs" \
		-o "key=$W/encrypted,transport=ssh" gpu "$MNT"
}
rsa_refused() { # by the server, as any other
	ssh-keygen -q -t rsa -b 2048 -N '' -f "$W/stranger"
	refused "Permission denied" stranger RSA -- -o "key=$W/stranger"
}

check "makes keys with puttygen" make_keys
check "PuTTY's keys without a passphrase, versions 2 and 3" putty_plain
check "the same with a passphrase" putty_passphrase
check "the same where ssh(1) would carry bulk data" putty_near
check "what is wrong with a PuTTY key is said" putty_messages
check "the passphrase's window is a program like others, with libssh2" window_hears enc3.ppk -o transport=libssh2
check "RSA key files: PEM and OpenSSH's, with a passphrase and without" rsa_files
check "the passphrase's window is a program like others, with ssh" window_hears encrypted -o transport=ssh
check "transport=ssh asks for a passphrase once, and connects again" ssh_passphrase
check "transport=ssh asks on the terminal" ssh_terminal
check "an RSA key in the agent" rsa_agent
check "an RSA key that the server does not know" rsa_refused
finish
