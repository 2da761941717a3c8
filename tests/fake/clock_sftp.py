#!/usr/bin/python3
"""OpenSSH's SFTP server with another clock: "Subsystem sftp clock_sftp.py SECONDS" in sshd_config.

All times of files are SECONDS later (earlier, with a minus) than the files have them.
"""
import os, select, struct, subprocess, sys

OPEN, SETSTAT, FSETSTAT, MKDIR, NAME, ATTRS = 3, 9, 10, 14, 104, 105
shift = int(sys.argv[1])


def u32(packet, at):
    return struct.unpack_from(">I", packet, at)[0]


def after_string(packet, at):
    return at + 4 + u32(packet, at)


def move(packet, at, seconds):
    "Moves the times of the attributes at this place; returns the place behind them."
    flags, at = u32(packet, at), at + 4
    at += (8 if flags & 1 else 0) + (8 if flags & 2 else 0) + (4 if flags & 4 else 0)
    if flags & 8:
        times = (max(0, t + seconds) for t in struct.unpack_from(">II", packet, at))
        struct.pack_into(">II", packet, at, *times)
        at += 8
    return at


def request(packet):
    if packet[0] in (SETSTAT, FSETSTAT, MKDIR):
        move(packet, after_string(packet, 5), -shift)
    elif packet[0] == OPEN:
        move(packet, after_string(packet, 5) + 4, -shift)


def answer(packet):
    if packet[0] == ATTRS:
        move(packet, 5, shift)
    elif packet[0] == NAME:
        at = 9
        for _ in range(u32(packet, 5)):
            at = move(packet, after_string(packet, after_string(packet, at)), shift)


def pass_on(buffer, change, to):
    while len(buffer) >= 4 and len(buffer) >= 4 + u32(buffer, 0):
        packet = buffer[4 : 4 + u32(buffer, 0)]
        del buffer[: 4 + len(packet)]
        change(packet)
        data = memoryview(struct.pack(">I", len(packet)) + packet)
        while data:
            data = data[os.write(to, data) :]


server = subprocess.Popen("/usr/lib/openssh/sftp-server", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
ways = {0: (bytearray(), request, server.stdin.fileno()), server.stdout.fileno(): (bytearray(), answer, 1)}
while True:
    for fd in select.select(list(ways), [], [])[0]:
        data = os.read(fd, 1 << 18)
        if not data:
            sys.exit()
        buffer, change, to = ways[fd]
        buffer += data
        pass_on(buffer, change, to)
