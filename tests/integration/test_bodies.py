# SPDX-License-Identifier: MIT
"""Objects as bytes on the socket: copy, splice, and small ones of auto. For hostile clients see test_bodies_hostile."""
import contextlib
import os
import random
import signal
import subprocess
import threading
import time

import omproto as p
import pytest
from daemon import INSTRUMENTED, wait_until
from faults import Fault
from omclient import Closed
from test_fault import faulty_daemon
from test_regressions import NO_INDEX, hung_lookup, threads_named

HELLO = p.Hello(capabilities=p.BODIES)
SIZES = (0, 1, 4095, 4096, 16384, 16385, 65536, 65537, 300_000, 1 << 20)
BYTES = [(1, p.COPY), (1, p.SPLICE), (3, p.COPY), (3, p.SPLICE)]
ALL = BYTES + [(3, p.AUTO)]


def connect(daemon, version, **kw):
    return daemon.connect(version, **kw, **({"hello": HELLO} if version == 3 else {}))


def ids(ways):
    return [f"v{version}-{chr(mode)}" for version, mode in ways]


@pytest.fixture(params=BYTES, ids=ids(BYTES))
def way(request):
    return request.param


@pytest.fixture
def sized(tree):
    """The tree with a file of random bytes for each of SIZES, named for it."""
    for size in SIZES:
        data = os.urandom(size)
        (tree.path / f"s{size}").write_bytes(data)
        tree.files[f"/s{size}"] = data
    return tree


@pytest.fixture
def daemon(start, sized):
    return start({"/": sized.path})


def check(reply, content):
    assert reply.status == p.OK
    got = reply.content()
    assert len(got) == len(content) and got == content


def check_every_size(c, sized, mode):
    """The second time they are known."""
    for _ in range(2):
        for size in SIZES:
            r = c.get(f"/s{size}", mode=mode)
            assert r.size == size
            check(r, sized.files[f"/s{size}"])
    assert c.get("/none", mode=mode).status == p.NOT_FOUND


# ---- equality --------------------------------------------------------------------------------------------------------

@pytest.mark.threads
@pytest.mark.parametrize("way", ALL, ids=ids(ALL))
def test_every_size_in_every_model(start, sized, way, model):
    version, mode = way
    daemon = start({"/": sized.path}, "--concurrency-model", model)
    with connect(daemon, version) as c:
        check_every_size(c, sized, mode)
        check(c.get("/a.txt"), b"hello\n")


@pytest.mark.parametrize("way", ALL, ids=ids(ALL))
def test_every_size_that_the_index_does_not_know(start, sized, way):
    version, mode = way
    for size in SIZES:
        daemon = start({"/": sized.path}, config=NO_INDEX)
        with connect(daemon, version) as c:
            check(c.get(f"/s{size}", mode=mode), sized.files[f"/s{size}"])
            check(c.get("/a.txt"), b"hello\n")
        daemon.stop()


def compare(client, n, file, start=0):
    """Takes n bytes and compares them with the file's from @start on, a piece at a time."""
    at = start
    for piece in client.pieces(n):
        assert piece == os.pread(file.fileno(), len(piece), at), f"at {at}"
        at += len(piece)
    assert at == start + n


def test_large(daemon, sized, way):
    version, mode = way
    with open(sized.path / "large", "wb") as file:
        for i in range(100):
            file.write(b"%07d\n" % i * (1 << 17))
    with open(sized.path / "large", "rb") as file, connect(daemon, version, chunk=1 << 20) as c:
        c.ask("/large", mode)
        r = c.head()
        assert (r.status, r.body_len) == (p.OK, 100 << 20)
        compare(c, r.body_len, file)
        check(c.get("/a.txt", mode=mode), b"hello\n")


@pytest.mark.long
def test_five_gigabytes(daemon, sized, way):
    version, mode = way
    size = (5 << 30) + 12345
    with open(sized.path / "sparse", "wb+") as file:
        file.truncate(size)
        for at in (0, (1 << 31) - 3, (1 << 32) - 3, (1 << 32) + (1 << 29), size - 100):
            os.pwrite(file.fileno(), os.urandom(100), at)
        with connect(daemon, version, chunk=1 << 20) as c:
            c.ask("/sparse", mode)
            r = c.head()
            assert (r.status, r.body_len) == (p.OK, size)
            compare(c, r.body_len, file)
            check(c.get("/a.txt", mode=mode), b"hello\n")


