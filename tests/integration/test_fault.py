# SPDX-License-Identifier: MIT
"""One call of one libc function fails, the first, the second, and so on until none is reached any more.

At start that ends the daemon cleanly, with a message, or does not matter. Later it costs a status or the connection of
the client that was served, and nothing else. The long versions take every call, the short ones some.
"""
import errno
import os
import signal
import socket
import subprocess
import time

import daemon as d
import omproto as p
import pytest
from faults import Fault
from omclient import Closed

pytestmark = pytest.mark.skipif(d.INSTRUMENTED, reason="a sanitizer has its own allocator and must be loaded first")

SOME = (1, 2, 3, 5, 8, 13, 21, 34)
MOST = 2000  # calls of one function; reaching this many means that the loop never ends

AT_START = [
    ("malloc", "ENOMEM"), ("calloc", "ENOMEM"), ("realloc", "ENOMEM"), ("aligned_alloc", "ENOMEM"),
    ("socket", "EMFILE"), ("bind", "EPERM"), ("chmod", "EPERM"), ("listen", "ENFILE"), ("getsockopt", "ENOBUFS"),
    ("setsockopt", "ENOMEM"), ("epoll_create1", "EMFILE"), ("eventfd", "ENFILE"), ("signalfd", "EMFILE"),
    ("open", "EMFILE"), ("open", "EINTR"), ("openat2", "ENFILE"), ("openat2", "EINTR"), ("fstat", "EIO"),
    ("epoll_add", "ENOSPC"), ("epoll_wait", "EINTR"), ("inotify_init1", "EMFILE"), ("inotify_add_watch", "ENOSPC"),
    ("pthread_create", "EAGAIN"), ("getrandom", "EINTR"), ("connect", "EPERM"),
]

POOL, CONNECTION, REQUEST = "thread-pool", "thread-per-connection", "thread-per-request"

SERVING = [(POOL, *case) for case in (
    ("malloc", "ENOMEM"), ("calloc", "ENOMEM"), ("accept4", "EMFILE"), ("accept4", "ENFILE"), ("accept4", "ENOMEM"),
    ("accept4", "EINTR"), ("accept4", "ECONNABORTED"), ("getsockopt", "ENOBUFS"), ("setsockopt", "ENOMEM"),
    ("recv", "EINTR"), ("recv", "EAGAIN"), ("recv", "ENOMEM"), ("recv", "ECONNRESET"),
    ("sendmsg", "EINTR"), ("sendmsg", "EAGAIN"), ("sendmsg", "ENOMEM"), ("sendmsg", "ENOBUFS"), ("sendmsg", "EPIPE"),
    ("sendmsg", "ETOOMANYREFS"), ("send", "EINTR"), ("send", "EAGAIN"), ("send", "ENOMEM"), ("send", "EPIPE"),
    ("openat2", "EINTR"), ("openat2", "EAGAIN"), ("openat2", "EMFILE"),
    ("openat2", "ENFILE"), ("openat2", "ENOMEM"), ("openat2", "EIO"), ("fstat", "EIO"), ("epoll_add", "ENOSPC"),
    ("epoll_mod", "ENOMEM"), ("epoll_wait", "EINTR"),
)] + [(CONNECTION, *case) for case in (
    ("malloc", "ENOMEM"), ("calloc", "ENOMEM"), ("aligned_alloc", "ENOMEM"), ("epoll_create1", "EMFILE"),
    ("eventfd", "EMFILE"), ("epoll_add", "ENOSPC"), ("pthread_create", "EAGAIN"), ("accept4", "EMFILE"),
    ("openat2", "EMFILE"), ("sendmsg", "ETOOMANYREFS"),
)] + [(REQUEST, *case) for case in (
    ("malloc", "ENOMEM"), ("pthread_create", "EAGAIN"), ("openat2", "EMFILE"), ("sendmsg", "ETOOMANYREFS"),
    ("sendmsg", "EAGAIN"),
)]

