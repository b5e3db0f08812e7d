# SPDX-License-Identifier: MIT
"""Clients that take bodies as fast as they come get a thread beside them, and lose it when they do something else."""
import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import termios
import time

import omproto as p
import pytest
from daemon import BIN, ESCORT, INSTRUMENTED, PATIENCE, wait_until
from omclient import Closed, as_bytes
from test_bodies import check, connect, ids, large, sized  # noqa: F401 (fixtures)
from test_bodies_hostile import ask_and_stop, ended
from test_fault import reload
from test_regressions import Tracee, threads_named

ESCORTS_MAX = 16
READS = (17, 40, 327) if os.uname().machine == "x86_64" else (67, 71, 286)  # pread64, sendfile, preadv2
ROW = 40  # more than the bodies in a row that it takes
WAYS = [(1, p.SPLICE), (3, p.COPY)]


@pytest.fixture(params=WAYS, ids=ids(WAYS))
def way(request):
    return request.param


@contextlib.contextmanager
def escorted(daemon, way, tree):
    """A client that has just taken so many bodies that there is an escort."""
    with connect(daemon, way[0]) as c:
        end = time.monotonic() + PATIENCE
        while not daemon.escorts():
            assert time.monotonic() < end, "no escort comes"
            for _ in range(ROW):
                check(c.get("/s16385", mode=way[1]), tree.files["/s16385"])
        yield c


def get_row(daemon, way, tree, uri="/s65536", n=ROW):
    with connect(daemon, way[0]) as c:
        for _ in range(n):
            check(c.get(uri, mode=way[1]), tree.files[uri])


def test_comes_and_ends(start, sized, way):
    daemon = start({"/": sized.path})
    get_row(daemon, way, sized, n=4)
    assert daemon.escorts() == 0
    with escorted(daemon, way, sized) as c:
        wait_until(lambda: daemon.escorts() == 0, message="an escort without work stays")
        check(c.get("/s65536", mode=way[1]), sized.files["/s65536"])


def test_every_size(start, sized, way):
    daemon = start({"/": sized.path})
    with escorted(daemon, way, sized) as c:
        for uri, data in sized.files.items():
            for _ in range(3):
                check(c.get(uri, mode=way[1]), data)


def test_other_requests_between_bodies(start, sized, way):
    """Descriptors, refusals, what is asked in pieces or for all at once: the same replies as without an escort."""
    daemon = start({"/": sized.path})
    with escorted(daemon, way, sized) as c:
        for _ in range(20):
            check(c.get("/s16385", mode=way[1]), sized.files["/s16385"])
            check(c.get("/a.txt"), b"hello\n")
            for _ in range(3):
                check(c.get("/s4096", mode=way[1]), sized.files["/s4096"])
            assert c.get("/none", mode=way[1]).status == p.NOT_FOUND
            assert c.get("/sub", mode=way[1]).status in (p.NOT_FOUND, p.UNSUPPORTED)


def request_bytes(way, uri):
    if way[0] == 1:
        return p.v1_request_encode(p.V1Request(way[1], as_bytes(uri)))
    return p.request_encode(p.Request(p.GET, way[1], uri=as_bytes(uri)))


def expect(c, way, n=1):
    """Replies to what was sent as bytes: those of version 1 do not say what they are."""
    if way[0] == 1:
        c.modes.extend([way[1]] * n)


def test_requests_in_pieces_and_several_at_once(start, sized, way):
    daemon = start({"/": sized.path})
    request = request_bytes(way, "/s16385")
    with escorted(daemon, way, sized) as c:
        for cut in (1, 2, len(request) - 1):
            for _ in range(5):
                check(c.get("/s16385", mode=way[1]), sized.files["/s16385"])
            c.send(request[:cut])
            wait_until(lambda: unread_by_daemon(c) == 0, message="input is not read")
            c.send(request[cut:])
            expect(c, way)
            check(c.reply(), sized.files["/s16385"])
        for n in (2, 7, 100):
            c.send(request * n + request[:3])
            expect(c, way, n)
            for _ in range(n):
                check(c.reply(), sized.files["/s16385"])
            c.send(request[3:])
            expect(c, way)
            check(c.reply(), sized.files["/s16385"])


def unread_by_daemon(c):
    """Bytes that the daemon has not taken from the socket yet."""
    return struct.unpack("i", fcntl.ioctl(c.sock, termios.TIOCOUTQ, bytes(4)))[0]


