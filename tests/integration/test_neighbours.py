# SPDX-License-Identifier: MIT
"""What a client that misbehaves costs the others: their 99th percentile at most doubles."""
import contextlib
import pathlib
import statistics
import subprocess
import sys
import time

import daemon as d
import omproto as p
import pytest
from faults import Fault

pytestmark = [pytest.mark.timing, pytest.mark.skipif(d.INSTRUMENTED, reason="the build is instrumented")]

NUISANCE = pathlib.Path(__file__).with_name("nuisance.py")
GET = p.request_encode(p.Request(p.GET, p.FD, uri=b"/a.txt"))
ROUNDS = 7


def p99(c, statuses, n=200, pause=0.001):
    """At a pace that leaves the processor to the other side, and lets each of its moves meet a request."""
    times = []
    for _ in range(n):
        time.sleep(pause)
        began = time.perf_counter()
        r = c.get("/a.txt")
        times.append(time.perf_counter() - began)
        assert r.status in statuses
        r.close()
    return sorted(times)[n * 99 // 100]


@contextlib.contextmanager
def nuisance(daemon, kind, *args):
    argv = [sys.executable, str(NUISANCE), kind, daemon.socket, "60", *args]
    proc = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert proc.stdout.readline() == "ready\n"
        yield
        assert proc.poll() is None, "it has stopped before its time"
    finally:
        proc.kill()
        proc.wait()
        proc.stdout.close()


def medians(c, among, statuses, rounds=ROUNDS):
    """Of rounds that alternate: how deep an idle processor sleeps changes from one to the next."""
    alone, beside = [], []
    for _ in range(rounds):
        alone.append(p99(c, (p.OK,)))
        with among():
            beside.append(p99(c, statuses))
    return statistics.median(alone), statistics.median(beside)


def compare(daemon, among, statuses=(p.OK,)):
    """The machine is not ours alone: what is the daemon's doing shows every time."""
    with daemon.connect(3) as c:
        for _ in range(3):
            alone, beside = medians(c, among, statuses)
            print(f"p99 alone {alone * 1e6:.0f} us, among {beside * 1e6:.0f} us")
            if beside <= 2 * alone:
                return
    pytest.fail(f"p99 {beside * 1e6:.0f} us, alone {alone * 1e6:.0f} us")


@pytest.mark.parametrize("kind", ["random_bytes", "huge_lengths", "half_requests", "byte_at_a_time", "descriptors"])
def test_among_bad_input(served, kind):
    compare(served, lambda: nuisance(served, kind))


def test_at_a_full_table(start, tree):
    """All the others' connections are refused; the one that is in is served as if they were not there."""
    daemon = start({"/": tree.path}, config="concurrency = { max_connections = 2; };\n")
    compare(daemon, lambda: nuisance(daemon, "knocking"))


@pytest.mark.parametrize("function", ["openat2", "accept4", "sendmsg"])
def test_among_failing_calls(start, workdir, tree, monkeypatch, function):
    """EMFILE, or its like, two hundred times a second."""
    fault = Fault(workdir, function, "ETOOMANYREFS" if function == "sendmsg" else "EMFILE")
    with monkeypatch.context() as m:
        for name, value in fault.env.items():
            m.setenv(name, value)
        daemon = start({"/": tree.path})

    @contextlib.contextmanager
    def failing():
        with nuisance(daemon, "failing_calls", str(workdir / "fault")):
            yield
        fault.disarm()  # it may have ended just after it has armed

    with contextlib.closing(fault.words):
        compare(daemon, failing, (p.OK, p.UNAVAILABLE))


def pipeline_until_full(c):
    c.sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            c.sock.send(GET * 100)


def test_among_clients_that_never_read(served):
    @contextlib.contextmanager
    def stuck():
        with contextlib.ExitStack() as stack:
            for _ in range(64):
                pipeline_until_full(stack.enter_context(served.connect(3)))
            yield

    compare(served, stuck)
