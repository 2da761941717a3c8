#!/bin/bash
# vastfs run and vastfs ssh: programs on the instance, in the same folder, after what was saved here.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "vastfs run" "not for $MOUNT_WITH"; finish; }
setup
V=$BUILD/vastfs
mount_fs || finish

same_folder() {
	mkdir -p "$MNT/a b/it's"
	cd "$MNT/a b/it's"
	eq "$("$V" run pwd)" "$REMOTE/a b/it's"
	# shellcheck disable=SC2016,SC1003
	eq "$("$V" run -- printf '%s|' 'x y' "it's" '$HOME' '`id`' '"q"' '' '*' $'new\nline' '\')" "x y|it's|\$HOME|\`id\`|\"q\"||*|"$'new\nline'"|\\|"
	cd "$W"
	eq "$("$V" run --on "$MNT/a b" pwd)" "$REMOTE/a b"
	eq "$("$V" run --on gpu pwd)" "$REMOTE"
	rc_is 255 "$V" run pwd
	has "$OUT" "not on an instance"
}
no_shell_sees_it() {
	mkdir -p "$MNT/\$(touch owned)" "$MNT/'; touch owned; '"
	# shellcheck disable=SC2016
	(cd "$MNT/\$(touch owned)" && "$V" run true)
	# shellcheck disable=SC2016
	(cd "$MNT/'; touch owned; '" && "$V" run true ';' touch owned '$(touch owned)')
	eq "$(find "$REMOTE" "$W/server-home" -name owned | wc -l)" 0
}
after_saving() {
	cd "$MNT"
	exec 7>"$MNT/unsent" # not closed: it is sent all the same
	head -c 3000000 /dev/zero >&7
	eq "$("$V" run stat -c %s unsent)" 3000000
	exec 7>&-
	for i in 1 2 3; do
		echo "echo saved $i" >"$MNT/script.sh"
		eq "$("$V" run sh script.sh)" "saved $i"
	done
}
exit_status() {
	cd "$MNT"
	rc_is 0 "$V" run true
	rc_is 1 "$V" run false
	rc_is 77 "$V" run sh -c 'exit 77'
	rc_is 127 "$V" run no-such-program-anywhere
	has "$OUT" "not found"
	# shellcheck disable=SC2016
	rc_is 137 "$V" run sh -c 'kill -KILL $$'
	rc_is 1 "$V" run
	rc_is 1 "$V" run --nonsense ls
}
streams() {
	cd "$MNT"
	head -c 30000000 /dev/urandom >"$W/big"
	# shellcheck disable=SC2094
	"$V" run cat <"$W/big" | cmp - "$W/big"
	"$V" run sh -c 'cat >in; echo done' <"$W/big"
	same_file "$W/big" "$REMOTE/in"
	eq "$("$V" run sh -c 'echo out; echo err >&2' 2>"$W/err")" out
	eq "$(cat "$W/err")" err
	eq "$("$V" run wc -c </dev/null)" 0
	# one that does not read its input, and a reader that has enough
	rc_is 0 "$V" run true <"$W/big"
	"$V" run yes | head -n 1 >"$W/head"
	eq "$(cat "$W/head")" y
	wait_for 10 no_program yes
}
remote_pids() { for pid in $(descendants "$(pid_of sshd)"); do tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null && echo; done; }
no_program() { ! remote_pids | grep -q "$1"; }
a_program() { remote_pids | grep -q "$1"; }
slow_reader() {
	# a program whose output nobody takes does not stop the file system
	cd "$MNT"
	local pid
	mkfifo "$W/fifo"
	"$V" run sh -c 'yes nobody-reads-this' >"$W/fifo" &
	pid=$!
	exec 8<"$W/fifo"
	wait_for 10 a_program nobody-reads
	for i in {1..50}; do echo "$i" >"$MNT/alive"; done
	synced
	eq "$(cat "$REMOTE/alive")" 50
	eq "$("$V" run echo also)" also
	exec 8<&-
	kill -KILL "$pid" 2>/dev/null || true
	wait_for 10 no_program nobody-reads
}
signals() {
	local pid
	cd "$MNT"
	rm -f "$W"/{sig,int,kill}.out # an earlier round's "ready" would come too soon
	"$V" run sh -c 'trap "echo got TERM; exit 5" TERM; echo ready; while :; do sleep 0.1; done' >"$W/sig.out" 2>&1 & # sleep: on the far side
	pid=$!
	wait_for 10 grep -q ready "$W/sig.out"
	kill -TERM "$pid"
	wait "$pid" || eq $? 5 "status"
	grep -q "got TERM" "$W/sig.out"
	# Ctrl-C, to a program with children
	env --default-signal=INT "$V" run sh -c '(echo ready; exec sleep 987); true' >"$W/int.out" 2>&1 & # sleep: there
	pid=$!
	wait_for 10 grep -q ready "$W/int.out"
	wait_for 10 a_program "^sleep 987" # sleep: a shell that is about to become it may lose a signal
	kill -INT "$pid"
	wait "$pid" || eq $? 130 "status"
	wait_for 10 no_program "sleep 987" # sleep: there
	# killed here, it ends there
	"$V" run sh -c 'echo ready; sleep 988' >"$W/kill.out" 2>&1 & # sleep: there
	pid=$!
	wait_for 10 grep -q ready "$W/kill.out"
	kill -KILL "$pid"
	wait_for 10 no_program "sleep 988" # sleep: there
}
on_terminal() {
	cd "$MNT"
	cat >"$W/term.py" <<-'END'
		import fcntl, os, pty, select, signal, struct, sys, termios, time
		V = sys.argv[1]
		def run(words, script, size=(31, 97)):
		    pid, fd = pty.fork()
		    if pid == 0:
		        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
		        os.environ["TERM"] = "xterm-256color"
		        os.execv(V, [V, "run"] + words)
		    shown, deadline = b"", time.monotonic() + 30
		    script = list(script)
		    while time.monotonic() < deadline:
		        if script and script[0][0] in shown:
		            act = script.pop(0)[1]
		            act(fd) if callable(act) else os.write(fd, act)
		        if select.select([fd], [], [], 0.05)[0]:
		            try:
		                data = os.read(fd, 65536)
		            except OSError:
		                break
		            if not data:
		                break
		            shown += data
		    else:
		        os.kill(pid, signal.SIGKILL)
		    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown
		def resize(fd):
		    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
		status, shown = run(["sh", "-c", "test -t 0 && test -t 1 && stty size && echo $TERM"], [])
		assert status == 0 and b"31 97" in shown and b"xterm-256color" in shown, (status, shown)
		status, shown = run(["sh", "-c", "trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.1; done"], [(b"ready", resize)])  # sleep: there
		assert status == 3 and b"40 120" in shown, (status, shown)
		status, shown = run(["sh", "-c", "trap 'echo got-int; exit 9' INT; echo ready; while :; do sleep 0.1; done"], [(b"ready", b"\x03")])  # sleep: there
		assert status == 9 and b"got-int" in shown, (status, shown)
		status, shown = run(["sh", "-c", "read x; echo said:$x"], [(b"", b"hello\r")])
		assert status == 0 and b"said:hello" in shown, (status, shown)
		# all 8 bits both ways
		status, shown = run(["sh", "-c", "printf '\\303\\244\\n'"], [])
		assert status == 0 and "ä".encode() in shown, (status, shown)
		status, shown = run(["-T", "sh", "-c", "test -t 0 || echo no terminal"], [])
		assert status == 0 and b"no terminal" in shown, (status, shown)
	END
	"$PYTHON" "$W/term.py" "$V"
}
a_shell() {
	cd "$MNT/a b"
	cat >"$W/shell.py" <<-'END'
		import os, pty, select, sys, time
		pid, fd = pty.fork()
		if pid == 0:
		    os.execv(sys.argv[1], sys.argv[1:])
		os.write(fd, b"pwd; exit 4\r")
		shown = b""
		while select.select([fd], [], [], 30)[0]:
		    try:
		        shown += os.read(fd, 65536)
		    except OSError:
		        break
		print(shown.decode(errors="replace"))
		sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
	END
	rc_is 4 "$PYTHON" "$W/shell.py" "$V" ssh
	has "$OUT" "$REMOTE/a b"
	cd "$W"
	rc_is 4 "$PYTHON" "$W/shell.py" "$V" ssh gpu
	has "$OUT" "$REMOTE"
	echo 'pwd; exit 6' >"$W/in"
	# shellcheck disable=SC2016
	rc_is 6 sh -c '"$0" ssh gpu <"$1"' "$V" "$W/in"
	rc_is 255 "$V" ssh nosuch
}
no_programs() { [[ $("$V" status --json "$MNT" | jq .requests.programs) == 0 ]]; }
session_kept() {
	local before
	cd "$MNT"
	"$V" run true
	wait_for 20 all_up # they log in too
	before=$(grep -c "Accepted publickey" "$W/sshd.log")
	for _ in {1..10}; do "$V" run true; done
	eq "$(grep -c "Accepted publickey" "$W/sshd.log")" "$before" "logins"
	wait_for 10 no_programs
	# many at once
	local pids=() i
	for i in {1..8}; do
		"$V" run sh -c "cat >many$i" <"$W/big" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	for i in {1..8}; do same_file "$W/big" "$REMOTE/many$i"; done
}
lost_link() {
	cd "$MNT"
	"$V" run sh -c 'echo ready; sleep 500' >"$W/lost.out" 2>&1 & # sleep: there
	local pid=$!
	wait_for 10 grep -q ready "$W/lost.out"
	sshd_kill
	wait "$pid" || eq $? 255 "status"
	grep -q "connection" "$W/lost.out"
	rc_is 255 timeout 60 "$V" run true
	cd "$W" # its server must not stand in the mount
	sshd_start "$SSHD_PORT"
	wait_for 40 up
	cd "$MNT"
	rc_is 0 "$V" run true
}
up() { [[ $("$V" status --json "$MNT" | jq .connected) == true ]]; }
unmounted_meanwhile() {
	local pid
	cd "$W"
	"$V" run --on gpu sh -c 'echo ready; sleep 501' >"$W/um.out" 2>&1 & # sleep: there
	pid=$!
	wait_for 10 grep -q ready "$W/um.out"
	umount_fs
	wait "$pid" || eq $? 255 "status"
	grep -q "unmounted" "$W/um.out"
	wait_for 10 no_program "sleep 501" # sleep: there
}
shell_without_mount() {
	rc_is 4 "$PYTHON" "$W/shell.py" "$V" ssh gpu
}

# What a program there made and changed is seen at once, however old what was known is.
results() {
	local i
	mkdir "$REMOTE/results"
	for i in 1 2 3; do echo "$i" >"$REMOTE/results/old$i"; done
	touch -d "2020-01-01" "$REMOTE/results"/* "$REMOTE/results"
	cd "$MNT/results"
	wait_for 5 test -e old3
	eq "$(cat old*)" $'1\n2\n3'
	eq "$(stat -c %s old2)" 2
	fails test -e new
	eq "$(echo *)" "old1 old2 old3"
	"$V" run sh -c 'echo changed >old1; chmod 700 old2; rm old3; echo new >new; touch -d 2020-01-01 . *'
	eq "$(echo *)" "new old1 old2"
	eq "$(cat new old1)" $'new\nchanged'
	eq "$(stat -c %a old2)" 700
	eq "$(stat -c %s old1)" 8
	fails test -e old3
}
by_ssh() {
	umount_fs
	write_profile "$1"
	mount_fs
	cd "$MNT"
	rm -f by-ssh.made
	echo "echo saved by ssh; exit 3" >"$MNT/by-ssh.sh"
	rc_is 3 "$V" run sh by-ssh.sh
	has "$OUT" "saved by ssh"
	fails test -e by-ssh.made
	"$V" run touch by-ssh.made
	test -e by-ssh.made
	eq "$("$V" run printf '%s|' "it's" 'x y')" "it's|x y|"
	eq "$(echo in | "$V" run cat)" in
	rc_is 255 "$V" run sh -c "$(printf '%32000s' x)"
	has "$OUT" "put it into a script"
}

check "the same folder; words as they are" same_folder
check "no shell sees a name or a word unquoted" no_shell_sees_it
check "what was written here has arrived before" after_saving
check "exit status" exit_status
check "what it made and changed is seen at once" results
check "input, output and errors" streams
check "a program that nobody listens to" slow_reader
check "signals reach it; it ends with us" signals
check "on a terminal: size, keys, Ctrl-C" on_terminal
check "vastfs ssh" a_shell
check "one session for all, many programs at once" session_kept
check "a lost link" lost_link
check "unmount ends them" unmounted_meanwhile
check "vastfs ssh without a mount" shell_without_mount
mount_fs
check "with ssh(1)'s options: by ssh(1)" by_ssh "ssh_option = LogLevel=INFO"
if [[ ${TRANSPORT:-} != ssh ]]; then
	check "transport = ssh: by ssh(1)" by_ssh "transport = ssh"
	check "by ssh(1): exit status" exit_status
	check "by ssh(1): signals" signals
	check "by ssh(1): on a terminal" on_terminal
	check "by ssh(1): vastfs ssh" a_shell
	check "by ssh(1): one session for all" session_kept
fi
finish
