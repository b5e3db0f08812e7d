# SPDX-License-Identifier: MIT
"""Limits on requests a second hold for a connection's ring and its socket together."""
import time

import omproto as p
import omring
import pytest
from daemon import INSTRUMENTED
from omring import Ring
from test_control import reload, stats
from test_limits import cpu_share

TICK = 0.02  # seconds by which the daemon's coarse clock may be behind


def limited(start, tree, per_s):
    return start({"/": tree.path}, config=f"limits = {{ requests_per_second = {per_s}; }};\n")


def ask(c, n, first=0):
    """Requests that are answered in order."""
    for i in range(first, first + n):
        c.put(p.STAT, "/a.txt", rid=i)
    assert c.publish()


def take(c, n, first=0):
    got = c.answers(n)
    assert [r.id for r in got] == list(range(first, first + n))
    assert {(r.status, r.flags, r.size) for r in got} == {(p.OK, 0, 6)}


def test_what_goes_beyond_waits_in_the_ring(start, tree):
    """As many as come in a second are answered at once, the others in their time; none is sent away."""
    daemon = limited(start, tree, 100)
    with Ring(daemon.socket) as c:
        began = time.monotonic()
        ask(c, 120)
        take(c, 120)
        assert time.monotonic() - began >= 20 / 100 - TICK
        began = time.monotonic()
        ask(c, 20, 120)
        take(c, 20, 120)
        assert time.monotonic() - began >= 19 / 100 - TICK
    assert stats(daemon)["limits"]["pauses"] > 0


def test_ring_and_socket_have_one_rate(start, tree):
    daemon = limited(start, tree, 100)
    with Ring(daemon.socket) as c:
        began = time.monotonic()
        ask(c, 60)
        take(c, 60)
        for _ in range(60):
            assert c.stat("/a.txt").status == p.OK
        assert time.monotonic() - began >= 20 / 100 - TICK


def test_requests_that_are_sent_to_the_socket_are_not_counted_here(start, tree):
    """They will be counted there."""
    daemon = limited(start, tree, 200)
    with Ring(daemon.socket) as c:
        for _ in range(100):
            for i in range(5):
                c.put(p.GET, "/a.txt", p.COPY, rid=i)
            c.put(p.PING, rid=5)
            assert c.publish()
            assert [(r.status, r.flags) for r in c.answers(6)] == [(p.UNSUPPORTED, omring.RS_SOCKET)] * 5 + [(p.OK, 0)]
    assert stats(daemon)["limits"]["pauses"] == 0


@pytest.mark.timing
def test_a_paused_ring_costs_nothing(start, tree):
    """Not even while its client rings the doorbell all the time."""
    daemon = limited(start, tree, 1)
    with Ring(daemon.socket) as c:
        ask(c, 100)
        take(c, 1)

        def share_while_ringing():
            before, end = daemon.cpu_seconds(), time.monotonic() + 0.3
            while time.monotonic() < end:
                c.ring()
            return (daemon.cpu_seconds() - before) / 0.3

        assert INSTRUMENTED or any(cpu_share(daemon) < 0.1 for _ in range(3))
        assert INSTRUMENTED or any(share_while_ringing() < 0.02 for _ in range(3))


def test_a_paused_ring_was_cut_off_as_one_that_is_not_read(start, tree):
    """Attaching has taken the first token; one comes each second, and a client has less time than that to read."""
    daemon = start({"/": tree.path}, config='limits = { requests_per_second = 1; };\ntimeouts = { request = "200ms"; };\n')
    with Ring(daemon.socket) as c:
        ask(c, 2)
        take(c, 2)


def test_reloading_ends_a_pause_of_the_ring(start, tree):
    daemon = limited(start, tree, 1)
    with Ring(daemon.socket) as c:
        ask(c, 200)
        take(c, 1)
        daemon.config.write_text("")
        assert reload(daemon)[0] == p.OK
        take(c, 199, 1)
