# SPDX-License-Identifier: MIT
"""What the daemon counts, compared with a log of what was asked and answered."""
import collections
import contextlib
import http.client
import json
import os
import pty
import random
import re
import socket
import subprocess
import time

import daemon as d
import omclient
import omproto as p
import omring
import omudp
import openmetrics
import pytest

MODES = {p.FD: "fd", p.COPY: "copy", p.SPLICE: "splice", p.INLINE: "inline", p.AUTO: "auto"}
STATUSES = {p.OK: "ok", p.NOT_FOUND: "not_found", p.INVALID: "invalid_request", p.INVALID_MODE: "invalid_mode",
            p.URI_TOO_LONG: "uri_too_long", p.UNSUPPORTED: "unsupported", p.DENIED: "denied",
            p.UNAVAILABLE: "unavailable", p.PROTOCOL: "protocol_error", p.CAPABILITY: "capability_missing"}


class Log:
    """What clients saw: answers by (transport, mode, status), the bytes that came and the sizes of what was given."""

    def __init__(self):
        self.requests, self.bytes, self.sizes = collections.Counter(), collections.Counter(), []

    def note(self, transport, mode, status, body=b"", size=None):
        self.requests[transport, mode, STATUSES[status]] += 1
        self.bytes[transport, mode] += len(body)
        if size is not None:
            self.sizes.append(size)


def mode_of(op, asked, got):
    if op != p.GET:
        return {p.STAT: "stat", p.PING: "ping"}.get(op, "other")
    return MODES.get(got or asked, "other")


def unlike_control(counts):
    """The readings themselves are control operations."""
    return collections.Counter({k: n for k, n in counts.items() if n and "control" not in k})


def settled(daemon):
    """A reading that no request of an earlier client is missing from: two in a row are the same."""
    last = [None]

    def still():
        found = openmetrics.numbers(daemon)
        counts = unlike_control(openmetrics.counter(found, "objmapper_requests_total"))
        same, last[0] = counts == last[0], counts
        return found if same else None

    return d.wait_until(still)


def compare(daemon, before, log):
    """Waits until the daemon has counted everything, and looks once more: it has not counted anything else."""

    def difference():
        now = openmetrics.numbers(daemon)
        was, found = (openmetrics.counter(x, "objmapper_requests_total") for x in (before, now))
        found.subtract(was)
        return now, unlike_control(found)

    d.wait_until(lambda: difference()[1] == log.requests, seconds=d.PATIENCE / 2,
                 message=lambda: f"counted {difference()[1]}, answered {log.requests}")
    now, found = difference()
    assert found == log.requests
    check_the_rest(before, now, log)


def check_the_rest(before, now, log):
    sent = openmetrics.counter(now, "objmapper_body_bytes_total")
    sent.subtract(openmetrics.counter(before, "objmapper_body_bytes_total"))
    assert unlike_control(sent) == unlike_control(log.bytes)
    by_class, was = collections.Counter(), before["objmapper_request_duration_seconds"]
    for key, n in log.requests.items():
        by_class[key[:2]] += n
    for key, n in by_class.items():
        latency = now["objmapper_request_duration_seconds"][key]
        measured = latency["count"] - was.get(key, {"count": 0})["count"]
        assert 0 <= measured <= n if key[0] == "ring" else measured == n
        assert not measured or 0 < latency["p50"] <= latency["p99"] <= latency["p999"] and 0 < latency["sum"]
    sizes, were = (x["objmapper_object_size_bytes"][()] for x in (now, before))
    assert sizes["count"] - were["count"] == len(log.sizes) and sizes["sum"] - were["sum"] == sum(log.sizes)


def make_odd(tree):
    os.symlink("a.txt", tree.path / "link")
    (tree.path / "middle").write_bytes(b"m" * 50000)
    tree.files["/middle"] = b"m" * 50000


URIS = ["/a.txt", "/empty", "/sub/b.bin", "/big", "/middle", "/many/7", "/none", "/none", "/sub", "/link", "/a//b",
        "/" + "x" * 300]
CONFIG = "limits = { uri_length = 256; };\n"


