# SPDX-License-Identifier: MIT
"""Bodies whose client does not read, reads slowly or goes away, and whose file changes on the way."""
import contextlib
import fcntl
import os
import random
import resource
import select
import socket
import struct
import termios
import threading
import time

import omproto as p
import pytest
from daemon import INSTRUMENTED, PATIENCE, wait_until
from faults import Fault
from omclient import V1, Closed, as_bytes
from test_bodies import BYTES, body_under_way, check, connect, large, sized, way  # noqa: F401 (fixtures)
from test_fault import faulty_daemon, reload
from test_regressions import NO_INDEX, hung_lookup, threads_named

MEASURED = 0.5  # seconds over which throughput is counted

# The daemon does not poll, which pays at one moment and not at the next.
PATIENT = 'timeouts = { request = "60s"; };\nconcurrency = { optimize_for_latency = false; };\n'


# ---- files that change -----------------------------------------------------------------------------------------------

def rest_until_closed(c):
    with pytest.raises(Closed):
        c.take(32 << 20)
    return bytes(c.buf[c.at :])


def test_truncated_on_the_way(start, large, way):
    """No byte that the file did not have, no other reply in the place of what is missing, and an end."""
    daemon = start({"/": large.path})
    with body_under_way(daemon, way) as c:
        os.truncate(large.path / "large", 16 << 20)
        c.ask("/a.txt")
        got = rest_until_closed(c)
        assert len(got) <= 16 << 20 and large.files["/large"].startswith(got)
    assert daemon.get_status("/large") == p.OK


def test_truncated_to_nothing_and_grown_again(start, large, way):
    daemon = start({"/": large.path})
    for _ in range(5):
        (large.path / "large").write_bytes(large.files["/large"])
        with body_under_way(daemon, way) as c:
            os.truncate(large.path / "large", 0)
            os.truncate(large.path / "large", 1000)
            assert len(rest_until_closed(c)) < 32 << 20


def test_overwritten_on_the_way(start, large, way):
    """What comes is of either content, byte for byte; of what is on its way spliced, only the length is certain."""
    daemon = start({"/": large.path})
    with body_under_way(daemon, way) as c:
        with open(large.path / "large", "r+b") as file:
            file.write(b"n" * (32 << 20))
        got = c.take(32 << 20)
        if way[1] == p.COPY:
            assert all(a == b or a == ord("n") for a, b in zip(got, large.files["/large"]))
        assert got.endswith(b"n" * 4096)
        check(c.get("/a.txt", mode=way[1]), b"hello\n")


def test_replaced_or_removed_on_the_way(start, large, way):
    daemon = start({"/": large.path})
    with body_under_way(daemon, way) as c:
        (large.path / "other").write_bytes(b"other")
        (large.path / "other").rename(large.path / "large")
        assert c.take(32 << 20) == large.files["/large"]
        wait_until(lambda: c.get("/large", mode=way[1]).body == b"other")


@pytest.mark.skipif(INSTRUMENTED, reason="a sanitizer has its own allocator and must be loaded first")
@pytest.mark.parametrize("function, error", [("pread", "EIO"), ("sendfile", "EIO"), ("preadv2", "EIO"),
                                             ("send", "ENOMEM"), ("sendmsg", "ENOBUFS"), ("malloc", "ENOMEM")])
def test_a_call_that_fails_for_a_body(start, large, way, workdir, monkeypatch, function, error):
    """A status as long as nothing has left, then the end; never other bytes, and the others are served."""
    fault = Fault(workdir, function, error)
    with contextlib.closing(fault.words):
        daemon = faulty_daemon(start, large, fault, "thread-pool", monkeypatch)
        seen = set()
        for uri in ("/s65536", "/s1048576"):
            for n in range(1, 12):
                fault.arm(n)
                seen.add(outcome(daemon, way, uri, large.files[uri]))
                fault.disarm()
                check(fair_client_goes_on(daemon, way), large.files["/s1048576"])
        expected = {p.STORAGE, Closed} if (function, way[1]) == ("preadv2", p.COPY) else {p.OK}
        assert seen >= expected and seen <= {p.OK, p.STORAGE, p.NO_MEMORY, p.UNAVAILABLE, Closed}
        daemon.at_rest()


def outcome(daemon, way, uri, content):
    """The status, or Closed; a connection that has given a status goes on."""
    try:
        with connect(daemon, way[0]) as c:
            r = c.get(uri, mode=way[1])
            assert r.body == (content if r.status == p.OK else b"")
            check(c.get("/a.txt"), b"hello\n")
            return r.status
    except Closed:
        return Closed


