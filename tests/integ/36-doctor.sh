#!/bin/bash
# vastfs doctor: every step of a good instance, and for each thing that is broken its cause and cure.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "vastfs doctor" "not for $MOUNT_WITH"; finish; }
setup
INI=$XDG_CONFIG_HOME/vastfs/config.ini
doctor() { timeout 60 "$BUILD/vastfs" doctor gpu </dev/null; }
# It fails with one line FAIL that has the first words, and a cure on the next that has the second ones.
finds() { # STEP CAUSE CURE
	rc_is 1 doctor
	has_re "$OUT" "FAIL +$1 +[^"$'\n'"]*$2"
	has_re "$(grep -A1 "FAIL  $1" <<<"$OUT" | tail -n 1)" "$3"
	[[ $OUT != *$'\033'* ]] || die "control characters in it"
}
healthy() {
	rc_is 0 doctor
	for step in address port "SSH banner" "host key" "key file" authentication sftp "round trip" "login shell" "disk space" \
		clock bandwidth /dev/fuse fusermount3; do
		has_re "$OUT" "ok    $step "
	done
	has "$OUT" "posix-rename@openssh.com"
	has "$OUT" "mount.vastfs gpu"
	# in the order of the way
	eq "$(grep -oE '^ok +(address|port|SSH|host|key|auth|sftp|login|disk|clock|/dev)' <<<"$OUT" | awk '{ print $2 }' | xargs)" \
		"address port SSH host key auth sftp login disk clock /dev"
}
no_name() {
	write_profile "host = no.such.host.invalid"
	finds address no.such.host.invalid profile
}
no_port() {
	write_profile "port = 1"
	finds port "nothing listens" console
}
no_ssh() {
	local port server
	"$PYTHON" -u -m http.server --bind 127.0.0.1 0 >"$W/http.out" 2>&1 &
	server=$!
	wait_for 5 grep -q port "$W/http.out"
	port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$W/http.out")
	write_profile "port = $port"
	finds "SSH banner" "does not speak SSH" Jupyter
	kill "$server"
}
other_host_key() {
	cp "$W/known_hosts" "$W/kh"
	[[ -e $W/other ]] || ssh-keygen -q -t ed25519 -N '' -f "$W/other"
	echo "[127.0.0.1]:$SSHD_PORT $(cut -d' ' -f1,2 <"$W/other.pub")" >"$W/known_hosts"
	finds "host key" CHANGED .
	: >"$W/known_hosts"
	finds "host key" "not in" .
	cp "$W/kh" "$W/known_hosts"
}
by_ssh() {
	write_profile "transport = ssh"
	rc_is 0 doctor
	has_re "$OUT" "ok    authentication +as .*by ssh.*, with $W/key ED25519 SHA256:"
	: >"$W/authorized_keys"
	finds authentication "Permission denied" "public key"
	ssh-keygen -q -t ed25519 -N secret -f "$W/enc"
	cat "$W/key.pub" "$W/enc.pub" >"$W/authorized_keys"
	printf '#!/bin/sh\necho secret\n' >"$W/askpass"
	chmod 755 "$W/askpass"
	write_profile "transport = ssh" "key = $W/enc"
	SSH_ASKPASS=$W/askpass rc_is 0 doctor
	TRANSPORT='' write_profile "key = $W/enc"
	SSH_ASKPASS=$W/askpass rc_is 0 doctor
	finds authentication "passphrase" .
	cp "$W/key.pub" "$W/authorized_keys"
	write_profile
}
key_refused() {
	: >"$W/authorized_keys"
	finds authentication "Permission denied" .
	has "$OUT" "ok    host key"
	cp "$W/key.pub" "$W/authorized_keys"
}
key_open() {
	chmod 644 "$W/key"
	finds profile "open to others|read" "chmod 600"
	chmod 600 "$W/key"
}
no_folder() {
	write_profile "path = $REMOTE/nowhere"
	finds folder "no folder $REMOTE/nowhere" path
	echo x >"$REMOTE/nowhere"
	finds folder "no folder $REMOTE/nowhere" path
	rm "$REMOTE/nowhere"
}
# Nobody is there to be asked, and the key is found without having been named.
passphrase() {
	cp "$W/enc" "$HOME/.ssh/id_ed25519"
	sed -i '/^key/d' "$INI"
	finds authentication "passphrase" ssh-add
	rm "$HOME/.ssh/id_ed25519"
}
ssh_refuses() {
	write_profile "transport = ssh" "ssh_option = NoSuchOption=1"
	finds connection "does not like its configuration" "ssh_option.*nosuchoption"
}
no_sftp() {
	sshd_kill
	SFTP_SERVER=none sshd_start "$SSHD_PORT"
	finds sftp "no SFTP subsystem" "Subsystem sftp"
	has "$OUT" "ok    disk space"
}
noisy() {
	echo 'echo Welcome to the machine' >"$W/server-home/.bashrc"
	finds "login shell" "Welcome to the machine" "return"
	# stderr is no part of what SFTP reads
	echo 'echo Welcome to the machine >&2' >"$W/server-home/.bashrc"
	healthy
	rm "$W/server-home/.bashrc"
}
sftp_alone() {
	sshd_kill
	SSHD_EXTRA="ForceCommand internal-sftp" SFTP_SERVER=internal-sftp sshd_start "$SSHD_PORT"
	timeout 60 "$BUILD/vastfs" doctor gpu </dev/null >"$W/out" 2>&1 || true
	grep -q "ok    sftp" "$W/out"
	grep -q "note  login shell .*SFTP alone" "$W/out"
	fails grep FAIL "$W/out"
	no_folder
	sshd_kill
	sshd_start "$SSHD_PORT"
}
hung_shell() {
	sshd_kill
	SFTP_SERVER=internal-sftp sshd_start "$SSHD_PORT"
	echo 'tail -f /dev/null' >"$W/server-home/.bashrc"
	finds "login shell" "gives no answer: Connection timed out" "bashrc"
	rm "$W/server-home/.bashrc"
	sshd_kill
	sshd_start "$SSHD_PORT"
}
no_fuse() {
	write_profile
	# shellcheck disable=SC2016
	rc_is 1 unshare -m --propagation private sh -c 'mount -t tmpfs none /dev && mknod /dev/null c 1 3 && exec "$0" doctor gpu' \
		"$BUILD/vastfs"
	has "$OUT" "FAIL  /dev/fuse"
	has "$OUT" "modprobe fuse"
	PATH=/nowhere rc_is 1 "$BUILD/vastfs" doctor gpu
	has "$OUT" "apt-get install fuse3"
}
words() {
	rc_is 1 "$BUILD/vastfs" doctor
	rc_is 1 "$BUILD/vastfs" doctor nosuch
	has "$OUT" "nosuch"
	# a path of the user's does not reach the shell unquoted
	write_profile "path = /x'; touch $W/owned; '"
	timeout 60 "$BUILD/vastfs" doctor gpu </dev/null >/dev/null 2>&1 || true
	[[ ! -e $W/owned ]]
	write_profile
}
each() {
	write_profile
	check "$@"
}

