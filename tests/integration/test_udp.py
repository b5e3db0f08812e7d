# SPDX-License-Identifier: MIT
"""Datagrams: nobody gets more than he sent without a cookie, nothing is answered that may be forged or echoed, what fits
comes whole, and the daemon stays what it is."""
import errno
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import omproto as p
import pytest
from daemon import BIN, BUILD, INSTRUMENTED, PATIENCE, ROOT, wait_until
from faults import Fault
from omudp import Udp

CORPUS = pathlib.Path(__file__).parents[1] / "corpus"
HEAD = p.UDP_HEADER + 11 + 43  # of an object's reply, with the metadata that the daemon sends
BIGGEST = p.UDP_MAX - HEAD
SIZES = (0, 1, 2, 1000, BIGGEST - 1, BIGGEST)


@pytest.fixture
def sizes(tree):
    for n in (*SIZES, BIGGEST + 1, 5000):
        (tree.path / f"size{n}").write_bytes(os.urandom(n))
    return tree


@pytest.fixture
def daemon(start, sizes):
    d = start({"/": sizes.path}, udp=["127.0.0.1"])
    wait_until(lambda: "scan done" in d.log())
    return d


@pytest.fixture
def udp(daemon):
    with Udp(daemon.udp[0]) as u:
        yield u


def content(tree, n):
    return (tree.path / f"size{n}").read_bytes()


def warm(u, uri):
    """Until the object comes without the pool's help there is nothing to be said about order."""
    return u.ask(uri, size=p.UDP_MAX)


# ---- objects ----


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_objects_come_whole(start, sizes, address):
    try:
        daemon = start({"/": sizes.path}, udp=[address])
    except AssertionError as e:
        if os.strerror(errno.EADDRNOTAVAIL) not in str(e) and os.strerror(errno.EAFNOSUPPORT) not in str(e):
            raise
        pytest.skip(f"{address} is not there")
    with Udp(daemon.udp[0]) as u:
        cookie = u.cookie()
        for how in ({"cookie": cookie}, {"size": p.UDP_MAX}, {"size": p.UDP_MAX, "mode": p.SPLICE}):
            for n in SIZES:
                r = u.ask(f"/size{n}", **how)
                assert (r.status, r.bare, r.body) == (p.OK, False, content(sizes, n))
                meta = p.metadata(r.metadata)
                assert int.from_bytes(meta[p.META_SIZE]) == n and {p.META_MTIME, p.META_ETAG} < set(meta)
            for n in (BIGGEST + 1, 5000):
                r = u.ask(f"/size{n}", **how)
                assert (r.status, r.flags, r.body) == (p.UNSUPPORTED, p.UDP_STREAM, b"")
                assert b"use a stream" in p.metadata(r.metadata)[p.META_ERROR]


def test_stat_and_ping(daemon, udp, sizes):
    r = udp.ask("/size5000", op=p.STAT, size=p.UDP_MAX)
    assert (r.status, r.bare, r.body) == (p.OK, False, b"")
    assert int.from_bytes(p.metadata(r.metadata)[p.META_SIZE]) == 5000
    r = udp.ask(op=p.PING)
    assert (r.status, r.bare) == (p.OK, True)


def test_refusals(daemon, udp):
    cookie = udp.cookie()
    for status, kw in ((p.NOT_FOUND, {"uri": "/none"}), (p.INVALID, {"uri": "/a/../b"}), (p.INVALID, {"uri": ""}),
                       (p.INVALID_MODE, {"uri": "/a.txt", "mode": p.FD}), (p.INVALID_MODE, {"uri": "/a.txt", "mode": 7}),
                       (p.UNSUPPORTED, {"uri": "/a.txt", "op": 9}), (p.UNSUPPORTED, {"uri": "/sub"})):
        r = udp.ask(**kw, cookie=cookie)
        assert (r.status, r.bare) == (status, False) and p.META_ERROR in p.metadata(r.metadata), kw
        r = udp.ask(**kw)
        assert (r.status, r.bare) == (status, True), kw
    newer = bytearray(udp.request("/a.txt"))
    newer[4] = 2
    udp.send(newer)
    assert p.udp_response_decode(udp.recv())[0].status == p.VERSION


