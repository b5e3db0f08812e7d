# SPDX-License-Identifier: MIT
"""One call of one libc function fails, the first, the second, and so on until none is reached any more.

At start that ends the daemon cleanly, with a message, or does not matter. Later it costs a status or the connection of
the client that was served, and nothing else. The long versions take every call, the short ones some.
"""
import errno
import mmap
import os
import pathlib
import signal
import struct
import subprocess
import time

import daemon as d
import omproto as p
import pytest
from omclient import Closed

pytestmark = pytest.mark.skipif(d.INSTRUMENTED, reason="a sanitizer has its own allocator and must be loaded first")

LIBRARY = d.ROOT / d.BUILD / "fault.so"
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

SERVING = [
    ("malloc", "ENOMEM"), ("calloc", "ENOMEM"), ("aligned_alloc", "ENOMEM"), ("accept4", "EMFILE"),
    ("accept4", "ENFILE"), ("accept4", "ENOMEM"), ("accept4", "EINTR"), ("accept4", "ECONNABORTED"),
    ("getsockopt", "ENOBUFS"), ("setsockopt", "ENOMEM"), ("recv", "EINTR"), ("recv", "ENOMEM"),
    ("recv", "ECONNRESET"), ("recv", "EAGAIN"), ("send", "EAGAIN"), ("sendmsg", "EINTR"), ("sendmsg", "ENOMEM"),
    ("sendmsg", "EAGAIN"), ("sendmsg", "ENOBUFS"), ("sendmsg", "EPIPE"), ("sendmsg", "ETOOMANYREFS"),
    ("openat2", "EMFILE"), ("openat2", "ENFILE"), ("openat2", "ENOMEM"), ("openat2", "EINTR"), ("openat2", "EAGAIN"),
    ("openat2", "EIO"), ("fstat", "EIO"), ("epoll_add", "ENOSPC"), ("epoll_mod", "ENOMEM"), ("epoll_wait", "EINTR"),
    ("epoll_create1", "EMFILE"), ("eventfd", "EMFILE"), ("pthread_create", "EAGAIN"),
]


class Fault:
    """The library's control words, shared with a daemon that is started while this is set in the environment."""

    def __init__(self, directory, function, error):
        path = pathlib.Path(directory) / "fault"
        path.write_bytes(bytes(32))
        with open(path, "r+b") as f:
            self.words = mmap.mmap(f.fileno(), 32)
        self.env = {"LD_PRELOAD": str(LIBRARY), "OBJM_FAULT": f"{function}:{error}:0", "OBJM_FAULT_CONTROL": str(path)}

    def arm(self, nth, many=1):
        self.words[:] = struct.pack("=QQQQ", nth, many, 0, 0)

    def disarm(self):
        self.words[:8] = bytes(8)

    def word(self, i):
        return struct.unpack_from("=Q", self.words, 8 * i)[0]

    @property
    def calls(self):
        return self.word(2)

    @property
    def fired(self):
        return self.word(3)


@pytest.fixture(scope="module", autouse=True)
def library():
    mode = pathlib.Path(d.BUILD).name
    subprocess.run(["make", "-s", f"MODE={mode}", str(LIBRARY.relative_to(d.ROOT))], cwd=d.ROOT, check=True)


@pytest.fixture
def fault(workdir, request):
    f = Fault(workdir, *request.param)
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


def check_start(workdir, tree, fault, model, calls):
    for n in calls:
        fault.arm(n)
        status, text = start_once(workdir, tree, fault, model)
        if status == 0:
            assert ": ready\n" in text, f"call {n}: ended without a word"
        else:
            assert status in (1, 2) and "objmapperd: " in text, f"call {n}: exit status {status}: {text!r}"
            assert ": ready\n" not in text, f"call {n}: {text!r}"
        assert not (workdir / "sock").exists(), f"call {n}: left its socket file behind"
        assert not (workdir / "sock.lock").exists(), f"call {n}: left its lock file behind"
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

REFUSALS = (p.INTERNAL, p.STORAGE, p.NO_MEMORY, p.UNAVAILABLE, p.NOT_FOUND)


class Visit:
    """One connection's worth of requests; the fault may end it, but not make it wrong or silent."""

    def __init__(self, daemon, tree, version):
        self.daemon, self.tree, self.version = daemon, tree, version
        self.refused = 0

    def check(self, uri, r):
        if r.status == p.OK:
            assert r.fd >= 0 and os.pread(r.fd, 1 << 21, 0) == self.tree.files[uri]
        else:
            assert r.status in REFUSALS and r.fd < 0
            self.refused += 1
        r.close()

    def requests(self, c, uris):
        for uri in uris[:3]:
            self.check(uri, c.get(uri))
        c.ask_many(uris)
        for i in range(len(uris)):
            r = c.reply()
            self.check(uris[r.id if self.version == 3 else i], r)
        assert c.get("/none").status in REFUSALS

    def run(self, uris):
        try:
            with self.daemon.connect(self.version) as c:
                self.requests(c, uris)
        except (Closed, ConnectionError, p.Bad) as e:
            assert not isinstance(e, p.Bad) or self.version == 3, "only a refusal in the form of version 1"
            self.refused += 1


