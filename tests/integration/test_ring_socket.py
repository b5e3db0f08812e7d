# SPDX-License-Identifier: MIT
"""What a ring sends over its socket (doorbells, descriptors) while that is full, has a body, or takes nothing more."""
import os
import pathlib
import select
import socket
import time

import omproto as p
import pytest
from daemon import PATIENCE, wait_until
from omring import ASLEEP, POLLING, RS_SOCKET, STEP, Ring
from test_regressions import NO_INDEX

LARGE = os.urandom(16 << 20)


@pytest.fixture
def cold(start, tree):
    """Of /proc the kernel finds nothing in its cache of names alone: the pool has to look."""
    (tree.path / "large").write_bytes(LARGE)
    return start({"/": tree.path, "/proc/": "/proc"}, config=NO_INDEX)


def begin_body(c):
    """Asks for a body and reads none of it: the pool has the socket."""
    c.ask("/large", p.COPY, id=77)
    return c.head()


def end_body(c, head):
    assert (head.status, head.id, head.body_len) == (p.OK, 77, len(LARGE))
    assert c.take(len(LARGE)) == LARGE


def await_reply(c):
    end = time.monotonic() + PATIENCE
    while not c.ready():
        assert time.monotonic() < end, "no reply"
    return c.one()


def test_doorbells_behind_a_body_ended_the_connection(cold):
    """A client that sleeps again and again while its body is on the way; one doorbell behind that does for all."""
    with Ring(cold.socket) as c:
        head = begin_body(c)
        for i in range(2000):
            c.put(p.PING, rid=i)
            c.arms += STEP
            c.store(ASLEEP, c.arms | POLLING)
            assert c.publish()
            assert await_reply(c).id == i
            c.release()
        end_body(c, head)
        assert c.message(p.response_decode).op == p.RING_DOORBELL
        assert c.stat("/a.txt").size == 6
        assert c.call(p.STAT, "/a.txt").size == 6


def test_descriptors_behind_a_body_ended_the_connection(cold):
    """More than may wait for the socket: the others are to be asked for there."""
    version = pathlib.Path("/proc/version").read_bytes()
    with Ring(cold.socket) as c:
        head = begin_body(c)
        for i in range(100):
            c.put(p.GET, "/proc/version", p.FD, rid=i)
        assert c.publish()
        got = [await_reply(c) for _ in range(100)]
        coming = {r.id for r in got if (r.status, r.n_fds) == (p.OK, 1)}
        referred = {r.id for r in got if (r.status, r.flags) == (p.UNSUPPORTED, RS_SOCKET)}
        assert 16 <= len(coming) <= 48 and referred == set(range(100)) - coming
        c.release()
        for i in referred:
            c.ask("/proc/version", p.FD, id=i)
        end_body(c, head)
        for i in range(100):
            with open(c.fetch(i), "rb") as f:
                assert f.read() == version


def test_descriptors_of_jobs_stayed_in_the_queue(cold):
    """More than the socket takes: it is waited for, though nothing else happens."""
    version = pathlib.Path("/proc/version").read_bytes()
    with Ring(cold.socket) as c:
        for i in range(15):
            c.put(p.GET, "/proc/version", p.FD, rid=i)
        assert c.publish()
        for i in range(15):
            assert await_reply(c).status == p.OK
        for i in range(15):
            with open(c.fetch(i), "rb") as f:
                assert f.read() == version


def closed_by_server(c):
    poll = select.poll()
    poll.register(c.sock, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


@pytest.mark.threads
def test_reply_of_a_job_was_freed_with_its_ring_and_again(cold):
    """The client takes nothing more over the socket, which shows when a descriptor that the pool has found is sent."""
    with Ring(cold.socket) as good:
        for _ in range(20):
            with Ring(cold.socket) as c:
                c.sock.shutdown(socket.SHUT_RD)
                for j in range(5):
                    c.put(p.GET, "/proc/version", p.FD, rid=j)
                assert c.publish()
                wait_until(lambda: closed_by_server(c), message="it goes on")
            assert good.call(p.STAT, "/a.txt").size == 6