def test_client_that_reads_little_at_a_time(daemon, sized, way):
    version, mode = way
    rng = random.Random(repr(way))
    with connect(daemon, version, chunk=lambda: rng.choice((1, 100, 4096, 5000, 70_000))) as c:
        for size in (4096, 65537, 300_000):
            check(c.get(f"/s{size}", mode=mode), sized.files[f"/s{size}"])


def test_hundred_at_once(daemon, sized, way):
    version, mode = way
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(daemon, version)) for _ in range(100)]
        order = [SIZES[i % len(SIZES)] for i in range(100)]
        for c, size in zip(clients, order):
            c.ask(f"/s{size}", mode)
        for c, size in reversed(list(zip(clients, order))):
            check(c.reply(), sized.files[f"/s{size}"])


def test_head_and_small_body_come_together(daemon, way):
    version, mode = way
    with connect(daemon, version) as c:
        for _ in range(2):
            c.ask("/a.txt", mode)
            c.fill()
            data = bytes(c.buf[c.at :])
            assert data.endswith(b"hello\n")
            check(c.reply(), b"hello\n")


# ---- version 3 -------------------------------------------------------------------------------------------------------

FAR = (1 << 64) - 1
RANGES = [(0, 0), (0, 1), (1, 0), (4095, 2), (100, 65536), (100, 65537), (0, FAR), (1, FAR), (FAR, FAR), (FAR, 0),
          (299_999, 0), (299_999, 5), (300_000, 0), (300_001, 7), (1 << 63, 1)]


@pytest.mark.parametrize("mode", [p.COPY, p.SPLICE], ids=["copy", "splice"])
def test_ranges(daemon, sized, mode):
    content = sized.files["/s300000"]
    with connect(daemon, 3) as c:
        for offset, length in RANGES:
            r = c.get("/s300000", mode=mode, flags=p.RANGE, range_offset=offset, range_length=length)
            assert (r.status, r.mode, r.size) == (p.OK, mode, 300_000)
            assert r.body == (content[offset : offset + length] if length else content[offset:]), (offset, length)
        r = c.get("/s1", mode=mode, range_offset=1, range_length=1)
        assert r.body == sized.files["/s1"], "a range without the flag does not count"
        assert c.get("/s0", mode=mode, flags=p.RANGE, range_offset=5).body == b""


def test_range_of_inline_but_not_of_a_descriptor(daemon, sized):
    with connect(daemon, 3) as c:
        r = c.get("/s4096", mode=p.AUTO, flags=p.RANGE, range_offset=4000, range_length=1000)
        assert (r.mode, r.body) == (p.INLINE, sized.files["/s4096"][4000:])
        r = c.get("/s16385", mode=p.AUTO, flags=p.RANGE, range_offset=4000, range_length=1000)
        assert (r.mode, r.body_len) == (p.FD, 0)
        check(r, sized.files["/s16385"])


def test_auto_goes_by_the_smaller_limit(daemon, sized):
    for wanted, asked, limit in ((0, 0, 16384), (4096, 0, 4096), (4095, 0, 4095), (0, 1, 1), (1, 4096, 1),
                                 (65536, 0, 65536), (65536, 16384, 16384), (FAR >> 32, 0, 65536)):
        with daemon.connect(3, hello=HELLO._replace(inline_limit=wanted)) as c:
            assert c.hello.inline_limit == min(wanted or 16384, 65536)
            for size in SIZES:
                r = c.get(f"/s{size}", mode=p.AUTO, inline_limit=asked)
                assert r.mode == (p.INLINE if size <= limit else p.FD), (size, wanted, asked)
                assert (r.fd >= 0) == (r.mode == p.FD) and r.body_len == (size if r.fd < 0 else 0)
                check(r, sized.files[f"/s{size}"])


