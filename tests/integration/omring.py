# SPDX-License-Identifier: MIT
"""A client of the shared-memory ring, written from objmapper-protocol(7): an independent check of lib/transport.

It sleeps by polling the socket, like a client with an event loop. Ordering rests on x86 and on each store being a call
of its own; what must not pass the look at the other side's flag goes through fence().
"""
import mmap
import os
import select
import struct
import threading
from typing import NamedTuple

import omproto as p
from omclient import V3, Closed, as_bytes

HEAD, ORIGIN, TAIL, ASLEEP, ENTRIES_AT, ENTRY = 0, 4, 64, 128, 256, 64
AWAKE, FUTEX, POLLING, ENDED, STEP = 0, 1, 2, 3, 4
RQ_RANGE, RQ_IF_VERSION, RQ_URI_SHORT = 1, 2, 1 << 15
RS_NOT_MODIFIED, RS_SOCKET = 1, 2
URI_SHORT, STAMP = 40, 56
M32 = 0xFFFFFFFF
WANTS_RING = p.Hello(capabilities=p.BODIES | p.CAP_RING)
LOCK = threading.Lock()


def fence():
    """Taking a lock is a locked instruction."""
    with LOCK:
        pass


class RingReply(NamedTuple):
    status: int
    op: int
    mode: int
    n_fds: int
    id: int
    flags: int
    size: int
    version: int
    mtime: int
    body: bytes


def attach_extra(entries=0, arena=0):
    return p.ring_attach_encode(p.RingAttach(entries, arena))


def request_entry(op, mode=0, rid=0, uri=b"", at=0, flags=0, limit=0, offset=0, length=0, if_version=0):
    """An entry whose URI is at @at in the arena, or with RQ_URI_SHORT in the entry itself."""
    head = struct.pack("=BBHIHHI", op, mode, flags, rid, len(uri), length if flags & RQ_URI_SHORT else 0, at)
    if flags & RQ_URI_SHORT:
        return head + uri.ljust(URI_SHORT, b"\0") + bytes(8)
    return head + struct.pack("=IIQQQ16x", limit, 0, offset, length, if_version)


