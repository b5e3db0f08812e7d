# SPDX-License-Identifier: MIT
"""One test a bug that once was: each is named for what broke.

A thread that the kernel keeps in a system call, as a slow disk does, is one that Tracee stops there.
"""
import contextlib
import ctypes
import os
import platform
import signal
import struct
import subprocess
import threading
import time

import daemon as d
import omproto as p
import omring
import pytest
from daemon import wait_until
from faults import Fault
from omclient import Client, Closed
from omring import Ring
from test_fault import faulty_daemon, reload

RESOLVE_CACHED = 0x20
OPENAT2 = 437
SENDMSG, FUTEX, EPOLL_WAIT = {"x86_64": (46, 202, 232), "aarch64": (211, 98, 22)}.get(platform.machine(), (None,) * 3)
FUTEX_CMD_MASK, FUTEX_WAITS, FUTEX_WAKE = 0x7F, (0, 9), 1
needs_numbers = pytest.mark.skipif(SENDMSG is None, reason="this machine's system call numbers are not known")

NO_INDEX = "index = { scan = false; watch = false; };\n"


# ---- means -----------------------------------------------------------------------------------------------------------

class Tracee:
    """A thread of a daemon under ptrace(2). Use it from one thread, and leave it before the daemon is waited for."""

    DETACH, SYSCALL, SEIZE, INTERRUPT, GET_SYSCALL_INFO = 17, 24, 0x4206, 0x4207, 0x420E
    TRACESYSGOOD, SYSCALL_STOP, ENTRY = 1, signal.SIGTRAP | 0x80, 1
    WALL = 0x40000000

    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long

    def __init__(self, tid):
        self.tid, self.stopped = tid, False
        try:
            self.ptrace(self.SEIZE, 0, self.TRACESYSGOOD)
        except PermissionError:
            pytest.skip("ptrace is not permitted here")

    def __enter__(self):
        self.ptrace(self.INTERRUPT)
        self.wait_for_stop()
        self.resume()
        return self

    def __exit__(self, *exc):
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            if not self.stopped:
                self.ptrace(self.INTERRUPT)
                self.wait_for_stop()
            self.ptrace(self.DETACH)

    def ptrace(self, request, addr=0, data=0):
        if self.libc.ptrace(request, self.tid, addr, data) < 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    def resume(self):
        """On to the next system call's beginning or end."""
        self.ptrace(self.SYSCALL)
        self.stopped = False

    def wait_for_stop(self):
        status = wait_until(lambda: dict([os.waitpid(self.tid, os.WNOHANG | self.WALL)]).get(self.tid),
                            message="the thread did not come to where it is to be stopped")
        if not os.WIFSTOPPED(status):
            raise ProcessLookupError
        self.stopped = True
        return os.WSTOPSIG(status)

    def call(self):
        """Number and arguments of the call that begins here; None: one ends."""
        info = ctypes.create_string_buffer(96)
        self.ptrace(self.GET_SYSCALL_INFO, len(info), ctypes.addressof(info))
        nr, *args = struct.unpack_from("=7Q", info, 24)
        return (nr, args) if info.raw[0] == self.ENTRY else None

    def enters(self, wanted):
        """Lets the thread go on until it enters a call with wanted(number, arguments); there it stays."""
        if self.stopped:
            self.resume()
        while True:
            call = self.call() if self.wait_for_stop() == self.SYSCALL_STOP else None
            if call and wanted(*call):
                return
            self.resume()

    def leaves(self):
        """Lets the call that it has entered end; there it stays."""
        self.resume()
        self.wait_for_stop()

    def looks_on_disk(self, nr, args):
        """A lookup that may sleep."""
        if nr != OPENAT2:
            return False
        with open(f"/proc/{self.tid}/mem", "rb") as memory:
            memory.seek(args[2])
            return not struct.unpack("=3Q", memory.read(24))[2] & RESOLVE_CACHED


def threads(daemon):
    return {int(tid) for tid in os.listdir(daemon.proc_dir / "task")}


