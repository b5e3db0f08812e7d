# SPDX-License-Identifier: MIT
"""Clients that do everything wrong. The daemon refuses or closes, forgets them, and serves the others."""
import os
import random
import socket
import threading

import omproto as p
import pytest
from daemon import INSTRUMENTED, wait_until
from omclient import Client, Closed, send_fds

HELLO = p.hello_encode(p.Hello())
GET = {1: p.v1_request_encode(p.V1Request(p.FD, b"/a.txt")),
       3: p.request_encode(p.Request(p.GET, p.FD, uri=b"/a.txt"))}


@pytest.fixture(params=[1, 3], ids=["v1", "v3"])
def version(request):
    return request.param


def swallow(c):
    """Reads until the server ends the connection; closes all descriptors that come. Returns the bytes."""
    try:
        while True:
            c.fill()
            while c.fds:
                os.close(c.fds.popleft())
    except Closed:
        return bytes(c.buf)


def shout(daemon, data):
    """Sends, shuts down, and returns what came back until the end."""
    with Client(daemon.socket) as c:
        try:
            c.send(data)
            c.half_close()
        except (Closed, OSError):
            pass
        return swallow(c)


@pytest.mark.parametrize("start_with", [b"", HELLO, b"O", b"OBJM", b"1", GET[1], HELLO + GET[3]],
                         ids=["bare", "hello", "O", "magic", "mode", "v1", "v3"])
def test_random_bytes(served, start_with):
    rng = random.Random(repr(start_with))
    for _ in range(150):
        shout(served, start_with + rng.randbytes(rng.choice((1, 3, 40, 1000, 30_000))))
    served.at_rest()
    assert served.get_status("/a.txt") == p.OK


def test_flipped_bytes_in_a_session(served):
    """A good session with one byte changed, for every byte: answered or closed, never silence."""
    session = HELLO + GET[3] + p.request_encode(p.Request(p.STAT, uri=b"/sub/b.bin")) + GET[3]
    for i in range(len(session)):
        for flip in (0x01, 0x80, 0xFF):
            shout(served, session[:i] + bytes([session[i] ^ flip]) + session[i + 1 :])
    served.at_rest()


def test_cut_anywhere(served, version):
    session = GET[1] * 2 if version == 1 else HELLO + GET[3] * 2
    for cut in range(len(session)):
        shout(served, session[:cut])
        with Client(served.socket) as c:
            c.send(session[:cut])
    served.at_rest()
    assert served.get_status("/a.txt", version) == p.OK


def test_byte_at_a_time(served, version):
    with Client(served.socket) as c:
        for byte in GET[1] * 3 if version == 1 else HELLO + GET[3] * 3:
            c.send(bytes([byte]))
        if version == 3:
            assert c.message(p.hello_reply_decode).status == p.OK
        for _ in range(3):
            r = c.message(p.v1_response_decode if version == 1 else p.response_decode)
            assert r.status == p.OK
            if version == 1:
                assert c.take(1) == b"\x58"
            os.close(c.fds.popleft())


def test_huge_lengths(served):
    assert shout(served, b"1\xff\xff" + b"/" * 70_000)[0] == p.URI_TOO_LONG
    for uri_len, extra_len, status in ((0xFFFF, 0, p.URI_TOO_LONG), (0xFFFF, 0xFFFF, p.URI_TOO_LONG),
                                       (1, 0xFFFF, p.INVALID)):
        head = p.REQUEST.pack(p.GET, p.FD, 0, 3, uri_len, extra_len, 0, 0, 0, 0)
        back = shout(served, HELLO + head + b"/" * 140_000)
        reply, used = p.response_decode(back, 48)
        assert (reply.status, reply.id) == (status, 3)
        assert len(back) == 48 + used, "something came after the end"


def test_what_came_before_bad_bytes_is_answered(served, version):
    good, bad = 50, b"4" if version == 1 else p.REQUEST.pack(p.GET, p.FD, 0, 3, 5000, 0, 0, 0, 0, 0)
    with served.connect(version) as c:
        c.send(GET[version] * good + bad + GET[version] * 5)
        for _ in range(good):
            r = c.reply()
            r.close()
            assert r.status == p.OK
        assert c.reply().status in (p.INVALID_MODE, p.URI_TOO_LONG)
        assert c.eof()


@pytest.mark.parametrize("n", [1, 253])
def test_descriptors_sent_to_the_daemon(served, tree, version, n):
    """Refused with EPERM where the kernel can (SO_PASSRIGHTS, Linux 6.16), else dropped; the daemon keeps none."""
    fd = os.open(tree.path / "big", os.O_RDONLY)
    with served.connect(version) as c, served.connect(version) as other:
        other.get("/a.txt").close()
        before = served.settled(served.fds)
        refused = 0
        for _ in range(20):
            try:
                send_fds(c.sock, GET[version], [fd] * n)
            except PermissionError:
                refused += 1
        if not refused:
            for _ in range(20):
                c.reply().close()
        assert refused in (0, 20)
        other.get("/a.txt").close()
        assert served.settled(served.fds) <= before
    os.close(fd)


def pipeline_until_full(c, data):
    """Sends whole copies of @data without reading until the socket takes no more; returns the bytes taken."""
    c.sock.setblocking(False)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += c.sock.send(data)
    except BlockingIOError:
        pass
    return sent


def test_pipelines_and_never_reads(served, version):
    """Bounded memory and descriptors for a client that only asks; the others are served; all goes with it."""
    before_kb = served.anon_kb()
    clients = [served.connect(version) for _ in range(32)]
    for c in clients:
        assert pipeline_until_full(c, GET[version] * 100) < 8 << 20
    for _ in range(200):
        assert served.get_status("/a.txt") == p.OK
    assert served.settled(served.fds) <= served.baseline + 32 * (1 + 64)
    assert INSTRUMENTED or served.anon_kb() - before_kb < 32 * 256
    for c in clients:
        c.close()
    served.at_rest()


def test_late_reader_gets_every_reply(served, version):
    n = 3000
    with served.connect(version) as c:
        writer = threading.Thread(target=lambda: c.sock.sendall(GET[version] * n))
        writer.start()
        wait_until(lambda: c.sock.recv(1, socket.MSG_PEEK))
        for _ in range(n):
            r = c.reply()
            assert r.status == p.OK
            r.close()
        writer.join()


def test_leaves_with_replies_unread(served, version):
    for _ in range(200):
        with served.connect(version) as c:
            c.send(GET[version] * 100)
    served.at_rest()
    assert served.get_status("/a.txt", version) == p.OK


def test_comes_and_goes_without_a_word(served):
    for _ in range(2000):
        Client(served.socket).close()
    served.at_rest()
