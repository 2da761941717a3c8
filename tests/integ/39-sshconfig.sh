#!/bin/bash
# ~/.ssh/config: what it says of a host is followed, also the way behind a jump host, by libssh2 and by ssh processes.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "ssh_config" "not for $MOUNT_WITH"; finish; }
unset TRANSPORT # each is tried here
setup
INI=$XDG_CONFIG_HOME/vastfs/config.ini
CONFIG=$HOME/.ssh/config

# A jump host: an sshd of its own, with another host key, that lets nothing through but to one port. Sets JUMP_PORT.
jump_start() { # NAME PORT
	JUMP_PORT=$(free_port)
	ssh-keygen -q -t ed25519 -N '' -f "$W/$1_key"
	[[ -e $W/sshd_config ]] || openssh_configure "$SSHD_PORT"
	sed -e "s/^Port .*/Port $JUMP_PORT/; s|^HostKey .*|HostKey $W/$1_key|; /^Subsystem/d" "$W/sshd_config" >"$W/$1_config"
	echo "PermitOpen 127.0.0.1:$2" >>"$W/$1_config"
	setsid /usr/sbin/sshd -D -e -f "$W/$1_config" >"$W/$1.log" 2>&1 </dev/null &
	started "$1" $!
	disown
	wait_for 10 tcp_open "$JUMP_PORT" || die "the jump host does not start"
	echo "[127.0.0.1]:$JUMP_PORT $(cut -d' ' -f1,2 <"$W/$1_key.pub")" >>"$W/known_hosts"
}
jumped() { grep -c "Accepted publickey" "$W/${1:-jump}.log" || true; }

