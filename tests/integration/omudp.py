# SPDX-License-Identifier: MIT
"""Datagrams to a daemon, and what comes back."""
import socket
import time

import omproto as p

WAIT = 20  # seconds after which a silent daemon is a failure
MARK = 0xFFFF0000  # ids from here on belong to the pings that end a round


def family(address):
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


class Udp:
    """A socket of its own, connected to the daemon's."""

    def __init__(self, address, port=0, source=None):
        self.sock = socket.socket(family(address), socket.SOCK_DGRAM)
        if port or source:
            self.sock.bind((source or address[0], port))
        self.sock.connect(address)
        self.sock.settimeout(WAIT)
        self.marks = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        self.sock.send(data)

    def recv(self):
        return self.sock.recv(65536)

    def request(self, uri="/", op=p.GET, mode=p.COPY, cookie=0, size=0, ident=1):
        """Encoded, padded to @size bytes."""
        return p.udp_request_encode(p.UdpRequest(op, mode, ident, cookie, uri.encode())).ljust(size, b"\0")

    def ask(self, uri="/", **kw):
        """One request, its answer."""
        self.send(self.request(uri, **kw))
        reply, used = p.udp_response_decode(self.recv())
        assert reply.id == kw.get("ident", 1)
        return reply

    def cookie(self):
        return self.ask(op=p.PING).cookie

    def answers(self, data, cookie):
        """Everything that comes back for @data, a datagram or a list of them: what arrives before the answer to a later
        ping, which the same thread serves in order. That ping may be over the rate, then there is another."""
        for one in [data] if isinstance(data, bytes) else data:
            self.send(one)
        self.marks += 1
        ident = MARK + self.marks
        got, end = [], time.monotonic() + WAIT
        try:
            self.sock.settimeout(0.2)
            self.send(self.request(op=p.PING, cookie=cookie, ident=ident))
            while time.monotonic() < end:
                try:
                    reply = self.recv()
                except TimeoutError:
                    self.send(self.request(op=p.PING, cookie=cookie, ident=ident))
                    continue
                arrived = p.udp_response_decode(reply)[0].id
                if arrived == ident:
                    return got
                if arrived < MARK:
                    got.append(reply)
        finally:
            self.sock.settimeout(WAIT)
        raise AssertionError("the daemon is silent")
