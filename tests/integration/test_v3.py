# SPDX-License-Identifier: MIT
"""Version 3 against the daemon: hello, operations, ids, batches of descriptors."""
import os
import random

import omproto as p
import pytest
from daemon import wait_until
from omclient import V3, Client, recv_with_fds

KNOWN = p.CAP_FD_BATCH | p.CAP_INLINE | p.CAP_COPY | p.CAP_RING


def raw_hello(daemon, data):
    """The reply to these bytes, and the connection."""
    c = Client(daemon.socket)
    c.send(data)
    return c.message(p.hello_reply_decode), c


def test_hello(served):
    with served.connect(3) as c:
        h = c.hello
        assert (h.version, h.status, h.uri_max) == (3, p.OK, p.URI_MAX)
        assert h.capabilities == p.CAP_FD_BATCH and 1 <= h.fds_max <= p.FDS_MAX
        assert h.in_flight > 0 and h.instance != bytes(16)


def test_hello_grants_no_more_than_asked(served):
    with served.connect(3, hello=p.Hello(capabilities=0, in_flight=5)) as c:
        assert c.hello.capabilities == 0
        assert c.hello.in_flight == 5
    with served.connect(3, hello=p.Hello(in_flight=0xFFFFFFFF)) as c:
        assert 5 < c.hello.in_flight < 0xFFFFFFFF


def test_unknown_capabilities_are_ignored(served):
    with served.connect(3, hello=p.Hello(capabilities=(1 << 64) - 1)) as c:
        assert c.hello.status == p.OK
        assert c.hello.capabilities & ~KNOWN == 0 and c.hello.capabilities & p.CAP_FD_BATCH
        c.ping()


def test_newer_version_is_answered_with_3(served):
    with served.connect(3, hello=p.Hello(version=200)) as c:
        assert (c.hello.version, c.hello.status) == (3, p.OK)
        c.ping()


def test_longer_hello(served):
    for length in (33, 200, 256):
        data = p.hello_encode(p.Hello())
        data = data[:6] + length.to_bytes(2, "big") + data[8:] + b"\xee" * (length - 32)
        reply, c = raw_hello(served, data + p.request_encode(p.Request(p.PING, id=5)))
        with c:
            assert reply.status == p.OK
            assert c.message(p.response_decode).id == 5


@pytest.mark.parametrize("data,status", [
    (b"OBJM\2\0\0\x20" + bytes(24), p.VERSION), (b"OBJM\0\0\0\x20" + bytes(24), p.VERSION),
    (b"OBJX\3\0\0\x20" + bytes(24), p.PROTOCOL), (b"Oops", p.PROTOCOL),
    (b"OBJM\3\0\0\x1f" + bytes(24), p.PROTOCOL), (b"OBJM\3\0\x01\x01" + bytes(300), p.PROTOCOL),
], ids=["v2", "v0", "magic", "oops", "short", "long"])
def test_refused_hello(served, data, status):
    reply, c = raw_hello(served, data)
    with c:
        assert (reply.version, reply.status, reply.capabilities) == (3, status, 0)
        assert c.eof()


def test_instance_changes_at_each_start(start, tree):
    daemon = start({"/": tree.path})
    with daemon.connect(3) as a, daemon.connect(3) as b:
        assert a.hello.instance == b.hello.instance
        before = a.hello.instance
    daemon.stop()
    with start({"/": tree.path}).connect(3) as c:
        assert c.hello.instance != before


def test_hello_and_requests_in_one_piece_and_byte_by_byte(served):
    data = p.hello_encode(p.Hello()) + b"".join(
        p.request_encode(r) for r in (p.Request(p.GET, p.FD, id=9, uri=b"/a.txt"), p.Request(p.PING, id=8)))
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
        with Client(served.socket) as c:
            for piece in pieces:
                c.send(piece)
            assert c.message(p.hello_reply_decode).status == p.OK
            got = {}
            for _ in range(2):
                r = c.message(p.response_decode)
                got[r.id] = (r.op, r.status, r.n_fds)
            assert got == {9: (p.GET, p.OK, 1), 8: (p.PING, p.OK, 0)}
            os.close(c.fds.popleft())


def test_get_and_stat_say_the_same(served, tree):
    with served.connect(3) as c:
        for uri, content in tree.files.items():
            s, g = c.stat(uri), c.get(uri)
            assert (s.status, s.fd, s.size, s.op) == (p.OK, -1, len(content), p.STAT)
            assert (g.status, g.mode, g.size, g.version, g.op, g.flags) == (p.OK, p.FD, s.size, s.version, p.GET, 0)
            assert g.version != 0 and g.metadata == b"" and g.body == b""
            g.close()
        for uri, status in (("/none", p.NOT_FOUND), ("/sub", p.UNSUPPORTED), ("/sub/", p.INVALID)):
            r = c.stat(uri)
            assert (r.status, r.size, r.version, r.fd) == (status, 0, 0, -1)


def test_metadata_only_when_asked(served, tree):
    with served.connect(3) as c:
        for op in (p.GET, p.STAT):
            r = c.get("/a.txt", mode=p.FD if op == p.GET else 0, op=op, flags=p.METADATA)
            r.close()
            entries = r.entries()
            assert int.from_bytes(entries[p.META_MTIME], "big") == int((tree.path / "a.txt").stat().st_mtime)
            assert len(entries[p.META_ETAG]) > 2
        assert c.get("/none").metadata == b""
        assert c.get("/none", flags=p.METADATA).entries()[p.META_ERROR] == b"not found"


