# SPDX-License-Identifier: MIT
"""The shared-memory ring against the daemon: the handshake, operations, doorbells, back-pressure."""
import errno
import fcntl
import mmap
import os
import time

import omproto as p
import omring
import pytest
from daemon import wait_until
from omclient import V3
from omring import Ring

F_GET_SEALS, SEAL, SHRINK, GROW, WRITE, FUTURE_WRITE = 1034, 1, 2, 4, 8, 16
NO_ENTRY = b"/not/there"


# ---- the handshake ----


def test_response_then_descriptors_then_another_request(served):
    """The response is whole, body included, when its three descriptors are there, and the connection goes on."""
    with served.connect(3, hello=omring.WANTS_RING) as c:
        assert c.hello.capabilities & p.CAP_RING
        c.send(p.request_encode(p.Request(p.PING, id=1)) +
               p.request_encode(p.Request(p.RING_ATTACH, id=2, extra=omring.attach_extra())) +
               p.request_encode(p.Request(p.STAT, id=3, uri=b"/a.txt")))
        order = []
        for _ in range(3):
            r = c.message(p.response_decode)
            order.append(r.id)
            assert r.status == p.OK and r.n_fds == (3 if r.id == 2 else 0)
            assert len(c.take(r.body_len)) == (32 if r.id == 2 else 0)
            assert r.id != 2 or len(c.fds) == 3
        assert order[0] == 1 and sorted(order) == [1, 2, 3]
        c.ping()


@pytest.mark.parametrize("wanted,granted", [
    ((0, 0), (256, 262144)), ((64, 65536), (64, 65536)), ((100, 100000), (64, 65536)), ((1 << 31, 1 << 31), (256, 262144)),
    ((1, 1), (8, 8192)),
])
def test_grants_no_more_than_asked_and_configured(served, wanted, granted):
    with Ring(served.socket, *wanted) as c:
        assert (c.entries, c.arena) == granted
        assert c.call(p.PING).status == p.OK


def refused(c, **fields):
    """The status of RING_ATTACH; the connection goes on."""
    c.ask(b"", 0, p.RING_ATTACH, **fields)
    r = c.reply()
    assert r.fd < 0 and not c.fds and r.op == p.RING_ATTACH
    c.ping()
    return r.status


def test_refusals_leave_the_connection_open(served):
    with served.connect(3) as c:
        assert refused(c, extra=omring.attach_extra()) == p.UNSUPPORTED
    with served.connect(3, hello=omring.WANTS_RING) as c:
        assert refused(c, extra=b"") == p.INVALID
        assert refused(c, extra=bytes(15)) == p.INVALID
    with Ring(served.socket) as c:
        assert refused(c, extra=omring.attach_extra()) == p.INVALID
        assert c.call(p.PING).status == p.OK


def test_turned_off(start, tree):
    daemon = start({"/": tree.path}, config="ring = { enabled = false; };\n")
    with daemon.connect(3, hello=omring.WANTS_RING) as c:
        assert not c.hello.capabilities & p.CAP_RING
        assert refused(c, extra=omring.attach_extra()) == p.UNSUPPORTED


def test_geometry_is_configured(start, tree):
    daemon = start({"/": tree.path}, config='ring = { enabled = true; entries = 32; arena = "16K"; };\n')
    with Ring(daemon.socket) as c:
        assert (c.entries, c.arena) == (32, 16384)
        for i in range(100):
            assert c.call(p.STAT, "/a.txt", rid=i).size == 6


def test_no_descriptors_left_for_rings(start, tree):
    """Each ring keeps one; when a quarter of what there is has gone, the others are told and go on without."""
    daemon = start({"/": tree.path}, nofile=256)
    clients = [daemon.connect(3, hello=omring.WANTS_RING) for _ in range(60)]
    try:
        for c in clients:
            c.ask(b"", 0, p.RING_ATTACH, extra=omring.attach_extra())
        statuses = []
        for c in clients:
            r = c.message(p.response_decode)
            c.take(r.body_len)
            statuses.append(r.status)
            for _ in range(r.n_fds):
                os.close(c.fds.popleft())
            assert c.get("/a.txt").content() == tree.files["/a.txt"]
        assert set(statuses) == {p.OK, p.UNAVAILABLE}
    finally:
        for c in clients:
            c.close()


