#!/bin/bash
# vastfs forward on a running mount; SOCKS and remote forwards.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "vastfs forward" "not for $MOUNT_WITH"; finish; }
setup
V=$BUILD/vastfs
mkdir "$W/www"
head -c 3000000 /dev/urandom >"$W/www/page"
setsid "$PYTHON" -u -m http.server --directory "$W/www" --bind 127.0.0.1 0 >"$W/http.out" 2>&1 </dev/null &
started http $!
disown
wait_for 10 grep -qs port "$W/http.out"
HTTP=$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$W/http.out")
mount_fs || finish

page() { # CURL-OPTIONS…: the page arrives whole
	curl -sS --max-time 20 -o "$W/got" "$@" && same_file "$W/got" "$W/www/page"
}
lists() { "$V" forward gpu list; }
add_and_remove() {
	local port
	port=$(free_port)
	has "$(lists)" "No forwards"
	"$V" forward gpu add "$port:localhost:$HTTP"
	wait_for 10 page "http://127.0.0.1:$port/page"
	has "$(lists)" "127.0.0.1:$port -> localhost:$HTTP"
	rc_is 1 "$V" forward gpu add "$port:localhost:$HTTP"
	has "$OUT" "already"
	rc_is 1 "$V" forward gpu add "$port:localhost:22"
	has "$OUT" "address already in use"
	"$V" forward "$MNT" remove "$port"
	fails page "http://127.0.0.1:$port/page"
	fails tcp_open "$port"
	has "$(lists)" "No forwards"
	# and again, now that there was one
	"$V" forward gpu add "$port:localhost:$HTTP"
	page "http://127.0.0.1:$port/page"
	"$V" forward gpu remove "$port:localhost:$HTTP"
}
removes_connections() {
	local port
	port=$(free_port)
	"$V" forward gpu add "$port:localhost:$SSHD_PORT"
	exec 6<>"/dev/tcp/127.0.0.1/$port"
	read -r -t 10 -u 6 banner
	has "$banner" SSH-
	"$V" forward gpu remove "$port"
	fails read -r -t 10 -u 6 banner
	exec 6<&-
}
socks() {
	local port
	port=$(free_port)
	"$V" forward gpu add "-D $port"
	page --socks5 "127.0.0.1:$port" "http://127.0.0.1:$HTTP/page"
	page --socks5-hostname "127.0.0.1:$port" "http://localhost:$HTTP/page"
	page --socks4 "127.0.0.1:$port" "http://127.0.0.1:$HTTP/page"
	page --socks4a "127.0.0.1:$port" "http://localhost:$HTTP/page"
	fails page --socks5 "127.0.0.1:$port" "http://127.0.0.1:1/page"
	# what is no SOCKS ends, and harms nobody
	printf 'GET / HTTP/1.0\r\n\r\n' | timeout 10 "$PYTHON" -c 'import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(sys.stdin.buffer.read())
assert s.recv(100) == b""' "$port"
	# a byte at a time, with the first data behind the request
	timeout 20 "$PYTHON" - "$port" "$SSHD_PORT" "$HTTP" <<-'END'
		import socket, struct, sys
		port, target, http = map(int, sys.argv[1:])
		s = socket.create_connection(("127.0.0.1", port))
		s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		for byte in b"\x05\x01\x00": s.send(bytes([byte]))
		assert s.recv(2) == b"\x05\x00"
		for byte in b"\x05\x01\x00\x03\x09localhost" + struct.pack(">H", target): s.send(bytes([byte]))
		s.send(b"SSH-2.0-test\r\n")
		got = b""
		while b"SSH-" not in got:
		    data = s.recv(100)
		    assert data
		    got += data
		assert got.startswith(b"\x05\x00\x00\x01"), got
		# many at once
		many = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
		for s in many: s.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + socket.inet_aton("127.0.0.1") + struct.pack(">H", http) + b"HEAD /page HTTP/1.0\r\n\r\n")
		for s in many:
		    got = b""
		    while b" 200 OK" not in got:
		        data = s.recv(100)
		        assert data
		        got += data
	END
	"$V" forward gpu remove "$port"
	fails tcp_open "$port"
}
remote() {
	local port
	port=$(free_port)
	"$V" forward gpu add -R "$port:localhost:$HTTP"
	wait_for 10 page "http://127.0.0.1:$port/page"
	has "$(lists)" "localhost:$port there -> localhost:$HTTP here"
	for _ in 1 2 3 4; do page "http://127.0.0.1:$port/page"; done
	ge "$("$V" status --json "$MNT" | jq '.forwards[0].accepted')" 5 "connections"
	# it comes back with the link
	sshd_kill
	sshd_start "$SSHD_PORT"
	wait_for 40 page "http://127.0.0.1:$port/page"
	fails "$V" forward gpu remove -L "$port"
	"$V" forward gpu remove -R "$port"
	wait_for 10 closed "$port"
	# nobody here
	"$V" forward gpu add -R "$port:localhost:1"
	wait_for 10 tcp_open "$port"
	wait_for 10 complained
	"$V" forward gpu remove "$port"
	# a Unix socket here: first nobody, then a server
	"$V" forward gpu add -R "$port:$W/here.sock"
	has "$(lists)" "localhost:$port there -> $W/here.sock here"
	wait_for 10 tcp_open "$port"
	wait_for 10 no_socket
	"$PYTHON" - "$W/here.sock" <<-'END' &
		import http.server, socketserver, sys
		class Handler(http.server.BaseHTTPRequestHandler):
		    def do_GET(self):
		        self.send_response(200)
		        self.end_headers()
		        self.wfile.write(b"x" * 1000000)
		    def address_string(self):
		        return "-"
		socketserver.ThreadingUnixStreamServer(sys.argv[1], Handler).serve_forever()
	END
	wait_for 10 test -S "$W/here.sock"
	for _ in 1 2 3; do eq "$(curl -s "http://127.0.0.1:$port/" | wc -c)" 1000000; done
	"$V" forward gpu remove "$port"
	wait_for 10 closed "$port"
	# a port that is taken there
	"$V" forward gpu add -R "127.0.0.1:$SSHD_PORT:localhost:$HTTP"
	wait_for 10 taken
	"$V" forward gpu remove "$SSHD_PORT"
}
closed() { ! tcp_open "$1"; }
no_socket() { lists | grep -q "nobody listens on $W/here.sock here"; }
complained() { lists | grep -q "nobody listens on localhost:1 here"; }
taken() { lists | grep -q "it is taken there"; }
from_profile() {
	local a b
	a=$(free_port)
	umount_fs
	write_profile "forward = -D $a"
	b=$(free_port)
	mount_fs -R "$b:127.0.0.1:$HTTP"
	has "$(lists)" "there ->"
	wait_for 20 page "http://127.0.0.1:$b/page"
	umount_fs
	write_profile
	mount_fs -D "$a"
	page --socks5 "127.0.0.1:$a" "http://127.0.0.1:$HTTP/page"
	umount_fs
	fails tcp_open "$a"
	mount_fs
}
saved() {
	local ini=$XDG_CONFIG_HOME/vastfs/config.ini port other
	port=$(free_port)
	echo "# mine" >>"$ini"
	"$V" forward gpu add --save "$port:localhost:$HTTP"
	page "http://127.0.0.1:$port/page"
	other=$(free_port)
	"$V" forward gpu add --save -D "$other"
	eq "$(grep -c '^forward = ' "$ini")" 2 "forwards in the profile"
	eq "$(stat -c %a "$ini")" 600 "mode of the profile"
	eq "$(grep '^#' "$ini")" "# mine" "comments"
	umount_fs
	mount_fs
	page "http://127.0.0.1:$port/page"
	page --socks5 "127.0.0.1:$other" "http://127.0.0.1:$HTTP/page"
	"$V" forward gpu remove --save "$port"
	"$V" forward gpu remove --save -D "$other"
	fails grep '^forward' "$ini"
	# what is refused is not saved
	rc_is 1 "$V" forward gpu add --save "$port:localhost:"
	fails grep '^forward' "$ini"
}
words() {
	rc_is 1 "$V" forward
	rc_is 1 "$V" forward gpu
	rc_is 1 "$V" forward nosuch list
	rc_is 1 "$V" forward gpu add
	rc_is 1 "$V" forward gpu add nonsense:
	has "$OUT" "nonsense"
	rc_is 1 "$V" forward gpu add -D 1:2:3
	rc_is 1 "$V" forward gpu add -R /run/x:80
	rc_is 1 "$V" forward gpu remove 1
	has "$OUT" "no such forward"
}