# ---- clients that go away --------------------------------------------------------------------------------------------

OBJECTS = 64


def pattern(i, size):
    return struct.pack(">Q", 0x0B1EC70000000000 + i) * (size // 8)


@pytest.fixture
def marked(tree):
    """/m0.../m63, from 8 bytes to 504 KB, each full of a pattern of its own."""
    for i in range(OBJECTS):
        tree.files[f"/m{i}"] = pattern(i, 8 << (i % 17))
        (tree.path / f"m{i}").write_bytes(tree.files[f"/m{i}"])
    return tree


def take_some(c, requests, tree, budget):
    """Reads replies up to about @budget bytes; whatever came of a body must be that object's."""
    for uri, _ in requests:
        r = c.head()
        if r.fd >= 0:
            assert os.pread(r.fd, 16, 0) == tree.files[uri][:16]
            r.close()
            continue
        n = min(r.body_len, budget)
        assert r.status == p.OK and c.take(n) == tree.files[uri][:n]
        budget -= n
        if n < r.body_len:
            rest = bytes(c.buf[c.at :])[: r.body_len - n]
            assert rest == tree.files[uri][n : n + len(rest)]
            return


def vanish(daemon, tree, rng):
    """One client that asks for a few objects and goes at some point, with or without a word."""
    version = rng.choice((1, 3))
    requests = [(f"/m{rng.randrange(OBJECTS)}", rng.choice((p.COPY, p.SPLICE, p.SPLICE, p.FD)))
                for _ in range(rng.randrange(1, 4))]
    if version == 3:
        requests = requests[:1]  # else replies need not be in this order
    with connect(daemon, version) as c:
        c.ask_each(requests)
        if rng.random() < 0.1:
            c.half_close()
        if rng.random() < 0.9:
            take_some(c, requests, tree, rng.choice((0, 1, 1000, 100_000, 1 << 20)))


def often(daemon, n, once, part=0):
    """Calls once(random generator) n times, by four threads; then the daemon has to come to rest."""
    failures = []

    def work(seed):
        rng = random.Random(4 * part + seed)
        try:
            for _ in range(n // 4):
                once(rng)
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures
    daemon.at_rest()


@pytest.mark.threads
def test_clients_that_vanish(start, marked, model):
    daemon = start({"/": marked.path}, "--concurrency-model", model)
    often(daemon, 300, lambda rng: vanish(daemon, marked, rng))


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_clients_that_vanish_a_hundred_thousand_times(start, marked, part):
    daemon = start({"/": marked.path})
    often(daemon, 25_000, lambda rng: vanish(daemon, marked, rng), part)


def test_reset_with_requests_unread(start, large, way):
    daemon = start({"/": large.path})
    for _ in range(20):
        with body_under_way(daemon, way) as c:
            c.ask_each([("/large", way[1]), ("/a.txt", p.FD)] * 10)
    daemon.at_rest()
    assert daemon.get_status("/a.txt") == p.OK


# ---- clients that do not read ----------------------------------------------------------------------------------------

BAD = 40


class Tricklers:
    """Sockets from which a little is taken now and then, by a thread of their own."""

    def __init__(self, socks, n=256, pause=0.05):
        self.socks, self.n, self.pause = socks, n, pause
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *exc):
        self.stop.set()
        self.thread.join()

    def run(self):
        while not self.stop.wait(self.pause):
            for s in self.socks:
                with contextlib.suppress(OSError):
                    s.recv(self.n, socket.MSG_DONTWAIT)


def ask_and_stop(daemon, stack, way, n, uri="/large"):
    clients = []
    for _ in range(n):
        c = stack.enter_context(connect(daemon, way[0]))
        c.ask(uri, way[1])
        c.head()
        clients.append(c)
    return clients


def ended(c):
    """The server has closed: without reading what is there."""
    poll = select.poll()
    poll.register(c.sock, 0)
    return bool(poll.poll(0))


def rate(daemon, get, seconds=MEASURED, threads=4):
    """Calls of get(client) a second, by some clients at once."""
    counts, failures = [], []

    def work():
        try:
            with daemon.connect(1) as c:
                n, end = 0, time.monotonic() + seconds
                while time.monotonic() < end:
                    get(c)
                    n += 1
                counts.append(n)
        except BaseException as e:
            failures.append(e)

    each = [threading.Thread(target=work) for _ in range(threads)]
    for t in each:
        t.start()
    for t in each:
        t.join()
    assert not failures, failures
    return sum(counts) / seconds


def get_copy(c):
    r = c.get("/s1048576", mode=p.COPY)
    assert (r.status, len(r.body)) == (p.OK, 1 << 20)


def get_fd(c):
    r = c.get("/a.txt")
    r.close()
    assert r.status == p.OK


def test_stalled_and_trickling_clients_end(start, large, way):
    """The others are served meanwhile, and also those that are slow but not too slow."""
    daemon = start({"/": large.path}, "--copy-pool-size", "4", config='timeouts = { request = "2s"; };\n')
    with contextlib.ExitStack() as stack:
        bad = ask_and_stop(daemon, stack, way, BAD)
        slow = ask_and_stop(daemon, stack, way, BAD)
        stack.enter_context(Tricklers([c.sock for c in slow]))
        fair = connect(daemon, way[0])
        stack.enter_context(fair)
        fair.ask("/large", way[1])
        fair.head()
        n = 0
        while not all(ended(c) for c in bad + slow):
            check(fair_client_goes_on(daemon, way), large.files["/s1048576"])
            assert daemon.get_status("/a.txt") == p.OK
            n += len(fair.take(64 << 10)) if n < 24 << 20 else 0
            time.sleep(0.01)
        assert fair.take((32 << 20) - n) == large.files["/large"][n:]
    daemon.at_rest()


MANY = 400


def lives(clients, started):
    """Seconds from @started to the end of each, looked at twenty times a second."""
    poll, at, lived = select.poll(), {}, {}
    for c in clients:
        poll.register(c.sock, 0)
        at[c.sock.fileno()] = started[c]
    while at:
        found = poll.poll(1000 * PATIENCE)
        assert found, f"{len(at)} stay"
        for fd, _ in found:
            poll.unregister(fd)
            lived[fd] = time.monotonic() - at.pop(fd)
        time.sleep(0.05)
    return sorted(lived.values())


@pytest.mark.long
def test_four_hundred_of_each_are_gone_by_their_deadline(start, large, way):
    """The daemon has a pool of four, and eight clients that read go on. (How fast is for `make bench` to say.)"""
    deadline = 15
    raise_nofile(4096)
    daemon = start({"/": large.path}, "--copy-pool-size", "4", config=f'timeouts = {{ request = "{deadline}s"; }};\n',
                   nofile=4096)
    alone = rate(daemon, get_copy, seconds=2, threads=8)
    started, beside = {}, []
    with contextlib.ExitStack() as stack:
        for _ in range(2 * MANY):
            c = stack.enter_context(connect(daemon, way[0]))
            c.ask("/large", way[1])
            started[c] = time.monotonic()
        bad = list(started)
        good = threading.Thread(target=lambda: beside.append(rate(daemon, get_copy, seconds=5, threads=8)))
        stack.enter_context(Tricklers([c.sock for c in bad[MANY:]]))
        good.start()
        lived = lives(bad, started)
        good.join()
    print(f"ended after {lived[0]:.1f} to {lived[-1]:.1f} s; {beside[0] / alone:.2f} of the others' rate")
    assert 0.9 * deadline <= lived[0] and lived[-1] <= 1.1 * deadline + 1, (lived[0], lived[-1])
    assert beside[0] > 0
    daemon.at_rest()


def raise_nofile(n):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(n, hard)), hard))


