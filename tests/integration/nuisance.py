# SPDX-License-Identifier: MIT
"""A process that misbehaves at a steady, modest rate: nuisance.py KIND SOCKET SECONDS [FILE].

It says "ready" once its first round is done. What it costs the others is then the daemon's doing, not the processor's.
"""
import collections
import contextlib
import mmap
import os
import random
import struct
import sys
import time

import omproto as p
from omclient import V3, Client, Closed, send_fds

RATE = 200  # events a second
GET = p.request_encode(p.Request(p.GET, p.FD, uri=b"/a.txt"))
HELLO = p.hello_encode(p.Hello())


def shout(path, data):
    with Client(path) as c:
        try:
            c.send(data)
            c.half_close()
            while True:
                c.fill()
                while c.fds:
                    os.close(c.fds.popleft())
        except (Closed, OSError):
            pass


def random_bytes(path, _):
    rng = random.Random(1)
    while True:
        shout(path, rng.choice((b"", HELLO, b"1", HELLO + GET)) + rng.randbytes(rng.choice((1, 40, 1000, 30_000))))
        yield


def huge_lengths(path, _):
    while True:
        head = p.REQUEST.pack(p.GET, p.FD, 0, 3, 0xFFFF, 0xFFFF, 0, 0, 0, 0)
        shout(path, HELLO + head + b"/" * 140_000)
        yield
        shout(path, b"1\xff\xff" + b"/" * 70_000)
        yield


def half_requests(path, _):
    """A crowd that has said half of what it wants; the oldest leaves when one more comes."""
    crowd = collections.deque()
    for i in range(1 << 30):
        crowd.append(Client(path))
        crowd[-1].send((HELLO + GET)[: 1 + i % (len(HELLO + GET) - 1)])
        if len(crowd) > 64:
            crowd.popleft().close()
        yield


def byte_at_a_time(path, _):
    crowd = [V3(path) for _ in range(32)]
    for c in crowd:
        c.sock.setblocking(False)
    for i in range(1 << 30):
        c = crowd[i % 32]
        c.send(GET[i // 32 % len(GET) :][:1])
        try:
            c.fill()
            while c.fds:
                os.close(c.fds.popleft())
        except BlockingIOError:
            pass
        yield


def descriptors(path, _):
    """253 descriptors with every request: refused by the kernel, or dropped by the daemon."""
    fd = os.open("/dev/null", os.O_RDONLY)
    while True:
        with V3(path) as c:
            try:
                send_fds(c.sock, GET, [fd] * 253)
                c.reply().close()
            except PermissionError:
                pass
        yield


def knocking(path, _):
    """More connections than there is room for."""
    crowd = collections.deque()
    while True:
        crowd.append(Client(path))
        with contextlib.suppress(Closed):
            crowd[-1].send(HELLO)
        if len(crowd) > 200:
            crowd.popleft().close()
        yield


def failing_calls(path, control):
    """The next call of the function that the fault library was set to fails, whoever makes it."""
    with open(control, "r+b") as f:
        words = mmap.mmap(f.fileno(), 32)
    while True:
        words[:16] = struct.pack("=QQ", 1, 1)
        words[16:24] = bytes(8)
        try:
            with V3(path) as c:
                c.get("/a.txt").close()
        except (Closed, ConnectionError, p.Bad):
            pass
        words[:8] = bytes(8)
        yield


KINDS = {f.__name__: f for f in (random_bytes, huge_lengths, half_requests, byte_at_a_time, descriptors, knocking,
                                 failing_calls)}


def main(kind, path, seconds, control=None):
    events = KINDS[kind](path, control)
    for _ in range(16):
        next(events)
    print("ready", flush=True)
    began = time.monotonic()
    for n in range(int(seconds) * RATE):
        next(events)
        time.sleep(max(0, began + n / RATE - time.monotonic()))


main(*sys.argv[1:])
