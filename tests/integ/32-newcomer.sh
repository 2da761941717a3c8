#!/bin/bash
# What goes wrong on the first evening: each failure has its own message, advice and exit status.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "messages" "not for $MOUNT_WITH"; finish; }
setup
cp "$W/known_hosts" "$W/kh"

# Each check begins with the same state, whatever the one before it left.
newcomer() { # WORDS FUNCTION
	umount_all
	write_profile
	cp "$W/kh" "$W/known_hosts"
	cp "$W/key.pub" "$W/authorized_keys"
	rm -rf "$HOME/.ssh"
	mkdir -m 700 "$HOME/.ssh"
	check "$@"
}
try() { timeout 50 "$BUILD/mount.vastfs" "$@" gpu "$MNT" </dev/null; }
# The mount fails with this status; the message is one that a person can read: has all these words.
refused() { # STATUS WORD… -- OPTION…
	local status=$1 words=() word
	shift
	while [[ $1 != -- ]]; do
		words+=("$1")
		shift
	done
	shift
	rc_is "$status" try "$@"
	fails is_mounted
	for word in "${words[@]}"; do has_re "$OUT" "$word"; done
	le "$(wc -l <<<"$OUT")" 12 "lines of message"
	[[ $OUT != *$'\033'* ]] || die "control characters in the message"
}