def test_if_version(served, tree):
    with served.connect(3) as c:
        first = c.stat("/a.txt").version
        r = c.get("/a.txt", flags=p.IF_VERSION, if_version=first)
        assert (r.status, r.fd, r.flags, r.version, r.mode) == (p.OK, -1, p.NOT_MODIFIED, first, 0)
        r = c.get("/a.txt", flags=0, if_version=first)
        assert r.fd >= 0, "without the flag the field does not hold"
        r.close()
        (tree.path / "new").write_bytes(b"another")
        os.rename(tree.path / "new", tree.path / "a.txt")

        def changed():
            r = c.get("/a.txt", flags=p.IF_VERSION, if_version=first)
            if r.flags & p.NOT_MODIFIED:
                return None
            return r

        r = wait_until(changed)
        assert r.fd >= 0 and r.flags == 0 and r.version != first
        assert os.pread(r.fd, 100, 0) == b"another"
        r.close()


def test_version_changes_with_the_object(start, tree):
    """Also without a watch, where there is nothing to wait for."""
    daemon = start({"/": tree.path}, config="index = { watch = false; };\n")
    file = tree.path / "a.txt"
    seen = set()
    with daemon.connect(3) as c:
        for i in range(20):
            (tree.path / "new").write_bytes(b"x" * i)
            os.rename(tree.path / "new", file)
            r = c.get("/a.txt")
            r.close()
            assert r.size == i
            seen.add(r.version)
    assert len(seen) == 20


def test_operations_and_modes_that_are_not_there(served):
    with served.connect(3) as c:
        for op in (0, 5, 16, 99, 255):
            r = c.get("/a.txt", op=op)
            assert (r.status, r.op, r.fd) == (p.UNSUPPORTED, op, -1)
        assert c.get(b"", op=p.RING_ATTACH).status == p.UNSUPPORTED
        for mode in (0, ord("i"), ord("z"), 255):
            assert c.get("/a.txt", mode=mode).status == p.INVALID_MODE
        for op in (p.GET, p.STAT):
            assert c.get(b"", op=op).status == p.INVALID
        r = c.get("/a.txt", mode=p.AUTO)
        assert (r.status, r.mode) == (p.OK, p.FD)
        r.close()
        c.ping()


def test_ids_come_back(served):
    with served.connect(3) as c:
        for rid in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF):
            assert c.get(b"", op=p.PING, id=rid).id == rid
        for _ in range(3):
            c.ask("/none", id=77)
        assert [c.reply().id for _ in range(3)] == [77] * 3


def test_extra_and_unknown_flags_are_ignored(served):
    with served.connect(3) as c:
        r = c.get("/a.txt", flags=0xFFF8, extra=b"x" * p.EXTRA_MAX, inline_limit=1, range_offset=5, range_length=6)
        assert r.status == p.OK
        r.close()


def test_too_much_extra_ends_the_connection(served):
    with served.connect(3) as c:
        c.ask("/a.txt", id=1)
        c.ask("/a.txt", id=2, extra=b"x" * (p.EXTRA_MAX + 1))
        replies = {r.id: r for r in (c.reply(), c.reply())}
        assert (replies[1].status, replies[2].status) == (p.OK, p.INVALID)
        replies[1].close()
        assert c.eof()


def descriptors_per_message(client, n):
    """Gets n objects and returns the largest number of descriptors that came with one recvmsg."""
    client.ask_many(["/a.txt"] * n)
    left, most = n * 40, 0
    while left:
        data, fds = recv_with_fds(client.sock, 65536)
        most = max(most, len(fds))
        left -= len(data)
        for fd in fds:
            os.close(fd)
    return most


def test_batches(served):
    with served.connect(3, hello=p.Hello(capabilities=p.CAP_FD_BATCH)) as c:
        assert 2 <= descriptors_per_message(c, 200) <= c.hello.fds_max
    with served.connect(3, hello=p.Hello(capabilities=0)) as c:
        assert descriptors_per_message(c, 200) == 1


@pytest.mark.parametrize("capabilities", [0, p.CAP_FD_BATCH], ids=["single", "batch"])
def test_descriptors_match_by_counting(served, tree, capabilities):
    """Replies of every kind, read in pieces of random size: each descriptor is of the object that was asked for."""
    rng = random.Random(4711)
    inodes = {u: (tree.path / u[1:]).stat().st_ino for u in tree.files}
    kinds = list(inodes) + ["/none", "/sub", "/sub/"] * 10
    with V3(served.socket, hello=p.Hello(capabilities=capabilities), chunk=lambda: rng.randint(1, 300)) as c:
        for _ in range(50):
            uris = [rng.choice(kinds) for _ in range(100)]
            c.ask_many(uris)
            answered = set()
            for _ in uris:
                r = c.reply()
                answered.add(r.id)
                assert (r.fd >= 0) == (uris[r.id] in inodes)
                if r.fd >= 0:
                    assert os.fstat(r.fd).st_ino == inodes[uris[r.id]]
                    r.close()
            assert len(answered) == len(uris) and not c.fds
