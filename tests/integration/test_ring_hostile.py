# SPDX-License-Identifier: MIT
"""Clients that misuse the ring in every way: the daemon lives, keeps nothing, and serves the others meanwhile."""
import os
import pathlib
import select
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

STALL = 0.01  # seconds
ONE_WORKER = "concurrency = { pool_size = 1; };\n"  # which serves the attackers, and those beside them


def zoo(daemon, attack, rounds, seed=1):
    return subprocess.Popen([built("ring-zoo"), daemon.socket, "/a.txt", attack, str(rounds), str(seed)],
                            stdout=subprocess.PIPE, text=True)


class Waits:
    """What kept a call waiting that is not the daemon's doing: its worker, or this thread, was ready to run and another had
    the CPU; or the host had it, which is counted in ticks."""

    def __init__(self, daemon):
        workers = [t for t in (daemon.proc_dir / "task").iterdir() if (t / "comm").read_text().strip() == "objm-worker"]
        self.ready = [open(t / "schedstat", "rb", 0) for t in (*workers, pathlib.Path("/proc/thread-self"))]
        self.host = open("/proc/stat", "rb", 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for f in (*self.ready, self.host):
            f.close()

    def so_far(self):
        """(ns, ticks of the host)"""
        return (sum(int(os.pread(f.fileno(), 100, 0).split()[1]) for f in self.ready),
                int(os.pread(self.host.fileno(), 200, 0).split()[8]))

    def since(self, before):
        """In ns. Of the host's time up to one tick does not show yet, if there was any."""
        ns, ticks = (now - then for now, then in zip(self.so_far(), before))
        return ns + (ticks + 1 if ticks else 0) * 10**9 // os.sysconf("SC_CLK_TCK")


def serve_beside(daemon, tree, process, seconds):
    """Asks over a ring and a socket until the zoo has ended. What each answer over the ring took in seconds, and how much of
    that nothing else explains."""
    took, unexplained, end = [], [], time.monotonic() + seconds
    with Waits(daemon) as waits, Ring(daemon.socket) as c, daemon.connect(3) as s:
        while process.poll() is None or len(took) < 10:
            assert time.monotonic() < end, "the zoo is stuck"
            before, began = waits.so_far(), time.perf_counter_ns()
            r = c.call(p.GET, "/sub/b.bin", p.INLINE)
            ns = time.perf_counter_ns() - began
            took.append(ns / 1e9)
            unexplained.append((ns - waits.since(before)) / 1e9)
            assert (r.status, r.body) == (p.OK, tree.files["/sub/b.bin"])
            assert s.get("/a.txt").content() == b"hello\n"
    assert process.wait() == 0
    return took, unexplained


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
    """No answer to another client takes 10 ms longer than the CPUs, which the attackers want too, explain."""
    daemon = start({"/": tree.path}, config=ONE_WORKER)
    with zoo(daemon, attack, ATTACKS[attack][1], 7) as process:
        took, unexplained = serve_beside(daemon, tree, process, 1800)
    daemon.at_rest()
    took.sort()
    print(f"{attack}: {len(took)} calls, p50 {took[len(took) // 2] * 1e3:.2f} ms, p99 {took[len(took) * 99 // 100] * 1e3:.2f}, "
          f"longest {took[-1] * 1e3:.1f}, of which unexplained at most {max(unexplained) * 1e3:.1f}")
    assert INSTRUMENTED or max(unexplained) < STALL


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


def refill(c):
    """All replies are taken and the ring, each of whose places has a request, is full again."""
    c.store(omring.TAIL, c.word(c.replies, omring.HEAD))
    c.store(omring.HEAD, c.word(c.replies, omring.TAIL) + c.entries)
    if c.word(c.replies, omring.ASLEEP):
        c.ring()


def test_a_ring_that_is_always_full_leaves_the_sockets_alone(start, tree):
    """Time is counted in requests that the ring's are served meanwhile: some thousand between two looks at sockets. This
    thread is the one that fills the ring, so it does not matter when it runs."""
    daemon = start({"/": tree.path}, config="ring = { entries = 4096; };\n" + ONE_WORKER)
    waits = []
    with Ring(daemon.socket, 4096) as c, daemon.connect(3) as s:
        readable = select.poll()
        readable.register(s.sock, select.POLLIN)
        for _ in range(c.entries):
            c.put(p.PING)
        served = begun = 0
        while len(waits) < 4:
            refill(c)
            served = served + (c.word(c.replies, omring.TAIL) - served & omring.M32)
            if not begun and served > (len(waits) + 1) * 500000:
                s.ask(op=p.PING)
                begun = served
            if begun and readable.poll(0):
                assert s.head().status == p.OK
                waits.append(served - begun)
                begun = 0
    assert max(waits) < 100000, waits