def test_a_change_shows_in_the_next_body(start, sized, way):
    """Though an escort keeps open what it is asked for again."""
    daemon = start({"/": sized.path})
    for uri in ("/s4096", "/s65536", "/s1048576"):
        path = sized.path / uri[1:]
        with escorted(daemon, way, sized) as c:
            for i in range(60):
                for _ in range(4):
                    check(c.get(uri, mode=way[1]), sized.files[uri])
                sized.files[uri] = bytes([i]) + sized.files[uri][1:]
                if i % 3:
                    path.with_name("new").write_bytes(sized.files[uri])
                    os.rename(path.with_name("new"), path)
                else:
                    with open(path, "r+b") as f:
                        f.write(bytes([i]))


def test_a_kept_body_that_the_pool_goes_on_with(start, sized, way):
    """Its descriptor goes with it; the name does not lead there any more."""
    daemon = start({"/": sized.path})
    uri = "/s1048576"
    with escorted(daemon, way, sized) as c:
        for _ in range(10):
            check(c.get(uri, mode=way[1]), sized.files[uri])
        c.ask(uri, way[1])
        wait_until(lambda: daemon.escorts() == 0, message="an escort stays with a client that stalls")
        os.unlink(sized.path / uri[1:])
        check(c.reply(), sized.files[uri])
        assert c.get(uri, mode=way[1]).status == p.NOT_FOUND


def test_end_of_input(start, sized, way):
    daemon = start({"/": sized.path})
    with escorted(daemon, way, sized) as c:
        c.send(request_bytes(way, "/s1048576"))
        expect(c, way)
        c.half_close()
        check(c.reply(), sized.files["/s1048576"])
        with pytest.raises(Closed):
            c.take(1)


# ---- clients that stall ----------------------------------------------------------------------------------------------

def stall(daemon, stack, way, tree, n):
    """Clients that were fast, and then stop in the middle of a large body."""
    clients = []
    for _ in range(n):
        c = stack.enter_context(connect(daemon, way[0]))
        for _ in range(ROW):
            check(c.get("/s16385", mode=way[1]), tree.files["/s16385"])
        c.ask("/large", way[1])
        assert c.head().status == p.OK
        clients.append(c)
    return clients


def test_who_stalls_has_no_escort(start, large, way):
    """More of them than there are escorts: these end, others get one, and what was begun can be had whole."""
    daemon = start({"/": large.path}, "--copy-pool-size", "2")
    with contextlib.ExitStack() as stack:
        stalled = stall(daemon, stack, way, large, ESCORTS_MAX + 4)
        wait_until(lambda: daemon.escorts() == 0, message="an escort stays with a client that stalls")
        with escorted(daemon, way, large) as c:
            check(c.get("/s1048576", mode=way[1]), large.files["/s1048576"])
        for c in stalled[::5]:
            assert c.take(32 << 20) == large.files["/large"]
            check(c.get("/s16385", mode=way[1]), large.files["/s16385"])


def test_who_stalls_is_cut_off_in_time(start, large, way):
    daemon = start({"/": large.path}, config='timeouts = { request = "1s"; };\n')
    with contextlib.ExitStack() as stack:
        (c,) = stall(daemon, stack, way, large, 1)
        wait_until(lambda: ended(c), message="a client that does not read stays")
    daemon.at_rest()


def test_who_never_read_gets_none(start, large, way):
    daemon = start({"/": large.path})
    with contextlib.ExitStack() as stack:
        ask_and_stop(daemon, stack, way, 20)
        daemon.settled(daemon.fds)
        assert daemon.escorts() == 0


def test_clients_that_go_away(start, large, way):
    daemon = start({"/": large.path})
    for n in (0, 1, 100_000):
        with escorted(daemon, way, large) as c:
            c.ask("/large", way[1])
            c.head()
            c.take(n)
    daemon.at_rest()
    check(daemon_get(daemon, way, "/s65536"), large.files["/s65536"])


def daemon_get(daemon, way, uri):
    with connect(daemon, way[0]) as c:
        return c.get(uri, mode=way[1])


# ---- many clients ----------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def crowd(daemon, way, workdir):
    """A process with more clients than there are escorts."""
    uris = workdir / "uris"
    uris.write_text("/s16385\n/s65536\n")
    bench = subprocess.Popen([BIN.parent / "objmap", "--socket", daemon.socket, "--protocol", str(way[0]), "bench", "--mode",
                              "splice" if way[1] == p.SPLICE else "copy", "--connections", str(ESCORTS_MAX + 8),
                              "--duration", "60", "--uris", uris], stdout=subprocess.DEVNULL)
    try:
        yield bench
    finally:
        bench.kill()
        bench.wait()


