"""An SSH server that never comes to an end while somebody logs in, for tests/unit/test_login_endless.c.

hostile_sshd.py MODE: listens on a port of 127.0.0.1, prints it, and serves until its standard input ends.

    silent    the login is never answered
    ignore    SSH_MSG_IGNORE without an end in place of an answer
    debug     SSH_MSG_DEBUG the same
    banner    banners the same
    unasked   answers to what was not asked
    partial   each key is right, and another one is wanted
    slow      what follows the key exchange comes a byte a second
    slow-kex  all of it does
    lists     a key exchange with lists of 200,000 bytes
    kex-ignore  SSH_MSG_IGNORE between the packets of the key exchange
"""
import os, socket, struct, sys, threading, time

import paramiko
from paramiko import common
from paramiko.message import Message

mode = sys.argv[1]


class Dribble:
    """A socket that sends a byte a second once slow is set."""

    def __init__(self, sock):
        self.sock, self.slow = sock, mode == "slow-kex"

    def send(self, data):
        if self.slow:
            time.sleep(1)  # sleep: it is slow on purpose
            return self.sock.send(data[:1])
        return self.sock.send(data)

    def __getattr__(self, name):
        return getattr(self.sock, name)


class Server(paramiko.ServerInterface):
    def __init__(self, transport):
        self.transport = transport

    def get_allowed_auths(self, username):
        begin(self.transport)
        return "publickey"

    def check_auth_none(self, username):
        return paramiko.AUTH_FAILED

    def check_auth_publickey(self, username, key):
        if mode == "partial":
            return paramiko.AUTH_PARTIALLY_SUCCESSFUL
        return paramiko.AUTH_FAILED


def flood(transport):
    while transport.is_active():
        m = Message()
        if mode == "debug":
            m.add_byte(common.cMSG_DEBUG)
            m.add_boolean(True)
            m.add_string(b"x" * 20000)
            m.add_string(b"")
        elif mode == "banner":
            m.add_byte(common.cMSG_USERAUTH_BANNER)
            m.add_string(b"try again " * 2000)
            m.add_string(b"")
        elif mode == "unasked":
            m.add_byte(common.cMSG_CHANNEL_WINDOW_ADJUST)
            m.add_string(b"x" * 20000)
        else:
            m.add_byte(common.cMSG_IGNORE)
            m.add_string(b"x" * 20000)
        transport._send_message(m)


def begin(transport):
    if mode == "slow":
        transport.sock.slow = True
    elif mode == "silent":
        time.sleep(600)  # sleep: it never answers
    elif mode in ("ignore", "debug", "banner", "unasked"):
        flood(transport)


def raw_kex(sock):
    """The greeting, and then what no key exchange should be."""

    def packet(payload):
        padding = 8 - (5 + len(payload)) % 8 + 4
        return struct.pack(">IB", 1 + len(payload) + padding, padding) + payload + b"\0" * padding

    sock.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
    while True:
        if mode == "lists":
            name = b"a" * 20000
            sock.sendall(packet(b"\x14" + b"c" * 16 + (struct.pack(">I", len(name)) + name) * 10 + b"\0" * 5)[:200000])
            time.sleep(600)  # sleep: it never goes on
        sock.sendall(packet(b"\x02" + struct.pack(">I", 20000) + b"x" * 20000))


def serve(sock):
    try:
        if mode in ("lists", "kex-ignore"):
            raw_kex(sock)
        transport = paramiko.Transport(Dribble(sock))
        transport.add_server_key(KEY)
        transport.start_server(server=Server(transport))
        transport.join()
    except (OSError, EOFError, paramiko.SSHException):
        pass


KEY = paramiko.ECDSAKey.generate()
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(5)
print(listener.getsockname()[1], flush=True)


def accept():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


threading.Thread(target=accept, daemon=True).start()
sys.stdin.read()
os._exit(0)
