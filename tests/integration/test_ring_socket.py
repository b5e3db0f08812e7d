# SPDX-License-Identifier: MIT
"""What a ring sends over its socket when that takes nothing more."""
import select
import socket

import omproto as p
import pytest
from daemon import wait_until
from omring import Ring
from test_regressions import NO_INDEX


@pytest.fixture
def cold(start, tree):
    """Of /proc the kernel finds nothing in its cache of names alone: the pool has to look."""
    return start({"/": tree.path, "/proc/": "/proc"}, config=NO_INDEX)


def closed_by_server(c):
    poll = select.poll()
    poll.register(c.sock, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


@pytest.mark.threads
def test_reply_of_a_job_was_freed_with_its_ring_and_again(cold):
    """The client takes nothing more over the socket, which shows when the descriptor that the pool has found is sent."""
    with Ring(cold.socket) as good:
        for _ in range(20):
            with Ring(cold.socket) as c:
                c.sock.shutdown(socket.SHUT_RD)
                for j in range(5):
                    c.put(p.GET, "/proc/version", p.FD, rid=j)
                assert c.publish()
                wait_until(lambda: closed_by_server(c), message="it goes on")
            assert good.call(p.STAT, "/a.txt").size == 6