def one_of_each_v3(log, transport, client, pick):
    """Every mode with every kind of URI, pipelined, in a random order."""
    requests = [(op, mode, uri) for uri in URIS for op, mode in
                [(p.GET, m) for m in (p.FD, p.COPY, p.SPLICE, p.AUTO)] + [(p.STAT, 0)]]
    requests += [(p.PING, 0, "")] * 5 + [(p.GET, 0x7A, "/a.txt"), (99, 0, "/a.txt")]
    pick.shuffle(requests)
    client.send(b"".join(p.request_encode(p.Request(op, mode, id=i, uri=uri.encode(), inline_limit=8192))
                         for i, (op, mode, uri) in enumerate(requests)))
    for _ in requests:
        r = client.reply()
        op, mode, _ = requests[r.id]
        log.note(transport, mode_of(op, mode, r.mode), r.status, r.body, r.size if op == p.GET and r.mode else None)
        r.close()


def conditional_v3(log, transport, client):
    r = client.get("/a.txt", mode=p.AUTO)
    log.note(transport, mode_of(p.GET, p.AUTO, r.mode), r.status, r.body, r.size)
    r.close()
    r = client.get("/a.txt", mode=p.AUTO, if_version=r.version, flags=p.IF_VERSION)
    assert r.flags & p.NOT_MODIFIED and r.fd < 0 and not r.body
    log.note(transport, "auto", r.status)


def ranges_v3(log, transport, client):
    """Of a body only what was asked for counts."""
    for mode in (p.COPY, p.SPLICE, p.AUTO):
        for offset, length, got in ((0, 100, 100), (49000, 5000, 1000), (60000, 1, 0), (1000, 0, 49000)):
            r = client.get("/middle", mode=mode, flags=p.RANGE, range_offset=offset, range_length=length)
            if r.fd < 0:
                assert len(r.body) == got
            log.note(transport, mode_of(p.GET, mode, r.mode), r.status, r.body, r.size)
            r.close()


def one_of_each_v1(log, transport, client, files):
    requests = [(uri, mode) for uri in URIS for mode in (p.FD, p.COPY, p.SPLICE)]
    client.ask_each(requests)
    for uri, mode in requests:
        r = client.reply()
        found = r.status == p.OK
        log.note(transport, MODES.get(mode, "other"), r.status, r.body, len(files[uri]) if found else None)
        r.close()


def ask_all(daemon, address, transport, log, files, seed):
    with omclient.V3(address, hello=p.Hello(capabilities=p.BODIES, inline_limit=8192)) as c:
        for _ in range(3):
            one_of_each_v3(log, transport, c, seed)
        conditional_v3(log, transport, c)
        ranges_v3(log, transport, c)
    with omclient.V1(address) as c:
        one_of_each_v1(log, transport, c, files)
    for last in (b"\x31\xff\xff", b"\x39\x00\x01/"):  # a URI that is too long, an unknown mode
        with omclient.V1(address) as c:
            c.send(last)
            log.note(transport, "other", c.reply().status)


def statuses(log, transport, mode):
    return {s for t, m, s in log.requests if (t, m) == (transport, mode)}


def test_counts_of_streams(start, tree, model):
    """Every mode over both kinds of stream, with every status that a client can cause."""
    make_odd(tree)
    daemon = start({"/": tree.path}, "--concurrency-model", model, config=CONFIG, tcp="127.0.0.1")
    before, log = settled(daemon), Log()
    ask_all(daemon, daemon.socket, "unix", log, tree.files, random.Random(1))
    ask_all(daemon, daemon.address, "tcp", log, tree.files, random.Random(2))
    errors = {"not_found", "invalid_request", "uri_too_long", "unsupported", "denied"}
    assert statuses(log, "unix", "fd") == errors | {"ok"} and statuses(log, "tcp", "fd") == {"invalid_mode", "uri_too_long"}
    for transport in ("unix", "tcp"):
        for mode in ("copy", "splice", "stat"):
            assert statuses(log, transport, mode) == errors | {"ok"}, mode
        assert statuses(log, transport, "auto") == errors | {"ok"}  # ok: not modified
        assert statuses(log, transport, "inline") == statuses(log, transport, "ping") == {"ok"}
        assert statuses(log, transport, "other") >= {"invalid_mode", "unsupported", "uri_too_long"}
        assert all(log.bytes[transport, mode] for mode in ("copy", "splice", "inline"))
    compare(daemon, before, log)


