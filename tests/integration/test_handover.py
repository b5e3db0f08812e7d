# SPDX-License-Identifier: MIT
"""A restart that clients do not notice: connections go to the service manager's store and from there to the next instance."""
import collections
import contextlib
import fcntl
import os
import random
import signal
import threading

import libclient
import omproto as p
import omring
import pytest
from daemon import PATIENCE, wait_until
from manager import WATCH, Manager
from omclient import CLIENTS, Client, Closed
from test_regressions import NO_INDEX, hung_lookup, threads_named

CONNECTIONS, IMAGE = "objmapper-connections", "objmapper-image"


@pytest.fixture
def managed(workdir, tree):
    """managed(*args, **kw) -> Manager with a daemon that serves the small tree and is ready."""
    before = len(os.listdir("/proc/self/fd"))
    with contextlib.ExitStack() as stack:
        def run(*args, start=True, kind=Manager, **kw):
            m = kind(workdir, "--export", f"/={tree.path}", *args, **kw)
            stack.callback(m.close)
            if start:
                m.start()
            return m

        yield run
    assert len(os.listdir("/proc/self/fd")) == before, "the test itself left descriptors open"


def content(c, uri, mode=p.FD):
    r = c.get(uri, mode)
    assert r.status == p.OK, r
    return r.content()



def test_connections_outlive_the_daemon(managed, tree, model):
    m = managed("--concurrency-model", model, tcp=True)
    with contextlib.ExitStack() as stack:
        clients = [(stack.enter_context(CLIENTS[version](address)), mode)
                   for version in (1, 3) for address, mode in ((m.path, p.FD), (m.path, p.COPY), (m.address, p.SPLICE))]
        silent = [stack.enter_context(Client(address)) for address in (m.path, m.address)]
        for _ in range(3):
            for c, mode in clients:
                for uri in ("/a.txt", "/big"):
                    assert content(c, uri, mode) == tree.files[uri]
            m.terminate()
            assert m.stored() == {CONNECTIONS: 2, IMAGE: 1}
            for c, mode in clients[::2]:
                c.ask("/sub/b.bin", mode)
            m.start()
            assert m.stored() == {}
            for c, mode in clients[::2]:
                r = c.reply()
                assert r.content() == tree.files["/sub/b.bin"]
        for c in silent:
            c.send(p.v1_request_encode(p.V1Request(p.COPY, b"/a.txt")))
            assert c.take(1) == b"\0"
    assert "going on with 8 connections" in m.log()


def pieces_of(data, rng):
    cuts = sorted(rng.sample(range(1, len(data)), min(6, len(data) - 1)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]


@pytest.mark.parametrize("version", [1, 3])
def test_requests_cut_anywhere(managed, tree, version):
    """Bytes that were read by one instance and bytes that were not come together in the next."""
    m, rng = managed(), random.Random(version)
    uris = ["/a.txt", "/sub/b.bin", "/with space", "/many/7"]
    if version == 1:
        data = b"".join(p.v1_request_encode(p.V1Request(p.FD, u.encode())) for u in uris)
        c = Client(m.path)
    else:
        data = p.hello_encode(p.Hello()) + b"".join(
            p.request_encode(p.Request(p.GET, p.FD, id=i, uri=u.encode())) for i, u in enumerate(uris))
        c = Client(m.path)
    with c:
        for piece in pieces_of(data, rng):
            c.send(piece)
            with CLIENTS[3](m.path) as other:
                other.ping()
            m.restart()
        reader = as_reader(c, version)
        for i, uri in enumerate(uris):
            r = reader.reply()
            assert (r.status, r.id) == (p.OK, i if version == 3 else 0)
            assert r.content() == tree.files[uri]


def as_reader(c, version):
    """A client of the version that goes on with what @c has said."""
    reader = CLIENTS[version].__new__(CLIENTS[version])
    reader.__dict__.update(c.__dict__)
    if version == 1:
        reader.modes = collections.deque()
    else:
        reader.hello = reader.message(p.hello_reply_decode)
    return reader


def test_what_was_negotiated_stays(managed):
    m = managed()
    hellos = [p.Hello(), p.Hello(capabilities=0), p.Hello(capabilities=p.BODIES, inline_limit=100, in_flight=2)]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(CLIENTS[3](m.path, hello=h)) for h in hellos]
        m.restart()
        for c, h in zip(clients, hellos):
            for uri, size in (("/a.txt", 6), ("/sub/b.bin", 4096)):
                r = c.get(uri, p.AUTO)
                r.close()
                assert r.status == p.OK and (r.fd < 0) == (h.inline_limit >= size), (h, uri, r)