def fair_client_goes_on(daemon, way):
    with connect(daemon, way[0]) as c:
        return c.get("/s1048576", mode=way[1])


def keep_half(alone, beside):
    """Of rounds that each measured several rates: the best of each is at least half of the best when alone."""
    return all(after > 0.5 * before for before, after in zip(map(max, zip(*alone)), map(max, zip(*beside))))


@pytest.mark.timing
def test_stalled_and_trickling_clients_cost_the_others_little(start, large, way):
    """The machine is not ours alone: what is the daemon's doing shows every time."""
    daemon = start({"/": large.path}, "--copy-pool-size", "4", config=PATIENT)
    rate(daemon, get_copy)
    memory, alone, beside = daemon.anon_kb(), [], []
    for _ in range(3):
        alone.append((rate(daemon, get_copy), rate(daemon, get_fd, threads=1)))
        with contextlib.ExitStack() as stack:
            ask_and_stop(daemon, stack, way, BAD)
            stack.enter_context(Tricklers([c.sock for c in ask_and_stop(daemon, stack, way, BAD)]))
            beside.append((rate(daemon, get_copy), rate(daemon, get_fd, threads=1)))
            grown = daemon.anon_kb() - memory
        assert grown < 4096, f"{grown} KB for {2 * BAD} clients"
        if keep_half(alone, beside):
            break
    print(f"alone {alone}, beside {beside}, memory +{grown} KB")
    assert keep_half(alone, beside), (alone, beside)


