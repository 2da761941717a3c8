#!/bin/bash
# vastfs status --watch, looked at in tmux.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "status --watch" "not for $MOUNT_WITH"; finish; }
setup
command -v tmux >/dev/null || { skip "status --watch" "no tmux"; finish; }
V=$BUILD/vastfs
PORT=$(free_port)
proxy_start
write_profile
mount_fs -L "$PORT:localhost:$SSHD_PORT" || finish

tm() { tmux -L vastfs-test -S "$W/tmux.sock" "$@"; }
screen() { tm capture-pane -p -t w; }
shows() { screen | grep -qE -- "$1"; }
view() {
	LC_ALL=C.UTF-8 tm new-session -d -s w -x 110 -y 30 "LC_ALL=C.UTF-8 $V status --watch; echo status \$? >$W/ended; tail -f /dev/null"
	started tmux "$(tm display-message -p '#{pid}')"
	wait_for 10 shows "gpu .*on $MNT" || die "$(screen)"
	screen | grep -qE "session 0 +up"
	screen | grep -q "forward .*127.0.0.1:$PORT"
	screen | grep -q "nothing waits"
	head -c 40000000 /dev/urandom >"$W/local/big"
	cp "$W/local/big" "$MNT/big"
	cat "$MNT/big" >/dev/null
	wait_for 10 shows "out .*MiB/s|[▁▂▃▄▅▆▇█]" || die "$(screen)"
	exec 9<>"/dev/tcp/127.0.0.1/$PORT"
	wait_for 10 shows "1 open +1 so far" || die "$(screen)"
	exec 9<&-
}
each_file() {
	proxy rate 1M
	cp "$W/local/big" "$MNT/one file" &
	wait_for 20 shows "[█░]+ +[0-9]+ % of +[0-9.]+ MiB +one file" || die "$(screen)"
	"$V" status --json "$MNT" | jq -e '.behind.sending[0] | .unsent_bytes > 0 and .size >= .unsent_bytes'
	proxy rate 0
	wait $!
	"$V" sync "$MNT"
	wait_for 10 shows "nothing waits"
	fails shows "% of .*one file"
}
small_window() {
	tm resize-window -t w -x 50 -y 8
	wait_for 10 shows "gpu"
	le "$(screen | awk '{ if (length > n) n = length } END { print n }')" 50 "columns"
	le "$(screen | wc -l)" 8 "rows"
	tm resize-window -t w -x 110 -y 30
}
no_link() {
	sshd_kill
	wait_for 20 shows "NO LINK" || die "$(screen)"
	sshd_start "$SSHD_PORT"
	wait_for 40 linked
	wait_for 10 shows "connected again" || die "$(screen)"
}
linked() { ! shows "NO LINK"; }
ends() {
	umount_fs
	wait_for 10 shows "No vastfs is mounted"
	tm send-keys -t w q
	wait_for 10 test -s "$W/ended"
	eq "$(cat "$W/ended")" "status 0"
	tm kill-server
	rc_is 1 "$V" status --watch </dev/null
	has "$OUT" "terminal"
}

check "sessions with rates, cache, forwards, live" view
check "the files that are being sent" each_file
check "a small window" small_window
check "the link goes and comes" no_link
check "q ends it, the terminal is as before" ends
finish
