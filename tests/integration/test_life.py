# SPDX-License-Identifier: MIT
"""How connections end: timeouts, limits, draining; and that they cost nothing afterwards."""
import os
import signal
import time

import omproto as p
import pytest
from daemon import PATIENCE, wait_until
from omclient import Client, Closed

TIMEOUT = 0.5  # seconds, as configured below


@pytest.fixture(params=[1, 3], ids=["v1", "v3"])
def version(request):
    return request.param


def seconds_to_end(c):
    """Waits for the end of the stream; returns how long that took and the bytes that came before."""
    began = time.monotonic()
    try:
        while True:
            c.fill()
    except Closed:
        return time.monotonic() - began, bytes(c.buf[c.at :])


def test_idle_connection_is_closed(start, tree, model, version):
    daemon = start({"/": tree.path}, "--concurrency-model", model, config='timeouts = { idle = "500ms"; };\n')
    with daemon.connect(version) as idle, daemon.connect(version) as busy:
        idle.get("/a.txt").close()
        began = time.monotonic()
        while time.monotonic() - began < 2 * TIMEOUT:
            busy.get("/a.txt").close()
        assert seconds_to_end(idle)[1] == b""
    with daemon.connect(version) as c:
        c.get("/a.txt").close()
        lasted, rest = seconds_to_end(c)
        assert lasted >= 0.8 * TIMEOUT and rest == b""


def test_partial_request_times_out(start, tree, model, version):
    daemon = start({"/": tree.path}, "--concurrency-model", model, config='timeouts = { request = "500ms"; };\n')
    part = b"1\0\7/a" if version == 1 else p.request_encode(p.Request(p.GET, p.FD, uri=b"/a.txt"))[:30]
    with daemon.connect(version) as c:
        c.get("/a.txt").close()
        c.send(part)
        lasted, rest = seconds_to_end(c)
        assert lasted >= 0.8 * TIMEOUT
        assert rest == b"" or rest[0] == p.TIMEOUT


def test_trickled_request_times_out(start, tree, version):
    """A byte now and then does not make a request younger."""
    daemon = start({"/": tree.path}, config='timeouts = { request = "500ms"; };\n')
    with daemon.connect(version) as c:
        c.get("/a.txt").close()
        c.sock.settimeout(0.05)
        ended = False
        began = time.monotonic()
        c.send(b"1\x0f\xff" if version == 1 else p.REQUEST.pack(p.GET, p.FD, 0, 3, 4000, 0, 0, 0, 0, 0))
        while not ended and time.monotonic() - began < PATIENCE:
            try:
                c.send(b"x")
                c.fill()
            except TimeoutError:
                pass
            except Closed:
                ended = True
        assert ended


def test_who_never_reads_is_dropped(start, tree, version):
    daemon = start({"/": tree.path}, config='timeouts = { request = "500ms"; };\n')
    with daemon.connect(version) as c:
        c.sock.setblocking(False)
        request = p.v1_request_encode(p.V1Request(p.FD, b"/a.txt")) if version == 1 else p.request_encode(
            p.Request(p.GET, p.FD, uri=b"/a.txt"))

        def dropped():
            try:
                c.sock.send(request * 100)
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                return True

        wait_until(dropped)
    daemon.at_rest()


def test_requests_per_connection(start, tree, model, version):
    daemon = start({"/": tree.path}, "--concurrency-model", model,
                   config="concurrency = { requests_per_connection = 3; };\n")
    for together in (True, False):
        with daemon.connect(version) as c:
            if together:
                c.ask_many(["/a.txt"] * 5)
            for _ in range(3):
                if not together:
                    c.ask("/a.txt")
                r = c.reply()
                assert r.status == p.OK
                r.close()
            assert c.eof()


def test_not_persistent(start, tree, model, version):
    daemon = start({"/": tree.path}, "--concurrency-model", model, config="concurrency = { persistent = false; };\n")
    for uri, status in (("/a.txt", p.OK), ("/none", p.NOT_FOUND)):
        with daemon.connect(version) as c:
            r = c.get(uri)
            r.close()
            assert r.status == status
            assert c.eof()