def test_counts_of_escorted_bodies(start, tree):
    """What a thread beside the worker sends counts once, and what it leaves to the worker too."""
    daemon = start({"/": tree.path})
    before, log = settled(daemon), Log()
    with daemon.connect(3) as c:

        def ask(uri, mode=p.COPY):
            r = c.get(uri, mode=mode)
            log.note("unix", MODES[mode], r.status, r.body, len(tree.files[uri]) if r.status == p.OK else None)
            r.close()

        end = time.monotonic() + d.PATIENCE
        while not daemon.escorts() and time.monotonic() < end:
            for _ in range(40):
                ask("/big")
        assert daemon.escorts() or d.INSTRUMENTED, "no escort comes"  # instrumented clients are hardly fast enough
        for _ in range(20):
            ask("/big", p.SPLICE)
            ask("/big")
        for uri, mode in (("/none", p.COPY), ("/big", p.COPY), ("/a.txt", p.FD)):
            ask(uri, mode)
    compare(daemon, before, log)


def test_counts_of_datagrams(start, tree):
    make_odd(tree)
    daemon = start({"/": tree.path}, config=CONFIG, udp=["127.0.0.1"])
    before, log = settled(daemon), Log()
    with omudp.Udp(daemon.udp[0]) as u:
        for cookie in (0, u.cookie()):
            for uri in URIS:
                for op, mode in [(p.GET, p.COPY), (p.STAT, 0), (p.PING, 0)]:
                    r = u.ask(uri, op=op, mode=mode, cookie=cookie)
                    given = op == p.GET and r.status == p.OK
                    content = tree.files[uri] if given else b""
                    log.note("udp", mode_of(op, mode, 0), r.status, content, len(content) if given else None)
        log.note("udp", "ping", p.OK)  # of cookie()
        u.send(b"junk")
        d.wait_until(lambda: openmetrics.counter(openmetrics.numbers(daemon), "objmapper_datagrams_dropped_total")[
            ("malformed",)] == 1)
    assert {s for _, _, s in log.requests} >= {"ok", "not_found", "capability_missing", "unsupported"}
    compare(daemon, before, log)


def unless_refused(refused, act):
    """What act() returns, or None and a note of it: a connection that has ended may still be counted."""
    try:
        return act()
    except (p.Bad, omclient.Closed):
        refused.append(1)


def test_connections(start, tree):
    """Open, ever, refused, and what each of them did."""
    daemon = start({"/": tree.path}, config="concurrency = { max_connections = 4; };\n")
    before, refused = settled(daemon), []
    refusals_before = len(refused)
    with contextlib.ExitStack() as stack:
        for i in range(3):
            c = stack.enter_context(d.wait_until(lambda: unless_refused(refused, lambda: daemon.connect(3))))
            for _ in range(i + 1):
                assert c.get("/sub/b.bin", mode=p.COPY).status == p.OK

        def report():
            text = unless_refused(refused, lambda: openmetrics.read(daemon, ord("c")))
            found = text and json.loads(text)
            did = {(c["requests"], c["bytes"]) for c in found["clients"]} if found else set()
            return found if len(did) == 4 and all((n, n * 4096) in did for n in (1, 2, 3)) else None

        found = d.wait_until(report)  # a reply is counted when it has left
        assert found["metrics"]["objmapper_connections_open"][0]["value"] == 4
        seen = {c["requests"]: c for c in found["clients"]}
        for n in (1, 2, 3):
            assert seen[n]["transport"] == "unix" and seen[n]["uid"] == os.getuid()
            assert 0 <= seen[n]["idle_s"] <= seen[n]["open_s"] and seen[n]["waits"] == "request"
        with d.wait_until(lambda: unless_refused(refused, lambda: daemon.connect(3))):
            count = len(refused)
            d.wait_until(lambda: unless_refused(refused, lambda: daemon.connect(3)) or True)
            assert len(refused) == count + 1

    def ended():
        later = unless_refused(refused, lambda: openmetrics.numbers(daemon))
        return later if later and later["objmapper_connections_open"][("unix",)]["value"] == 1 else None

    now = d.wait_until(ended)
    was, done = (x["objmapper_connection_requests"][()] for x in (before, now))
    assert done["count"] - was["count"] >= 5 and done["sum"] - was["sum"] >= 6
    assert since(before, now, "objmapper_refused_total", ("connections",)) == len(refused) - refusals_before


def since(before, now, name, key):
    return now[name][key]["value"] - before[name][key]["value"]


