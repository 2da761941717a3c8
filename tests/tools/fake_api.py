"""The provider's API on 127.0.0.1, as far as vastfs asks it.

	fake_api.py STATE PORTFILE LOG

Each request reads STATE anew, a JSON file: {"status": 200, "body": TEXT or "instances": OBJECT, "delay": seconds,
"sequence": [such objects, one for each request, the last one for all others]}. LOG gets a line for each request: the path
and whether the key was right ("secret-key-0815").
"""
import http.server
import json
import sys
import time

state_file, port_file, log_file = sys.argv[1:4]
asked = 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global asked
        with open(state_file) as file:
            state = json.load(file)
        if "sequence" in state:
            state = state["sequence"][min(asked, len(state["sequence"]) - 1)]
        asked += 1
        good = self.headers.get("Authorization") == "Bearer secret-key-0815"
        with open(log_file, "a") as log:
            log.write(f"{self.path} {'key' if good else 'no-key'}\n")
        time.sleep(state.get("delay", 0))  # sleep: a slow provider
        status = state.get("status", 200) if good else 401
        body = state.get("body")
        if body is None:
            body = json.dumps({"instances": state.get("instances")})
        body = body.encode("utf-8", "surrogateescape")
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except BrokenPipeError:
            pass

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(port_file + ".new", "w") as file:
    file.write(str(server.server_address[1]))
import os  # noqa: E402

os.rename(port_file + ".new", port_file)
server.serve_forever()