def test_auto_gives_descriptors_to_clients_without_inline(daemon, sized):
    with daemon.connect(3, hello=p.Hello(capabilities=p.CAP_FD_BATCH, inline_limit=4096)) as c:
        assert c.hello.inline_limit == 0
        for size in (0, 1, 4096):
            r = c.get(f"/s{size}", mode=p.AUTO, inline_limit=4096)
            assert (r.mode, r.body_len) == (p.FD, 0)
            check(r, sized.files[f"/s{size}"])


@pytest.mark.parametrize("mode", [p.COPY, p.SPLICE, p.AUTO], ids=["copy", "splice", "auto"])
def test_if_version(daemon, sized, mode):
    with connect(daemon, 3) as c:
        for size in (0, 4096, 300_000):
            version = c.stat(f"/s{size}").version
            r = c.get(f"/s{size}", mode=mode, flags=p.IF_VERSION, if_version=version)
            assert (r.status, r.mode, r.flags, r.fd, r.body_len) == (p.OK, 0, p.NOT_MODIFIED, -1, 0)
            r = c.get(f"/s{size}", mode=mode, flags=p.IF_VERSION | p.METADATA, if_version=version ^ 1)
            assert (r.version, r.flags, p.META_MTIME in r.entries()) == (version, 0, True)
            check(r, sized.files[f"/s{size}"])


# ---- what goes with it on one connection -----------------------------------------------------------------------------

def medley(tree, n, modes):
    """(uri, mode, content or None) in an order that is the same each time."""
    rng = random.Random(n)
    uris = [*sorted(u for u in tree.files if u.startswith("/s")), "/a.txt", "/none"]
    return [(uri, rng.choice(modes), tree.files.get(uri)) for uri in rng.choices(uris, k=n)]


@pytest.mark.threads
def test_mixed_with_descriptors_in_order(start, sized, model):
    daemon = start({"/": sized.path}, "--concurrency-model", model)
    requests = medley(sized, 200, (p.FD, p.FD, p.COPY, p.SPLICE))
    with daemon.connect(1) as c:
        c.ask_each([(uri, mode) for uri, mode, _ in requests])
        for _, _, content in requests:
            check_medley(c.reply(), content)


@pytest.mark.threads
def test_mixed_with_descriptors_by_id(start, sized, model):
    daemon = start({"/": sized.path}, "--concurrency-model", model)
    requests = medley(sized, 200, (p.FD, p.FD, p.COPY, p.SPLICE, p.AUTO))
    with connect(daemon, 3) as c:
        c.ask_each([(uri, mode) for uri, mode, _ in requests])
        seen = set()
        for _ in requests:
            r = c.reply()
            seen.add(r.id)
            check_medley(r, requests[r.id][2])
        assert len(seen) == len(requests)


@pytest.mark.threads
@pytest.mark.parametrize("chunk", [65536, 700], ids=["large", "small"])
def test_many_small_by_auto(start, sized, model, chunk):
    """Small ones as bytes, large ones as descriptors, which do not share a message, and others that wait for the pool."""
    daemon = start({"/": sized.path}, "--concurrency-model", model)
    requests = [(uri, p.AUTO, content) for uri, _, content in medley(sized, 400, (p.AUTO,))]
    requests += [("/a.txt", p.AUTO, sized.files["/a.txt"])] * 600
    with connect(daemon, 3, chunk=chunk) as c:
        writer = threading.Thread(target=c.ask_each, args=([(uri, mode) for uri, mode, _ in requests],))
        writer.start()
        for _ in requests:
            r = c.reply()
            check_medley(r, requests[r.id][2])
        writer.join()


@pytest.mark.parametrize("chunk", [65536, 700], ids=["large", "small"])
def test_many_small_in_order(daemon, sized, chunk):
    """Replies of version 1 that share messages, with statuses, large bodies and descriptors among them."""
    requests = medley(sized, 300, (p.COPY, p.SPLICE)) + medley(sized, 300, (p.COPY, p.SPLICE, p.FD))
    small = [(uri, mode, content) for uri, mode, content in requests if content is None or len(content) <= 4096]
    requests = small + requests + small + [("/a.txt", p.COPY, b"hello\n")] * 600
    with daemon.connect(1, chunk=chunk) as c:
        writer = threading.Thread(target=c.ask_each, args=([(uri, mode) for uri, mode, _ in requests],))
        writer.start()
        for _, _, content in requests:
            check_medley(c.reply(), content)
        writer.join()