def threads_named(daemon, name):
    """Those whose name begins so."""
    return [t for t in threads(daemon) if (daemon.proc_dir / "task" / str(t) / "comm").read_text().startswith(name)]


@contextlib.contextmanager
def hung_lookup(daemon, tid, client, uri):
    """The thread is in a lookup for the client for as long as this lasts."""
    with Tracee(tid) as tracee:
        client.ask(uri)
        tracee.enters(tracee.looks_on_disk)
        yield tracee


@pytest.fixture
def faulty(start, tree, workdir, monkeypatch):
    """faulty(function, error, model) -> daemon, fault."""
    if d.INSTRUMENTED:
        pytest.skip("a sanitizer has its own allocator and must be loaded first")
    with contextlib.ExitStack() as stack:
        def run(function, error, model):
            fault = Fault(workdir, function, error)
            stack.callback(fault.words.close)
            return faulty_daemon(start, tree, fault, model, monkeypatch), fault

        yield run


def v1_request(uri):
    return p.v1_request_encode(p.V1Request(p.FD, uri))


# ---- reload ----------------------------------------------------------------------------------------------------------

def churn(directory, stop):
    n = 0
    while not stop.is_set():
        file = directory / f"new{n % 50}"
        file.touch()
        if n % 3 == 0:
            file.unlink()
        n += 1


@pytest.mark.threads
def test_reloads_while_files_change_tied_the_inbox_into_a_loop(start, tree):
    daemon = start({"/": tree.path})
    stop = threading.Event()
    thread = threading.Thread(target=churn, args=(tree.path, stop))
    thread.start()
    try:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            for _ in range(200):
                daemon.signal(signal.SIGHUP)
                time.sleep(0.0005)
            before = daemon.log().count("reloaded\n")
            daemon.signal(signal.SIGHUP)
            wait_until(lambda: daemon.log().count("reloaded\n") > before, message="reloads no more")
    finally:
        stop.set()
        thread.join()
    assert daemon.get_status("/a.txt") == p.OK


def idles(nr, args):
    """A thread of the pool waits for work, or for a lock."""
    return (nr == FUTEX and args[1] & FUTEX_CMD_MASK in FUTEX_WAITS) or (
        nr == EPOLL_WAIT and ctypes.c_int32(args[3]).value == -1)


def reload_between_two_changes(tree, main, pool):
    """While the pool's answer to the first change is in the main thread's inbox, it answers to the second."""
    pool.enters(idles)
    pool.resume()
    main.enters(lambda nr, args: nr == EPOLL_WAIT)
    os.kill(main.tid, signal.SIGHUP)
    (tree.path / "first").touch()
    main.enters(lambda nr, args: nr == EPOLL_WAIT)
    pool.enters(idles)
    (tree.path / "second").touch()
    pool.resume()
    main.leaves()
    main.enters(lambda nr, args: True)
    main.leaves()
    pool.enters(idles)
    while pool.call()[0] == FUTEX:  # the main thread has the lock
        main.enters(lambda nr, args: nr == FUTEX)
        main.leaves()
        pool.enters(idles)


@needs_numbers
def test_change_and_reload_posted_the_same_mail_twice(start, tree):
    daemon = start({"/": tree.path}, "--copy-pool-size", "1")
    wait_until(lambda: "scan done" in daemon.log())
    (pool,) = threads_named(daemon, "objm-pool")
    with Tracee(pool) as worker, Tracee(daemon.proc.pid) as main:
        reload_between_two_changes(tree, main, worker)
    assert reload(daemon)


def test_reload_and_signals_waited_for_a_hung_lookup(start, tree):
    daemon = start({"/": tree.path}, "--copy-pool-size", "1", config=NO_INDEX)
    (pool,) = threads_named(daemon, "objm-pool")
    with daemon.connect(1) as c:
        with hung_lookup(daemon, pool, c, "/hangs"):
            daemon.config.write_text(NO_INDEX + 'timeouts = { drain = "30s"; };\n')
            assert reload(daemon)
            daemon.config.write_text("index = { scan = false; };\n")
            assert reload(daemon), "with another store"
            assert daemon.get_status("/a.txt") == p.OK
            daemon.signal(signal.SIGTERM)
            wait_until(lambda: "draining\n" in daemon.log(), message=daemon.log)
        assert c.reply().status == p.NOT_FOUND
    assert daemon.exit_status() == 0