config() { # LINE… of Host box
	{
		printf 'Host box\n\tHostName 127.0.0.1\n\tPort %s\n\tUserKnownHostsFile %s\n' "$SSHD_PORT" "$W/known_hosts"
		[[ $# == 0 ]] || printf '\t%s\n' "$@"
		printf 'Host jump\n\tHostName 127.0.0.1\n\tPort %s\n\tIdentityFile %s\n\tUserKnownHostsFile %s\n' \
			"$JUMP_PORT" "$W/key" "$W/known_hosts"
	} >"$CONFIG"
}
profile() { printf '[gpu]\nhost = box\npath = %s\n' "$REMOTE" >"$INI"; }
works() { # [OPTION…]
	mount_fs "$@"
	echo "$RANDOM" >"$MNT/f"
	same_file "$MNT/f" "$REMOTE/f"
	eq "$("$BUILD/vastfs" status --json "$MNT" | jq -r .host)" 127.0.0.1
	umount_fs
}

plain() {
	config "IdentityFile $W/key" "User $(id -un)"
	works -o transport=libssh2
	works -o transport=ssh
	works
}
precedence() {
	local transport
	config "IdentityFile $W/nokey" "Port 1"
	sed -i 's/^\tPort [2-9].*//' "$CONFIG"
	for transport in libssh2 ssh; do
		works -o "port=$SSHD_PORT,key=$W/key,transport=$transport"
		rc_is 32 mount_fs -o "key=$W/key,transport=$transport"
		has_re "$OUT" "127.0.0.1(:| port )1"
	done
}
forward_of_config() {
	local port transport
	port=$(free_port)
	config "IdentityFile $W/key" "LocalForward $port 127.0.0.1:$SSHD_PORT"
	for transport in libssh2 ssh; do
		mount_fs -o "transport=$transport"
		wait_for 10 forwarded "$port" || die "no answer through the forward"
		umount_fs
	done
}
forwarded() { ssh-keyscan -p "$1" 127.0.0.1 2>&1 | grep -q SSH-2.0; }
through_jump() { # OPTION…
	local before
	config "IdentityFile $W/key" "ProxyJump jump"
	before=$(jumped)
	works "$@"
	ge "$(jumped)" $((before + 1)) "connections of the jump host"
}
forward_through_jump() {
	local port transport
	port=$(free_port)
	config "IdentityFile $W/key" "ProxyJump $(id -un)@jump:$JUMP_PORT"
	for transport in libssh2 ssh; do
		mount_fs -L "$port:127.0.0.1:$SSHD_PORT" -o "transport=$transport"
		wait_for 10 forwarded "$port" || die "no answer through the forward"
		umount_fs
	done
}
# The host need not be known or in reach here.
doctor_behind_jump() {
	config "IdentityFile $W/key" "ProxyJump jump"
	rc_is 0 "$BUILD/vastfs" doctor gpu
	has_re "$OUT" "ok    address .*as jump finds it"
	has_re "$OUT" "ok    bandwidth"
	rc_is 0 "$BUILD/vastfs" show gpu
	has "$OUT" "; through jump"
	has_re "$OUT" "port += $SSHD_PORT"
	config "IdentityFile $W/key" "ProxyCommand ssh -F $CONFIG -W %h:%p jump"
	rc_is 0 "$BUILD/vastfs" doctor gpu
	has_re "$OUT" "ok    address .*as ProxyCommand finds it"
	has_re "$OUT" "ok    authentication .*by ssh"
}
# Two hosts on the way, each told of by another file, and the alias by Match lines too.
two_hops() { # OPTION…
	local near far
	mkdir -p "$HOME/.ssh/config.d"
	config
	cat >"$HOME/.ssh/config.d/way" <<-END
		Match host farbox
			ProxyJump inner
		Match originalhost inner exec "test -e $CONFIG"
			ProxyJump outer
		Host inner outer
			HostName 127.0.0.1
			IdentityFile $W/key
			UserKnownHostsFile $W/known_hosts
		Match originalhost inner
			Port $INNER_PORT
		Match originalhost outer
			Port $OUTER_PORT
	END
	cat >"$HOME/.ssh/config.d/box" <<-END
		Host far* !farther
			HostName 127.0.0.1
			Port $SSHD_PORT
			IdentityFile $W/key
			UserKnownHostsFile $W/known_hosts
	END
	# "Match host" looks at the name that is reached so far, hence before HostName is set
	sed -i "1i Include $HOME/.ssh/config.d/way $HOME/.ssh/config.d/b*" "$CONFIG"
	near=$(jumped outer) far=$(jumped inner)
	printf '[gpu]\nhost = farbox\npath = %s\n' "$REMOTE" >"$INI"
	works "$@"
	profile
	ge "$(jumped outer)" $((near + 1)) "connections of the first host"
	ge "$(jumped inner)" $((far + 1)) "connections of the second host"
}
by_command() {
	local before
	config "IdentityFile $W/key" "ProxyCommand ssh -F $CONFIG -W %h:%p jump"
	before=$(jumped)
	works
	ge "$(jumped)" $((before + 1)) "connections of the jump host"
}
by_option() {
	local before
	config "IdentityFile $W/key"
	before=$(jumped)
	works -o ProxyJump=jump
	ge "$(jumped)" $((before + 1)) "connections of the jump host"
}
# The key of the server is checked behind a jump host as everywhere.
checked() {
	config "IdentityFile $W/key" "ProxyJump jump"
	grep -v "^vastfs-gpu\|:$SSHD_PORT " "$W/known_hosts" >"$W/known.new"
	cp "$W/known_hosts" "$W/known.old"
	cp "$W/known.new" "$W/known_hosts"
	rc_is 32 mount_fs -o host_key=strict,transport=libssh2
	has "$OUT" "SHA256:"
	rc_is 32 mount_fs -o host_key=strict,transport=ssh
	has "$OUT" "SHA256:"
	cp "$W/known.old" "$W/known_hosts"
}
nothing_runs() { [[ -z $(ls "$XDG_RUNTIME_DIR/vastfs") ]]; }
leaves_nothing() {
	local pid children
	config "IdentityFile $W/key" "ProxyJump jump"
	mount_fs -o transport=libssh2
	pid=$(daemon_pid)
	children=$(descendants "$pid")
	[[ -n $children ]] || die "no ssh process"
	umount_fs
	for pid in $children; do wait_for 5 gone "$pid" || die "process $pid goes on"; done
	wait_for 10 nothing_runs
}
no_jump() {
	config "IdentityFile $W/key" "ProxyJump nobody@127.0.0.1:1"
	rc_is 32 timeout 50 "$BUILD/mount.vastfs" gpu "$MNT"
	fails is_mounted
}

jump_start inner "$SSHD_PORT"
INNER_PORT=$JUMP_PORT
jump_start outer "$INNER_PORT"
OUTER_PORT=$JUMP_PORT
jump_start jump "$SSHD_PORT"
profile
check "HostName, Port, User, IdentityFile, UserKnownHostsFile" plain
check "options and the profile go before it" precedence
check "LocalForward" forward_of_config
check "ProxyJump, with libssh2" through_jump -o transport=libssh2
check "ProxyJump, with ssh" through_jump -o transport=ssh
check "ProxyJump, by default" through_jump
check "a port forward through a jump host" forward_through_jump
check "two jump hosts, by Include and Match, with libssh2" two_hops -o transport=libssh2
check "two jump hosts, by Include and Match, with ssh" two_hops -o transport=ssh
check "ProxyCommand" by_command
check "-o ProxyJump" by_option
check "host keys behind a jump host are checked" checked
check "vastfs doctor behind a jump host" doctor_behind_jump
check "no process is left" leaves_nothing
check "a jump host that is not there" no_jump
finish
