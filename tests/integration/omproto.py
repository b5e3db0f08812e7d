# SPDX-License-Identifier: MIT
"""The wire formats of objmapper-protocol(7), written from that page alone: an independent check of lib/protocol.

Decoders take bytes and return (message, bytes used), or None when more bytes are needed; they raise Bad when no message
can follow. Encoders return bytes and check nothing: tests also send what is wrong.
"""
import struct
from typing import NamedTuple

OK, NOT_FOUND, INVALID, INVALID_MODE, URI_TOO_LONG, UNSUPPORTED, DENIED = 0, 1, 2, 3, 4, 5, 6
INTERNAL, STORAGE, NO_MEMORY, TIMEOUT, UNAVAILABLE = 10, 11, 12, 13, 14
PROTOCOL, VERSION, CAPABILITY = 20, 21, 22

URI_MAX, METADATA_MAX, EXTRA_MAX, HELLO_MAX, FDS_MAX = 4096, 1024, 1024, 256, 253

FD, COPY, SPLICE, AUTO, INLINE = ord("1"), ord("2"), ord("3"), ord("a"), ord("i")
GET, STAT, PING, RING_ATTACH, RING_DOORBELL = 1, 2, 3, 4, 5
STATS, RELOAD, DRAIN = 64, 65, 66
RANGE, IF_VERSION, METADATA = 1, 2, 4
NOT_MODIFIED = 1
CAP_FD_BATCH, CAP_INLINE, CAP_COPY, CAP_RING = 1, 2, 4, 8
BODIES = CAP_FD_BATCH | CAP_INLINE | CAP_COPY  # what a client wants that takes objects in every form

META_SIZE, META_MTIME, META_ETAG, META_MIME, META_BACKEND, META_LATENCY, META_ERROR = 1, 2, 3, 4, 5, 6, 0xFF


class Bad(Exception):
    def __init__(self, status, **fields):
        super().__init__(f"status {status}")
        self.status, self.fields = status, fields


def metadata(raw):
    """Entries as a dict from type to bytes; raises Bad when one runs over the end."""
    entries, at = {}, 0
    while at < len(raw):
        if len(raw) - at < 3:
            raise Bad(PROTOCOL)
        kind, length = struct.unpack_from(">BH", raw, at)
        at += 3
        if len(raw) - at < length:
            raise Bad(PROTOCOL)
        entries[kind] = bytes(raw[at : at + length])
        at += length
    return entries


# ---- version 1 -------------------------------------------------------------------------------------------------------


class V1Request(NamedTuple):
    mode: int
    uri: bytes
    status: int = OK


class V1Response(NamedTuple):
    status: int
    content_len: int
    metadata: bytes = b""


def v1_request_encode(r):
    return struct.pack(">BH", r.mode, len(r.uri)) + r.uri


def v1_request_decode(buf):
    if len(buf) >= 1 and buf[0] not in b"123":
        raise Bad(INVALID_MODE)
    if len(buf) < 3:
        return None
    mode, length = struct.unpack_from(">BH", buf)
    if length > URI_MAX:
        raise Bad(URI_TOO_LONG)
    if len(buf) < 3 + length:
        return None
    return V1Request(mode, bytes(buf[3 : 3 + length]), OK if length else INVALID), 3 + length


def v1_response_encode(r):
    return struct.pack(">BQH", r.status, r.content_len, len(r.metadata)) + r.metadata


def v1_response_decode(buf, at=0):
    if len(buf) - at < 11:
        return None
    status, content_len, length = struct.unpack_from(">BQH", buf, at)
    if length > METADATA_MAX:
        raise Bad(PROTOCOL)
    if len(buf) - at < 11 + length:
        return None
    return V1Response(status, content_len, bytes(buf[at + 11 : at + 11 + length])), 11 + length


# ---- version 3 -------------------------------------------------------------------------------------------------------


class Hello(NamedTuple):
    version: int = 3
    capabilities: int = CAP_FD_BATCH
    in_flight: int = 0
    inline_limit: int = 0


class HelloReply(NamedTuple):
    version: int
    status: int
    capabilities: int
    instance: bytes
    in_flight: int
    uri_max: int
    fds_max: int
    inline_limit: int


