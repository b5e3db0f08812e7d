# SPDX-License-Identifier: MIT
"""Clients at work while the service is restarted, which they do not notice, and killed, which the library hides."""
import bisect
import contextlib
import ctypes
import os
import re
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from socket import MSG_PEEK

import libclient as lib
import omclient
import omproto as p
import pytest
from machine import wait_until
from service import (SERVICE, SOCKET, config, dropin, is_active, journal, main_pid, processes, restarted, show)

OBJECTS = {"/a": b"an object\n", "/empty": b"", "/page": bytes(range(256)) * 16, "/big": bytes(range(251)) * 4000}
URIS = list(OBJECTS)
THOUSANDS = 7000


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


def through_library(path, version, mode, spans=None, flags=0):
    """@spans gets when each request began and ended, in seconds."""

    def work(done):
        with lib.Handle(path, version=version, flags=flags) as om:
            while True:
                for uri in URIS:
                    began = time.monotonic()
                    got = om.get(uri) if mode == lib.FD else om.read(uri, mode)
                    if spans is not None:
                        spans.append((began, time.monotonic()))
                    assert got == OBJECTS[uri], uri
                    more = done()
                if not more:
                    return

    return work


def direct(path):
    return [one_connection(path, version, mode) for version, mode in
            ((1, p.FD), (1, p.COPY), (1, p.SPLICE), (3, p.FD), (3, p.COPY), (3, p.AUTO))]


def by_ring(path):
    """A ring ends with the daemon that has made it, and the library makes another."""
    lib.require()
    return [through_library(path, 3, mode, flags=lib.RING) for mode in (lib.FD, lib.AUTO)]


def restart_among_clients(machine, kinds, go_on, times):
    """At each restart at least so many connections go on."""
    before = len(journal(machine))
    with Crowd(len(kinds), lambda i, done: kinds[i](done)) as crowd:
        for _ in range(times):
            crowd.progress()
            pid = main_pid(machine)
            machine.run("systemctl", "restart", SERVICE)
            assert main_pid(machine) != pid
        crowd.progress()
    went_on = re.findall(r"going on with (\d+) connections", journal(machine)[before:])
    assert len(went_on) == times and all(int(n) >= go_on for n in went_on), went_on


def test_restart_is_not_noticed(machine, served):
    restart_among_clients(machine, direct(served), len(direct(served)), 3)


def test_restarts_are_not_noticed_beside_rings(machine, served):
    restart_among_clients(machine, direct(served) + by_ring(served), len(direct(served)), 20)


