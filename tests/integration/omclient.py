# SPDX-License-Identifier: MIT
"""Clients for versions 1 and 3: a queue of bytes, a queue of descriptors, matched by counting; bodies whole or in
pieces.

socket.recv_fds() of Python 3.11 drops its flags, hence recv_with_fds().
"""
import array
import collections
import os
import socket
from typing import NamedTuple

import omproto as p

WAIT = 20  # seconds after which a silent server is a failure


ANCILLARY = socket.CMSG_SPACE(p.FDS_MAX * 4)


def recv_with_fds(sock, n):
    """What one recvmsg gives: bytes, and descriptors, close-on-exec."""
    data, ancillary, flags, _ = sock.recvmsg(n, ANCILLARY, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, raw in ancillary:
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
    assert not flags & socket.MSG_CTRUNC, "descriptors were lost"
    return data, fds.tolist()


class Closed(Exception):
    """The server closed the connection (end of stream or reset) where bytes were expected."""


class Reply(NamedTuple):
    """One answer of either version. fd is -1 without one; whoever gets a Reply owns it."""

    status: int
    fd: int = -1
    size: int = 0
    version: int = 0
    id: int = 0
    op: int = 0
    mode: int = 0
    flags: int = 0
    metadata: bytes = b""
    body: bytes = b""
    body_len: int = 0

    def entries(self):
        return p.metadata(self.metadata)

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)

    def content(self):
        """The object's bytes, however they came; closes the descriptor."""
        if self.fd < 0:
            return self.body
        with open(self.fd, "rb") as file:
            return file.read()


