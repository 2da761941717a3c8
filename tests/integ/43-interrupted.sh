#!/bin/bash
# A write that Ctrl-C ends while it waits for the link is not written afterwards.
. "$(dirname "$0")/../lib.sh"
setup
proxy_start
write_profile
mount_fs || finish

# Records to a log with O_APPEND over a link that stands still, until a write waits; that one is interrupted, and
# written again when the link goes on: the log must hold each once, in order.
appends_once() {
	proxy stall
	"$PYTHON" - "$W" <<-'END'
		import os, signal, sys, threading, time
		class Stop(Exception):
		    pass
		def stop(*_):
		    raise Stop
		signal.signal(signal.SIGINT, stop)
		fd = int(os.environ["LOG_FD"])
		last = [time.monotonic()]
		def watch():  # a write that takes a second waits
		    while not os.path.exists(sys.argv[1] + "/stopped"):
		        if time.monotonic() - last[0] > 1:
		            open(sys.argv[1] + "/stopped", "w").close()
		            os.kill(os.getpid(), signal.SIGINT)
		        time.sleep(0.05)  # sleep: polls
		threading.Thread(target=watch, daemon=True).start()
		def record(n):
		    return (b"%08d" % n) * 8192
		n, interrupted = 0, 0
		while n < 1200:
		    data = record(n)
		    while data:
		        last[0] = time.monotonic()
		        try:
		            data = data[os.write(fd, data):]
		        except Stop:
		            interrupted += 1
		            os.system(sys.argv[1] + "/resume")
		        last[0] = float("inf") if interrupted else time.monotonic()
		    n += 1
		os.close(fd)
		assert interrupted == 1, interrupted
		print("records:", n)
	END
	"$PYTHON" - "$REMOTE/log" <<-'END'
		import sys
		data = open(sys.argv[1], "rb").read()
		size = 65536
		assert len(data) == 1200 * size, len(data) / size
		for n in range(1200):
		    assert data[n * size:(n + 1) * size] == (b"%08d" % n) * 8192, n
	END
}
printf '#!/bin/sh\nexec "%s" --send "%s" resume\n' "$TOOLS/delayproxy" "$W/proxy.ctl" >"$W/resume"
chmod +x "$W/resume"
opened() { # the link still moves while the file is opened
	: >>"$MNT/log"
	export LOG_FD=9
	exec 9>>"$MNT/log"
	appends_once
}
check_vastfs "an interrupted append, repeated, is there once" opened
check_vastfs "unmounts" umount_fs
finish
