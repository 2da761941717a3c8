#!/bin/bash
# Port forwards alongside the mount.
. "$(dirname "$0")/../lib.sh"
[[ $MOUNT_WITH == vastfs ]] || { skip "port forwards" "not for $MOUNT_WITH"; finish; }
setup_dirs
setup_keys
sshd_start

# "On the instance": a web server, an echo server that answers after the end of what it reads, a Unix socket.
mkdir "$W/www"
echo "a page of the instance" >"$W/www/index.html"
head -c 30000000 /dev/urandom >"$W/www/big"
cat >"$W/servers.py" <<'END'
import http.server, os, socket, socketserver, sys, threading
w = sys.argv[1]
os.chdir(w + "/www")
class Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def do_GET(self):
        super().do_GET()
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 200
web = Server(("127.0.0.1", 0), Quiet)
web6 = None
class Total(socketserver.BaseRequestHandler):
    "Reads to the end, then says how much there was: needs half-close."
    def handle(self):
        n = 0
        while True:
            data = self.request.recv(65536)
            if not data: break
            n += len(data)
        self.request.sendall(b"%d bytes\n" % n)
class T(socketserver.ThreadingTCPServer):
    request_queue_size = 200
    daemon_threads = True
class U(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
total = T(("127.0.0.1", 0), Total)
unix = U(w + "/total.sock", Total)
for s in (web, total, unix):
    threading.Thread(target=s.serve_forever, daemon=True).start()
print(web.server_address[1], total.server_address[1], flush=True)
threading.Event().wait()
END
setsid "$PYTHON" "$W/servers.py" "$W" >"$W/ports" 2>"$W/servers.err" &
started servers $!
disown
wait_for 5 test -s "$W/ports" || die "no servers: $(cat "$W/servers.err")"
read -r WEB TOTAL <"$W/ports"
P1=$(free_port) P2=$(free_port) P3=$(free_port) P4=$(free_port) P5=$(free_port) P6=$(free_port)
nobody=$(free_port)
write_profile "forward = $P1:localhost:$WEB" "forward = 127.0.0.1:$P2:127.0.0.1:$TOTAL" \
	"forward = $P3:$W/total.sock" "forward = $P4:localhost:$nobody" "forward = [::1]:$P6:localhost:$WEB"

page() { eq "$(curl -sS --max-time 10 --retry 20 --retry-delay 1 --retry-connrefused "http://127.0.0.1:$P1/")" "a page of the instance"; }
ipv6() { eq "$(curl -sS -g --max-time 10 "http://[::1]:$P6/")" "a page of the instance"; }
extra() { eq "$(curl -sS --max-time 10 --retry 20 --retry-delay 1 --retry-connrefused "http://127.0.0.1:$P5/")" "a page of the instance"; }
big() {
	curl -sS --max-time 40 -o "$W/big" "http://127.0.0.1:$P1/big"
	same_file "$W/big" "$W/www/big"
}
parallel() {
	local i pids=()
	for i in $(seq 40); do
		(curl -sS --max-time 30 "http://127.0.0.1:$P1/" | grep -q "a page") &
		pids+=($!)
	done
	for i in 1 2 3; do
		(curl -sS --max-time 60 "http://127.0.0.1:$P1/big" | cmp - "$W/www/big") &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
}
half_close() { # PORT
	"$PYTHON" - "$1" <<-'END'
		import socket, sys
		s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
		s.settimeout(30)
		s.sendall(bytes(5_000_000))
		s.shutdown(socket.SHUT_WR)
		data = b""
		while True:
		    d = s.recv(1000)
		    if not d: break
		    data += d
		assert data == b"5000000 bytes\n", data
	END
}
back_pressure() { # a reader that does not read must not fill the daemon's memory, nor stop the others
	local before after
	before=$(awk '/VmRSS/ { print $2 }' "/proc/$(daemon_pid)/status")
	"$PYTHON" - "$P1" <<-'END' &
		import socket, sys
		def big():
		    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
		    s.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
		    return s
		lazy = [big() for _ in range(8)]
		sys.stdin.close()
		import time
		time.sleep(60)  # sleep: until killed
	END
	local lazy=$!
	stalled() { [[ $(status_value '.forwards[0].connections') -ge 8 ]]; }
	wait_for 10 stalled
	page
	after=$(awk '/VmRSS/ { print $2 }' "/proc/$(daemon_pid)/status")
	kill "$lazy"
	le $((after - before)) 80000 "KiB more with eight readers that do not read"
}
status_value() { "$BUILD/vastfs" status --json "$MNT" | jq -r "$1"; }
closed_far_end() {
	local rc=0
	curl -sS --max-time 10 "http://127.0.0.1:$P4/" >"$W/out" 2>&1 || rc=$?
	[[ $rc == 52 || $rc == 56 ]] || die "curl says $rc: $(cat "$W/out")"
	# named in a warning, which status shows
	warned() { "$BUILD/vastfs" status --json "$MNT" | grep -q "$nobody"; }
	wait_for 5 warned
	"$BUILD/vastfs" status --json "$MNT" | jq -e ".messages[] | select(.text | contains(\"$nobody\"))" >/dev/null
	ls "$MNT"
	page
}
only_loopback() {
	[[ $(ss -ltnH "sport = :$P1" | awk '{ print $4 }') == "127.0.0.1:$P1" ]]
}
counted() {
	ge "$(status_value '.forwards | length')" 6
	ge "$(status_value '.forwards[0].accepted')" 40
	ge "$(status_value '.forwards[0].bytes_in')" 30000000
	eq "$(status_value '.forwards[0].listening')" true
}
taken_port() {
	umount_fs
	mount_fs -o "forward=$WEB:localhost:$TOTAL" || die "a taken port must not fail the mount"
	has "$(cat "$W/mount.out")" "$WEB"
	page
}
link_down_and_up() {
	proxy cut
	closed() { ! curl -sS --max-time 5 "http://127.0.0.1:$P1/" 2>/dev/null | grep -q "a page"; }
	again() { ! closed; }
	wait_for 30 again
}
all_gone() {
	umount_fs
	fails tcp_open "$P1"
	fails tcp_open "$P3"
}

check "mounts with five forwards of the profile and one of -L" mount_fs -L "$P5:127.0.0.1:$WEB"
is_mounted || finish
check "a web page through a forward" page
check "through one of -L" extra
check "through one that listens on ::1" ipv6
check "30 MB through a forward" big
check "43 connections at once" parallel
check "half-close: the far end sees the end and still answers" half_close "$P2"
check "a Unix socket on the far side" half_close "$P3"
check "readers that do not read fill no memory and stop no others" back_pressure
check "a far port with nobody behind it is named, the mount lives on" closed_far_end
check "forwards listen on 127.0.0.1 alone" only_loopback
check "status counts connections and bytes" counted
check "a local port that is taken is named, the mount lives on" taken_port
proxy_start
write_profile "forward = $P1:localhost:$WEB"
check "unmounts and mounts through a proxy" remount_fs
check "a page through the proxy" page
check "forwards come back after the link broke" link_down_and_up
check "after the unmount nothing listens" all_gone
finish