def test_sleeping_worker_kept_the_old_idle_timeout(start, tree, model):
    daemon = start({"/": tree.path}, "--concurrency-model", model, "--pool-size", "1",
                   config='timeouts = { idle = "0s"; };\n')
    with daemon.connect(3) as c:
        c.ping()
        daemon.config.write_text('timeouts = { idle = "100ms"; };\n')
        assert reload(daemon)
        assert c.eof()


# ---- replies ---------------------------------------------------------------------------------------------------------

@needs_numbers
def test_busy_reply_overtook_the_rest_of_a_batch(start, tree):
    """The client reads just before the daemon sends, so that there is always room for what comes next."""
    daemon = start({"/": tree.path}, "--copy-pool-size", "1", "--pool-size", "1", config=NO_INDEX +
                   "concurrency = { max_queue_depth = 1; optimize_for_latency = false; };\n")
    (pool,), (worker,) = threads_named(daemon, "objm-pool"), threads_named(daemon, "objm-worker")
    with daemon.connect(1) as hangs, daemon.connect(1) as waits, daemon.connect(3) as c:
        with hung_lookup(daemon, pool, hangs, "/hangs"):
            waits.ask("/waits")
            c.ping()
            with Tracee(worker) as tracee:
                for n in range(10, 260, 10):
                    check_in_order(c, tracee, n)
        assert [hangs.reply().status, waits.reply().status] == [p.NOT_FOUND] * 2


def check_in_order(c, tracee, n):
    """Many refusals, with a text each so that the batch is long, and then what the pool has no room for."""
    data = b"".join(p.request_encode(p.Request(9, flags=p.METADATA, id=i)) for i in range(n))
    c.send(data + p.request_encode(p.Request(p.GET, p.FD, id=n, uri=b"/cold/%d" % n)))
    c.sock.setblocking(False)
    replies = []
    while len(replies) <= n:
        tracee.enters(lambda nr, args: nr in (SENDMSG, EPOLL_WAIT))
        with contextlib.suppress(BlockingIOError):
            while True:
                replies.append(c.message(p.response_decode))
                assert replies[-1].id == len(replies) - 1, f"after {len(replies) - 1} replies: {replies[-1]}"
    assert [r.status for r in replies] == [p.UNSUPPORTED] * n + [p.UNAVAILABLE]


def test_requests_taken_back_before_a_partial_one_stayed_unanswered(faulty):
    daemon, fault = faulty("sendmsg", "ETOOMANYREFS", "thread-pool")
    whole = [p.request_encode(p.Request(p.GET, p.FD, id=i, uri=b"/a.txt")) for i in range(3)]
    with daemon.connect(3) as c:
        fault.arm(1)
        c.send(b"".join(whole)[:-10])
        assert [(c.reply().id, fault.fired) for _ in range(2)] == [(0, 1), (1, 1)]
        c.send(whole[2][-10:])
        r = c.reply()
        r.close()
        assert (r.id, r.status) == (2, p.OK)


def test_too_many_descriptors_in_flight_closed_with_a_thread_per_request(faulty):
    daemon, fault = faulty("sendmsg", "ETOOMANYREFS", "thread-per-request")
    with daemon.connect(3) as c:
        for expected in (p.UNAVAILABLE, p.OK):
            fault.arm(1 if expected else 0)
            r = c.get("/a.txt")
            r.close()
            assert r.status == expected


# ---- resources -------------------------------------------------------------------------------------------------------

def stuck_client(daemon, refusals):
    """Of version 1: it asks and does not read. With its grants the socket is full in front of a header or behind it."""
    c = Client(daemon.socket)
    c.sock.setblocking(False)
    with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
        c.sock.send(v1_request(b"/none") * refusals + v1_request(b"/a.txt") * 200)
    return c


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's daemon meets the kernel's limit on descriptors in "
                                              "flight (ETOOMANYREFS) before its own on open ones")