def test_requests_per_connection_are_counted_on(managed):
    m = managed(start=False)
    m.config.write_text("concurrency = { requests_per_connection = 4; };\n")
    m.start()
    with CLIENTS[3](m.path) as c:
        for _ in range(3):
            assert content(c, "/a.txt") == b"hello\n"
        m.restart()
        assert content(c, "/a.txt") == b"hello\n"
        assert c.eof()


@pytest.mark.parametrize("version", [1, 3])
def test_a_body_under_way_is_finished_first(managed, tree, version):
    m = managed()
    with CLIENTS[version](m.path) as c:
        c.ask("/big", p.COPY)
        c.ask("/a.txt", p.COPY)
        head = c.head()
        m.proc.send_signal(signal.SIGTERM)
        wait_until(lambda: m.said("STOPPING", "1"))
        assert c.take(head.body_len) == tree.files["/big"]
        assert m.proc.wait(20) == 0 and m.stored() == {CONNECTIONS: 2, IMAGE: 1}
        m.start()
        assert c.reply().body == tree.files["/a.txt"]


def test_who_does_not_read_is_not_waited_for_longer_than_drain(managed):
    m = managed(start=False)
    m.config.write_text('timeouts = { drain = "300ms"; };\n')
    m.start()
    with CLIENTS[3](m.path) as stuck, CLIENTS[3](m.path) as c:
        stuck.ask("/big", p.COPY)
        head = stuck.head()
        m.restart()
        assert content(c, "/a.txt") == b"hello\n"
        with pytest.raises(Closed):
            stuck.take(head.body_len + 1)


class Slow(Manager):
    """When it is told to, it keeps who waits for a barrier waiting until let_go()."""

    holds, held = False, ()

    def handle(self, message, fds):
        if self.holds and "BARRIER" in message:
            self.held, fds = fds, ()
        super().handle(message, fds)

    def let_go(self):
        self.holds = False
        for fd in self.held:
            os.close(fd)


def test_a_body_finished_while_the_store_was_filled_went_there_without_its_entry(managed, tree):
    """Its connection ends as any that is not ready in time. Of those that are, so many that one more needs a larger list."""
    m = managed(start=False, kind=Slow)
    m.config.write_text('timeouts = { drain = "100ms"; };\n')
    m.start()
    with contextlib.ExitStack() as stack:
        ready = [stack.enter_context(CLIENTS[3](m.path)) for _ in range(64)]
        late = stack.enter_context(CLIENTS[3](m.path))
        late.ask("/big", p.COPY)
        head = late.head()
        for c in ready:
            c.ping()
        m.holds = True
        m.proc.send_signal(signal.SIGTERM)
        wait_until(lambda: m.held, message=m.log)
        try:
            assert late.take(head.body_len) == tree.files["/big"]
            assert late.eof()
        finally:
            m.let_go()
        m.terminate()
        m.start()
        for c in ready:
            c.ping()
    assert "going on with 64 connections" in m.log() and "nothing is known about them" not in m.log()


def test_replies_that_wait_for_the_client(managed, tree):
    """A full socket holds nothing up: the requests behind it go with the connection."""
    m = managed()
    with CLIENTS[3](m.path) as c:
        n = c.ask_many(["/a.txt", "/sub/b.bin"] * 300)
        m.restart()
        m.restart()
        seen = set()
        for _ in range(n):
            r = c.reply()
            seen.add(r.id)
            assert r.content() == tree.files[("/a.txt", "/sub/b.bin")[r.id % 2]]
        assert len(seen) == n


def test_clients_at_full_speed(managed, tree):
    """No request fails, no wrong byte, no connection ends, however often the daemon is restarted."""
    m = managed(tcp=True)
    kinds = [(1, m.path, p.FD), (3, m.path, p.FD), (1, m.path, p.COPY), (3, m.path, p.COPY), (1, m.address, p.COPY),
             (3, m.address, p.SPLICE)]
    counts, failures, stop = [0] * len(kinds), [], threading.Event()

    def work(i):
        version, address, mode = kinds[i]
        uris = ["/a.txt", "/sub/b.bin", "/big", "/empty", "/sub/deep/er/c"]
        try:
            with CLIENTS[version](address) as c:
                while not stop.is_set():
                    c.ask_each([(uri, mode) for uri in uris])
                    for _ in uris:
                        r = c.reply()
                        uri = uris[r.id] if version == 3 else uris[counts[i] % len(uris)]
                        assert r.status == p.OK and r.content() == tree.files[uri], (kinds[i], r.status)
                        counts[i] += 1
        except BaseException as e:
            failures.append((kinds[i], e))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(kinds))]
    for t in threads:
        t.start()
    try:
        for _ in range(5):
            before = list(counts)
            wait_until(lambda: failures or all(a > b + 10 for a, b in zip(counts, before)))
            m.restart()
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not failures, failures