# What the daemon answers when this goes wrong for a request; it may also end the connection.
STATUS = {"EMFILE": (p.UNAVAILABLE,), "ENFILE": (p.UNAVAILABLE,), "ENOMEM": (p.NO_MEMORY, p.UNAVAILABLE),
          "EIO": (p.STORAGE,), "ETOOMANYREFS": (p.UNAVAILABLE,), "EAGAIN": (p.UNAVAILABLE,), "ENOBUFS": (p.UNAVAILABLE,),
          "ENOSPC": (p.UNAVAILABLE,)}

# What a client never notices: the call is made again, or later.
HARMLESS = {("accept4", e) for e in ("EMFILE", "ENFILE", "ENOMEM", "EINTR", "ECONNABORTED")} | {
    ("setsockopt", "ENOMEM"), ("recv", "EINTR"), ("recv", "EAGAIN"), ("sendmsg", "EINTR"), ("sendmsg", "EAGAIN"),
    ("send", "EINTR"), ("send", "EAGAIN"), ("openat2", "EINTR"), ("openat2", "EAGAIN"), ("epoll_wait", "EINTR")}


@pytest.fixture
def fault(workdir, request):
    f = Fault(workdir, *request.param[-2:])
    f.model = request.param[0] if len(request.param) == 3 else POOL
    yield f
    f.words.close()


def ids(cases):
    return ["-".join(c) for c in cases]


# ---- start -----------------------------------------------------------------------------------------------------------

def start_once(workdir, tree, fault, model):
    """Starts a daemon, and stops it if it is ready. Returns its exit status and what it said."""
    log = workdir / "log"
    argv = [str(d.BIN), "--foreground", "--socket", str(workdir / "sock"), "--export", f"/={tree.path}",
            "--concurrency-model", model]
    with open(log, "wb") as out:
        proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=os.environ | fault.env)
    try:
        d.wait_until(lambda: proc.poll() is not None or b": ready\n" in log.read_bytes(),
                     message=lambda: "hangs: " + log.read_text())
        proc.send_signal(signal.SIGTERM)
        return proc.wait(d.PATIENCE), log.read_text()
    finally:
        proc.kill()
        proc.wait()


def leave_stale(path):
    """A socket file without a listener, as of a daemon that was killed."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))


def check_start(workdir, tree, fault, model, calls):
    for n in calls:
        leave_stale(workdir / "sock")
        fault.arm(n)
        status, text = start_once(workdir, tree, fault, model)
        if status == 0:
            assert ": ready\n" in text, f"call {n}: ended without a word"
        else:
            assert status in (1, 2) and "objmapperd: " in text, f"call {n}: exit status {status}: {text!r}"
            assert ": ready\n" not in text, f"call {n}: {text!r}"
        assert status != 0 or not (workdir / "sock").exists(), f"call {n}: left its socket file behind"
        assert not (workdir / "sock.lock").exists(), f"call {n}: left its lock file behind"
        assert fault.fired or n > 1, "never called"
        if not fault.fired:
            return
    assert calls[-1] < MOST, "never a run without a failing call"


@pytest.mark.parametrize("fault", AT_START, indirect=True, ids=ids(AT_START))
def test_start(workdir, tree, fault):
    check_start(workdir, tree, fault, "thread-pool", SOME)


@pytest.mark.long
@pytest.mark.parametrize("fault", AT_START, indirect=True, ids=ids(AT_START))
def test_start_every_call(workdir, tree, fault, model):
    check_start(workdir, tree, fault, model, range(1, MOST + 1))


# ---- serving ---------------------------------------------------------------------------------------------------------

class Visit:
    """One connection's worth of requests; a fault may end it, but make nothing wrong, and not go on in silence."""

    def __init__(self, daemon, tree, version, statuses=()):
        self.daemon, self.tree, self.version, self.statuses = daemon, tree, version, statuses
        self.refused = 0

    def check(self, uri, r):
        content = os.pread(r.fd, 1 << 21, 0) if r.fd >= 0 else None
        r.close()
        if r.status == p.OK:
            assert content == self.tree.files[uri]
        else:
            assert r.status in self.statuses and content is None
            self.refused += 1

    def requests(self, c, uris):
        for uri in uris[:3]:
            self.check(uri, c.get(uri))
        c.ask_many(uris)
        for i in range(len(uris)):
            r = c.reply()
            self.check(uris[r.id if self.version == 3 else i], r)
        status = c.get("/none").status
        assert status == p.NOT_FOUND or status in self.statuses

    def run(self):
        """More requests in flight than there is room for replies: the daemon has to wait for the client."""
        try:
            with self.daemon.connect(self.version) as c:
                self.requests(c, list(self.tree.files))
        except (Closed, ConnectionError):
            self.refused += 1
        except p.Bad as e:
            assert self.version == 3 and e.status == p.PROTOCOL, "a refusal in the form of version 1 is all there may be"
            self.refused += 1