def test_text_is_openmetrics(start, tree):
    """Parsed by its rules; the same numbers as the JSON; nothing that is not in the manual, and the reverse."""
    daemon = start({"/": tree.path}, tcp="127.0.0.1")
    with omclient.V3(daemon.socket) as c:
        for mode in (p.FD, p.COPY, p.SPLICE, p.AUTO):
            c.get("/sub/b.bin", mode=mode).close()
    settled(daemon)
    text = openmetrics.parse(openmetrics.read(daemon, ord("m")))
    found = openmetrics.numbers(daemon)
    names = {name + ("_total" if family.kind == "counter" else "") for name, family in text.items()}
    assert names == set(found)
    for mode in ("fd", "copy", "splice"):
        key = ("transport", "unix"), ("mode", mode)
        n = found["objmapper_requests_total"]["unix", mode, "ok"]["value"]
        assert text["objmapper_requests"].samples["_total", (*key, ("status", "ok"))] == n
        assert text["objmapper_request_duration_seconds"].samples["_count", key] == n
    with_clients = openmetrics.parse(openmetrics.read(daemon, ord("M")))
    assert set(with_clients) - set(text) == {f"objmapper_client_{x}" for x in (
        "requests", "body_bytes", "open_seconds", "idle_seconds")}
    page = (d.ROOT / "man/objmapperd.8").read_text()
    listed = set(re.findall(r"^\.It Li (objmapper_\w+)", page, re.M))
    assert listed == names | set(with_clients) - set(text)


def test_workers_and_pool(start, tree):
    """Every thread is somewhere; a cold open and a large body go by the pool and back."""
    daemon = start({"/": tree.path}, "--pool-size", "3", "--copy-pool-size", "2", config="index = { scan = false; };\n")
    before = settled(daemon)
    with daemon.connect(3) as c:
        assert len(c.get("/big", mode=p.COPY).body) == 1 << 20
    now = settled(daemon)
    assert sum(s["value"] for s in now["objmapper_workers"].values()) == 3
    assert sum(s["value"] for s in now["objmapper_pool_threads"].values()) == 2
    assert since(before, now, "objmapper_pool_jobs_total", ()) >= 1
    assert since(before, now, "objmapper_pool_work_seconds_total", ()) > 0
    assert since(before, now, "objmapper_index_misses_total", ()) == 1
    assert now["objmapper_handover_seconds"][()]["count"] > before["objmapper_handover_seconds"][()]["count"]
    assert sum(s["value"] for s in now["objmapper_worker_seconds_total"].values()) > 0


def test_counts_of_a_ring(start, tree):
    """What the ring answers, and what it sends to the socket, once each."""
    make_odd(tree)
    daemon = start({"/": tree.path}, config=CONFIG)
    before, log, pick = settled(daemon), Log(), random.Random(3)
    with omring.Ring(daemon.socket, 64, 65536) as c:
        log.note("unix", "attach", p.OK)
        requests = [(op, mode, uri) for uri in URIS for op, mode in
                    [(p.GET, p.FD), (p.GET, p.AUTO), (p.GET, p.INLINE), (p.STAT, 0), (p.PING, 0)]] * 2
        pick.shuffle(requests)
        referred = 0
        for rid, (op, mode, uri) in enumerate(requests):
            r = c.call(op, uri, mode, rid)
            if not rid:
                assert openmetrics.numbers(daemon)["objmapper_rings_open"][()]["value"] == 1
            if r.flags & omring.RS_SOCKET:
                referred += 1
                continue
            if r.n_fds:
                os.close(c.fetch(rid))
            asked = "inline" if mode == p.INLINE else mode_of(op, mode, 0)
            how = mode_of(op, mode, r.mode) if op == p.GET and r.mode else asked
            log.note("ring", how, r.status, r.body, r.size if op == p.GET and r.mode else None)
    assert referred == 2  # what is larger than the arena
    errors = {"not_found", "invalid_request", "uri_too_long", "unsupported", "denied"}
    for mode in ("fd", "inline", "stat"):
        assert statuses(log, "ring", mode) == errors | {"ok"}, mode
    assert log.bytes["ring", "inline"]
    compare(daemon, before, log)
    now = openmetrics.numbers(daemon)
    assert since(before, now, "objmapper_fallbacks_total", ("ring_referred",)) == referred