# ---- memory ----


def test_memory_is_sealed(served):
    with Ring(served.socket) as c:
        assert fcntl.fcntl(c.requests_fd, F_GET_SEALS) & (SEAL | SHRINK | GROW | WRITE | FUTURE_WRITE) == \
            SEAL | SHRINK | GROW
        assert fcntl.fcntl(c.replies_fd, F_GET_SEALS) & (SEAL | SHRINK | GROW | FUTURE_WRITE) == \
            SEAL | SHRINK | GROW | FUTURE_WRITE
        for fd in (c.requests_fd, c.replies_fd):
            for size in (0, c.size - 4096, c.size + 4096):
                with pytest.raises(PermissionError):
                    os.ftruncate(fd, size)
        with pytest.raises(PermissionError):
            mmap.mmap(c.replies_fd, c.size)
        with pytest.raises(OSError) as e:
            os.pwrite(c.replies_fd, b"x", 0)
        assert e.value.errno == errno.EPERM
        assert c.call(p.PING).status == p.OK


# ---- operations ----


def test_operations(served, tree):
    with Ring(served.socket) as c, served.connect(3) as s:
        for uri, data in tree.files.items():
            r, over_socket = c.call(p.STAT, uri, rid=77), s.stat(uri)
            assert (r.status, r.size, r.version) == (p.OK, len(data), over_socket.version), uri
            assert r.mtime == int((tree.path / uri[1:]).stat().st_mtime)
        assert c.call(p.PING).status == p.OK
        assert c.call(p.STAT, NO_ENTRY).status == p.NOT_FOUND
        assert c.call(p.STAT, "/../x").status in (p.INVALID, p.NOT_FOUND)
        assert c.call(p.STAT, b"").status == p.INVALID


def test_long_and_short_uris(served, tree):
    deep = tree.path / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    (deep / "f").write_bytes(b"deep")
    uri = f"/{'d' * 200}/{'e' * 200}/f"
    with Ring(served.socket) as c:
        for _ in range(600):  # round the arena, and more than once
            assert c.call(p.STAT, uri).size == 4
        assert c.call(p.STAT, "/a.txt", short=False).size == 6
        assert c.call(p.STAT, "/" + "x" * 4095).status in (p.NOT_FOUND, p.INVALID)
        for length in (39, 40, 41):
            (tree.path / "new").write_bytes(b"x" * length)
            (tree.path / "new").rename(tree.path / ("n" * (length - 1)))
            wait_until(lambda: c.call(p.STAT, "/" + "n" * (length - 1)).size == length)


def test_a_stamp_tells_of_a_request_before_head_does(served):
    with Ring(served.socket) as c:
        for i in range(100):
            c.put(p.STAT, "/a.txt", rid=i)
            c.stamp(i + 1)
            c.ring()  # nothing else tells of it
            assert [r.id for r in c.answers(1)] == [i]
        assert c.word(c.requests, omring.HEAD) == 0
        assert c.publish() and c.call(p.PING).status == p.OK


def test_what_the_ring_does_not_do_is_for_the_socket(served):
    with Ring(served.socket) as c:
        for op, mode in ((p.GET, p.COPY), (p.GET, p.SPLICE), (p.RING_ATTACH, 0), (5, 0), (0, 0), (200, 0)):
            r = c.call(op, "/a.txt", mode)
            assert (r.status, r.flags) == (p.UNSUPPORTED, omring.RS_SOCKET), (op, mode)
        with served.connect(3) as s:
            assert s.get("/a.txt").content() == b"hello\n"
        assert c.call(p.PING).status == p.OK


def test_many_at_once_come_in_order(served, tree):
    uris = sorted(tree.files)
    with Ring(served.socket) as c:
        for _ in range(20):
            for i in range(c.entries):
                c.put(p.STAT, uris[i % len(uris)], rid=i)
            assert c.room() >= 0 and c.publish()
            for i, r in enumerate(c.answers(c.entries)):
                assert (r.id, r.status, r.size) == (i, p.OK, len(tree.files[uris[i % len(uris)]]))


