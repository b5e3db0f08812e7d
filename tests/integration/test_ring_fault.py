# SPDX-License-Identifier: MIT
"""A call that making a ring takes fails, the first, the second, and so on: the client is told, and its connection goes
on in every case."""
import os

import daemon as d
import omproto as p
import omring
import pytest
from test_fault import POOL, fault, faulty_daemon, ids  # noqa: F401 (a fixture)
from test_ring_life import mappings

pytestmark = pytest.mark.skipif(d.INSTRUMENTED, reason="a sanitizer has its own allocator and must be loaded first")

CALLS = [("memfd_create", "EMFILE"), ("memfd_create", "ENFILE"), ("ftruncate", "ENOMEM"), ("mmap", "ENOMEM"),
         ("eventfd", "EMFILE"), ("calloc", "ENOMEM"), ("malloc", "ENOMEM"), ("epoll_add", "ENOSPC"),
         ("sendmsg", "ETOOMANYREFS"), ("sendmsg", "EAGAIN"), ("sendmsg", "EINTR")]


def attach(daemon, fault, nth):  # noqa: F811
    """The status of RING_ATTACH on a connection that is there already, and that is used afterwards."""
    with daemon.connect(3, hello=omring.WANTS_RING) as c:
        fault.arm(nth)
        c.ask(b"", 0, p.RING_ATTACH, extra=omring.attach_extra(8, 8192))
        r = c.message(p.response_decode)
        c.take(r.body_len)
        fault.disarm()
        assert (r.op, r.n_fds, r.body_len) == (p.RING_ATTACH, *((3, 32) if r.status == p.OK else (0, 0)))
        assert len(c.fds) == r.n_fds
        while c.fds:
            os.close(c.fds.popleft())
        assert c.get("/a.txt").content() == b"hello\n"
        return r.status


@pytest.mark.parametrize("fault", CALLS, indirect=True, ids=ids(CALLS))
def test_attaching(start, tree, fault, monkeypatch):  # noqa: F811
    daemon = faulty_daemon(start, tree, fault, POOL, monkeypatch)
    statuses = []
    with omring.Ring(daemon.socket) as bystander:
        while True:
            statuses.append(attach(daemon, fault, len(statuses) + 1))
            assert bystander.call(p.STAT, "/a.txt").size == 6
            if not fault.fired:
                break
            assert len(statuses) < 20, "never a try without a failing call"
        assert len(statuses) > 1, "never called"
        d.wait_until(lambda: mappings(daemon) == 2)
    harmless = fault.error in ("EAGAIN", "EINTR")
    assert statuses[-1] == p.OK and set(statuses[:-1]) <= ({p.OK} if harmless else {p.UNAVAILABLE, p.NO_MEMORY})