def test_max_connections(start, tree, model):
    daemon = start({"/": tree.path}, "--concurrency-model", model, config="concurrency = { max_connections = 4; };\n")
    served = [daemon.connect(3) for _ in range(4)]
    for _ in range(20):
        with Client(daemon.socket) as c:
            r = c.message(p.v1_response_decode)
            assert (r.status, r.content_len) == (p.UNAVAILABLE, 0)
            assert c.eof()
    for c in served:
        c.ping()
    served.pop().close()

    def one_fits():
        with Client(daemon.socket) as c:
            try:
                c.send(p.hello_encode(p.Hello()))
                c.need(1)
            except Closed:
                return False
            return c.buf[0] == ord("O")

    wait_until(one_fits)
    for c in served:
        c.close()


@pytest.mark.threads
def test_sigterm_answers_what_is_in_flight(start, tree, model, version):
    daemon = start({"/": tree.path}, "--concurrency-model", model)
    n = 64
    with daemon.connect(version) as idle, daemon.connect(version) as c:
        idle.get("/a.txt").close()
        c.ask_many(["/a.txt"] * n)
        c.reply().close()
        daemon.signal(signal.SIGTERM)
        for _ in range(n - 1):
            r = c.reply()
            assert r.status in (p.OK, p.UNAVAILABLE)
            r.close()
        assert c.eof() and idle.eof()
    assert daemon.exit_status() == 0


def test_drain_ends_in_time(start, tree):
    """A client that does not read does not hold the daemon up for longer than the drain time."""
    daemon = start({"/": tree.path}, config='timeouts = { drain = "500ms"; };\n')
    with daemon.connect(3) as c:
        c.sock.setblocking(False)
        try:
            while True:
                c.sock.send(p.request_encode(p.Request(p.GET, p.FD, uri=b"/a.txt")) * 100)
        except BlockingIOError:
            pass
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_status() == 0


def test_sigterm_twice_and_sigint(start, tree):
    daemon = start({"/": tree.path})
    daemon.signal(signal.SIGINT)
    assert daemon.exit_status() == 0
    daemon = start({"/": tree.path})
    daemon.signal(signal.SIGTERM)
    try:
        daemon.signal(signal.SIGTERM)
    except ProcessLookupError:
        pass
    assert daemon.exit_status() in (0, -signal.SIGTERM)


def test_socket_file_goes_with_the_daemon(start, tree):
    daemon = start({"/": tree.path})
    daemon.signal(signal.SIGTERM)
    assert daemon.exit_status() == 0
    assert not os.path.exists(daemon.socket)


def test_1000_persistent_connections_on_two_workers(start, tree):
    """Each asks in turn, then all at once: nobody waits behind another's idle connection."""
    daemon = start({"/": tree.path}, "--pool-size", "2", config="concurrency = { max_connections = 1100; };\n")
    clients = [daemon.connect(1 + 2 * (i % 2)) for i in range(1000)]
    for _ in range(2):
        for i, c in enumerate(clients):
            r = c.get(f"/many/{i % 100}")
            assert r.status == p.OK
            r.close()
    for i, c in enumerate(clients):
        c.ask(f"/many/{i % 100}")
    for c in reversed(clients):
        r = c.reply()
        assert r.status == p.OK
        r.close()
    assert daemon.threads() == daemon.threads_at_start
    for c in clients:
        c.close()


def transient(daemon, i):
    with daemon.connect(1 + 2 * (i % 2)) as c:
        c.ask(f"/many/{i % 100}")
        if i % 4:
            r = c.reply()
            assert r.status == p.OK
            r.close()


def test_10000_transient_clients_leave_nothing(served):
    for i in range(10_000):
        transient(served, i)
    served.at_rest()


@pytest.mark.long
@pytest.mark.timing
def test_five_minutes_of_churn_do_not_grow_memory(served):
    for i in range(20_000):
        transient(served, i)
    served.at_rest()
    before = served.anon_kb()
    end = time.monotonic() + 300
    n = 0
    while time.monotonic() < end:
        for i in range(1000):
            transient(served, i)
        n += 1000
    served.at_rest()
    growth = served.anon_kb() - before
    print(f"{n} clients, {growth} KB more")
    assert growth < 512