def test_socket_and_ring_at_the_same_time(served):
    with Ring(served.socket) as c:
        for i in range(50):
            c.put(p.STAT, "/a.txt", rid=i)
            c.publish()
            assert c.answers(1)[0].id == i
            assert c.get("/sub/b.bin").content() == bytes(range(256)) * 16


# ---- bodies ----


def test_inline_bodies(served, tree):
    with Ring(served.socket) as c:
        for uri in ("/a.txt", "/empty", "/sub/b.bin", "/sub/deep/er/c"):
            for mode in (p.AUTO, p.INLINE):
                r = c.call(p.GET, uri, mode)
                assert (r.status, r.mode, r.n_fds) == (p.OK, p.INLINE, 0)
                assert r.body == tree.files[uri] and r.size == len(r.body)


def test_bodies_up_to_the_arena(served, tree):
    with Ring(served.socket, 64, 65536) as c:
        assert c.body_max == 65536
        for n in (65536, 65535, 40000, 65536):
            (tree.path / "whole").write_bytes(os.urandom(n))
            assert c.call(p.GET, "/whole", p.INLINE).body == (tree.path / "whole").read_bytes()
        (tree.path / "larger").write_bytes(bytes(65537))
        r = c.call(p.GET, "/larger", p.INLINE)
        assert (r.status, r.flags, r.body) == (p.UNSUPPORTED, omring.RS_SOCKET, b"")
        r = c.call(p.GET, "/larger", p.INLINE, offset=1)
        assert (r.status, len(r.body), r.size) == (p.OK, 65536, 65537)


def test_ranges_limits_and_versions(served, tree):
    data = tree.files["/sub/b.bin"]
    with Ring(served.socket) as c:
        for offset, length in ((0, 10), (100, 0), (4000, 1000), (4096, 1), (9999, 5)):
            r = c.call(p.GET, "/sub/b.bin", p.AUTO, offset=offset, length=length)
            assert r.body == data[offset : offset + length if length else None]
        for length in (1, 10, len(data), 65535):
            r = c.call(p.GET, "/sub/b.bin", p.AUTO, short=True, length=length)
            assert (r.body, r.size) == (data[:length], len(data))
        version = c.call(p.STAT, "/sub/b.bin").version
        r = c.call(p.GET, "/sub/b.bin", p.AUTO, if_version=version)
        assert (r.status, r.flags, r.body) == (p.OK, omring.RS_NOT_MODIFIED, b"")
        assert c.call(p.GET, "/sub/b.bin", p.AUTO, if_version=version + 1).body == data
        r = c.call(p.GET, "/sub/b.bin", p.AUTO, limit=4095)
        assert (r.mode, r.n_fds) == (p.FD, 1)
        os.close(c.fetch(1))


def test_bodies_of_many_sizes_round_the_arena(served, tree):
    sizes = [0, 1, 63, 64, 65, 1000, 4097, 8000, 16383]
    for n in sizes:
        (tree.path / f"s{n}").write_bytes(os.urandom(n))
    with Ring(served.socket, 16, 32768) as c:
        for turn in range(60):
            asked = [sizes[(turn * 7 + i) % len(sizes)] for i in range(8)]
            for i, n in enumerate(asked):
                c.put(p.GET, f"/s{n}", p.INLINE, rid=i)
            c.publish()
            for i, r in enumerate(c.answers(8)):
                assert (r.id, r.body) == (i, (tree.path / f"s{asked[i]}").read_bytes())


# ---- descriptors ----


def test_descriptors_come_over_the_socket(served, tree):
    with Ring(served.socket) as c:
        for uri in ("/a.txt", "/big", "/empty"):
            r = c.call(p.GET, uri, p.FD, rid=9)
            assert (r.status, r.mode, r.n_fds, r.size) == (p.OK, p.FD, 1, len(tree.files[uri]))
            with open(c.fetch(9), "rb") as f:
                assert f.read() == tree.files[uri]
        assert c.call(p.GET, NO_ENTRY, p.FD).n_fds == 0