# By ssh(1), for what libssh2 can't do: here ~/.ssh/config has a ProxyCommand, and the key is RSA.
by_ssh() {
	local port far
	umount_fs
	ssh-keygen -q -t rsa -b 2048 -N '' -f "$W/rsa"
	cat "$W/rsa.pub" >>"$W/authorized_keys"
	cat >"$HOME/.ssh/config" <<-END
		Host far
			HostName instance.invalid
			IdentityFile $W/rsa
			ProxyCommand $PYTHON $W/pipe.py 127.0.0.1 $SSHD_PORT
	END
	cat >"$W/pipe.py" <<-'END'
		import os, socket, sys, threading
		s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
		def up():
		    while data := os.read(0, 65536): s.sendall(data)
		    os._exit(0)
		threading.Thread(target=up).start()
		while data := s.recv(65536): os.write(1, data)
		os._exit(0)
	END
	port=$(free_port)
	far=$W/nobody.sock
	mount_fs_of far -o "known_hosts=$W/known_hosts" -L "$port:localhost:$HTTP" "$@"
	page "http://127.0.0.1:$port/page"
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do page "http://127.0.0.1:$port/page"; done
	ge "$("$V" status --json "$MNT" | jq '.forwards[0].bytes_in')" 39000000 "bytes"
	"$V" forward "$MNT" remove "$port"
	# nobody there: a port, a socket
	"$V" forward "$MNT" add "$port:localhost:1"
	fails page "http://127.0.0.1:$port/page"
	has "$("$V" forward "$MNT" list)" "nobody listens on localhost:1 on the instance"
	"$V" forward "$MNT" remove "$port"
	"$V" forward "$MNT" add "$port:$far"
	fails page "http://127.0.0.1:$port/page"
	has "$("$V" forward "$MNT" list)" "nobody listens on $far on the instance"
	"$V" forward "$MNT" remove "$port"
	# the other ways
	"$V" forward "$MNT" add "-D $port"
	page --socks5-hostname "127.0.0.1:$port" "http://localhost:$HTTP/page"
	"$V" forward "$MNT" remove "$port"
	"$V" forward "$MNT" add -R "$port:localhost:$HTTP"
	wait_for 10 page "http://127.0.0.1:$port/page"
	"$V" forward "$MNT" remove "$port"
	wait_for 10 closed "$port"
	umount_fs
	eq "$(ls "$XDG_RUNTIME_DIR/vastfs")" "" "files left behind"
}
mount_fs_of() { # SPEC OPTION…
	local spec=$1
	shift
	timeout 50 "$BUILD/mount.vastfs" -o host_key=accept-new "$@" "root@$spec:$REMOTE" "$MNT" </dev/null
}

check "add, use and remove" add_and_remove
check "connections end with their forward" removes_connections
check "SOCKS 4, 4a and 5" socks
check "a remote forward, also after the link was lost" remote
check "-R and -D in the profile and on the command line" from_profile
check "kept in the profile" saved
check "words" words
check "forwards by ssh(1), with a ProxyCommand" by_ssh
finish