def test_stalled_clients_cost_no_cpu(start, large, way):
    daemon = start({"/": large.path})
    with contextlib.ExitStack() as stack:
        ask_and_stop(daemon, stack, way, BAD)
        daemon.settled(daemon.cpu_seconds)
        before = daemon.cpu_seconds()
        time.sleep(0.5)
        assert INSTRUMENTED or daemon.cpu_seconds() - before < 0.25


def test_stalled_clients_leave_descriptors_for_the_others(start, large, way):
    daemon = start({"/": large.path}, config="index = { watch = false; };\n", nofile=1024)
    with contextlib.ExitStack() as stack:
        for _ in range(508):
            stack.enter_context(connect(daemon, way[0])).ask("/large", way[1])
        daemon.settled(daemon.fds)
        for version in (1, 3):
            assert daemon.get_status("/a.txt", version) == p.OK


def test_small_bodies_for_a_client_that_does_not_read(start, large, way):
    """Requests wait as bytes; no descriptor and no memory is held for them."""
    daemon = start({"/": large.path}, config='timeouts = { request = "1s"; };\n')
    with connect(daemon, way[0]) as c:
        c.sock.setblocking(False)
        request = p.v1_request_encode(p.V1Request(way[1], b"/s65536")) if way[0] == 1 else p.request_encode(
            p.Request(p.GET, way[1], uri=as_bytes("/s65536")))
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while True:
                c.sock.send(request * 50)
        daemon.settled(daemon.fds)
        assert daemon.fds() <= daemon.baseline + 2
        wait_until(lambda: ended(c), message="a client that does not read stays")
    daemon.at_rest()


class Pace:
    """Takes @rate bytes a second of a client's socket, a little at a time."""

    def __init__(self, client, rate):
        self.client, self.rate, self.taken, self.start = client, rate, 0, time.monotonic()

    def keep(self):
        """False: the server has ended the connection."""
        due = int((time.monotonic() - self.start) * self.rate) - self.taken
        with contextlib.suppress(BlockingIOError):
            while due > 0 and not ended(self.client) and (got := len(self.take(due))):
                self.taken += got
                due -= got
        return not ended(self.client)

    def take(self, n):
        return self.client.sock.recv(min(n, 8192), socket.MSG_DONTWAIT)


def fill_with_requests(c, mode, uri):
    """As many as the server takes."""
    request = p.v1_request_encode(p.V1Request(mode, as_bytes(uri))) if isinstance(c, V1) else p.request_encode(
        p.Request(p.GET, mode, uri=as_bytes(uri)))
    c.sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            c.sock.send(request * 50)


def pipelining(daemon, stack):
    """Clients that have asked for more than they will get, of objects of each way that there is to send them."""
    for version, mode in BYTES:
        for uri in ("/s4096", "/s65536", "/large"):
            c = stack.enter_context(connect(daemon, version))
            fill_with_requests(c, mode, uri)
            yield c


@pytest.mark.timing
def test_pipelining_client_that_is_slow_but_not_too_slow_was_cut_off(start, large):
    """Four times the least rate, which is less than it takes for the socket to say within a second that it has room."""
    daemon = start({"/": large.path}, config='timeouts = { request = "1s"; };\n')
    with contextlib.ExitStack() as stack:
        paces = [Pace(c, 256 << 10) for c in pipelining(daemon, stack)]
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert all([pace.keep() for pace in paces])
            time.sleep(0.01)


def test_pipelining_client_that_is_too_slow_ends(start, large):
    daemon = start({"/": large.path}, config='timeouts = { request = "1s"; };\n')
    with contextlib.ExitStack() as stack:
        paces = [Pace(c, 16 << 10) for c in pipelining(daemon, stack)]
        wait_until(lambda: not any([pace.keep() for pace in paces]))
    daemon.at_rest()


