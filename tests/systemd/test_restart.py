# SPDX-License-Identifier: MIT
"""Clients at work while the service is restarted, which they do not notice, and killed, which the library hides."""
import threading
import time

import libclient
import omclient
import omproto as p
import pytest
from machine import wait_until
from service import SERVICE, SOCKET, is_active, journal, main_pid

OBJECTS = {"/a": b"an object\n", "/empty": b"", "/page": bytes(range(256)) * 16, "/big": bytes(range(251)) * 4000}
URIS = list(OBJECTS)


@pytest.fixture
def served(machine, objects, socket):
    """The socket's path, with a service that is up."""
    for uri, data in OBJECTS.items():
        (objects / uri[1:]).write_bytes(data)
    machine.run("systemctl", "start", SERVICE)
    return str(socket)


class Crowd:
    """Threads that each run work(i, done) until it is over; done() counts a request, and says whether to go on."""

    def __init__(self, n, work):
        self.counts, self.failures, self.stop = [0] * n, [], False
        self.threads = [threading.Thread(target=self.run, args=(i, work)) for i in range(n)]

    def run(self, i, work):
        def done():
            self.counts[i] += 1
            return not self.stop

        try:
            work(i, done)
        except BaseException as e:
            self.failures.append((i, repr(e)))

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.stop = True
        for t in self.threads:
            t.join()
        assert not self.failures, self.failures

    def progress(self, n=5):
        """Each has done so many more."""
        before = list(self.counts)
        wait_until(lambda: self.failures or all(a >= b + n for a, b in zip(self.counts, before)),
                   message=lambda: f"{before}, then {self.counts}")
        assert not self.failures, self.failures


def one_connection(path, version, mode):
    """Pipelines over a single connection: when that ends it is a failure."""

    def work(done):
        with omclient.CLIENTS[version](path) as c:
            while True:
                c.ask_each([(uri, mode) for uri in URIS])
                for n in range(len(URIS)):
                    r = c.reply()
                    uri = URIS[r.id if version == 3 else n]
                    assert r.status == p.OK, (uri, r)
                    assert r.content() == OBJECTS[uri], uri
                    more = done()
                if not more:
                    return

    return work


def restart_among_clients(machine, served, times):
    kinds = [one_connection(served, version, mode) for version in (1, 3) for mode in (p.FD, p.COPY)] * 2
    with Crowd(len(kinds), lambda i, done: kinds[i](done)) as crowd:
        for _ in range(times):
            crowd.progress()
            pid = main_pid(machine)
            machine.run("systemctl", "restart", SERVICE)
            assert main_pid(machine) != pid
        crowd.progress()
    assert journal(machine).count(f"going on with {len(kinds)} connections") == times


def test_restart_is_not_noticed(machine, served):
    restart_among_clients(machine, served, 3)


@pytest.mark.long
def test_many_restarts_are_not_noticed(machine, served):
    restart_among_clients(machine, served, 20)


def test_a_stop_ends_connections(machine, served):
    """What is in the store goes with the unit."""
    with omclient.V3(served) as c:
        c.ping()
        machine.run("systemctl", "stop", SOCKET, SERVICE)
        assert c.eof()


def through_library(path, version, mode, times):
    def work(done):
        with libclient.Handle(path, version=version) as om:
            while True:
                for uri in URIS:
                    began = time.monotonic()
                    got = om.get(uri) if mode == p.FD else om.read(uri)
                    times.append(time.monotonic() - began)
                    assert got == OBJECTS[uri], uri
                    more = done()
                if not more:
                    return

    return work


def kill_among_clients(machine, served, seconds):
    """Seconds that each request took. Bytes of version 1 are left out: what came before a death may be of another object,
    which the library reports."""
    times = []
    kinds = [through_library(served, *kind, times) for kind in ((1, p.FD), (3, p.FD), (3, p.COPY))] * 2
    with Crowd(len(kinds), lambda i, done: kinds[i](done)) as crowd:
        crowd.progress()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            due = time.monotonic() + 0.2
            machine.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", SERVICE, check=False)
            time.sleep(max(0, due - time.monotonic()))  # the load: so many deaths a second
            assert not crowd.failures, crowd.failures
        crowd.progress()
    wait_until(lambda: is_active(machine))
    return times


def test_kills_do_not_surface(machine, served):
    assert kill_among_clients(machine, served, 5)


@pytest.mark.long
def test_many_kills_do_not_surface_and_are_over_soon(machine, served):
    """A request that meets a death takes as long as the service is away; of all deaths, one in a hundred may take longer."""
    times = kill_among_clients(machine, served, 60)
    slow = sorted(times)[-60 * 5:]  # a death each 200 ms
    print(f"{len(times)} requests; the slowest of each death: median {slow[len(slow) // 2] * 1e3:.0f} ms, "
          f"p99 {slow[len(slow) * 99 // 100] * 1e3:.0f} ms")
    assert slow[len(slow) * 99 // 100] < 0.1