@pytest.mark.skipif(INSTRUMENTED, reason="under a sanitizer few clients are fast enough to get one")
@pytest.mark.parametrize("way", WAYS[:1], ids=ids(WAYS[:1]), indirect=True)
def test_escorts_that_hang_at_a_disk_leave_the_others_to_the_pool(start, sized, way, workdir):
    """All of them, each in the call that reads its file."""
    daemon = start({"/": sized.path})
    with crowd(daemon, way, workdir), contextlib.ExitStack() as stack:
        wait_until(lambda: daemon.escorts() == ESCORTS_MAX)
        for tid in threads_named(daemon, ESCORT):
            stack.enter_context(Tracee(tid)).enters(lambda nr, _: nr in READS)
        for _ in range(3):
            get_row(daemon, way, sized)
            assert daemon.get_status("/a.txt") == p.OK
        assert daemon.escorts() == ESCORTS_MAX
    daemon.at_rest()


@pytest.mark.threads
def test_more_clients_than_escorts(start, sized, way, workdir):
    """All the escorts that there are come, and no more; the others' bodies are the pool's. Under a sanitizer few are fast
    enough to get one."""
    daemon = start({"/": sized.path})
    with crowd(daemon, way, workdir) as bench:
        most = 0
        end = time.monotonic() + (3 if INSTRUMENTED else PATIENCE)
        while most < ESCORTS_MAX and bench.poll() is None and time.monotonic() < end:
            most = max(most, daemon.escorts())
        for _ in range(200):
            most = max(most, daemon.escorts())
        assert most == ESCORTS_MAX or (INSTRUMENTED and 0 < most < ESCORTS_MAX)
        get_row(daemon, way, sized)


@pytest.mark.parametrize("which", ["thread-per-connection", "thread-per-request"])
def test_other_models(start, sized, way, which):
    daemon = start({"/": sized.path}, "--concurrency-model", which)
    with connect(daemon, way[0]) as c:
        for _ in range(2 * ROW):
            check(c.get("/s16385", mode=way[1]), sized.files["/s16385"])
        check(c.get("/a.txt"), b"hello\n")


def test_limit_of_requests(start, sized, way):
    daemon = start({"/": sized.path}, config=f"concurrency = {{ requests_per_connection = {ROW}; }};\n")
    with connect(daemon, way[0]) as c:
        for _ in range(ROW):
            check(c.get("/s16385", mode=way[1]), sized.files["/s16385"])
        with pytest.raises(Closed):
            c.take(1)


# ---- the daemon changes or ends --------------------------------------------------------------------------------------

def test_reload(start, sized, way):
    """What is served is what the new configuration says, from the next request on."""
    daemon = start({"/": sized.path})
    with escorted(daemon, way, sized) as c:
        daemon.config.write_text("limits = { uri_length = 4; };\n")
        assert reload(daemon)
        wait_until(lambda: c.get("/s16385", mode=way[1]).status == p.URI_TOO_LONG)
        daemon.config.write_text("")
        assert reload(daemon)
        wait_until(lambda: c.get("/s16385", mode=way[1]).status == p.OK)


def take_until_closed(c, way, tree, stop):
    """Bodies, each of them whole, until the connection ends between two of them."""
    n = 0
    with contextlib.suppress(Closed, ConnectionResetError, BrokenPipeError):
        while True:
            c.ask("/s16385", way[1])
            r = c.reply()
            check(r, tree.files["/s16385"])
            n += 1
            if n == ROW:
                stop()
    assert n >= ROW


def test_drain(start, sized, way):
    daemon = start({"/": sized.path})
    with escorted(daemon, way, sized) as c:
        take_until_closed(c, way, sized, lambda: daemon.signal(signal.SIGTERM))
    assert daemon.exit_status() == 0, daemon.log()


def test_stop_with_a_body_under_way(start, large, way):
    daemon = start({"/": large.path}, config='timeouts = { drain = "100ms"; };\n')
    with contextlib.ExitStack() as stack:
        stall(daemon, stack, way, large, 3)
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_status() == 0, daemon.log()


def test_truncated_on_the_way(start, large, way):
    daemon = start({"/": large.path})
    with escorted(daemon, way, large) as c:
        c.ask("/large", way[1])
        assert c.head().status == p.OK
        os.truncate(large.path / "large", 16 << 20)
        with pytest.raises(Closed):
            c.take(32 << 20)
        got = bytes(c.buf[c.at :])
        assert len(got) <= 16 << 20 and large.files["/large"].startswith(got)