def visits(daemon, tree, statuses=()):
    """How much was refused."""
    both = [Visit(daemon, tree, version, statuses) for version in (3, 1)]
    for v in both:
        v.run()
    return sum(v.refused for v in both)


def clean(daemon, tree, bystanders):
    """Nothing fails now: every request of everyone is granted."""
    for c in bystanders:
        for uri in ("/a.txt", "/sub/b.bin"):
            r = c.get(uri)
            assert r.status == p.OK and os.pread(r.fd, 8192, 0) == tree.files[uri]
            r.close()
    assert visits(daemon, tree) == 0


def faulty_daemon(start, tree, fault, model, monkeypatch, config=""):
    with monkeypatch.context() as m:
        for name, value in fault.env.items():
            m.setenv(name, value)
        daemon = start({"/": tree.path}, "--concurrency-model", model, config=config)
    d.wait_until(lambda: "scan done" in daemon.log() or "scan = false" in config)
    return daemon


class Busy:
    """How busy the daemon is from here on. One more thread that spins adds 1, or what the machine has left."""

    def __init__(self, daemon):
        self.daemon, self.began, self.cpu_then = daemon, time.monotonic(), daemon.cpu_seconds()

    def stop(self):
        self.wall, self.cpu = time.monotonic() - self.began, self.daemon.cpu_seconds() - self.cpu_then
        return self.cpu / self.wall


def busy_without_faults(daemon, tree, bystanders, rounds=20):
    busy = Busy(daemon)
    for _ in range(rounds):
        clean(daemon, tree, bystanders)
    return busy.stop()


def check_serving(daemon, tree, fault, calls):
    """The bystanders' connections are there before; no fault is theirs, so none may touch them."""
    statuses = STATUS.get(fault.error, ())
    with daemon.connect(3) as b3, daemon.connect(1) as b1:
        honest = busy_without_faults(daemon, tree, (b3, b1))
        busy = Busy(daemon)
        for n in calls:
            fault.arm(n)
            refused, fired = visits(daemon, tree, statuses), fault.fired
            fault.disarm()
            assert fired or n > 1, "never called"
            assert not refused or (fault.function, fault.error) not in HARMLESS, f"call {n}: a client has noticed"
            clean(daemon, tree, (b3, b1))
            if not fired:
                break
        else:
            assert calls[-1] < MOST, "never a run without a failing call"
        assert busy.stop() < honest + 0.4 + 0.2 / busy.wall, \
            f"{busy.cpu:.2f} s of CPU in {busy.wall:.2f} s; without faults {honest:.2f} a second"
    daemon.at_rest()


@pytest.mark.parametrize("fault", SERVING, indirect=True, ids=ids(SERVING))
def test_serving(start, tree, fault, monkeypatch):
    check_serving(faulty_daemon(start, tree, fault, fault.model, monkeypatch), tree, fault, SOME)


@pytest.mark.long
@pytest.mark.parametrize("fault", SERVING, indirect=True, ids=ids(SERVING))
def test_serving_every_call(start, tree, fault, monkeypatch):
    check_serving(faulty_daemon(start, tree, fault, fault.model, monkeypatch), tree, fault, range(1, MOST + 1))


COLD = [("malloc", "ENOMEM"), ("openat2", "EMFILE"), ("openat2", "EINTR"), ("fstat", "EIO")]