def uris_of(tree, version):
    many = [uri for uri in tree.files if uri.startswith("/many/")]
    return [uri for uri in tree.files if uri not in many] + (many if version == 3 else many[:9])


def workload(daemon, tree):
    for version in (3, 1):
        Visit(daemon, tree, version).run(uris_of(tree, version))


def clean(daemon, tree, bystanders):
    """Nothing fails now: every request of everyone is granted."""
    for c in bystanders:
        for uri in ("/a.txt", "/sub/b.bin"):
            r = c.get(uri)
            assert r.status == p.OK and os.pread(r.fd, 8192, 0) == tree.files[uri]
            r.close()
    for version in (3, 1):
        visit = Visit(daemon, tree, version)
        visit.run(uris_of(tree, version))
        assert visit.refused == 0


def faulty_daemon(start, tree, fault, model, monkeypatch, config=""):
    with monkeypatch.context() as m:
        for name, value in fault.env.items():
            m.setenv(name, value)
        daemon = start({"/": tree.path}, "--concurrency-model", model, config=config)
    d.wait_until(lambda: "scan done" in daemon.log() or "scan = false" in config)
    return daemon


def check_serving(daemon, tree, fault, calls, many=1):
    """The bystanders' connections are there before; no fault is theirs, so none may touch them."""
    with daemon.connect(3) as b3, daemon.connect(1) as b1:
        clean(daemon, tree, (b3, b1))
        wall, cpu = time.monotonic(), daemon.cpu_seconds()
        for n in calls:
            fault.arm(n, many)
            workload(daemon, tree)
            fired = fault.fired
            fault.disarm()
            clean(daemon, tree, (b3, b1))
            if not fired:
                break
        else:
            assert calls[-1] < MOST, "never a run without a failing call"
        wall, cpu = time.monotonic() - wall, daemon.cpu_seconds() - cpu
        assert cpu < 0.7 * wall + 0.2, f"{cpu:.2f} s of CPU in {wall:.2f} s"
    daemon.at_rest()


@pytest.mark.parametrize("fault", SERVING, indirect=True, ids=ids(SERVING))
def test_serving(start, tree, fault, monkeypatch):
    daemon = faulty_daemon(start, tree, fault, "thread-pool", monkeypatch)
    check_serving(daemon, tree, fault, SOME)


@pytest.mark.long
@pytest.mark.parametrize("fault", SERVING, indirect=True, ids=ids(SERVING))
def test_serving_every_call(start, tree, fault, model, monkeypatch):
    daemon = faulty_daemon(start, tree, fault, model, monkeypatch)
    check_serving(daemon, tree, fault, range(1, MOST + 1))


@pytest.mark.parametrize("fault", [("malloc", "ENOMEM"), ("openat2", "EMFILE"), ("openat2", "EAGAIN")], indirect=True,
                         ids=str)
def test_cold(start, tree, fault, monkeypatch):
    """Nothing is known beforehand, so that every first request learns."""
    daemon = faulty_daemon(start, tree, fault, "thread-pool", monkeypatch, "index = { scan = false; watch = false; };\n")
    check_serving(daemon, tree, fault, SOME)


THREADED = [("pthread_create", "EAGAIN"), ("epoll_create1", "EMFILE"), ("aligned_alloc", "ENOMEM"), ("malloc", "ENOMEM")]


@pytest.mark.parametrize("fault", THREADED, indirect=True, ids=ids(THREADED))
def test_models_that_start_threads(start, tree, fault, model, monkeypatch):
    daemon = faulty_daemon(start, tree, fault, model, monkeypatch)
    check_serving(daemon, tree, fault, SOME)


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


@pytest.mark.parametrize("fault", [("openat2", "EMFILE")], indirect=True, ids=str)
def test_reload_without_descriptors(start, tree, fault, monkeypatch):
    """A reload that fails leaves the old configuration in service."""
    daemon = faulty_daemon(start, tree, fault, "thread-pool", monkeypatch)
    daemon.argv = [a for a in daemon.argv]
    for n in SOME:
        fault.arm(n)
        seen = daemon.log().count("reloaded")
        daemon.signal(signal.SIGHUP)
        d.wait_until(lambda: daemon.log().count("reloaded") > seen)
        fault.disarm()
        clean(daemon, tree, ())
