#!/bin/bash
# Security keys (FIDO) and certificates: in the agent and as files. The token is one of software, tests/tools/sk_provider.c,
# that ssh-keygen, ssh-add, ssh and a real ssh-agent load in place of a token's driver; it counts touches.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "security keys" "not for $MOUNT_WITH"; finish; }
[[ $SERVER == external || $SERVER == internal ]] || { skip "security keys" "$SERVER does not know them"; finish; }
setup_dirs
setup_keys
ssh-keygen -q -t ed25519 -N '' -f "$W/ca"
SSHD_EXTRA="TrustedUserCAKeys $W/ca.pub" sshd_start
write_profile
sed -i '/^key/d' "$XDG_CONFIG_HOME/vastfs/config.ini"

PROVIDER=$TOOLS/sk_provider.so
[[ -e $PROVIDER ]] || make -s -C "$ROOT" "${PROVIDER#"$ROOT/"}"
export SK_TOUCHES=$W/touches
echo hello >"$REMOTE/file"

make_keys() {
	local type
	for type in ed25519-sk ecdsa-sk; do
		ssh-keygen -q -t "$type" -w "$PROVIDER" -N '' -C "my $type" -f "$W/$type"
	done
	has "$(<"$W/ed25519-sk.pub")" sk-ssh-ed25519@openssh.com
	cat "$W/ed25519-sk.pub" "$W/ecdsa-sk.pub" >"$W/authorized_keys"
}
# An agent with these keys.
agent_with() { # KEY…
	local out key
	if [[ ! -e $W/agent.pid ]]; then
		out=$(ssh-agent -s -a "$W/agent.sock" -P "$PROVIDER")
		started agent "$(sed -n 's/.*SSH_AGENT_PID=\([0-9]*\).*/\1/p' <<<"$out")"
	fi
	export SSH_AUTH_SOCK=$W/agent.sock
	ssh-add -q -D
	for key; do ssh-add -q -S "$PROVIDER" "$key" 2>&1; done
	: >"$SK_TOUCHES"
}
try() { timeout 50 "$BUILD/mount.vastfs" "$@" gpu "$MNT" </dev/null; }
touches() { stat -c %s "$SK_TOUCHES"; }
# One connection, one touch.
logs_in() { # [OPTION…]
	rc_is 0 try -o connections=1 "$@"
	eq "$(<"$MNT/file")" hello
	eq "$(touches)" 1 touches
	umount_fs
}
# libssh2 alone: where it can't, it says what does, without a touch.
library_logs_in() { # WORD…
	local word
	: >"$SK_TOUCHES"
	if OUT=$(try -o connections=1,transport=libssh2 2>&1); then
		eq "$(<"$MNT/file")" hello
		umount_fs
		return
	fi
	has_re "$OUT" "libssh2 1\..*transport=ssh"
	for word; do has "$OUT" "$word"; done
	eq "$(touches)" 0 "touches in vain"
}

in_agent() { # TYPE
	agent_with "$W/$1"
	logs_in
	: >"$SK_TOUCHES"
	logs_in -o transport=ssh
	library_logs_in "my $1" "${1^^}"
}
# Each connection wants a touch of its own, and one more serves all that runs there.
many_connections() {
	agent_with "$W/ed25519-sk"
	rc_is 0 try
	wait_for 20 all_up || die "connections that are missing"
	eq "$(touches)" 4 touches
	cd "$MNT"
	eq "$("$BUILD/vastfs" run cat file)" hello
	eq "$("$BUILD/vastfs" run cat file)" hello
	cd /
	eq "$(touches)" 5 "touches with programs"
	umount_fs
}
as_file() {
	agent_with
	unset SSH_AUTH_SOCK
	echo "SecurityKeyProvider $PROVIDER" >"$HOME/.ssh/config"
	logs_in -o "key=$W/ecdsa-sk"
	: >"$SK_TOUCHES"
	logs_in -o "key=$W/ed25519-sk,transport=ssh"
	rc_is 32 try -o "key=$W/ed25519-sk,transport=libssh2"
	for word in "$W/ed25519-sk" "security key" "transport=ssh"; do has "$OUT" "$word"; done
	rm "$HOME/.ssh/config"
}
not_plugged_in() {
	unset SSH_AUTH_SOCK
	rc_is 32 try -o "key=$W/ed25519-sk,SecurityKeyProvider=$W/none.so"
	has "$OUT" "plugged in"
	has "$OUT" "ED25519-SK"
}
default_file() { # beside a key that the server does not know
	unset SSH_AUTH_SOCK
	: >"$SK_TOUCHES"
	ssh-keygen -q -t ed25519 -N '' -f "$HOME/.ssh/id_ed25519"
	cp "$W/ecdsa-sk" "$HOME/.ssh/id_ecdsa_sk"
	echo "SecurityKeyProvider $PROVIDER" >"$HOME/.ssh/config"
	logs_in
	rm "$HOME/.ssh/config"
	rm "$HOME/.ssh/id_ed25519" "$HOME/.ssh/id_ecdsa_sk"
}
not_known_there() {
	ssh-keygen -q -t ed25519-sk -w "$PROVIDER" -N '' -C stranger -f "$W/stranger"
	agent_with "$W/stranger"
	rc_is 32 try
	has "$OUT" ED25519-SK
	has "$OUT" "SHA256:"
	has "$OUT" "does not accept"
}
doctor() {
	agent_with "$W/ed25519-sk"
	rc_is 0 "$BUILD/vastfs" doctor gpu
	has "$OUT" "ED25519-SK"
}
certificate() {
	ssh-keygen -q -t ed25519 -N '' -C certified -f "$W/plain"
	ssh-keygen -q -s "$W/ca" -I me -n "$(id -un)" "$W/plain.pub"
	agent_with "$W/plain"
	rc_is 0 try
	eq "$(<"$MNT/file")" hello
	umount_fs
	# as the agent's only key
	mv "$W/plain-cert.pub" "$W/kept"
	ssh-add -q -d "$W/plain.pub"
	has "$(ssh-add -L)" cert-v01
	library_logs_in cert-v01
}

check "makes keys on a security key" make_keys
check "an ed25519-sk key in the agent" in_agent ed25519-sk
check "an ecdsa-sk key in the agent" in_agent ecdsa-sk
check "a touch for each connection" many_connections
check "as files, without an agent" as_file
check "a file whose token is not there" not_plugged_in
check "one of the usual names, beside a key that is refused" default_file
check "one that the server does not know" not_known_there
check "vastfs doctor" doctor
check "a certificate in the agent" certificate
kill "$(cat "$W/agent.pid" 2>/dev/null)" 2>/dev/null
finish