def test_export_with_a_list_is_denied(start, tree):
    """The Unix socket's clients may be on it; nobody knows who sends a datagram."""
    daemon = start(udp=["127.0.0.1"], config=f'''exports = (
        {{ prefix = "/open/"; path = "{tree.path}"; }},
        {{ prefix = "/uids/"; path = "{tree.path}"; allow_uids = [ {os.getuid()} ]; }},
        {{ prefix = "/gids/"; path = "{tree.path}"; allow_gids = [ {os.getgid()} ]; }} );\n''')
    assert daemon.get_status("/uids/a.txt") == daemon.get_status("/gids/a.txt") == p.OK
    with Udp(daemon.udp[0]) as u:
        assert u.ask("/open/a.txt", size=p.UDP_MAX).status == p.OK
        for op in (p.GET, p.STAT):
            for export in ("uids", "gids"):
                for name in ("a.txt", "none"):
                    assert u.ask(f"/{export}/{name}", op=op, size=p.UDP_MAX).status == p.DENIED


def test_cold_objects(start, sizes):
    """Nothing is known, nothing is cached by the index: the pool answers."""
    daemon = start({"/": sizes.path}, udp=["127.0.0.1"], config="index = { scan = false; watch = false; };\n")
    with Udp(daemon.udp[0]) as u:
        for n in SIZES:
            path = sizes.path / f"size{n}"
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
            assert u.ask(f"/size{n}", size=p.UDP_MAX).body == content(sizes, n)


# ---- nobody gets more than he sent ----


def corpus():
    return [f.read_bytes() for d in ("fuzz_udp_request", "fuzz_udp_response") for f in sorted((CORPUS / d).iterdir())]


def random_datagrams(seed, n, uris):
    """Requests with everything about them at random, and then some bytes changed, cut off or added."""
    rng = random.Random(seed)
    for _ in range(n):
        uri = rng.choice(uris).encode()
        r = p.UdpRequest(rng.choice((1, 1, 1, 2, 3, 9)), rng.choice(b"12233x"), rng.getrandbits(31),
                         rng.choice((0, 0, rng.getrandbits(64))), uri, rng.choice((0, 0, 30, 60, 200, 900)))
        data = bytearray(p.udp_request_encode(r)[: p.UDP_MAX + 10])
        for _ in range(rng.choice((0, 0, 0, 1, 3))):
            data[rng.randrange(len(data))] = rng.getrandbits(8)
        yield bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.1 else data)


class Ratio:
    """Bytes sent and bytes received for each datagram of a crowd. What needs the disk is answered after what follows, so
    each gets an id of its own where a request would have it."""

    def __init__(self, u, packets):
        self.u, self.cookie = u, u.cookie()
        self.packets = {i: d[:8] + i.to_bytes(4) + d[12:] if len(d) >= 12 else d for i, d in enumerate(packets, 1)}
        self.times, self.back = dict.fromkeys(self.packets, 0), dict.fromkeys(self.packets, 0)

    def send(self, idents):
        for i in idents:
            self.times[i] += 1
        for reply in self.u.answers([self.packets[i] for i in idents], self.cookie):
            i = p.udp_response_decode(reply)[0].id
            self.back[i] += len(reply)
            assert self.back[i] <= self.times[i] * len(self.packets[i]), (self.packets[i], reply)

    def whole(self, i):
        try:
            p.udp_request_decode(self.packets[i])
            return True
        except p.Bad:
            return False

    def run(self):
        """All, twenty at a time; then what deserved an answer, until it has one."""
        idents = list(self.packets)
        for at in range(0, len(idents), 20):
            self.send(idents[at : at + 20])

        def pending():
            missing = [i for i in idents if not self.back[i] and self.whole(i)]
            self.send(missing[:20])
            return not missing

        wait_until(pending, message="a whole request is never answered")
        assert all(self.whole(i) for i in idents if self.back[i]), "what is no request was answered"
        sent, back = sum(self.times[i] * len(self.packets[i]) for i in idents), sum(self.back.values())
        return f"{sum(map(bool, self.back.values()))} of {len(idents)} answered, {back}/{sent} bytes, {back / sent:.3f}"