RING_SAMPLE = 31  # turns at most until one counts for how long requests take


def test_latencies_of_a_ring_are_a_sample(start, tree):
    """Some of them, whether requests come one at a time or many; the histogram is one in itself; all are counted."""
    daemon = start({"/": tree.path})
    turns = 12 * RING_SAMPLE
    with omring.Ring(daemon.socket, 64, 65536) as c:
        for rid in range(turns):
            assert c.call(p.STAT, "/a.txt", 0, rid).status == p.OK
        for rid in range(turns):
            for i in range(16):
                c.put(p.STAT, "/a.txt", 0, rid * 16 + i)
            c.publish()
            assert all(r.status == p.OK for r in c.answers(16))
    now = settled(daemon)
    requests = now["objmapper_requests_total"]["ring", "stat", "ok"]["value"]
    latency = now["objmapper_request_duration_seconds"]["ring", "stat"]
    assert requests == turns * 17
    assert turns // RING_SAMPLE <= latency["count"] < requests
    assert 0 < latency["p50"] <= latency["p99"] <= latency["p999"]
    assert latency["count"] * 1e-9 <= latency["sum"] < latency["count"] * d.PATIENCE
    text = openmetrics.parse(openmetrics.read(daemon, ord("m")))  # which compares buckets and count
    assert text["objmapper_request_duration_seconds"].samples[
        "_count", (("transport", "ring"), ("mode", "stat"))] == latency["count"]


def test_counts_of_a_ring_whose_worker_ends_with_it(start, tree):
    """Right after a turn that nobody timed."""
    daemon = start({"/": tree.path}, "--concurrency-model", "thread-per-connection")
    rings, calls = 20, 16
    for _ in range(rings):
        with omring.Ring(daemon.socket, 64, 65536) as c:
            for rid in range(calls):
                assert c.call(p.STAT, "/a.txt", 0, rid).status == p.OK
            c.put_next += 100000  # where it cannot be
            c.publish()
            assert c.gone()
    assert settled(daemon)["objmapper_requests_total"]["ring", "stat", "ok"]["value"] == rings * calls


def test_dashboard_names_what_there_is(served):
    text = (d.ROOT / "conf/grafana-objmapperd.json").read_text()
    exprs = [t["expr"] for panel in json.loads(text)["panels"] for t in panel["targets"]]
    named = {n for e in exprs for n in re.findall(r"objmapper_\w+", e)}
    assert len(named) > 10
    with served.connect(3) as c:
        c.get("/a.txt").close()
    settled(served)
    text = openmetrics.parse(openmetrics.read(served, ord("m")))
    assert named <= {name + suffix for name, f in text.items() for suffix in openmetrics.SUFFIXES[f.kind]}


# ---- HTTP ----


WITH_HTTP = pytest.mark.skipif(not os.path.exists("/usr/include/microhttpd.h"), reason="libmicrohttpd-dev is missing")


def fetch(address, method="GET", path="/metrics"):
    """(status, type, text) from a path or (host, port)."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    connection = http.client.HTTPConnection("objmapperd", timeout=d.PATIENCE)
    with socket.socket(family) as connection.sock:
        connection.sock.settimeout(d.PATIENCE)
        connection.sock.connect(address)
        connection.request(method, path, headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read().decode()


@WITH_HTTP
def test_http(start, tree, workdir):
    """The same text as by STATS, at an address and at a path; nothing else, and no other method."""
    tcp = start({"/": tree.path}, config='metrics = { http = "127.0.0.1:0"; };\n')
    port = int(re.search(r"metrics at http://127.0.0.1:(\d+)/metrics", tcp.log()).group(1))
    path = str(workdir / "metrics")
    local = start({"/": tree.path}, config=f'metrics = {{ http = "{path}"; }};\n')
    assert os.stat(path).st_mode & 0o777 == 0o660
    for daemon, address in ((tcp, ("127.0.0.1", port)), (local, path)):
        status, kind, text = fetch(address)
        assert status == 200 and kind.startswith("application/openmetrics-text; version=1.0.0")
        assert set(openmetrics.parse(text)) == set(openmetrics.parse(openmetrics.read(daemon, ord("m"))))
        assert fetch(address, "HEAD")[::2] == (200, "")
        assert fetch(address, path="/")[0] == 404
        assert fetch(address, "POST")[0] == 405


@WITH_HTTP
def test_http_address_in_use(start, tree, workdir):
    """Says so and does not start."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (workdir / "c").write_text(f'metrics = {{ http = "127.0.0.1:{port}"; }};\n')
        done = subprocess.run([d.BIN, "--foreground", "--config", workdir / "c", "--socket", workdir / "s", "--export",
                               f"/={tree.path}"], capture_output=True, text=True, timeout=d.PATIENCE)
    assert done.returncode == 1 and f"metrics.http: 127.0.0.1:{port}: Address already in use" in done.stderr