@pytest.mark.skipif(INSTRUMENTED, reason="a sanitizer has its own allocator and must be loaded first")
@pytest.mark.parametrize("way", [(1, p.SPLICE), (3, p.AUTO)], ids=["v1-splice", "v3-auto"])
def test_small_bodies_share_messages(start, sized, workdir, monkeypatch, way):
    """Of 64 replies of 4096 bytes, seven fit into one."""
    version, mode = way
    fault = Fault(workdir, "send", "EPIPE")
    daemon = faulty_daemon(start, sized, fault, "thread-pool", monkeypatch)
    with connect(daemon, version) as c:
        check(c.get("/s4096", mode=mode), sized.files["/s4096"])
        fault.disarm()
        before = fault.calls
        c.ask_many(["/s4096"] * 64, mode=mode)
        for _ in range(64):
            check(c.reply(), sized.files["/s4096"])
        assert 64 // 7 <= fault.calls - before <= 64 // 7 + 4
    fault.words.close()


def check_medley(r, content):
    if content is None:
        assert (r.status, r.fd, r.body_len) == (p.NOT_FOUND, -1, 0)
    else:
        check(r, content)


def test_refusals(daemon, sized, way):
    version, mode = way
    (sized.path / "link").symlink_to("a.txt")
    os.mkfifo(sized.path / "fifo")
    with connect(daemon, version) as c:
        for uri, status in (("/none", p.NOT_FOUND), ("/link", p.DENIED), ("/sub", p.UNSUPPORTED),
                            ("/fifo", p.UNSUPPORTED), ("/../secret", p.INVALID)) * 2:
            r = c.get(uri, mode=mode)
            assert (r.status, r.fd, r.body_len, r.size) == (status, -1, 0, 0), uri
            check(c.get("/s65537", mode=mode), sized.files["/s65537"])


def test_half_close_during_bodies(daemon, sized, way):
    version, mode = way
    with connect(daemon, version) as c:
        c.ask_each([("/s1048576", mode), ("/a.txt", p.FD), ("/s4096", mode), ("/s300000", mode)])
        c.half_close()
        for uri in ("/s1048576", "/a.txt", "/s4096", "/s300000"):
            check(c.reply(), sized.files[uri])
        assert c.eof()


@pytest.mark.parametrize("size", [1, 300_000])
@pytest.mark.parametrize("config, n", [("persistent = false;", 1), ("requests_per_connection = 3;", 3)])
def test_last_request_of_a_connection(start, sized, way, size, config, n):
    version, mode = way
    daemon = start({"/": sized.path}, config=f"concurrency = {{ {config} }};\n")
    with connect(daemon, version) as c:
        c.ask_each([(f"/s{size}", mode)] * n)
        for _ in range(n):
            check(c.reply(), sized.files[f"/s{size}"])
        assert c.eof()
    with connect(daemon, version) as c:
        c.ask_each([(f"/s{size}", mode)] * (n + 2))
        for _ in range(n):
            check(c.reply(), sized.files[f"/s{size}"])
        assert c.eof()


def test_queue_that_is_full(start, sized, way):
    """What the worker has at hand it sends all the same."""
    version, mode = way
    daemon = start({"/": sized.path}, "--copy-pool-size", "1", "--pool-size", "1",
                   config=NO_INDEX + "concurrency = { max_queue_depth = 1; };\n")
    (pool,) = threads_named(daemon, "objm-pool")
    with daemon.connect(1) as hangs, daemon.connect(1) as waits, connect(daemon, version) as c:
        c.get("/s1048576").close()
        c.get("/a.txt").close()
        with hung_lookup(daemon, pool, hangs, "/hangs"):
            waits.ask("/waits")
            wait_until(lambda: c.get("/s1048576", mode=mode).status == p.UNAVAILABLE)
            assert c.get("/cold", mode=mode).status == p.UNAVAILABLE
            check(c.get("/a.txt", mode=mode), b"hello\n")
        assert [hangs.reply().status, waits.reply().status] == [p.NOT_FOUND] * 2
        check(c.get("/s1048576", mode=mode), sized.files["/s1048576"])