class Request(NamedTuple):
    op: int
    mode: int = 0
    flags: int = 0
    id: int = 0
    inline_limit: int = 0
    range_offset: int = 0
    range_length: int = 0
    if_version: int = 0
    uri: bytes = b""
    extra: bytes = b""
    status: int = OK


class Response(NamedTuple):
    status: int
    op: int
    mode: int
    n_fds: int
    id: int
    flags: int
    size: int
    version: int
    body_len: int
    metadata: bytes = b""


def preamble(buf, at, least):
    """The length of the hello at @at, or None when it does not yet show."""
    if bytes(buf[at : at + 4]) != b"OBJM"[: len(buf) - at]:
        raise Bad(PROTOCOL)
    if len(buf) - at < 8:
        return None
    length = struct.unpack_from(">H", buf, at + 6)[0]
    if not least <= length <= HELLO_MAX:
        raise Bad(PROTOCOL)
    return length


def hello_encode(h):
    return struct.pack(">4sBBHQIIQ", b"OBJM", h.version, 0, 32, h.capabilities, h.in_flight, h.inline_limit, 0)


def hello_decode(buf, at=0):
    if len(buf) - at >= 8 and bytes(buf[at : at + 4]) == b"OBJM" and buf[at + 4] < 3:
        raise Bad(VERSION)
    length = preamble(buf, at, 32)
    if length is None or len(buf) - at < length:
        return None
    return Hello(buf[at + 4], *struct.unpack_from(">QII", buf, at + 8)), length


def hello_reply_encode(h):
    return struct.pack(">4sBBHQ16sIHHII", b"OBJM", h.version, h.status, 48, h.capabilities, h.instance, h.in_flight,
                       h.uri_max, h.fds_max, h.inline_limit, 0)


def hello_reply_decode(buf, at=0):
    length = preamble(buf, at, 48)
    if length is None or len(buf) - at < length:
        return None
    version, status = buf[at + 4], buf[at + 5]
    return HelloReply(version, status, *struct.unpack_from(">Q16sIHHI", buf, at + 8)), length


REQUEST = struct.Struct(">BBHIHHIQQQ")
RESPONSE = struct.Struct(">BBBBIHHIQQQ")
assert REQUEST.size == RESPONSE.size == 40


def request_encode(r):
    return REQUEST.pack(r.op, r.mode, r.flags, r.id, len(r.uri), len(r.extra), r.inline_limit, r.range_offset,
                        r.range_length, r.if_version) + r.uri + r.extra


def request_refusal(op, mode, uri):
    if op not in (GET, STAT, PING, RING_ATTACH, STATS, RELOAD, DRAIN):
        return UNSUPPORTED
    if op in (GET, STAT) and not uri:
        return INVALID
    if op == GET and mode not in (FD, COPY, SPLICE, AUTO):
        return INVALID_MODE
    return OK


def request_decode(buf, at=0):
    if len(buf) - at < 40:
        return None
    op, mode, flags, rid, uri_len, extra_len, limit, offset, length, if_version = REQUEST.unpack_from(buf, at)
    if uri_len > URI_MAX:
        raise Bad(URI_TOO_LONG, op=op, id=rid)
    if extra_len > EXTRA_MAX:
        raise Bad(INVALID, op=op, id=rid)
    end = at + 40 + uri_len
    if len(buf) < end + extra_len:
        return None
    uri, extra = bytes(buf[at + 40 : end]), bytes(buf[end : end + extra_len])
    r = Request(op, mode, flags, rid, limit, offset, length, if_version, uri, extra, request_refusal(op, mode, uri))
    return r, end + extra_len - at


def response_encode(r):
    return RESPONSE.pack(r.status, r.op, r.mode, r.n_fds, r.id, r.flags, len(r.metadata), 0, r.size, r.version,
                         r.body_len) + r.metadata


def response_decode(buf, at=0):
    if len(buf) - at < 40:
        return None
    status, op, mode, n_fds, rid, flags, length, _, size, version, body_len = RESPONSE.unpack_from(buf, at)
    if length > METADATA_MAX or n_fds > FDS_MAX:
        raise Bad(PROTOCOL)
    if len(buf) - at < 40 + length:
        return None
    raw = bytes(buf[at + 40 : at + 40 + length])
    return Response(status, op, mode, n_fds, rid, flags, size, version, body_len, raw), 40 + length


