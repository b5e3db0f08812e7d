# SPDX-License-Identifier: MIT
"""Clients that are refused or cut off: each kind is counted every time, and logged at a limited rate."""
import contextlib
import os
import re
import resource
import time

import omclient
import omproto as p
import omring
import openmetrics
import pytest
from daemon import wait_until
from test_regressions import NO_INDEX, hung_lookup, threads_named

BURST, PERIOD_S = 10, 10  # of lines of a kind


def refused(daemon):
    """{reason: count}"""
    return {reason: s["value"] for (reason,), s in openmetrics.numbers(daemon)["objmapper_refused_total"].items()}


def since(daemon, before):
    return {k: n - before[k] for k, n in refused(daemon).items() if n != before[k]}


def lines(daemon, text):
    return [line for line in daemon.log().splitlines() if text in line]


@contextlib.contextmanager
def no_descriptors(daemon):
    """It gets none, whatever numbers are free."""
    before = resource.prlimit(daemon.proc.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.proc.pid, resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(daemon.proc.pid, resource.RLIMIT_NOFILE, before)


def ended(c):
    """What came before the end."""
    with contextlib.suppress(omclient.Closed):
        while True:
            c.fill()
    return bytes(c.buf[c.at:])


JUNK = {"a URI that is too long": b"1\xff\xff", "no mode of version 1": b"9\0\1/", "no version": b"OBJM\x09" + bytes(60),
        "no magic": b"OBJX" + bytes(60)}


@pytest.mark.parametrize("junk", JUNK)
def test_what_is_no_request(served, junk):
    before = refused(served)
    with omclient.Client(served.socket) as c:
        c.send(JUNK[junk])
        assert ended(c)
    wait_until(lambda: since(served, before) == {"protocol": 1})
    (line,) = lines(served, "cut off: ")
    assert f"uid {os.getuid()}: " in line


def test_a_ring_with_an_index_out_of_bounds(served):
    before = refused(served)
    with omring.Ring(served.socket) as c:
        c.call(p.PING)
        c.store(omring.HEAD, c.put_next + 0x7FFFFFFF)
        c.ring()
        wait_until(lambda: since(served, before) == {"protocol": 1})
    assert len(lines(served, "an index of its ring is out of bounds")) == 1


def test_a_flood_is_counted_and_hardly_logged(served):
    before, began = refused(served), time.monotonic()
    for _ in range(100):
        with omclient.Client(served.socket) as c:
            c.send(b"9\0\1/")
            assert ended(c)
    wait_until(lambda: since(served, before) == {"protocol": 100})
    found = lines(served, "what it has sent is no request")
    assert BURST <= len(found) <= BURST + 1 + (time.monotonic() - began) / PERIOD_S


def test_out_of_descriptors(served):
    """As many as there are answers that say so."""
    before, unavailable = refused(served), 0
    with served.connect(3) as c:
        with no_descriptors(served):
            for _ in range(20):
                r = c.get("/a.txt")
                r.close()
                unavailable += r.status == p.UNAVAILABLE
        assert unavailable == 20
        assert c.get("/a.txt").content() == b"hello\n"
    assert since(served, before) == {"resources": 20}
    assert openmetrics.numbers(served)["objmapper_requests_total"]["unix", "fd", "unavailable"]["value"] == 20
    found = lines(served, "request refused: out of descriptors")
    assert 0 < len(found) <= BURST + 2


def waiting(daemon):
    """Requests, for the pool."""
    jobs = openmetrics.numbers(daemon)["objmapper_pool_queue_jobs"]
    return jobs["request",]["value"] + jobs["cold",]["value"]


@pytest.mark.parametrize("version", [1, 3])
def test_a_full_queue(start, tree, version):
    """While the pool's only thread hangs and one request waits for it, others are refused, each of them counted."""
    daemon = start({"/": tree.path}, "--copy-pool-size", "1", "--concurrency-model", "thread-pool",
                   config=NO_INDEX + "concurrency = { max_queue_depth = 1; };\n")
    (pool,) = threads_named(daemon, "objm-pool")
    before = refused(daemon)
    with contextlib.ExitStack() as stack:
        hangs, waits, *others = [stack.enter_context(daemon.connect(version)) for _ in range(7)]
        with hung_lookup(daemon, pool, hangs, "/hangs"):
            waits.ask("/waits")
            wait_until(lambda: waiting(daemon) == 1)
            assert [c.get("/other").status for c in others] == [p.UNAVAILABLE] * 5
            assert since(daemon, before) == {"resources": 5}
        assert [c.reply().status for c in (hangs, waits)] == [p.NOT_FOUND] * 2
        assert others[0].get("/a.txt").content() == b"hello\n"
    assert since(daemon, before) == {"resources": 5}
    assert len(lines(daemon, "request refused: no thread or memory for it")) == 5


TIMES = 'timeouts = { request = "300ms"; idle = "60s"; };\n'


def test_who_does_not_read_replies(start, tree):
    daemon = start({"/": tree.path}, config=TIMES)
    before = refused(daemon)
    with daemon.connect(3) as c:
        c.ask_many(["/a.txt"] * 400)
        wait_until(lambda: since(daemon, before) == {"slow": 1})
    (line,) = lines(daemon, "did not read its replies in time")
    assert f"uid {os.getuid()}: " in line


def test_who_does_not_take_a_body(start, tree):
    daemon = start({"/": tree.path}, config=TIMES)
    before = refused(daemon)
    with daemon.connect(3) as c:
        c.ask("/big", p.COPY)
        wait_until(lambda: since(daemon, before) == {"slow": 1})
    assert len(lines(daemon, "takes a body too slowly")) == 1


def test_who_does_not_finish_a_request(start, tree):
    daemon = start({"/": tree.path}, config=TIMES)
    before = refused(daemon)
    with daemon.connect(3) as c:
        c.send(b"\0")
        wait_until(lambda: since(daemon, before) == {"slow": 1})
        assert ended(c) == b""
    assert len(lines(daemon, "did not send the rest of a request in time")) == 1


def test_an_idle_client_that_is_closed_is_not_refused(start, tree):
    daemon = start({"/": tree.path}, config='timeouts = { idle = "100ms"; };\n')
    before = refused(daemon)
    with daemon.connect(3) as c:
        c.ping()
        assert ended(c) == b""
    assert since(daemon, before) == {} and not re.search("cut off", daemon.log())