@contextlib.contextmanager
def many_descriptors(n):
    """This process may have so many more."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    if old[1] != resource.RLIM_INFINITY and old[1] < n + 500:
        pytest.skip(f"the hard limit of open files is {old[1]}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(old[0], n + 500), old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)


def test_thousands_of_connections_go_on(machine, objects, socket):
    """More than the names of one descriptor for each fit into the environment that systemd starts the service with."""
    (objects / "a").write_bytes(OBJECTS["/a"])
    config(machine, f"concurrency = {{ max_connections = {THOUSANDS + 100}; }};\n")
    machine.run("systemctl", "start", SERVICE)
    with many_descriptors(THOUSANDS), contextlib.ExitStack() as stack:
        clients = []
        while len(clients) < THOUSANDS:
            clients += [stack.enter_context(omclient.V1(str(socket))) for _ in range(50)]  # fewer than can wait
            assert clients[-1].get("/a", p.COPY).status == p.OK
        machine.run("systemctl", "restart", SERVICE)
        assert f"going on with {THOUSANDS} connections" in journal(machine)
        for c in clients:
            c.ask("/a", p.COPY)
        assert all(c.reply().content() == OBJECTS["/a"] for c in clients)


def test_what_the_kernel_does_not_take_is_closed(machine, objects, socket):
    """Descriptors in flight count against the limit of open files: those that clients have not read, and connections."""
    (objects / "a").write_bytes(OBJECTS["/a"])
    dropin(machine, SERVICE, "[Service]\nLimitNOFILE=1200\n")
    machine.run("systemctl", "start", SERVICE)
    with contextlib.ExitStack() as stack:
        library = [stack.enter_context(lib.Handle(str(socket))) for _ in range(3)]
        clients = [stack.enter_context(omclient.V3(str(socket))) for _ in range(590)]
        for c in clients:
            c.ask_many(["/a"] * 2)
        wait_until(lambda: all(c.sock.recv(1, MSG_PEEK) for c in clients))
        before = len(journal(machine))
        machine.run("systemctl", "restart", SERVICE)
        said = journal(machine)[before:]
        closed, = re.findall(r"(\d+) connections cannot be handed over and are closed: Too many references", said)
        kept, = re.findall(r"going on with (\d+) connections", said)
        assert int(kept) > 0 and int(closed) > 0 and int(kept) + int(closed) == 593
        for c in clients:
            assert [c.reply().content() for _ in range(2)] == [OBJECTS["/a"]] * 2
        assert sum(goes_on(c) for c in clients) in range(int(kept) - 3, int(kept) + 1)
        assert [om.get("/a") for om in library] == [OBJECTS["/a"]] * 3


def goes_on(c):
    """False: it has ended, and not by a reset."""
    try:
        c.ask("/a")
        return c.reply().content() == OBJECTS["/a"]
    except (omclient.Closed, BrokenPipeError):
        return False


def reload_among_clients(machine, served, times):
    """Each reload has come about, or failed with the reason in the journal, when systemctl is over."""
    good = 'exports = ( {{ prefix = "/"; path = "{0}"; }}, {{ prefix = "/{1}/"; path = "{0}"; }} );\n'
    bad = ["nonsense", "limits = { none = 1; };", 'exports = ( { prefix = "/"; path = "/nowhere/at/all"; } );']
    pid, before = main_pid(machine), len(journal(machine))
    kinds = [one_connection(served, version, mode) for version in (1, 3) for mode in (p.FD, p.COPY)] * 2
    with Crowd(len(kinds), lambda i, done: kinds[i](done)) as crowd, omclient.V3(served) as c:
        for i in range(times):
            broken = i % 2
            config(machine, bad[i // 2 % len(bad)] if broken else good.format("/var/lib/objmapper", f"v{i}"))
            if i % 10 == 0:
                crowd.progress(1)
            done = machine.run("systemctl", "reload", SERVICE, check=False)
            assert bool(done.returncode) == bool(broken), (i, done)
            for uri, status in ((f"/v{i & ~1}/a", p.OK), (f"/v{(i & ~1) - 2}/a", p.NOT_FOUND)):
                r = c.get(uri)
                r.close()
                assert r.status == status, (i, uri)
        crowd.progress()
    assert main_pid(machine) == pid and is_active(machine)
    assert journal(machine)[before:].count("not reloaded\n") == times // 2


def test_reloads_are_not_noticed(machine, served):
    reload_among_clients(machine, served, 20)


@pytest.mark.long
def test_1000_reloads_are_not_noticed(machine, served):
    reload_among_clients(machine, served, 1000)


def test_a_stop_ends_connections(machine, served):
    """What is in the store goes with the unit."""
    with omclient.V3(served) as c:
        c.ping()
        machine.run("systemctl", "stop", SOCKET, SERVICE)
        assert c.eof()


@contextlib.contextmanager
def prompt_threads():
    """One that has its answer does not wait 5 ms for each of the others."""
    old = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        yield
    finally:
        sys.setswitchinterval(old)


def kill_among_clients(machine, served, seconds):
    """For each death the longest that any client waited meanwhile for an answer, in seconds. Bytes of version 1 are left
    out: what came before a death may be of another object, which the library reports."""
    lib.require()
    spans, deaths = [], []
    kinds = [through_library(served, *kind, spans) for kind in ((1, lib.FD), (3, lib.FD), (3, lib.COPY))] * 2
    kinds += [through_library(served, 3, mode, spans, lib.RING) for mode in (lib.FD, lib.AUTO)]
    with prompt_threads(), Crowd(len(kinds), lambda i, done: kinds[i](done)) as crowd:
        crowd.progress()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            due = time.monotonic() + 0.2
            deaths += [time.monotonic() for pid in processes(machine) if kill(pid)]
            time.sleep(max(0, due - time.monotonic()))  # the load: so many deaths a second
            assert not crowd.failures, crowd.failures
        crowd.progress()
    wait_until(lambda: is_active(machine))
    return longest_waits(spans, deaths)


def kill(pid):
    """False: it has ended meanwhile."""
    try:
        os.kill(pid, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False


def longest_waits(spans, deaths):
    """A request counts with the deaths that it meets; with none, with the one before: it may be what it waits for."""
    longest = [0.0] * len(deaths)
    for began, ended in spans:
        first, behind = bisect.bisect(deaths, began), bisect.bisect(deaths, ended)
        for i in range(first if first < behind else max(0, first - 1), behind):
            longest[i] = max(longest[i], ended - began)
    return longest


def test_kills_do_not_surface(machine, served):
    assert len(kill_among_clients(machine, served, 5)) > 10


@pytest.mark.long
def test_many_kills_do_not_surface_and_are_over_soon(machine, served):
    """Of all deaths, one in a hundred may keep some client waiting for longer."""
    waits = sorted(kill_among_clients(machine, served, 60))
    at = {p: waits[len(waits) * p // 100] for p in (1, 10, 25, 50, 75, 90, 95, 98, 99)}
    print(f"{len(waits)} deaths; the longest wait of each, ms: " +
          ", ".join(f"p{p} {at[p] * 1e3:.0f}" for p in at) + f", max {waits[-1] * 1e3:.0f}")
    assert len(waits) > 60 * 4
    assert at[99] < 0.1


KCMP = 312  # x86-64
AARCH64_KCMP = 272


def is_same_file(pid, fd, other_pid, other_fd):
    """The same open file description, see kcmp(2)."""
    nr = AARCH64_KCMP if os.uname().machine == "aarch64" else KCMP
    return ctypes.CDLL(None).syscall(nr, pid, other_pid, 0, fd, other_fd) == 0


def inotify_descriptors(pid):
    return [int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir() if os.readlink(fd) == "anon_inode:inotify"]


def test_the_watch_outlives_a_kill(machine, served):
    """systemd has it open too, so that the dying process does not wait for the kernel to close it; a reload replaces it."""
    def kept():
        return [(pid, fd) for pid in processes(machine) for fd in inotify_descriptors(pid)
                if any(is_same_file(pid, fd, machine.pid, s) for s in inotify_descriptors(machine.pid))]

    with lib.Handle(served) as om:
        (first, _), = wait_until(kept)
        assert kill(first)
        assert om.get("/a") == OBJECTS["/a"]
        restarted(machine, 0)
        (second, _), = wait_until(kept)
        assert second != first
        assert show(machine, "NFileDescriptorStore") == "1"
        config(machine, 'exports = ( { prefix = "/v/"; path = "/var/lib/objmapper"; } );\n')
        machine.run("systemctl", "reload", SERVICE)
        wait_until(lambda: kept() and len(inotify_descriptors(second)) == 1)
        assert show(machine, "NFileDescriptorStore") == "1"
        config(machine, "index = { watch = false; };\n")
        machine.run("systemctl", "restart", SERVICE)
        wait_until(lambda: show(machine, "NFileDescriptorStore") == "0")