def test_a_ring_may_be_made_afterwards(managed):
    """That it was granted stays."""
    m = managed()
    with CLIENTS[3](m.path, hello=omring.WANTS_RING) as c:
        m.restart()
        rid = c.ask(b"", 0, p.RING_ATTACH, extra=omring.attach_extra())
        r = c.message(p.response_decode)
        assert (r.status, r.id, r.n_fds) == (p.OK, rid, 3)
        c.take(r.body_len)


def test_a_connection_whose_ring_had_ended_was_closed(managed):
    m = managed(start=False)
    m.config.write_text('ring = { idle = "50ms"; };\n')
    m.start()
    with omring.Ring(m.path) as c:
        assert c.message(p.response_decode).op == p.RING_DOORBELL
        m.restart()
        assert c.stat("/a.txt").size == 6
        c.detach()
        c.attach()
        assert c.call(p.STAT, "/a.txt").size == 6


def test_a_ring_made_while_draining_held_the_restart_up(managed):
    """The pool makes rings, and is busy when the client asks for one and the daemon is to end."""
    m = managed("--copy-pool-size", "1", start=False)
    m.config.write_text(NO_INDEX + 'timeouts = { drain = "0s"; };\n')
    m.start()
    (pool,) = threads_named(m, "objm-pool")
    with CLIENTS[1](m.path) as hangs, CLIENTS[3](m.path, hello=omring.WANTS_RING) as c:
        with hung_lookup(m, pool, hangs, "/hangs"):
            rid = c.ask(b"", 0, p.RING_ATTACH, extra=omring.attach_extra())
            c.ping()
            m.proc.send_signal(signal.SIGTERM)
            wait_until(lambda: not threads_named(m, "objm-accept"))
        r = c.message(p.response_decode)
        assert (r.status, r.id) == (p.UNAVAILABLE, rid)
        assert hangs.reply().status == p.NOT_FOUND
        assert m.proc.wait(PATIENCE) == 0 and m.stored() == {CONNECTIONS: 2, IMAGE: 1}
        m.start()
        c.ping()


def test_a_ring_ends_and_the_library_makes_another(managed, tree):
    m = managed()
    with libclient.Handle(m.path, flags=libclient.RING) as om, libclient.Handle(m.path) as other:
        for _ in range(3):
            for handle in (om, other):
                for uri in ("/a.txt", "/big", "/empty"):
                    assert handle.get(uri) == tree.files[uri]
            instances = om.instance(), other.instance()
            m.restart()
            assert om.get("/a.txt") == other.get("/a.txt") == b"hello\n"
            assert (om.instance() != instances[0], other.instance() != instances[1]) == (True, False)


def test_a_client_that_leaves_meanwhile(managed):
    m = managed()
    c, stays = CLIENTS[3](m.path), CLIENTS[3](m.path)
    with stays:
        c.ask_many(["/a.txt"] * 3)
        m.terminate()
        c.close()
        m.start()
        assert content(stays, "/a.txt") == b"hello\n"


def test_nothing_is_handed_over_without_a_store(managed):
    """The next instance knows nothing, and clients are told by the end of their connections."""
    m = managed(keeps=False)
    with CLIENTS[3](m.path) as c:
        m.restart()
        assert c.eof()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_other_signals_hand_nothing_over(managed, number):
    m = managed()
    with CLIENTS[3](m.path) as c:
        m.proc.send_signal(number)
        m.proc.wait(20)
        assert m.stored() == {}
        assert c.eof()