def test_ratio_of_the_corpus(udp):
    packets = corpus()
    assert len(packets) > 100
    print("corpus:", Ratio(udp, packets).run())


def test_ratio_of_random_datagrams(udp):
    uris = ["/a.txt", "/none", "/sub", "/../x", "/empty", "/big", *(f"/size{n}" for n in (*SIZES, BIGGEST + 1))]
    print("random:", Ratio(udp, random_datagrams(20261121, 3000, uris)).run())


def test_every_length_of_request(daemon, udp, sizes):
    """As long as the reply, one byte shorter: the object, or a cookie and no word of the object."""
    for n in SIZES:
        shortest = len(udp.request(f"/size{n}"))
        warm(udp, f"/size{n}")
        for size in {max(shortest, HEAD + n), max(shortest, HEAD + n - 1), shortest}:
            r = udp.ask(f"/size{n}", size=size)
            if size >= HEAD + n:
                assert (r.status, r.body) == (p.OK, content(sizes, n))
            else:
                assert (r.status, r.bare) == (p.CAPABILITY, True)


# ---- cookies ----


def refused(u, cookie):
    r = u.ask("/size1000", cookie=cookie)
    assert (r.status, r.bare) == (p.CAPABILITY, True)
    return r.cookie


def test_cookies_of_others_do_not_help(daemon, udp, sizes):
    own = udp.cookie()
    with Udp(daemon.udp[0]) as other, Udp(daemon.udp[0], source="127.0.0.2") as elsewhere:
        for u in (other, elsewhere):
            fresh = refused(u, own)
            assert fresh != own
            assert u.ask("/size1000", cookie=fresh).body == content(sizes, 1000)
    for forged in (1, own ^ 1, own ^ 1 << 63, own + 1 & 2**64 - 1, 2**64 - 1):
        assert refused(udp, forged) == own
    assert udp.ask("/size1000", cookie=own).body == content(sizes, 1000)


def test_a_cookie_ends_with_the_daemon(start, sizes):
    daemon = start({"/": sizes.path}, udp=["127.0.0.1"])
    address = daemon.udp[0]
    with Udp(address) as u:
        old = u.cookie()
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_status() == 0
        start({"/": sizes.path}, udp=[address])
        assert u.ask("/size1000", cookie=refused(u, old)).body == content(sizes, 1000)


# ---- who is answered ----


def test_longer_datagrams_are_dropped(daemon, udp):
    cookie = udp.cookie()
    for size in (p.UDP_MAX + 1, p.UDP_MAX + 100, 9000):
        assert udp.answers(udp.request("/a.txt", size=size), cookie) == []
        assert udp.answers(udp.request("/a.txt", size=size, cookie=cookie), cookie) == []
    assert len(udp.answers(udp.request("/a.txt", size=p.UDP_MAX), cookie)) == 1


def test_replies_of_one_daemon_are_nothing_to_another(start, sizes):
    """Every kind of reply that one makes, and every beginning of it, sent to the other and to itself."""
    a, b = (start({"/": sizes.path}, udp=["127.0.0.1"]) for _ in range(2))
    with Udp(a.udp[0]) as to_a, Udp(b.udp[0]) as to_b:
        cookie_a, cookie_b = to_a.cookie(), to_b.cookie()
        kinds = set()
        for uri in ("/size0", "/size1000", f"/size{BIGGEST}", "/size5000", "/none", "/sub", ""):
            for op in (p.GET, p.STAT, p.PING, 9):
                for size, cookie in ((0, 0), (p.UDP_MAX, 0), (0, cookie_a)):
                    to_a.send(to_a.request(uri, op=op, size=size, cookie=cookie))
                    reply = to_a.recv()
                    kinds.add((reply[5], reply[7], len(reply)))
                    for data in (reply, reply[: p.UDP_HEADER], reply[:-1]):
                        assert to_b.answers(data, cookie_b) == []
                        assert to_a.answers(data, cookie_a) == []
        assert len(kinds) > 10