class Ring(V3):
    """A connection with a ring. The memories are .requests and .replies, the descriptors .requests_fd, .replies_fd and
    .doorbell. put() and publish() ask, take() answers."""

    doorbell = -1

    def __init__(self, path, entries=0, arena=0, hello=WANTS_RING, **kw):
        super().__init__(path, hello=hello, **kw)
        try:
            self.attach(entries, arena)
        except BaseException:
            self.close()
            raise

    def attach(self, entries=0, arena=0):
        self.ask(b"", 0, p.RING_ATTACH, extra=attach_extra(entries, arena))
        r = self.message(p.response_decode)
        body = self.take(r.body_len)
        assert (r.status, r.op, r.n_fds, len(body)) == (p.OK, p.RING_ATTACH, 3, 32), r
        self.entries, self.arena, self.size, _, self.arena_at, self.body_max = p.ring_grant_decode(body)[0]
        assert len(self.fds) >= 3
        self.requests_fd, self.replies_fd, self.doorbell = (self.fds.popleft() for _ in range(3))
        self.requests = mmap.mmap(self.requests_fd, self.size)
        self.replies = mmap.mmap(self.replies_fd, self.size, prot=mmap.PROT_READ)
        self.put_next = self.taken = self.origin = self.arms = self.arena_next = self.stamped = 0

    def close(self):
        super().close()
        self.detach()

    def detach(self):
        if self.doorbell >= 0:
            self.requests.close()
            self.replies.close()
            for fd in (self.requests_fd, self.replies_fd, self.doorbell):
                os.close(fd)
        self.doorbell = -1

    def word(self, memory, at):
        return int.from_bytes(memory[at : at + 4], "little")

    def store(self, at, value):
        """Four bytes at once, as slice assignment copies them; struct.pack_into() stores a zero first, which a server that
        polls may see."""
        self.requests[at : at + 4] = (value & M32).to_bytes(4, "little")

    # ---- requests ----

    def room(self):
        return self.entries - (self.put_next - self.word(self.replies, TAIL) & M32)

    def entry(self, data):
        at = ENTRIES_AT + ENTRY * ((self.put_next - self.origin) % self.entries)
        self.requests[at : at + ENTRY] = data
        self.put_next = self.put_next + 1 & M32

    def put(self, op, uri=b"", mode=0, rid=0, short=None, **fields):
        uri = as_bytes(uri)
        if short if short is not None else len(uri) <= URI_SHORT and not fields:
            self.entry(request_entry(op, mode, rid, uri, flags=RQ_URI_SHORT, **fields))
            return
        if self.arena_next + len(uri) > self.arena:
            self.arena_next = 0
        at = self.arena_next
        self.requests[self.arena_at + at : self.arena_at + at + len(uri)] = uri
        self.arena_next += len(uri)
        flags = RQ_RANGE * ("offset" in fields or "length" in fields) | RQ_IF_VERSION * ("if_version" in fields)
        self.entry(request_entry(op, mode, rid, uri, at, flags, **fields))

    def stamp(self, n):
        """The entry that was put last says itself that it is there, as the @n-th ever."""
        at = ENTRIES_AT + ENTRY * ((self.put_next - 1 - self.origin) % self.entries)
        self.requests[at + STAMP : at + ENTRY] = n.to_bytes(8, "little")
        fence()

    def ring(self):
        os.eventfd_write(self.doorbell, 1)

    def publish(self):
        """True when the server is to serve it, which has been woken if need be."""
        self.store(HEAD, self.put_next)
        fence()
        asleep = self.word(self.replies, ASLEEP)
        if asleep == FUTEX:
            self.ring()
        return asleep != ENDED

    # ---- replies ----

    def ready(self):
        return self.word(self.replies, HEAD) != self.taken

    def one(self):
        origin = self.word(self.replies, ORIGIN)
        at = ENTRIES_AT + ENTRY * ((self.taken - origin & M32) % self.entries)
        status, op, mode, n_fds, rid, flags, _, body_at, size, version, mtime, body_len, _, stamp = struct.unpack_from(
            "=BBBBIHHIQQqII8xQ", self.replies, at)
        self.stamped += 1
        assert stamp == self.stamped
        assert body_at + body_len <= self.arena
        body = self.replies[self.arena_at + body_at : self.arena_at + body_at + body_len]
        self.taken = self.taken + 1 & M32
        return RingReply(status, op, mode, n_fds, rid, flags, size, version, mtime, bytes(body))

    def release(self):
        self.store(TAIL, self.taken)
        if self.word(self.replies, ASLEEP) == FUTEX and self.word(self.replies, TAIL) != self.put_next:
            self.ring()

    def sleep(self):
        """Until the socket has something or there is a reply."""
        self.arms += STEP
        self.store(ASLEEP, self.arms | POLLING)
        fence()
        if not self.ready():
            poll = select.poll()  # which, unlike select(), takes descriptors above 1023
            poll.register(self.sock, select.POLLIN)
            assert poll.poll(self.sock.gettimeout() * 1000), "no reply and no doorbell"
            self.drain_socket()
        self.store(ASLEEP, AWAKE)

    def drain_socket(self):
        self.fill()
        self.sort()

    def sort(self):
        """What has come: doorbells are forgotten; replies that bring descriptors are kept in .brought by id."""
        while (found := p.response_decode(self.buf, self.at)) is not None:
            r = found[0]
            if r.op != p.RING_DOORBELL:
                if len(self.fds) < r.n_fds:
                    return
                assert r.op == p.GET and r.n_fds == 1 and r.id not in self.brought, r
                self.brought[r.id] = self.fds.popleft()
            self.at += found[1]

    def answers(self, n):
        """The next n replies, in order; their places are given back."""
        got = []
        while len(got) < n:
            while self.ready() and len(got) < n:
                got.append(self.one())
            self.release()
            if len(got) < n:
                self.sleep()
        return got

    def call(self, op, uri=b"", mode=0, rid=1, **fields):
        self.put(op, uri, mode, rid, **fields)
        assert self.publish()
        reply = self.answers(1)[0]
        assert (reply.id, reply.op) == (rid, op)
        return reply

    def fetch(self, rid):
        """The descriptor of a reply that said it comes, the caller's."""
        self.sort()
        while rid not in self.brought:
            self.drain_socket()
        return self.brought.pop(rid)

    @property
    def brought(self):
        return self.__dict__.setdefault("_brought", {})

    def gone(self):
        """Waits until the server has closed the connection."""
        try:
            while True:
                self.fill()
        except Closed:
            return True