def test_tiny_queue_refuses_but_answers(start, sized, way):
    version, mode = way
    daemon = start({"/": sized.path}, "--copy-pool-size", "1", config="concurrency = { max_queue_depth = 1; };\n")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(daemon, version)) for _ in range(60)]
        for c in clients:
            c.ask_each([("/s1048576", mode)] * 2)
        for c in clients:
            for _ in range(2):
                r = c.reply()
                assert r.status in (p.OK, p.UNAVAILABLE)
                assert r.body == (sized.files["/s1048576"] if r.status == p.OK else b"")


# ---- drain and timeouts ----------------------------------------------------------------------------------------------

@contextlib.contextmanager
def body_under_way(daemon, way, uri="/large", size=32 << 20):
    version, mode = way
    with connect(daemon, version, chunk=65536) as c:
        c.ask(uri, mode)
        r = c.head()
        assert (r.status, r.body_len) == (p.OK, size)
        yield c


@pytest.fixture
def large(sized):
    """32 MB, more than any socket takes."""
    data = os.urandom(1 << 20) * 32
    (sized.path / "large").write_bytes(data)
    sized.files["/large"] = data
    return sized


def drain(daemon):
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: "draining\n" in daemon.log())


@pytest.mark.threads
def test_drain_lets_a_body_end(start, large, way, model):
    daemon = start({"/": large.path}, "--concurrency-model", model, config='timeouts = { drain = "30s"; };\n')
    with body_under_way(daemon, way) as c:
        c.ask("/s300000", way[1])
        c.ask("/a.txt")
        drain(daemon)
        assert c.take(32 << 20) == large.files["/large"]
        check(c.reply(), large.files["/s300000"])
        check(c.reply(), b"hello\n")
        assert c.eof()
    assert daemon.exit_status() == 0


@pytest.mark.threads
def test_drain_cuts_a_stalled_body(start, large, way, model):
    daemon = start({"/": large.path}, "--concurrency-model", model, config='timeouts = { drain = "300ms"; };\n')
    with body_under_way(daemon, way) as c:
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_status() == 0
        with pytest.raises(Closed):
            c.take(32 << 20)
        assert large.files["/large"].startswith(bytes(c.buf[c.at :]))


def test_second_signal_cuts_a_stalled_body(start, large, way):
    daemon = start({"/": large.path}, config='timeouts = { drain = "600s"; };\n')
    with body_under_way(daemon, way):
        drain(daemon)
        with pytest.raises(subprocess.TimeoutExpired):
            daemon.proc.wait(0.3)
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_status() == 0


def test_idle_timeout_does_not_cut_a_body(start, large, way):
    daemon = start({"/": large.path}, config='timeouts = { idle = "100ms"; };\n')
    with body_under_way(daemon, way) as c:
        c.take(1 << 20)
        time.sleep(0.5)  # a pause is what is tested
        assert c.take(31 << 20) == large.files["/large"][1 << 20 :]
        assert c.eof(), "afterwards it is idle"


def test_pool_of_one_takes_turns(start, large, way):
    """A client that reads as fast as it can does not keep the others out."""
    daemon = start({"/": large.path}, "--copy-pool-size", "1")
    stop = threading.Event()

    def greedy():
        with connect(daemon, way[0], chunk=1 << 20) as c:
            while not stop.is_set():
                c.ask("/large", way[1])
                for _ in c.pieces(c.head().body_len):
                    pass

    threads = [threading.Thread(target=greedy) for _ in range(2)]
    for t in threads:
        t.start()
    try:
        with connect(daemon, way[0]) as c:
            for _ in range(20):
                check(c.get("/s1048576", mode=way[1]), large.files["/s1048576"])
    finally:
        stop.set()
        for t in threads:
            t.join()
