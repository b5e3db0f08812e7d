# SPDX-License-Identifier: MIT
"""Out of descriptors: waiting or status 14 for those it concerns; no exit, no spinning, and back when they return."""
import contextlib
import os
import resource
import socket
import time

import omproto as p
import pytest
from daemon import INSTRUMENTED, wait_until
from omclient import Closed

NOFILE = 64
WINDOW = 0.5  # seconds over which CPU time is measured


def storm(daemon, n):
    """n connections that each ask for a file, without waiting for anything."""
    socks = []
    for _ in range(n):
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        socks.append(s)
        try:
            s.connect(daemon.socket)
            s.send(p.v1_request_encode(p.V1Request(p.FD, b"/a.txt")))
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
    return socks


def statuses(socks):
    """The first byte of every answer that is there."""
    found = []
    for s in socks:
        with contextlib.suppress(OSError):
            data = s.recv(4096)
            if data:
                found.append(data[0])
    return found


def cpu_share(daemon):
    """CPU time over wall time while nobody does anything new. The one place where a test has to let time pass."""
    before = daemon.cpu_seconds()
    time.sleep(WINDOW)
    return (daemon.cpu_seconds() - before) / WINDOW


def check_recovers(daemon, socks):
    for s in socks:
        s.close()
    wait_until(lambda: answers(daemon))
    daemon.at_rest()


def answers(daemon):
    try:
        return daemon.get_status("/a.txt") == p.OK
    except (Closed, p.Bad):
        return False


def test_more_connections_than_descriptors(start, tree, model):
    daemon = start({"/": tree.path}, "--concurrency-model", model, nofile=NOFILE)
    socks = storm(daemon, 4 * NOFILE)
    wait_until(lambda: daemon.settled(daemon.fds) > daemon.baseline)
    share = cpu_share(daemon)
    assert INSTRUMENTED or share < 0.5, f"{share:.0%} of a CPU while nothing happens"
    got = statuses(socks)
    assert got and set(got) <= {p.OK, p.UNAVAILABLE}, got
    check_recovers(daemon, socks)


def test_storms_do_not_add_up(start, tree):
    daemon = start({"/": tree.path}, nofile=NOFILE)
    for _ in range(20):
        for s in storm(daemon, 2 * NOFILE):
            s.close()
    check_recovers(daemon, [])


def test_connections_leave_room_for_grants(start, tree):
    """Whoever got in is served, also when nobody else gets in any more."""
    daemon = start({"/": tree.path}, nofile=NOFILE)
    clients = []
    with contextlib.suppress(Closed, p.Bad):
        for _ in range(2 * NOFILE):
            clients.append(daemon.connect(3))
    assert clients
    for _ in range(5):
        for c in clients:
            r = c.get("/a.txt")
            assert r.status in (p.OK, p.UNAVAILABLE)
            r.close()
    served = 0
    for c in clients:
        r = c.get("/a.txt")
        r.close()
        served += r.status == p.OK
        c.close()
    assert served == len(clients), f"{served} of {len(clients)}"
    check_recovers(daemon, [])


@contextlib.contextmanager
def short_of_descriptors(daemon, free):
    """The running daemon gets no more than @free new descriptors for as long as this lasts."""
    before = resource.prlimit(daemon.proc.pid, resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir(daemon.proc_dir / "fd"))
    resource.prlimit(daemon.proc.pid, resource.RLIMIT_NOFILE, (highest + 1 + free, before[1]))
    try:
        yield
    finally:
        resource.prlimit(daemon.proc.pid, resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("free", range(6))
def test_descriptors_run_out_while_running(start, tree, model, free):
    """Whatever call it is that finds none: those connected are answered, those who come wait or are refused."""
    daemon = start({"/": tree.path}, "--concurrency-model", model)
    with daemon.connect(3) as c, daemon.connect(1) as old:
        c.get("/a.txt").close()
        old.get("/a.txt").close()
        with short_of_descriptors(daemon, free):
            socks = storm(daemon, 10)
            for client in (c, old):
                client.ask_many(["/a.txt", "/many/1", "/none"] * 20)
                for _ in range(60):
                    r = client.reply()
                    r.close()
                    assert r.status in (p.OK, p.NOT_FOUND, p.UNAVAILABLE)
            c.ping()
            share = cpu_share(daemon)
            assert INSTRUMENTED or share < 0.5, f"{share:.0%} of a CPU while nothing happens"
        for client in (c, old):
            r = client.get("/a.txt")
            r.close()
            assert r.status == p.OK
        wait_until(lambda: answers(daemon))
    check_recovers(daemon, socks)


def test_start_with_few_descriptors(start, tree):
    """It starts and serves, or says why not; it never crashes."""
    refused = 0
    for nofile in range(8, 40, 2):
        try:
            daemon = start({"/": tree.path}, nofile=nofile)
        except AssertionError as e:
            assert "exited with 1:" in str(e) and len(str(e).splitlines()) > 1, e
            refused += 1
            continue
        assert daemon.get_status("/a.txt") in (p.OK, p.UNAVAILABLE)
    assert 0 < refused < 16


@pytest.mark.skipif(os.getuid() != 0, reason="needs a daemon that runs as another user")
def test_too_many_descriptors_in_flight(start, tree):
    """The kernel counts descriptors that nobody has received against the daemon's user and limit (ETOOMANYREFS)."""
    daemon = start({"/": tree.path}, nofile=100, uid=12345,
                   config="concurrency = { max_connections = 60; };\n")
    os.chmod(daemon.socket, 0o666)
    request = p.request_encode(p.Request(p.GET, p.FD, uri=b"/a.txt"))
    with daemon.connect(3) as good:
        stuck = []
        for _ in range(20):
            c = daemon.connect(3)
            c.sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    c.sock.send(request * 100)
            stuck.append(c)
        seen = set()
        for _ in range(200):
            r = good.get("/a.txt")
            r.close()
            seen.add(r.status)
        assert seen <= {p.OK, p.UNAVAILABLE} and p.UNAVAILABLE in seen, seen
        share = cpu_share(daemon)
        assert INSTRUMENTED or share < 0.5, f"{share:.0%} of a CPU while nothing happens"
        for c in stuck:
            c.close()

        def granted():
            r = good.get("/a.txt")
            r.close()
            return r.status == p.OK

        wait_until(granted)