def set_image(m, data, seal=True):
    """Puts another image in the place of the one in the store."""
    for item in [item for item in m.store if item[0] == IMAGE]:
        m.store.remove(item)
        os.close(item[1])
    if data is None:
        return
    fd = os.memfd_create("image", os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    if seal:
        fcntl.fcntl(fd, 1033, 15)  # F_ADD_SEALS: all there are for a file
    m.store.append((IMAGE, fd))


def image(m):
    (fd,) = [fd for name, fd in m.store if name == IMAGE]
    return os.pread(fd, 1 << 20, 0)


BROKEN = {
    "none": lambda data: None, "empty": lambda data: b"", "cut": lambda data: data[:-1],
    "longer": lambda data: data + b"\0", "flipped": lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    "another version": lambda data: data[:11] + b"\2" + data[12:], "another magic": lambda data: b"X" + data[1:],
    "count": lambda data: data[:12] + b"\xff\xff\xff\xff" + data[16:],
}


@pytest.mark.parametrize("how", [*BROKEN, "unsealed"])
def test_a_broken_image(managed, how):
    """Its connections are closed and that is all."""
    m = managed()
    with CLIENTS[3](m.path) as c:
        content(c, "/a.txt")
        m.terminate()
        set_image(m, BROKEN.get(how, lambda data: data)(image(m)), seal=how != "unsealed")
        m.start()
        assert m.stored() == {} and "1 connections of the instance before are closed" in m.log()
        assert c.eof()
    with CLIENTS[3](m.path) as c:
        assert content(c, "/a.txt") == b"hello\n"


def test_an_image_serves_once(managed):
    """One who is killed leaves nothing behind that is no longer true."""
    m = managed()
    with CLIENTS[3](m.path) as c:
        m.restart()
        content(c, "/a.txt")
        assert m.stored() == {}
        m.restart(signal.SIGKILL)
        assert c.eof()


def test_strange_descriptors_in_the_store(managed):
    m = managed()
    with CLIENTS[3](m.path) as c:
        m.terminate()
        r, w = os.pipe()
        os.close(w)
        m.store += [(CONNECTIONS, r), (CONNECTIONS, os.open("/dev/null", os.O_RDONLY)),
                    (IMAGE, os.open("/dev/null", os.O_RDONLY))]
        m.store.sort(key=lambda item: item[1])
        m.start()
        assert m.stored() == {} and c.eof()


def watched(fd):
    """How many directories."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as info:
        return sum(line.startswith("inotify wd:") for line in info)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_watch_is_used_on(managed, tree, number):
    """What has changed meanwhile is seen, and what changes later."""
    m = managed()
    fd, = m.watches()
    wait_until(lambda: "scan done" in m.log())
    directories = watched(fd)
    assert directories > 1
    for i in range(3):
        m.terminate(number)
        (tree.path / "a.txt").write_bytes(b"%d" % i)
        m.start()
        assert m.watches() == [fd]
        with CLIENTS[3](m.path) as c:
            assert content(c, "/a.txt") == b"%d" % i
            (tree.path / f"new{i}").mkdir()
            wait_until(lambda n=directories + i + 1: watched(fd) == n)


def test_a_stored_watch_that_waits_holds_up_nobody(managed, tree):
    """Who has it open too can have made reading an empty queue wait; a thread of the pool would, for ever."""
    m = managed()
    fd, = m.watches()
    m.terminate()
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)
    (tree.path / "a.txt").write_bytes(b"new")
    m.start()
    with CLIENTS[3](m.path) as c:
        assert content(c, "/a.txt") == b"new"
    assert m.watches() == [fd] and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK


def test_the_watch_follows_a_reload(managed, workdir):
    m = managed("--export", f"/w/={workdir}")
    wait_until(lambda: "scan done" in m.log())
    directories = watched(m.watches()[0])
    m.config.write_text("index = { scan = true; watch = false; };\n")
    m.proc.send_signal(signal.SIGHUP)
    wait_until(lambda: not m.watches())
    m.config.write_text("")
    m.proc.send_signal(signal.SIGHUP)
    wait_until(lambda: m.watches() and watched(m.watches()[0]) == directories)


def test_a_strange_watch_in_the_store(managed):
    m = managed()
    m.terminate()
    for item in [item for item in m.store if item[0] == WATCH]:
        m.store.remove(item)
        os.close(item[1])
    m.store.append((WATCH, os.open("/dev/null", os.O_RDONLY)))
    m.start()
    wait_until(lambda: len(m.watches()) == 1 and watched(m.watches()[0]) > 0)


def test_limits_count_those_handed_over(managed):
    m = managed(start=False)
    m.config.write_text("limits = { connections_per_uid = 2; };\n")
    m.start()
    with CLIENTS[3](m.path) as a, CLIENTS[3](m.path) as b:
        m.restart()
        content(a, "/a.txt")
        with CLIENTS[1](m.path) as third:
            assert third.reply().status == p.UNAVAILABLE
        content(b, "/a.txt")