@pytest.mark.parametrize("refusals", range(3))
def test_stuck_clients_held_every_descriptor(start, tree, refusals):
    daemon = start({"/": tree.path}, config="index = { watch = false; };\n", nofile=1024)
    with contextlib.ExitStack() as stack:
        for _ in range(505):
            stack.enter_context(stuck_client(daemon, refusals))
        daemon.settled(daemon.fds)
        for version in (1, 3):
            assert daemon.get_status("/a.txt", version) == p.OK
        assert "cannot accept" not in daemon.log()


def test_ended_threads_waited_for_a_hung_lookup(start, tree):
    daemon = start({"/": tree.path}, "--concurrency-model", "thread-per-connection", "--copy-pool-size", "1",
                   config=NO_INDEX)
    (pool,) = threads_named(daemon, "objm-pool")
    with daemon.connect(3) as c:
        with hung_lookup(daemon, pool, c, "/hangs"):
            for _ in range(30):
                assert daemon.get_status("/a.txt") == p.OK
            wait_until(lambda: daemon.threads() <= daemon.threads_at_start + 1,
                       message=lambda: f"{daemon.threads() - daemon.threads_at_start - 1} threads do not end")
        assert c.reply().status == p.NOT_FOUND


@needs_numbers
def test_a_ring_found_bad_on_the_way_to_sleep_left_its_thread_behind(start, tree):
    """While its worker wakes the client, which is the last that it does before it sleeps."""
    daemon = start({"/": tree.path}, "--concurrency-model", "thread-per-connection",
                   config="concurrency = { optimize_for_latency = false; };\n")
    with Ring(daemon.socket) as c:
        (own,) = threads_named(daemon, "objm-own")
        with Tracee(own) as tracee:
            c.store(omring.ASLEEP, omring.STEP | omring.FUTEX)
            c.put(p.PING)
            c.publish()
            tracee.enters(lambda nr, args: nr == FUTEX and args[1] & FUTEX_CMD_MASK == FUTEX_WAKE)
            c.store(omring.HEAD, 1 << 31)
        assert c.gone()
    daemon.at_rest()


# ---- drain -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("n", [2048, 5000])
def test_drain_forgot_requests_at_the_end_of_a_buffer(start, tree, n):
    """16 bytes each: they end where the daemon's buffer does."""
    daemon = start({"/": tree.path}, config='timeouts = { drain = "30s"; };\n')
    with daemon.connect(1) as c:
        c.send(v1_request(b"/many/0000000") * n)
        daemon.settled(daemon.fds)
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: "draining\n" in daemon.log())
        for i in range(n):
            try:
                c.reply().close()
            except Closed:
                pytest.fail(f"{i} of {n} requests were answered")
        assert c.eof()
    assert daemon.exit_status() == 0


def test_hang_up_signal_ended_the_drain(start, tree):
    daemon = start({"/": tree.path}, config='timeouts = { drain = "600s"; };\n')
    request = v1_request(b"/a.txt")
    with daemon.connect(1) as c, daemon.connect(1) as never:
        for client in (c, never):
            client.get("/a.txt").close()
            client.send(request[:2])
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: "draining\n" in daemon.log())
        daemon.signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            daemon.proc.wait(0.5)
        c.send(request[2:])
        r = c.reply()
        r.close()
        assert r.status == p.OK and c.eof()
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_status() == 0, "the second one ends what would last ten minutes"


def test_stat_of_what_was_unmounted(start, workdir):
    """The index went on to say what had been below the mount."""
    sub = workdir / "tree" / "sub"
    sub.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", sub], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        (sub / "a").write_bytes(b"a")
        daemon = start({"/": workdir / "tree"})
        wait_until(lambda: "scan done: 1 objects" in daemon.log())
        with daemon.connect(3) as c:
            assert c.stat("/sub/a").status == p.OK
            subprocess.run(["umount", sub], check=True)
            wait_until(lambda: c.stat("/sub/a").status == p.NOT_FOUND)
    finally:
        subprocess.run(["umount", sub], capture_output=True, check=False)