def thread_states(daemon):
    for task in (daemon.proc_dir / "task").iterdir():
        yield (task / "stat").read_text().rsplit(")", 1)[1].split()[0]


def test_two_daemons_aimed_at_each_other_fall_silent(start, sizes):
    """A request that seems to come from the first one's address reaches the second: one reply goes there, and no more."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as spoofer:
        spoofer.bind(("127.0.0.1", 0))
        first = spoofer.getsockname()
        b = start({"/": sizes.path}, udp=["127.0.0.1"])
        spoofer.connect(b.udp[0])
        with Udp(b.udp[0]) as to_b:
            wait_until(lambda: "scan done" in b.log())
            warm(to_b, "/size1000")
        n = 50
        b.signal(signal.SIGSTOP)  # so that the first one is there before the answers are
        wait_until(lambda: all(state == "T" for state in thread_states(b)))
        for i in range(n):
            spoofer.send(p.udp_request_encode(p.UdpRequest(p.GET, p.COPY, i, 0, b"/size1000", 1100)))
    a = start({"/": sizes.path}, udp=[first])
    b.signal(signal.SIGCONT)
    with Udp(a.udp[0]) as to_a, Udp(b.udp[0]) as to_b:
        to_b.ask(op=p.PING), to_a.ask(op=p.PING)  # both are through with what came before
    for d in (a, b):
        d.signal(signal.SIGTERM)
        assert d.exit_status() == 0
    taken = {d: dict(counts(d)) for d in (a, b)}
    assert taken[b]["taken"] == n + 2 and taken[b]["malformed"] == 0, "the first one answered replies"
    assert taken[a]["taken"] == 1 and taken[a]["malformed"] == n


def counts(daemon):
    """What the daemon said at its end."""
    line = daemon.log().rsplit("datagrams: ", 1)[1].splitlines()[0]
    numbers = [int(word) for word in line.replace(";", " ").replace(",", " ").split() if word.isdigit()]
    return zip(("taken", "malformed", "unanswerable", "over_rate", "unsent"), numbers, strict=True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root binds ports below 1024")
def test_privileged_ports_are_not_answered(daemon, udp):
    cookie = udp.cookie()
    for port in range(1023, 600, -1):
        try:
            low = Udp(daemon.udp[0], port)
            break
        except OSError:
            continue
    else:
        pytest.skip("no port below 1024 is free")
    with low:
        low.send(low.request(op=p.PING))
        assert udp.answers(b"", cookie) == []  # a round trip later
        low.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            low.recv()
    daemon.signal(signal.SIGTERM)
    assert daemon.exit_status() == 0
    assert dict(counts(daemon))["unanswerable"] == 1


# ---- rates ----


def ping_many(u, n, cookie):
    """How many of n requests without a cookie are answered."""
    for i in range(n):
        u.send(u.request(op=p.PING, ident=i))
    return len(u.answers(b"", cookie))


def test_a_burst_is_cut_and_served_again_later(daemon, udp):
    """Two ports of one network share. Who has a cookie is served all the same: such replies end each round."""
    sent = answered = 0
    with Udp(daemon.udp[0]) as other:
        cookies = {u: u.cookie() for u in (udp, other)}

        def cut():
            nonlocal sent, answered
            got = sum(ping_many(u, 50, cookie) for u, cookie in cookies.items())
            sent, answered = sent + 100, answered + got
            return got < 100

        began = time.monotonic()
        wait_until(cut, message="there is no limit")
        took = time.monotonic() - began
    assert answered <= 250 + 1000 * (took + 0.1)

    def as_before():
        time.sleep(0.05)  # trying takes what has come in the meantime
        return ping_many(udp, 20, cookies[udp]) == 20

    wait_until(as_before, message="never served again")
    daemon.signal(signal.SIGTERM)
    assert daemon.exit_status() == 0
    assert dict(counts(daemon))["over_rate"] > 0


# ---- life ----


def test_off_unless_configured(served):
    assert served.udp == []
    assert not any("udp" in (served.proc_dir / "task" / t / "comm").read_text()
                   for t in os.listdir(served.proc_dir / "task"))


def test_at_rest_it_uses_no_cpu(daemon, udp):
    for _ in range(10):
        udp.ask("/a.txt", size=p.UDP_MAX)
    daemon.at_rest()
    before = daemon.cpu_seconds()
    time.sleep(0.5)
    used = daemon.cpu_seconds() - before
    assert INSTRUMENTED or used < 0.02, f"{used:.3f} s of CPU in half a second of nothing"


@pytest.mark.threads
def test_reload_under_load(start, sizes, workdir):
    """What is served is that of the old exports or of the new ones, and in the end of the new ones."""
    other = workdir / "other"
    other.mkdir()
    (other / "a.txt").write_bytes(b"other")
    text = 'exports = ( {{ prefix = "/"; path = "{}"; }} );\nindex = {{ scan = {}; }};\n'
    daemon = start(udp=["127.0.0.1"], config=text.format(sizes.path, "true"))
    listen = daemon.listen(daemon.udp)
    with Udp(daemon.udp[0]) as u:
        cookie = u.cookie()
        for i in range(20):
            tree = (other, sizes.path)[i % 2]
            daemon.config.write_text(text.format(tree, "true" if i % 3 else "false") + listen)
            seen = daemon.log().count("reloaded\n")
            daemon.signal(signal.SIGHUP)
            while daemon.log().count("reloaded\n") == seen:
                r = u.ask("/a.txt", cookie=cookie)
                if r.status == p.CAPABILITY:
                    cookie = r.cookie
                    continue
                assert (r.status, r.body in (b"other", b"hello\n")) == (p.OK, True)
            assert u.ask("/a.txt", size=p.UDP_MAX).body == (tree / "a.txt").read_bytes()
    assert "not reloaded" not in daemon.log()


@pytest.mark.threads
def test_sigterm_under_load(start, sizes):
    daemon = start({"/": sizes.path}, udp=["127.0.0.1"], config="index = { scan = false; watch = false; };\n")
    with Udp(daemon.udp[0]) as u:
        for i in range(200):
            u.send(u.request(f"/size{SIZES[i % len(SIZES)]}", size=p.UDP_MAX))
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_status() == 0


def test_a_stopped_client_holds_nobody_up(daemon, udp):
    """Replies that nobody reads are lost, and that is all."""
    cookie = udp.cookie()
    with Udp(daemon.udp[0]) as deaf:
        deaf_cookie = deaf.cookie()
        for _ in range(2000):
            deaf.send(deaf.request(f"/size{BIGGEST}", cookie=deaf_cookie))
        assert udp.answers([], cookie) == []  # the queue of requests, which may lose some, has been worked off
        assert udp.ask("/a.txt", cookie=cookie).body == b"hello\n"
    assert daemon.get_status("/a.txt") == p.OK


def faulty(start, tree, workdir, monkeypatch, function, error):
    fault = Fault(workdir, function, error)
    with monkeypatch.context() as m:
        for name, value in fault.env.items():
            m.setenv(name, value)
        daemon = start({"/": tree.path}, udp=["127.0.0.1"])
    wait_until(lambda: "scan done" in daemon.log())
    return daemon, fault


@pytest.mark.skipif(INSTRUMENTED, reason="the preloaded library is for builds without a sanitizer")
@pytest.mark.parametrize("error, lost", [("EAGAIN", 1), ("ENOBUFS", 1), ("EPERM", 1), ("EINTR", 0)])
def test_what_cannot_be_sent_is_dropped_and_counted(start, sizes, workdir, monkeypatch, error, lost):
    daemon, fault = faulty(start, sizes, workdir, monkeypatch, "sendmmsg", error)
    with Udp(daemon.udp[0]) as u:
        u.cookie()
        fault.arm(1)
        u.send(u.request("/a.txt", size=p.UDP_MAX, ident=7))
        wait_until(lambda: fault.fired)
        fault.disarm()
        u.send(u.request("/a.txt", size=p.UDP_MAX, ident=8))
        first = p.udp_response_decode(u.recv())[0].id
        assert first == (8 if lost else 7)
    daemon.signal(signal.SIGTERM)
    assert daemon.exit_status() == 0
    assert dict(counts(daemon))["unsent"] == lost


@pytest.mark.skipif(INSTRUMENTED, reason="the preloaded library is for builds without a sanitizer")
@pytest.mark.parametrize("error", ["ENOMEM", "ENOBUFS", "EINTR"])
def test_receiving_fails_for_a_while(start, sizes, workdir, monkeypatch, error):
    """The datagram stays readable all the time; the thread does not spin on it, and serves it in the end."""
    daemon, fault = faulty(start, sizes, workdir, monkeypatch, "recvmmsg", error)
    with Udp(daemon.udp[0]) as u:
        fault.arm(1, 20)
        before = daemon.cpu_seconds()
        assert u.ask("/a.txt", size=p.UDP_MAX).body == b"hello\n"
        assert fault.fired == 20
        assert daemon.cpu_seconds() - before < 0.1


@pytest.mark.skipif(INSTRUMENTED, reason="the preloaded library is for builds without a sanitizer")
def test_no_memory_for_a_cold_object(start, sizes, workdir, monkeypatch):
    daemon, fault = faulty(start, sizes, workdir, monkeypatch, "malloc", "ENOMEM")
    with Udp(daemon.udp[0]) as u:
        for i in range(40):
            fault.arm(1)
            r = u.ask(f"/cold{i}", size=p.UDP_MAX)
            assert r.status in (p.NOT_FOUND, p.UNAVAILABLE, p.NO_MEMORY), r
        fault.disarm()
        assert u.ask("/a.txt", size=p.UDP_MAX).status == p.OK


AT_START = [("aligned_alloc", "ENOMEM"), ("calloc", "ENOMEM"), ("malloc", "ENOMEM"), ("socket", "EMFILE"),
            ("bind", "EPERM"), ("setsockopt", "ENOMEM"), ("epoll_create1", "EMFILE"), ("eventfd", "ENFILE"),
            ("epoll_add", "ENOSPC"), ("pthread_create", "EAGAIN"), ("getrandom", "EINTR"), ("getrandom", "EPERM")]


def start_once(workdir, env):
    """Starts a daemon, and stops it if it is ready. Returns its exit status and what it said."""
    log = workdir / "log"
    with open(log, "wb") as out:
        proc = subprocess.Popen([BIN, "--foreground", "--config", workdir / "conf"], stdout=out, stderr=out,
                                env=os.environ | env)
    try:
        wait_until(lambda: proc.poll() is not None or b": ready\n" in log.read_bytes(), message=log.read_text)
        proc.send_signal(signal.SIGTERM)
        return proc.wait(PATIENCE), log.read_text()
    finally:
        proc.kill()
        proc.wait()


@pytest.mark.skipif(INSTRUMENTED, reason="the preloaded library is for builds without a sanitizer")
@pytest.mark.parametrize("function, error", AT_START)
def test_every_call_at_start_fails_once(tree, workdir, function, error):
    """It starts and serves, or says why not; it neither hangs nor crashes."""
    (workdir / "conf").write_text(f'''listen = ( {{ transport = "unix"; path = "{workdir}/sock"; }},
        {{ transport = "udp"; port = 0; }}, {{ transport = "udp"; address = "127.0.0.2"; port = 0; }} );
        exports = ( {{ prefix = "/"; path = "{tree.path}"; }} );\n''')
    fault = Fault(workdir, function, error)
    refused = 0
    for n in range(1, 200):
        fault.arm(n)
        status, text = start_once(workdir, fault.env)
        assert status in (0, 1) and (": ready\n" in text) == (status == 0) and "objmapperd: " in text, (n, text)
        assert not (workdir / "sock").exists()
        refused += status
        if not fault.fired:
            break
    assert n > 1 and not fault.fired
    assert refused or error == "EINTR" or function == "malloc"


# ---- the programs ----


def objmap(*args):
    return subprocess.run([ROOT / BUILD / "objmap", *args], capture_output=True, timeout=PATIENCE)


def pair(address):
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else "%s:%d" % address


def test_objmap_get_and_cat(daemon, sizes, workdir):
    at = pair(daemon.udp[0])
    for n in SIZES:
        out = workdir / f"out{n}"
        assert objmap("get", "--udp", at, "-o", str(out), f"/size{n}").returncode == 0
        assert out.read_bytes() == content(sizes, n)
    done = objmap("cat", "--udp", at, *(f"/size{n}" for n in SIZES))
    assert (done.returncode, done.stdout) == (0, b"".join(content(sizes, n) for n in SIZES))
    out = workdir / "new"
    done = objmap("get", "--udp", at, "-o", str(out), "/size5000")
    assert done.returncode == 1 and b"use a stream" in done.stderr and not out.exists()
    done = objmap("cat", "--udp", at, "/none", "/a.txt")
    assert (done.returncode, done.stdout) == (1, b"hello\n") and b"/none: not found" in done.stderr
    done = objmap("cat", "--udp", at, "/" + "x" * 2000)
    assert done.returncode == 1 and b"use a stream" in done.stderr


def test_objmap_says_what_is_wrong(daemon):
    at = pair(daemon.udp[0])
    for args in (["--udp", "nonsense"], ["--udp", "localhost:1"], ["--udp", at, "--mode", "copy"],
                 ["--udp", at, "--range", "1"]):
        assert objmap("cat", *args, "/a.txt").returncode == 2
    assert objmap("get", "--udp", at, "-c", "-o", "x", "/a.txt").returncode == 2
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        done = objmap("--timeout", "300", "cat", "--udp", pair(deaf.getsockname()), "/a.txt")
        assert done.returncode == 1 and b"no answer in time" in done.stderr
        requests = []
        deaf.setblocking(False)
        while True:
            try:
                requests.append(deaf.recv(65536))
            except BlockingIOError:
                break
        assert 1 <= len(requests) <= 4 and len(set(requests)) == 1 and len(requests[0]) == p.UDP_MAX
        nobody = pair(deaf.getsockname())
    done = objmap("--timeout", "100", "cat", "--udp", nobody, "/a.txt")
    assert done.returncode == 1 and b"refused" in done.stderr


ACTIVATE = """
import os, sys
away = [os.dup2(int(fd), 100 + i) for i, fd in enumerate(sys.argv[1].split(","))]
for to, fd in enumerate(away, 3):
    os.dup2(fd, to)
    os.close(fd)
