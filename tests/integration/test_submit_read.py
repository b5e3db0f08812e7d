# SPDX-License-Identifier: MIT
"""libobjmapper with many reads in flight: the bytes of small objects in buffers of the caller's, by socket, ring and
TCP."""
import ctypes
import errno
import os
import threading

import libclient as lib
import pytest
from daemon import INSTRUMENTED, PATIENCE

pytestmark = pytest.mark.skipif(INSTRUMENTED, reason="a sanitizer's library must be in the program from the beginning")

LIMIT = 16384  # what auto sends with the reply
ARENA = 262144
SIZES = [0, 1, 1024, LIMIT, LIMIT + 1, 200000, ARENA, ARENA + 1]
MODES = [lib.AUTO, lib.FD, lib.COPY, lib.SPLICE]
GUARD = 64


@pytest.fixture
def sized(tree):
    """Content by URI."""
    for n in SIZES:
        tree.files[f"/s{n}"] = os.urandom(n)
        (tree.path / f"s{n}").write_bytes(tree.files[f"/s{n}"])
    return tree


@pytest.fixture(params=["socket", "ring", "tcp", "v1", "tcp-v1"])
def way(request):
    return request.param


def connect(daemon, way, **kw):
    host, port = daemon.tcp_addresses()[0]
    address = f"tcp://{host}:{port}" if "tcp" in way else daemon.socket
    return lib.Handle(address, lib.RING if way == "ring" else 0, 1 if "v1" in way else 3, **kw)


def modes(way):
    return [m for m in MODES if "tcp" not in way or m != lib.FD]


class Reads:
    """Reads in flight, each with the result that it has to come to: bytes or an errno."""

    def __init__(self, om):
        self.om, self.wanted = om, {}

    def submit(self, uri, expected, n=None, size=None, **kw):
        """@size is the object's, if that is more than is expected; an @expected number is an error."""
        likely = 0 if isinstance(expected, int) else len(expected)
        size = likely if size is None else size
        room = n if n is not None else max(1, likely)
        mem = ctypes.create_string_buffer(b"\xee" * (room + GUARD), room + GUARD)
        buf = (ctypes.c_char * room).from_buffer(mem)
        rid = len(self.wanted)
        self.om.submit_read(uri, buf, rid, **kw)
        self.wanted[rid] = [mem, buf, expected, size, None]

    def wait(self):
        while self.om.in_flight():
            done = self.om.wait()
            assert done, "nothing came"
            for c in done:
                assert self.wanted[c.user_data][4] is None and c.object.fd == -1
                self.wanted[c.user_data][4] = (c.result, c.object.size)

    def check(self):
        for mem, buf, expected, size, got in self.wanted.values():
            assert got is not None
            if isinstance(expected, int):
                assert got[0] == -expected
                continue
            assert got == (len(expected), size)
            assert mem.raw[: len(expected)] == expected and mem.raw[len(buf) :] == b"\xee" * GUARD


def test_every_size_and_mode_at_once(start, sized, way):
    daemon = start({"/": sized.path}, tcp="127.0.0.1")
    with connect(daemon, way, depth=1024) as om:
        reads = Reads(om)
        for n in SIZES:
            data = sized.files[f"/s{n}"]
            for mode in modes(way):
                for room in (1, max(1, n // 2), max(1, n), n + 100):
                    reads.submit(f"/s{n}", data[:room], room, n, mode=mode)
                    if "v1" not in way:
                        reads.submit(f"/s{n}", data[5 : 5 + room], room, n, mode=mode, offset=5)
                        reads.submit(f"/s{n}", data[:7][:room], room, n, mode=mode, length=7)
        reads.submit("/not/there", errno.ENOENT)
        reads.submit("/sub", errno.EOPNOTSUPP)
        reads.wait()
        reads.check()


def test_one_object_again_and_again(start, sized, way):
    """So that the daemon keeps its bytes in memory; and what is written over it shows at once."""
    daemon = start({"/": sized.path}, tcp="127.0.0.1")
    with connect(daemon, way) as om:
        for turn in range(3):
            data = os.urandom(1024)
            (sized.path / "s1024").write_bytes(data)
            reads = Reads(om)
            for _ in range(20):
                for _ in range(100):
                    reads.submit("/s1024", data, 1024)
                reads.wait()
            reads.check()


@pytest.mark.parametrize("way", ["socket", "ring", "v1"], indirect=True)
def test_daemon_restarts_while_reads_are_under_way(start, sized, way):
    daemon = start({"/": sized.path}, tcp="127.0.0.1")
    with connect(daemon, way) as om:
        for _ in range(2):
            reads, mode = Reads(om), lib.AUTO if way == "v1" else lib.COPY
            for i in range(200):
                n = SIZES[i % len(SIZES)]
                reads.submit(f"/s{n}", sized.files[f"/s{n}"], mode=mode)
            om.flush()
            daemon.kill()
            starter = threading.Thread(target=daemon.start)
            starter.start()
            reads.wait()
            reads.check()
            starter.join(PATIENCE)
            daemon.stopped = False


def test_objects_replaced_meanwhile_are_whole(start, tree, way):
    """Each answer is all of one object, old or new."""
    daemon = start({"/": tree.path}, tcp="127.0.0.1")
    versions = {bytes([b]) * n for b, n in ((65, 1000), (66, 5000), (67, 30000))}
    stop = threading.Event()

    def replace():
        while not stop.is_set():
            for v in versions:
                (tree.path / "new").write_bytes(v)
                os.replace(tree.path / "new", tree.path / "changing")

    (tree.path / "changing").write_bytes(b"A" * 1000)
    writer = threading.Thread(target=replace)
    writer.start()
    try:
        with connect(daemon, way, depth=32) as om:
            for _ in range(20):
                bufs = [ctypes.create_string_buffer(40000) for _ in range(32)]
                for i, buf in enumerate(bufs):
                    om.submit_read("/changing", buf, i)
                while om.in_flight():
                    for c in om.wait():
                        assert c.result == c.object.size and bufs[c.user_data].raw[: c.result] in versions
    finally:
        stop.set()
        writer.join()