@pytest.mark.parametrize("fault", COLD, indirect=True, ids=ids(COLD))
def test_cold(start, tree, fault, monkeypatch):
    """Nothing is known beforehand, so that every first request learns."""
    fault.arm(0)
    daemon = faulty_daemon(start, tree, fault, POOL, monkeypatch, "index = { scan = false; watch = false; };\n")
    with daemon.connect(3) as c:
        for n, uri in enumerate(tree.files, 1):
            fault.arm(n % 7 + 1)
            r = c.get(uri)
            Visit(daemon, tree, 3, STATUS[fault.error] if fault.error in STATUS else ()).check(uri, r)
            fault.disarm()
    clean(daemon, tree, ())


@pytest.mark.parametrize("fault", [("accept4", "EMFILE")], indirect=True, ids=str)
def test_accept_pauses_and_goes_on(start, tree, fault, monkeypatch):
    """Out of descriptors for ten attempts: those already in are served, those who knock wait and are let in."""
    daemon = faulty_daemon(start, tree, fault, "thread-pool", monkeypatch)
    with daemon.connect(3) as inside:
        cpu = daemon.cpu_seconds()
        fault.arm(1, 10)
        with daemon.connect(1) as knocking:
            knocking.ask("/a.txt")
            d.wait_until(lambda: fault.fired >= 3)
            assert inside.get("/a.txt", op=p.STAT, mode=0).status == p.OK
            knocking.reply().close()
        assert fault.fired == 10
        assert daemon.cpu_seconds() - cpu < 0.2, "it spins"
        assert "cannot accept: " + os.strerror(errno.EMFILE) in daemon.log()


RELOAD = [("openat2", "EMFILE"), ("open", "EMFILE"), ("malloc", "ENOMEM"), ("calloc", "ENOMEM"),
          ("aligned_alloc", "ENOMEM"), ("inotify_init1", "EMFILE"), ("inotify_add_watch", "ENOSPC"),
          ("epoll_add", "ENOSPC")]


def reload(daemon):
    """Asks for one and waits for its end. True: the new configuration is in service."""
    seen, said = daemon.log().count("reloaded\n"), daemon.log_path.stat().st_size
    daemon.signal(signal.SIGHUP)
    d.wait_until(lambda: daemon.log().count("reloaded\n") > seen, message=daemon.log)
    return "not reloaded" not in daemon.log()[said:]


@pytest.mark.parametrize("fault", RELOAD, indirect=True, ids=ids(RELOAD))
def test_reload(start, tree, fault, monkeypatch):
    """Whatever fails, either the old configuration or the new one serves."""
    daemon = faulty_daemon(start, tree, fault, POOL, monkeypatch)
    fired = 0
    for n in SOME:
        for text in ("index = { scan = false; watch = false; };\n", ""):
            daemon.config.write_text(text)
            fault.arm(n)
            reload(daemon)
            fired += fault.fired
            fault.disarm()
            clean(daemon, tree, ())
    assert fired
    for text in ("index = { scan = false; watch = false; };\n", ""):
        daemon.config.write_text(text)
        assert reload(daemon)
    clean(daemon, tree, ())


WATCHING = [("epoll_add", "ENOSPC"), ("inotify_init1", "EMFILE"), ("inotify_add_watch", "ENOSPC")]


@pytest.mark.parametrize("fault", WATCHING, indirect=True, ids=ids(WATCHING))
def test_what_is_not_watched_is_looked_at(start, tree, fault, monkeypatch):
    """STAT is answered from the index only while changes are reported."""
    daemon = faulty_daemon(start, tree, fault, POOL, monkeypatch)
    daemon.config.write_text("index = { watch = false; };\n")
    assert reload(daemon)
    scans = daemon.log().count("scan done")
    daemon.config.write_text("")
    fault.arm(1)
    assert reload(daemon)
    d.wait_until(lambda: daemon.log().count("scan done") > scans)
    assert fault.fired and "cannot watch" in daemon.log()
    fault.disarm()
    with daemon.connect(3) as c:
        assert c.stat("/a.txt").size == len(tree.files["/a.txt"])
        (tree.path / "a.txt").write_bytes(b"a longer text than before\n")
        d.wait_until(lambda: c.stat("/a.txt").size == 26, seconds=5, message="what STAT says is out of date for good")
    daemon.config.write_text("index = { watch = false; };\n")
    assert reload(daemon)