def test_body_sent_in_part_ended_the_connection_when_the_pool_was_full(start, large, way):
    """Bodies that the worker sends, to clients that do not read at once, until there is room for a part of one."""
    daemon = start({"/": large.path}, "--copy-pool-size", "1", "--pool-size", "1",
                   config=NO_INDEX + "concurrency = { max_queue_depth = 1; };\n")
    (pool,) = threads_named(daemon, "objm-pool")
    with daemon.connect(1) as hangs, daemon.connect(1) as waits, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(daemon, way[0])) for _ in range(8)]
        asked = [["/s4096"] * 2 * i + ["/s65536"] * 20 for i in range(8)]
        for uri in ("/s4096", "/s65536", "/s1048576"):
            check(clients[0].get(uri, mode=way[1]), large.files[uri])
        with hung_lookup(daemon, pool, hangs, "/hangs"):
            waits.ask("/waits")
            wait_until(lambda: clients[0].get("/s1048576", mode=way[1]).status == p.UNAVAILABLE)
            for c, uris in zip(clients, asked):
                c.ask_each([(uri, way[1]) for uri in uris])
            daemon.settled(lambda: tuple(waiting_bytes(c) for c in clients))
        for c, uris in zip(clients, asked):
            for uri in uris:
                check(c.reply(), large.files[uri])
        assert [hangs.reply().status, waits.reply().status] == [p.NOT_FOUND] * 2


# ---- descriptors after bodies ----------------------------------------------------------------------------------------

def stuck_after_bodies(daemon, stack, n):
    """Each has had a body; then asks for descriptors and does not read."""
    for _ in range(n):
        c = stack.enter_context(connect(daemon, 1))
        check(c.get("/a.txt", mode=p.COPY), b"hello\n")
        c.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            c.sock.send(p.v1_request_encode(p.V1Request(p.FD, b"/a.txt")) * 200)


@pytest.mark.parametrize("which", ["thread-pool", "thread-per-request"])
def test_large_buffer_for_bodies_let_no_more_descriptors_out(start, tree, which):
    """unix(7): descriptors in flight count against the limit of open files of the sender, unless that is root."""
    daemon = start({"/": tree.path}, "--concurrency-model", which, config="index = { watch = false; };\n", nofile=256,
                   uid=1234 if os.getuid() == 0 else None)
    with contextlib.ExitStack() as stack:
        stuck_after_bodies(daemon, stack, 40)
        daemon.settled(daemon.fds)
        counts = []
        for _ in range(3):
            with daemon.connect(3) as c:
                r = c.get("/a.txt")
                counts.append(r.status)
                r.close()
        assert counts == [p.OK] * 3


# ---- what the pool is to blame for -----------------------------------------------------------------------------------

def waiting_bytes(c):
    raw = bytearray(4)
    fcntl.ioctl(c.sock, termios.FIONREAD, raw)
    return struct.unpack("i", raw)[0]


def test_body_from_the_disk_got_the_buffer_for_descriptors(start, large, way, model):
    daemon = start({"/": large.path}, "--concurrency-model", model, config=NO_INDEX)
    with connect(daemon, way[0]) as c:
        c.ask("/large", way[1])
        wait_until(lambda: waiting_bytes(c) > 64 << 10, message=lambda: f"{waiting_bytes(c)} bytes wait at most")


def test_wait_for_the_disk_is_not_held_against_the_client(start, large, way):
    daemon = start({"/": large.path}, "--copy-pool-size", "1",
                   config=NO_INDEX + 'timeouts = { request = "200ms"; };\n')
    (pool,) = threads_named(daemon, "objm-pool")
    with connect(daemon, way[0]) as hangs, connect(daemon, way[0]) as waits:
        with hung_lookup(daemon, pool, hangs, "/hangs"):
            waits.ask("/s1048576", way[1])
            with pytest.raises(TimeoutError):
                waits.sock.settimeout(1)
                waits.head()
        waits.sock.settimeout(PATIENCE)
        assert hangs.reply().status == p.NOT_FOUND
        check(waits.reply(), large.files["/s1048576"])


def test_reload_with_a_body_under_way(start, large, way):
    daemon = start({"/": large.path})
    with body_under_way(daemon, way) as c:
        for text in ("index = { scan = false; };\n", ""):
            daemon.config.write_text(text)
            assert reload(daemon)
        assert c.take(32 << 20) == large.files["/large"]
        check(c.get("/a.txt", mode=way[1]), b"hello\n")


def test_unread_bodies_are_bounded(start, large):
    """A large buffer for some, a small one for the rest of those that do not read."""
    daemon = start({"/": large.path})
    request = p.request_encode(p.Request(p.GET, p.AUTO, uri=b"/s16384"))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(daemon, 3)) for _ in range(200)]
        for c in clients:
            c.send(request * 60)
        sizes = daemon.settled(lambda: tuple(unread(c) for c in clients))
        assert sum(n > 300_000 for n in sizes) <= 130 and min(sizes) > 16384
        clients[0].close()
        clients[1].take(sizes[1])
        check(clients[1].reply(), large.files["/s16384"])
    daemon.at_rest()


def unread(c):
    return struct.unpack("i", fcntl.ioctl(c.sock, termios.FIONREAD, bytes(4)))[0]