key_not_known() {
	: >"$W/authorized_keys"
	refused 32 "Permission denied" "$W/key" "SHA256|ED25519|public key" "instance" --
}
wrong_user() { refused 32 "Permission denied" "nosuchuser" -- -o user=nosuchuser; }
key_open_to_others() {
	cp "$W/key" "$W/open"
	chmod 644 "$W/open"
	refused 1 "$W/open" "chmod 600" -- -o "key=$W/open"
}
key_missing() { refused 1 "$W/nokey" "not exist" -- -o "key=$W/nokey"; }
key_public() { refused 1 "key.pub" "public" -- -o "key=$W/key.pub"; }
key_encrypted() {
	ssh-keygen -q -t ed25519 -N secret -f "$W/enc"
	refused 1 "-o key" "$W/enc" "passphrase" "SSH_ASKPASS" "ssh-add" -- -o "key=$W/enc"
	refused 1 "-o key" "passphrase" "ssh-add" -- -o "key=$W/enc" -o transport=ssh
	write_profile "key = $W/enc"
	refused 1 "config.ini:$(grep -n "key = $W/enc" "$XDG_CONFIG_HOME/vastfs/config.ini" | cut -d: -f1)" "passphrase" "ssh-add" --
	write_profile
	cp "$W/authorized_keys" "$W/authorized_keys.old"
	cat "$W/enc.pub" >>"$W/authorized_keys"
	# asked for once, in OpenSSH's words; and in a window
	"$PYTHON" "$TESTS/integ/pty_run.py" "Enter passphrase for key" secret "$BUILD/mount.vastfs" -o "key=$W/enc" gpu "$MNT"
	umount_fs
	printf '#!/bin/sh\necho secret\n' >"$W/askpass"
	chmod 755 "$W/askpass"
	SSH_ASKPASS=$W/askpass SSH_ASKPASS_REQUIRE=force rc_is 0 try -o "key=$W/enc"
	umount_fs
	mv "$W/authorized_keys.old" "$W/authorized_keys"
}
# libssh2 before 1.11 can't sign with it for today's servers; ssh can
key_rsa() {
	ssh-keygen -q -t rsa -b 3072 -N '' -f "$W/rsa"
	cp "$W/authorized_keys" "$W/authorized_keys.old"
	cat "$W/rsa.pub" >>"$W/authorized_keys"
	rc_is 0 try -o "key=$W/rsa"
	umount_fs
	mv "$W/authorized_keys.old" "$W/authorized_keys"
}
key_garbage() {
	echo "not a key" >"$W/garbage"
	chmod 600 "$W/garbage"
	refused 1 "$W/garbage" "private key" -- -o "key=$W/garbage"
}
no_key() {
	sed -i '/^key/d' "$XDG_CONFIG_HOME/vastfs/config.ini"
	refused 32 "no key|no usable key" "vastfs key new" --
}
default_key() {
	cp "$W/key" "$HOME/.ssh/id_ed25519"
	sed -i '/^key/d' "$XDG_CONFIG_HOME/vastfs/config.ini"
	rc_is 0 try
	umount_fs
}
with_agent() {
	local out
	out=$(ssh-agent -s -a "$W/agent.sock")
	started agent "$(sed -n 's/.*SSH_AGENT_PID=\([0-9]*\).*/\1/p' <<<"$out")"
	SSH_AUTH_SOCK=$W/agent.sock ssh-add -q "$W/key"
	sed -i '/^key/d' "$XDG_CONFIG_HOME/vastfs/config.ini"
	SSH_AUTH_SOCK=$W/agent.sock rc_is 0 try
	umount_fs
	kill "$(pid_of agent)"
}
ecdsa_key() {
	ssh-keygen -q -t ecdsa -N '' -f "$W/ecdsa"
	cat "$W/ecdsa.pub" >>"$W/authorized_keys"
	rc_is 0 try -o "key=$W/ecdsa"
	umount_fs
}
nobody_listens() {
	local port
	port=$(free_port)
	refused 32 "refused" "$port" "port" -- -o "port=$port"
}
not_ssh() {
	local port
	"$PYTHON" -u -m http.server --bind 127.0.0.1 0 >"$W/http.out" 2>&1 &
	server=$!
	wait_for 5 grep -q port "$W/http.out"
	port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$W/http.out")
	refused 32 "SSH" "port" "$port" -- -o "port=$port"
	kill "$server"
}
silent_port() {
	local port
	"$PYTHON" - >"$W/silent.out" <<-'END' &
		import socket, time
		s = socket.create_server(("127.0.0.1", 0))
		print(s.getsockname()[1], flush=True)
		c = s.accept()
		time.sleep(60)  # sleep: until killed
	END
	server=$!
	wait_for 5 test -s "$W/silent.out"
	port=$(cat "$W/silent.out")
	env --default-signal=INT timeout 50 "$BUILD/mount.vastfs" -o "port=$port,timeout=5" gpu "$MNT" >"$W/out" 2>&1 </dev/null &
	timed wait_for 20 grep -q "$port.*SSH" "$W/out"
	le "$MS_TAKEN" 16000 "milliseconds until the message"
	# Ctrl-C while it tries again
	kill -INT -- -$!
	timed wait $! || true
	le "$MS_TAKEN" 2000 "milliseconds until it ends"
	fails is_mounted
	kill "$server"
}
unknown_host() { refused 32 "no.such.host.invalid" -- -o host=no.such.host.invalid; }
unreachable() {
	# some networks answer for everybody
	"$PYTHON" -c 'import socket; socket.create_connection(("240.0.0.1", 9), 5)' 2>&1 | grep -q "unreachable\|Invalid" || return 0
	refused 32 "240.0.0.1" "unreachable|route|reach" -- -o host=240.0.0.1,timeout=5
}
unknown_host_key() {
	rm "$W/known_hosts"
	refused 32 "host key" "SHA256:" "strict|known_hosts|accept" --
	[[ ! -s $W/known_hosts ]] || die "an unknown key was stored without asking"
}
accept_new() {
	rm "$W/known_hosts"
	rc_is 0 try -o host_key=accept-new
	umount_fs
	grep -q ssh-ed25519 "$W/known_hosts"
	rc_is 0 try -o host_key=strict
	umount_fs
}
asked() { # yes or no
	local fingerprint
	rm "$W/known_hosts"
	fingerprint=$(ssh-keygen -lf "$W/host_key.pub" | cut -d' ' -f2)
	rc_is 32 "$PYTHON" "$TESTS/integ/pty_run.py" 'continue connecting' no "$BUILD/mount.vastfs" gpu "$MNT"
	has "$OUT" "The authenticity of host"
	has "$OUT" "ED25519 key fingerprint is $fingerprint"
	has "$OUT" "Are you sure you want to continue connecting (yes/no"
	fails is_mounted
	[[ ! -s $W/known_hosts ]] || die "stored in spite of no"
	rc_is 0 "$PYTHON" "$TESTS/integ/pty_run.py" 'continue connecting' yes "$BUILD/mount.vastfs" gpu "$MNT"
	has "$OUT" "Permanently added"
	is_mounted
	umount_fs
	grep -q ssh-ed25519 "$W/known_hosts"
	rc_is 0 "$PYTHON" "$TESTS/integ/pty_run.py" 'continue connecting' no "$BUILD/mount.vastfs" gpu "$MNT"
	fails grep -q "authenticity" <<<"$OUT"
	umount_fs
	rm "$W/known_hosts"
	rc_is 0 "$PYTHON" "$TESTS/integ/pty_run.py" 'continue connecting|[Pp]lease type' "$fingerprint" "$BUILD/mount.vastfs" gpu "$MNT"
	umount_fs
}
changed_host_key() {
	local log
	ssh-keygen -q -t ed25519 -N '' -f "$W/other"
	echo "[127.0.0.1]:$SSHD_PORT $(cut -d' ' -f1,2 <"$W/other.pub")" >"$W/known_hosts"
	log=$(grep -c "Accepted\|Failed" "$W/sshd.log" || true)
	for policy in ask strict accept-new; do
		refused 32 "CHANGED|changed" "SHA256:" "ssh-keygen -R" "$W/known_hosts" -- -o "host_key=$policy"
	done
	eq "$(grep -c "Accepted\|Failed" "$W/sshd.log" || true)" "$log" "tries to log in"
	eq "$(wc -l <"$W/known_hosts")" 1 "lines of known_hosts"
}
hashed_known_hosts() {
	ssh-keygen -q -H -f "$W/known_hosts"
	fails grep -q 127.0.0.1 "$W/known_hosts"
	rc_is 0 try -o host_key=strict
	umount_fs
}
revoked() {
	echo "@revoked [127.0.0.1]:$SSHD_PORT $(cut -d' ' -f1,2 <"$W/host_key.pub")" >>"$W/known_hosts"
	refused 32 "revoked" --
}
no_such_folder() { refused 32 "/nowhere/at/all" -- -o path=/nowhere/at/all; }
folder_is_file() {
	echo x >"$REMOTE/file"
	refused 32 "$REMOTE/file" "folder|directory" -- -o "path=$REMOTE/file"
}
still_starting() {
	: >"$W/authorized_keys"
	timeout 60 "$BUILD/mount.vastfs" gpu "$MNT" >"$W/starting.out" 2>&1 </dev/null &
	wait_for 10 grep -qi "again" "$W/starting.out" || die "nothing said: $(cat "$W/starting.out")"
	cp "$W/key.pub" "$W/authorized_keys"
	wait $! || die "status $?: $(cat "$W/starting.out")"
	is_mounted
	umount_fs
}
no_subsystem() { refused 32 "sftp|SFTP" "subsystem|sftp-server|Subsystem" --; }
sftp_ends() { refused 32 "sftp|SFTP" --; }
noisy_shell() { refused 32 "prints|print" "bashrc|login shell|shell" --; }
agents_output_goes() { # the pre-authentication banner is harmless
	rc_is 0 try
	umount_fs
}