def test_descriptors_in_batches(served, tree):
    """As many as fit go with one message, and each is what its id asked for."""
    with Ring(served.socket) as c:
        for _ in range(5):
            for i in range(100):
                c.put(p.GET, f"/many/{i}", p.FD, rid=i)
            c.publish()
            got, messages = 0, 0
            while got < 100:
                if not c.ready():
                    c.sleep()
                while c.ready():
                    r = c.one()
                    assert (r.status, r.n_fds) == (p.OK, 1)
                    with open(c.fetch(r.id), "rb") as f:
                        assert f.read() == b"%d" % r.id
                    got += 1
                c.release()


def test_back_pressure_of_descriptors(served, tree):
    """A client that does not read its socket gets no further, and nothing is lost when it does."""
    with Ring(served.socket) as c:
        asked = got = 0
        for i in range(c.entries):
            c.put(p.GET, f"/many/{i % 100}", p.FD, rid=i)
        c.publish()
        while got < c.entries:
            if not c.ready():
                c.sleep()
                continue
            r = c.one()
            c.release()
            assert (r.status, r.id) == (p.OK, got)
            with open(c.fetch(r.id), "rb") as f:
                assert f.read() == b"%d" % (r.id % 100)
            got += 1


# ---- back-pressure ----


def test_full_ring_waits_and_loses_nothing(served):
    """Replies nobody takes stop the requests; the socket and other clients go on."""
    with Ring(served.socket, 16, 8192) as c, Ring(served.socket) as other:
        sent = taken = 0
        while c.room():
            c.put(p.STAT, "/a.txt", rid=sent)
            sent += 1
            c.publish()
        wait_until(lambda: c.word(c.replies, omring.HEAD) == 16 or c.room() and False)
        while c.room():  # the places of the requests that were answered
            c.put(p.STAT, "/a.txt", rid=sent)
            sent += 1
            c.publish()
        assert sent >= 16
        for i in range(100):
            assert other.call(p.STAT, "/a.txt", rid=i).size == 6
        c.ping()
        assert c.word(c.replies, omring.HEAD) == 16, "more replies than there is room for"
        while taken < sent:
            assert [r.id for r in c.answers(1)] == [taken]
            taken += 1


def test_body_waits_for_room_in_the_arena(served, tree):
    (tree.path / "half").write_bytes(os.urandom(5000))
    with Ring(served.socket, 16, 8192) as c:
        for i in range(10):
            c.put(p.GET, "/half", p.INLINE, rid=i)
        c.publish()
        for i in range(10):
            r = c.answers(1)[0]
            assert (r.id, r.body) == (i, (tree.path / "half").read_bytes())


def make_cold(path, data):
    with open(path, "wb", buffering=0) as f:
        f.write(data)
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def is_cold(path):
    """To look has the kernel read it."""
    with open(path, "rb", buffering=0) as f:
        try:
            return not os.preadv(f.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
        except BlockingIOError:
            return True


def test_body_from_disk_was_forgotten_when_another_request_came_before_there_was_room(served, tree):
    """That was answered, and the ring put to sleep: for room in the arena no client rings."""
    half, cold = os.urandom(5000), os.urandom(5000)
    (tree.path / "half").write_bytes(half)
    make_cold(tree.path / "tried", cold)
    if not is_cold(tree.path / "tried"):
        pytest.skip("nothing can be dropped from the page cache here")
    with Ring(served.socket, 16, 8192) as c:
        assert c.call(p.GET, "/half", p.INLINE).body == half
        make_cold(tree.path / "cold", cold)
        for i, uri in enumerate(("/cold", "/half")):
            c.put(p.GET, uri, p.INLINE, rid=i)
        assert c.publish()
        wait_until(c.ready)
        assert c.one().body == half
        time.sleep(0.2)  # until the other has been read
        assert not c.ready()
        c.put(p.PING, rid=2)
        assert c.publish()
        wait_until(c.ready)
        assert c.one().id == 2
        wait_until(lambda: c.word(c.replies, omring.ASLEEP) == omring.FUTEX)
        time.sleep(0.2)
        c.release()
        wait_until(c.ready, message="the body is forgotten")
        r = c.one()
        assert (r.id, r.body) == (0, cold)