# ---- objmap ----


def objmap(daemon, *args, **kw):
    done = subprocess.run([d.ROOT / d.BUILD / "objmap", "--socket", daemon.socket, *args], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=d.PATIENCE, **kw)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def test_objmap_stats(served):
    with served.connect(3) as c:
        for _ in range(7):
            assert c.get("/sub/b.bin", mode=p.COPY).status == p.OK
        assert c.get("/none", mode=p.COPY).status == p.NOT_FOUND
    settled(served)
    openmetrics.parse(objmap(served, "stats", "--openmetrics"))
    rows = [line.split() for line in objmap(served, "stats").splitlines()]
    copy = next(r for r in rows if r[:2] == ["unix", "copy"])
    assert copy[2:5] == ["8", "1", str(7 * 4096)] and len(copy) == 8
    names = {r[0].split("{")[0] for r in rows if len(r) == 2}
    assert names >= {"connections_opened_total", "index_objects", "worker_seconds_total", "handover_seconds_count"}


def test_objmap_top(served):
    """One report where nobody looks on, or as many as are asked for; the second has rates."""
    with served.connect(3) as c:
        c.get("/sub/b.bin", mode=p.COPY)
        one = objmap(served, "top")
        assert one.count("\nclient ") == 1 and "\033" not in one and "requests/s" not in one
        assert any(line.split()[:2] == ["unix", str(os.getuid())] and line.split()[4] == "4096"
                   for line in one.splitlines())
        two = objmap(served, "top", "--count", "2", "--interval", "1")
        assert two.count("\nclient ") == 2 and two.count("requests/s") == 1


def quantiles(report, transport, mode):
    """As they are printed; None: there is no such line."""
    for line in report.splitlines():
        words = line.split()
        if words[:2] == [transport, mode]:
            return words[5:]
    return None


def seconds(text):
    number, unit = re.fullmatch(r"([0-9.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1}[unit]


def reports(stream):
    """What `top` prints, report by report."""
    report = ""
    for line in stream:
        if line.startswith("up ") and report:
            yield report
            report = ""
        report += line


def test_objmap_top_shows_quantiles_of_the_interval(served):
    """Not what was before: bodies that took long at first do not show among those that were quick later."""
    wait_s = 0.3
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(served.connect(3)) for _ in range(8)]
        for c in slow:
            c.ask("/big", p.COPY)
        time.sleep(wait_s)  # is what makes them slow
        for c in slow:
            assert len(c.reply().body) == 1 << 20
    settled(served)
    argv = [d.ROOT / d.BUILD / "objmap", "--socket", served.socket, "top", "--count", str(d.PATIENCE), "--interval", "1"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as top:
        try:
            each = reports(top.stdout)
            first = quantiles(next(each), "unix", "copy")
            assert all(seconds(q) >= wait_s for q in first), first
            assert quantiles(next(each), "unix", "copy") == ["-"] * 3
            with served.connect(3) as c:
                for _ in range(3):
                    assert c.get("/sub/b.bin", mode=p.COPY).status == p.OK
            now = next(q for q in (quantiles(r, "unix", "copy") for r in each) if q[0] != "-")
            assert 0 < seconds(now[0]) < wait_s, now
        finally:
            top.kill()


def test_objmap_top_on_a_terminal(served):
    """Goes on until it is told to end, and clears the screen each time."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([d.ROOT / d.BUILD / "objmap", "--socket", served.socket, "top"], stdin=theirs, stdout=theirs,
                          stderr=theirs) as top:
        os.close(theirs)
        try:
            seen = b""
            while seen.count(b"\033[H\033[2J") < 3:  # so that the second report, which has rates, is there to its end
                seen += os.read(ours, 4096)
            assert top.poll() is None
        finally:
            top.kill()
            os.close(ours)
    assert b"requests/s" in seen
