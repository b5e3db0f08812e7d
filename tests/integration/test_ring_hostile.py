# SPDX-License-Identifier: MIT
"""Clients that misuse the ring in every way: the daemon lives, keeps nothing, and serves the others meanwhile."""
import subprocess
import time

import omproto as p
import omring
import pytest
from daemon import INSTRUMENTED, PATIENCE, wait_until
from faults import built
from omring import Ring

# attack: rounds in make check, and in make check-long
ATTACKS = {"memory": (60, 10000), "indices": (100, 10000), "entries": (25, 10000), "doorbell": (60, 10000),
           "kill": (60, 10000), "stop": (40, 10000), "step": (60, 10000)}


def zoo(daemon, attack, rounds, seed=1):
    return subprocess.Popen([built("ring-zoo"), daemon.socket, "/a.txt", attack, str(rounds), str(seed)],
                            stdout=subprocess.PIPE, text=True)


def serve_beside(daemon, tree, process, seconds):
    """Asks over a ring and a socket until the zoo has ended, how long each answer over the ring took."""
    took, end = [], time.monotonic() + seconds
    with Ring(daemon.socket) as c, daemon.connect(3) as s:
        while process.poll() is None or len(took) < 10:
            assert time.monotonic() < end, "the zoo is stuck"
            began = time.perf_counter()
            r = c.call(p.GET, "/sub/b.bin", p.INLINE)
            took.append(time.perf_counter() - began)
            assert (r.status, r.body) == (p.OK, tree.files["/sub/b.bin"])
            assert s.get("/a.txt").content() == b"hello\n"
    assert process.wait() == 0
    return took


@pytest.mark.threads
@pytest.mark.parametrize("attack", ATTACKS)
def test_others_are_served_beside(start, tree, attack):
    daemon = start({"/": tree.path})
    with zoo(daemon, attack, ATTACKS[attack][0]) as process:
        serve_beside(daemon, tree, process, 3 * PATIENCE)
    daemon.at_rest()


@pytest.mark.long
@pytest.mark.timing
@pytest.mark.parametrize("attack", ATTACKS)
def test_ten_thousand_rounds(start, tree, attack):
    daemon = start({"/": tree.path})
    with zoo(daemon, attack, ATTACKS[attack][1], 7) as process:
        took = sorted(serve_beside(daemon, tree, process, 1800))
    daemon.at_rest()
    assert INSTRUMENTED or took[len(took) * 99 // 100] < 0.01


def test_an_index_that_lies_ends_its_connection_only(start, tree):
    daemon = start({"/": tree.path})
    with Ring(daemon.socket) as good:
        for at, value in ((omring.HEAD, 257), (omring.HEAD, 1 << 31), (omring.HEAD, omring.M32), (omring.TAIL, 1 << 31)):
            with Ring(daemon.socket) as bad:
                bad.store(at, value)
                if at == omring.TAIL:  # it is looked at when there is something to answer
                    for i in range(bad.entries):
                        bad.put(p.PING, rid=i)
                    bad.publish()
                bad.ring()
                assert bad.gone()
            assert good.call(p.STAT, "/a.txt").size == 6


@pytest.mark.timing
def test_rings_that_are_full_of_nothing_cost_nothing(start, tree):
    """Clients that asked, were answered and do not look: neither they nor their doorbells keep the daemon busy."""
    daemon = start({"/": tree.path})
    rings = [Ring(daemon.socket) for _ in range(50)]
    try:
        for c in rings:
            for i in range(c.entries):
                c.put(p.STAT, "/a.txt", rid=i)
            c.publish()
        wait_until(lambda: all(c.word(c.replies, omring.HEAD) == c.entries for c in rings))

        def idle():
            before = daemon.cpu_seconds()
            time.sleep(0.5)
            return daemon.cpu_seconds() - before < 0.05

        wait_until(idle, message="it is busy with rings that want nothing")
    finally:
        for c in rings:
            c.close()