os.environ.update(LISTEN_FDS=str(len(away)), LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def activated(directory, socks, *args):
    """A daemon with these sockets as descriptors 3 and up, as systemd would start it; its log."""
    log = directory / "activated"
    fds = [s.fileno() for s in socks]
    with open(log, "wb") as out:
        command = [sys.executable, "-c", ACTIVATE, ",".join(map(str, fds)), str(ROOT / BUILD / "objmapperd"), *args]
        return subprocess.Popen(command, stderr=out, pass_fds=fds), log


def test_sockets_of_the_service_manager(sizes, workdir):
    with socket.socket(socket.AF_UNIX) as unix, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        unix.bind(str(workdir / "activated.sock"))
        unix.listen()
        sock.bind(("127.0.0.1", 0))
        proc, log = activated(workdir, [unix, sock], "--foreground", "--export", f"/={sizes.path}")
        try:
            wait_until(lambda: "ready" in log.read_text(), message=log.read_text)
            with Udp(sock.getsockname()) as u:
                assert u.ask("/a.txt", size=p.UDP_MAX).body == b"hello\n"
            proc.send_signal(signal.SIGTERM)
            assert proc.wait(PATIENCE) == 0
        finally:
            proc.kill()
            proc.wait()


def test_sockets_of_every_address_are_refused(sizes, workdir):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 0))
        proc, log = activated(workdir, [sock], "--foreground", "--export", f"/={sizes.path}")
        assert proc.wait(PATIENCE) == 1
        assert "UDP socket of one address" in log.read_text()


def test_config_says_what_is_wrong(start, sizes):
    """A port that is taken."""
    daemon = start({"/": sizes.path}, udp=["127.0.0.1"])
    with pytest.raises(AssertionError, match=rf"{daemon.udp[0][1]}: Address already in use"):
        start({"/": sizes.path}, udp=[daemon.udp[0]])