class Client:
    """A connection to a path, or by TCP to (host, port). @chunk is a number of bytes to read at a time, or a function
    that returns one."""

    def __init__(self, path, chunk=65536, wait=WAIT):
        family = socket.AF_UNIX if isinstance(path, str) else socket.AF_INET6 if ":" in path[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(wait)
        self.chunk = chunk if callable(chunk) else lambda: chunk
        self.buf, self.at, self.fds = bytearray(), 0, collections.deque()
        try:
            self.sock.connect(path)
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()
        while self.fds:
            os.close(self.fds.popleft())

    def send(self, data):
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Closed from e

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def fill(self):
        """Takes in what one recvmsg gives."""
        try:
            data, fds = recv_with_fds(self.sock, self.chunk())
        except ConnectionResetError as e:
            raise Closed from e
        self.fds.extend(fds)
        if not data:
            raise Closed
        if self.at > 65536:
            del self.buf[: self.at]
            self.at = 0
        self.buf += data

    def need(self, n):
        while len(self.buf) - self.at < n:
            self.fill()

    def take(self, n):
        self.need(n)
        data = bytes(self.buf[self.at : self.at + n])
        self.at += n
        return data

    def pieces(self, n):
        """Yields the next n bytes as they come; memory stays small."""
        while n:
            if len(self.buf) == self.at:
                self.buf, self.at = bytearray(), 0
                self.fill()
            piece = bytes(self.buf[self.at : self.at + n])
            self.at += len(piece)
            n -= len(piece)
            yield piece

    def reply(self):
        r = self.head()
        return r._replace(body=self.take(r.body_len)) if r.body_len else r

    def message(self, decode):
        while True:
            found = decode(self.buf, self.at)
            if found is not None:
                self.at += found[1]
                return found[0]
            self.fill()

    def eof(self):
        """True when the stream ends here; fails on bytes or descriptors that are left."""
        try:
            self.fill()
        except Closed:
            pass
        assert len(self.buf) == self.at and not self.fds, bytes(self.buf[self.at :])
        return True


class V1(Client):
    protocol = 1

    def __init__(self, path, **kw):
        super().__init__(path, **kw)
        self.modes = collections.deque()

    def ask(self, uri, mode=p.FD):
        self.modes.append(mode)
        self.send(p.v1_request_encode(p.V1Request(mode, as_bytes(uri))))

    def ask_many(self, uris, mode=p.FD):
        """Pipelines in one send; returns how many."""
        data = b"".join(p.v1_request_encode(p.V1Request(mode, as_bytes(u))) for u in uris)
        self.modes.extend(mode for _ in uris)
        self.send(data)
        return len(uris)

    def ask_each(self, requests):
        """Pipelines (uri, mode) pairs in one send."""
        self.modes.extend(mode for _, mode in requests)
        self.send(b"".join(p.v1_request_encode(p.V1Request(mode, as_bytes(uri))) for uri, mode in requests))

    def head(self):
        """A reply but for its body, whose body_len bytes are to be taken next."""
        r = self.message(p.v1_response_decode)
        mode = self.modes.popleft() if self.modes else p.FD
        if r.status != p.OK:
            assert r.content_len == 0
            return Reply(r.status, metadata=r.metadata)
        if mode != p.FD:
            return Reply(r.status, size=r.content_len, metadata=r.metadata, body_len=r.content_len)
        assert r.content_len == 0
        assert self.take(1) == b"\x58"
        assert self.fds, "granted, but no descriptor came with the byte"
        return Reply(r.status, fd=self.fds.popleft(), metadata=r.metadata)

    def get(self, uri, mode=p.FD):
        self.ask(uri, mode)
        return self.reply()


class V3(Client):
    protocol = 3

    def __init__(self, path, hello=p.Hello(), **kw):
        super().__init__(path, **kw)
        try:
            self.send(p.hello_encode(hello))
            self.hello = self.message(p.hello_reply_decode)
        except BaseException:
            self.close()
            raise
        self.next_id = 1

    def ask(self, uri=b"", mode=p.FD, op=p.GET, **fields):
        """Sends one request and returns its id."""
        rid = fields.pop("id", self.next_id)
        self.next_id = (rid + 1) & 0xFFFFFFFF
        self.send(p.request_encode(p.Request(op, mode, id=rid, uri=as_bytes(uri), **fields)))
        return rid

    def ask_many(self, uris, mode=p.FD):
        """Pipelines in one send with ids 0..n-1; returns how many."""
        self.send(b"".join(p.request_encode(p.Request(p.GET, mode, id=i, uri=as_bytes(u))) for i, u in enumerate(uris)))
        return len(uris)

    def ask_each(self, requests):
        """Pipelines (uri, mode) pairs in one send with ids 0..n-1."""
        self.send(b"".join(p.request_encode(p.Request(p.GET, mode, id=i, uri=as_bytes(uri)))
                           for i, (uri, mode) in enumerate(requests)))

    def head(self):
        """A reply but for its body, whose body_len bytes are to be taken next."""
        r = self.message(p.response_decode)
        assert r.n_fds <= 1, "no operation of this version returns more than one descriptor"
        assert len(self.fds) >= r.n_fds, "a reply was complete before its descriptor"
        fd = self.fds.popleft() if r.n_fds else -1
        return Reply(r.status, fd, r.size, r.version, r.id, r.op, r.mode, r.flags, r.metadata, body_len=r.body_len)

    def get(self, uri, mode=p.FD, **fields):
        rid = self.ask(uri, mode, **fields)
        r = self.reply()
        assert r.id == rid
        return r

    def stat(self, uri, **fields):
        return self.get(uri, mode=0, op=p.STAT, **fields)

    def ping(self):
        r = self.get(b"", mode=0, op=p.PING)
        assert r.status == p.OK and r.fd < 0 and r.op == p.PING
        return r

    def control(self, op):
        """The reply to STATS, RELOAD or DRAIN, with the text that goes with a refusal."""
        return self.get(b"", mode=0, op=op, flags=p.METADATA)


CLIENTS = {1: V1, 3: V3}


def as_bytes(uri):
    return uri if isinstance(uri, bytes) else os.fsencode(uri)


def get_many(client, uris, depth=64):
    """Yields (uri, Reply) for every URI, @depth in flight. The caller owns the descriptors."""
    uris = [as_bytes(u) for u in uris]
    for start in range(0, len(uris), depth):
        batch = uris[start : start + depth]
        client.ask_many(batch)
        for i in range(len(batch)):
            r = client.reply()
            yield batch[r.id if client.protocol == 3 else i], r


def send_fds(sock, data, fds):
    return sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