newcomer "a key that the instance does not know" key_not_known
newcomer "a user that is not there" wrong_user
newcomer "a key that others can read" key_open_to_others
newcomer "a key that is missing" key_missing
newcomer "the public half of a key" key_public
newcomer "an encrypted key" key_encrypted
newcomer "an RSA key" key_rsa
newcomer "a file that is no key" key_garbage
newcomer "no key at all" no_key
newcomer "the default key of ~/.ssh" default_key
newcomer "ssh-agent" with_agent
newcomer "an ECDSA key" ecdsa_key
newcomer "nobody listens on the port" nobody_listens
newcomer "a web server on the port" not_ssh
newcomer "a port that says nothing" silent_port
newcomer "a host name that does not exist" unknown_host
newcomer "a host that can't be reached" unreachable
newcomer "an unknown host key without a terminal is refused" unknown_host_key
newcomer "host_key=accept-new" accept_new
newcomer "the question about an unknown host key, no and yes and the fingerprint" asked
newcomer "a changed host key is refused under every policy, before anything is sent" changed_host_key
newcomer "hashed known_hosts" hashed_known_hosts
newcomer "a revoked host key" revoked
newcomer "a remote folder that is not there" no_such_folder
newcomer "a remote folder that is a file" folder_is_file
sshd_kill
cat >"$W/banner" <<'END'
Welcome to vast.ai. If authentication fails, try again after a few seconds, and double check your ssh key.
Have fun!
END
SSHD_EXTRA="Banner $W/banner" sshd_start "$SSHD_PORT"
newcomer "a banner before the login is harmless" agents_output_goes
newcomer "sshd still starting: tries again, and says so" still_starting
sshd_kill
SFTP_SERVER=none sshd_start "$SSHD_PORT"
newcomer "no sftp subsystem" no_subsystem
sshd_kill
SFTP_SERVER=/bin/false sshd_start "$SSHD_PORT"
newcomer "an sftp server that ends at once" sftp_ends
sshd_kill
SFTP_SERVER='' sshd_start "$SSHD_PORT"
if [[ $SERVER == internal ]]; then
	skip "a login shell that prints into the stream" "internal-sftp starts no shell"
elif [[ $(id -u) == 0 && $(getent passwd root | cut -d: -f7) == */bash ]]; then
	echo 'echo Welcome to the machine' >"$W/server-home/.bashrc"
	newcomer "a login shell that prints into the stream" noisy_shell
	rm "$W/server-home/.bashrc"
else
	skip "a login shell that prints into the stream" "needs root with bash"
fi
finish