# ---- ring: what the extra bytes and the body of RING_ATTACH say ----


class RingAttach(NamedTuple):
    entries: int
    arena: int


class RingGrant(NamedTuple):
    entries: int
    arena: int
    size: int
    entries_at: int
    arena_at: int
    body_max: int


def ring_attach_encode(r):
    return struct.pack(">II8x", *r)


def ring_attach_decode(buf, at=0):
    return (RingAttach(*struct.unpack_from(">II", buf, at)), 16) if len(buf) - at >= 16 else None


def ring_grant_encode(r):
    return struct.pack(">IIIIII8x", *r)


def ring_grant_decode(buf, at=0):
    if len(buf) - at < 32:
        return None
    r = RingGrant(*struct.unpack_from(">IIIIII", buf, at))
    if r.entries_at != 256 or r.arena_at != 256 + 64 * r.entries or r.size < r.arena_at + r.arena or r.body_max > r.arena:
        raise Bad(PROTOCOL)
    return r, 32


# ---- datagrams -------------------------------------------------------------------------------------------------------

UDP_HEADER, UDP_MAX = 20, 1200
UDP_STREAM = 1


class UdpRequest(NamedTuple):
    op: int = GET
    mode: int = COPY
    id: int = 0
    cookie: int = 0
    uri: bytes = b""
    padding: int = 0
    status: int = OK


class UdpResponse(NamedTuple):
    status: int
    bare: bool
    flags: int
    id: int
    cookie: int
    metadata: bytes = b""
    body: bytes = b""


def udp_request_encode(r):
    v1 = b"" if r.op == PING else v1_request_encode(V1Request(r.mode, r.uri))
    return struct.pack(">4sBBHIQ", b"OBJQ", 1, r.op, 0, r.id, r.cookie) + v1 + bytes(r.padding)


def udp_request_decode(buf):
    if not UDP_HEADER <= len(buf) <= UDP_MAX or buf[:4] != b"OBJQ":
        raise Bad(PROTOCOL)
    version, op, _, ident, cookie = struct.unpack_from(">BBHIQ", buf, 4)
    rest = len(buf) - UDP_HEADER
    if version != 1:
        return UdpRequest(0, 0, ident, padding=rest, status=VERSION), len(buf)
    if op not in (GET, STAT):
        return UdpRequest(op, 0, ident, cookie, padding=rest, status=OK if op == PING else UNSUPPORTED), len(buf)
    try:
        v1 = v1_request_decode(buf[UDP_HEADER:])
    except Bad as e:
        if e.status != INVALID_MODE:
            raise
        return UdpRequest(op, 0, ident, cookie, padding=rest, status=INVALID_MODE), len(buf)
    if v1 is None:
        raise Bad(PROTOCOL)
    request, used = v1
    return UdpRequest(op, request.mode, ident, cookie, request.uri, rest - used, request.status), len(buf)


def udp_response_encode(r):
    v1 = b"" if r.bare else v1_response_encode(V1Response(r.status, len(r.body), r.metadata)) + r.body
    return struct.pack(">4sBBHIQ", b"OBJA", 1, r.status, r.flags, r.id, r.cookie) + v1


def udp_response_decode(buf):
    if not UDP_HEADER <= len(buf) <= UDP_MAX or buf[:5] != b"OBJA\x01":
        raise Bad(PROTOCOL)
    head = struct.unpack_from(">BHIQ", buf, 5)
    if len(buf) == UDP_HEADER:
        return UdpResponse(head[0], True, *head[1:]), len(buf)
    v1 = v1_response_decode(buf, UDP_HEADER)
    if v1 is None or v1[0].status != head[0] or v1[0].content_len != len(buf) - UDP_HEADER - v1[1]:
        raise Bad(PROTOCOL)
    return UdpResponse(head[0], False, *head[1:], v1[0].metadata, bytes(buf[UDP_HEADER + v1[1] :])), len(buf)
