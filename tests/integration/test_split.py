# SPDX-License-Identifier: MIT
"""libobjmapper with a connection for bodies: nothing that one handle asks for waits behind a body.

Whoever takes a body stops in its middle until the other answers have come: were they queued behind it, they never would.
"""
import errno
import os
import threading

import libclient as lib
import pytest
from daemon import INSTRUMENTED, PATIENCE, wait_until

pytestmark = pytest.mark.skipif(INSTRUMENTED, reason="a sanitizer's library must be in the program from the beginning")

BIG = 100 << 20
MODES = [lib.COPY, lib.SPLICE]
VERSIONS = [1, 3]


@pytest.fixture(scope="module")
def big():
    """Every 64 KiB differ."""
    return b"".join(i.to_bytes(4, "big") * 16384 for i in range(BIG >> 16))


@pytest.fixture
def daemon(start, tree, big):
    (tree.path / "huge").write_bytes(big)
    return start({"/": tree.path})


@pytest.mark.parametrize("mode", MODES, ids=["copy", "splice"])
@pytest.mark.parametrize("version", VERSIONS)
def test_callback_asks_in_the_middle_of_a_body(daemon, tree, big, version, mode):
    asked = []

    def ask(so_far):
        if asked:
            return
        assert so_far < len(big)
        asked.append(om.get("/sub/b.bin"))
        assert om.stat("/a.txt").size == 6
        if version == 3:
            om.ping()

    with lib.Handle(daemon.socket, lib.SPLIT_BODIES, version) as om:
        assert om.read("/huge", mode, ask) == big
    assert asked == [tree.files["/sub/b.bin"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_other_thread_asks_while_a_body_stands_still(daemon, tree, big, version):
    begun, answered, got = threading.Event(), threading.Event(), []

    def stand_still(_):
        begun.set()
        assert answered.wait(PATIENCE), "the others wait for the body"

    with lib.Handle(daemon.socket, lib.SPLIT_BODIES, version) as om:
        reader = threading.Thread(target=lambda: got.append(om.read("/huge", each=stand_still)))
        reader.start()
        try:
            assert begun.wait(PATIENCE)
            for i in range(100):
                assert om.get(f"/many/{i}") == tree.files[f"/many/{i}"]
        finally:
            answered.set()
            reader.join()
        assert got == [big]


def test_second_connection_is_made_when_something_is_read(daemon, tree):
    descriptors = daemon.fds()
    with lib.Handle(daemon.socket, lib.SPLIT_BODIES) as om:
        om.ping()
        assert daemon.fds() == descriptors + 1
        for mode in (lib.COPY, lib.AUTO, lib.FD):
            assert om.read("/a.txt", mode) == b"hello\n"
            assert om.get("/a.txt") == b"hello\n"
        wait_until(lambda: daemon.fds() == descriptors + 2)


def test_daemon_starts_anew_in_the_middle(daemon, big):
    """Reading goes on where it was, and so does everything else, each on a new connection of its own."""
    before = []

    def restart(so_far):
        if not before:
            before.append(om.instance())
            daemon.kill()
            daemon.start()
            daemon.stopped = False
            assert om.get("/a.txt") == b"hello\n"
            assert om.instance() != before[0]

    with lib.Handle(daemon.socket, lib.SPLIT_BODIES) as om:
        assert om.read("/huge", each=restart) == big
        assert om.read("/a.txt") == b"hello\n"


def test_no_room_for_a_second_connection(start, tree):
    """An error of the read; the first connection goes on, and the next read finds the room that there is then."""
    daemon = start({"/": tree.path}, config="concurrency = { max_connections = 2; };\n")
    with lib.Handle(daemon.socket, lib.SPLIT_BODIES, timeout_ms=200) as om:
        with daemon.connect() as other:
            other.ping()
            for _ in range(3):
                with pytest.raises(lib.Failed) as e:
                    om.read("/a.txt")
                assert e.value.errno == errno.EBUSY
                assert om.get("/a.txt") == b"hello\n"
        wait_until(lambda: daemon.fds() == daemon.baseline + 1)
        assert om.read("/big") == tree.files["/big"]
        assert om.get("/a.txt") == b"hello\n"


def test_reads_that_end_early_leave_no_descriptor(daemon):
    class Enough(Exception):
        pass

    def stop(_):
        raise Enough

    with lib.Handle(daemon.socket, lib.SPLIT_BODIES) as om:
        om.read("/a.txt")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            with pytest.raises(Enough):
                om.read("/huge", each=stop)
            assert om.get("/a.txt") == b"hello\n"
        assert len(os.listdir("/proc/self/fd")) <= before