each "a good instance: all steps, in order" healthy
each "a host that does not exist" no_name
each "a port where nobody listens" no_port
each "a port of something else" no_ssh
each "an unknown and a changed host key" other_host_key
each "a key that is refused" key_refused
each "ssh(1) logs in, or why it does not; passphrases" by_ssh
each "a key file that others can read" key_open
each "a folder that is not there, or is none" no_folder
each "an option that ssh does not know" ssh_refuses
[[ ${TRANSPORT:-} == ssh ]] || each "a key with a passphrase and nobody to ask" passphrase
if [[ $(id -u) == 0 && $(getent passwd root | cut -d: -f7) == */bash ]]; then
	each "a login shell that prints" noisy
	each "a login shell that hangs" hung_shell
	each "no /dev/fuse, no fusermount3" no_fuse
fi
each "no SFTP subsystem" no_sftp
each "a server with SFTP alone" sftp_alone
each "words" words
if [[ ${TRANSPORT:-} != ssh ]]; then
	TRANSPORT=ssh
	each "over ssh: a good instance" healthy
	each "over ssh: an unknown and a changed host key" other_host_key
	each "over ssh: a key that is refused" key_refused
	[[ $(id -u) != 0 ]] || each "over ssh: a login shell that prints" noisy
	each "over ssh: no SFTP subsystem" no_sftp
	each "over ssh: a server with SFTP alone" sftp_alone
fi
grep -q gpu "$INI" || not_ok "the profile is as it was"
finish
