# SPDX-License-Identifier: MIT
"""Objects over TCP. What bodies owe to their clients is that of test_bodies and test_bodies_hostile, of which those
tests run here again that ask for no descriptor; what follows them is TCP's own."""
import contextlib
import errno
import os
import random
import signal
import socket
import struct
import subprocess
import sys

import omproto as p
import pytest
from daemon import BIN, PATIENCE, wait_until
from omclient import V1, V3, Closed
from test_bodies import (  # noqa: F401 (fixtures, and tests that run again)
    ALL, SIZES, body_under_way, check, check_every_size, connect, daemon, drain, ids, large, sized,
    test_client_that_reads_little_at_a_time, test_drain_cuts_a_stalled_body, test_five_gigabytes,
    test_head_and_small_body_come_together, test_hundred_at_once, test_idle_timeout_does_not_cut_a_body,
    test_if_version, test_large, test_last_request_of_a_connection, test_pool_of_one_takes_turns, test_ranges,
    test_second_signal_cuts_a_stalled_body, test_tiny_queue_refuses_but_answers, way)
from test_bodies_hostile import (  # noqa: F401
    BAD, OBJECTS, PATIENT, Tricklers, ask_and_stop, ended, get_copy, get_fd, keep_half, marked, often, rate,
    test_four_hundred_of_each_are_gone_by_their_deadline, test_overwritten_on_the_way,
    test_reload_with_a_body_under_way,
    test_replaced_or_removed_on_the_way, test_small_bodies_for_a_client_that_does_not_read,
    test_stalled_and_trickling_clients_end, test_stalled_clients_cost_no_cpu,
    test_stalled_clients_leave_descriptors_for_the_others, test_truncated_on_the_way,
    test_truncated_to_nothing_and_grown_again)
from test_regressions import NO_INDEX, hung_lookup, threads_named

HOST = "127.0.0.1"
UNSENT = 192 << 10  # bytes that may wait for a client that does not read, objmapperd(8)


@pytest.fixture
def start(start):
    """Daemons that listen on TCP as well, to which their clients connect."""
    return lambda exports=None, *args, **kw: start(exports, *args, **{"tcp": HOST, **kw})


# Of the tests that take seconds: each version and each mode once.
ONE_OF_EACH = pytest.mark.parametrize("way", [(1, p.COPY), (3, p.SPLICE)], indirect=True, ids=["v1-2", "v3-3"])


@pytest.fixture(params=[1, 3], ids=["v1", "v3"])
def version(request):
    return request.param


def no_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
    except OSError as e:
        return e.strerror
    return None


# ---- equality --------------------------------------------------------------------------------------------------------

@pytest.mark.threads
@pytest.mark.parametrize("way", ALL, ids=ids(ALL))
def test_every_size_in_every_model(start, sized, way, model):
    version, mode = way
    daemon = start({"/": sized.path}, "--concurrency-model", model)
    with connect(daemon, version) as c:
        check_every_size(c, sized, mode)
        check(c.get("/a.txt", mode=mode), b"hello\n")


@pytest.mark.parametrize("way", ALL, ids=ids(ALL))
def test_every_size_that_the_index_does_not_know(start, sized, way):
    version, mode = way
    daemon = start({"/": sized.path}, config=NO_INDEX)
    with connect(daemon, version) as c:
        for size in SIZES:
            check(c.get(f"/s{size}", mode=mode), sized.files[f"/s{size}"])


@pytest.mark.skipif(no_ipv6(), reason=f"no IPv6 here: {no_ipv6()}")
@pytest.mark.parametrize("way", ALL, ids=ids(ALL))
def test_ipv6(start, sized, way):
    version, mode = way
    daemon = start({"/": sized.path}, tcp="::1")
    assert daemon.address[0] == "::1"
    with connect(daemon, version) as c:
        for size in SIZES:
            check(c.get(f"/s{size}", mode=mode), sized.files[f"/s{size}"])


def test_auto_is_inline_or_copied(daemon, sized):
    for hello in (p.Hello(capabilities=p.BODIES), p.Hello(capabilities=p.BODIES, inline_limit=4096),
                  p.Hello(capabilities=p.CAP_FD_BATCH), p.Hello(capabilities=0)):
        with daemon.connect(3, hello=hello) as c:
            assert c.hello.capabilities == hello.capabilities & ~p.CAP_FD_BATCH
            assert c.hello.fds_max == 0
            for size in SIZES:
                r = c.get(f"/s{size}", mode=p.AUTO)
                assert r.mode == (p.INLINE if size <= c.hello.inline_limit and hello.capabilities & p.CAP_INLINE
                                  else p.COPY), size
                check(r, sized.files[f"/s{size}"])


def test_ranges_of_auto(daemon, sized):
    with connect(daemon, 3) as c:
        for size in (4096, 300_000):
            r = c.get(f"/s{size}", mode=p.AUTO, flags=p.RANGE, range_offset=4000, range_length=5000)
            assert r.body == sized.files[f"/s{size}"][4000:9000]


# ---- what cannot be had ----------------------------------------------------------------------------------------------

@pytest.mark.threads
def test_descriptor_is_refused_with_a_reason(start, sized, version, model):
    daemon = start({"/": sized.path}, "--concurrency-model", model)
    metadata = {"flags": p.METADATA} if version == 3 else {}
    with connect(daemon, version) as c:
        for uri in ("/a.txt", "/none", "/s300000"):
            r = c.get(uri, **metadata)
            assert (r.status, r.fd, r.body_len) == (p.INVALID_MODE, -1, 0)
            assert b"cannot cross TCP" in r.entries()[p.META_ERROR] and b"copy or splice" in r.entries()[p.META_ERROR]
            check(c.get("/s65537", mode=p.COPY), sized.files["/s65537"])
    assert daemon.get_status("/a.txt", version) == p.OK


def test_pipelined_with_descriptors(daemon, sized, version):
    rng = random.Random(5)
    requests = [(f"/s{rng.choice(SIZES)}", rng.choice((p.FD, p.COPY, p.SPLICE))) for _ in range(200)]
    with connect(daemon, version) as c:
        c.ask_each(requests)
        for i in range(len(requests)):
            r = c.reply()
            uri, mode = requests[r.id if version == 3 else i]
            if mode == p.FD:
                assert r.status == p.INVALID_MODE
            else:
                check(r, sized.files[uri])


def test_exports_with_lists_of_users_are_denied(start, tree, version):
    """Whoever connects: also the user that is listed."""
    path, uid, gid = tree.path, os.getuid(), os.getgid()
    daemon = start(config=f"""exports = ( {{ prefix = "/open/"; path = "{path}"; }},
        {{ prefix = "/uids/"; path = "{path}"; allow_uids = [ 0, {uid + 1}, {uid} ]; }},
        {{ prefix = "/gids/"; path = "{path}"; allow_gids = [ 0, {gid + 1}, {gid} ]; }} );\n""")
    with connect(daemon, version) as c:
        for _ in range(2):
            check(c.get("/open/a.txt", mode=p.COPY), b"hello\n")
            for uri in ("/uids/a.txt", "/gids/a.txt", "/uids/none", "/gids/big"):
                assert c.get(uri, mode=p.COPY).status == p.DENIED
                if version == 3:
                    assert c.get(uri, mode=p.AUTO).status == c.stat(uri).status == p.DENIED
    for uri in ("/uids/a.txt", "/gids/a.txt"):
        assert daemon.get_status(uri) == p.OK


def test_nothing_listens_unless_configured(start, tree):
    """tcp=None: the daemon is as it is without any option."""
    daemon = start({"/": tree.path}, tcp=None)
    assert not daemon.tcp_addresses()
    inodes = {t[8:-1] for t in daemon.fd_targets() if t.startswith("socket:[")}
    lines = [line.split() for name in ("tcp", "tcp6", "udp", "udp6") for line in net(name)]
    assert not [line for line in lines if line[9] in inodes]


def net(name):
    try:
        with open(f"/proc/net/{name}") as file:
            return file.readlines()[1:]
    except FileNotFoundError:
        return []


# ---- what waits for a client that does not read ----------------------------------------------------------------------

LISTEN, TIME_WAIT = "0A", "06"


def daemon_side(daemon):
    """[(bytes that the client has not acknowledged, state)] of its connections."""
    local = f":{daemon.address[1]:04X}"
    lines = [line.split() for line in net("tcp")]
    return [(int(line[4].split(":")[0], 16), line[3]) for line in lines
            if line[1].endswith(local) and line[3] not in (LISTEN, TIME_WAIT)]


@ONE_OF_EACH
def test_stalled_clients_hold_little_and_leave_nothing(start, large, way):
    daemon = start({"/": large.path}, config='timeouts = { request = "2s"; };\n')
    with contextlib.ExitStack() as stack:
        bad = ask_and_stop(daemon, stack, way, BAD)
        daemon.settled(lambda: sum(n for n, _ in daemon_side(daemon)))
        waiting = [n for n, _ in daemon_side(daemon)]
        assert len(waiting) == BAD and max(waiting) <= UNSENT, waiting
        wait_until(lambda: all(ended(c) for c in bad))
        wait_until(lambda: not daemon_side(daemon), message="the kernel keeps what the daemon has given up")
        with pytest.raises(Closed):
            for c in bad:
                c.take(32 << 20)
    daemon.at_rest()


@pytest.mark.timing  # 200 ms are soon over where a client is not let run
def test_wait_for_the_disk_is_not_held_against_the_client(start, large, way):
    daemon = start({"/": large.path}, "--copy-pool-size", "1",
                   config=NO_INDEX + 'timeouts = { request = "200ms"; };\n')
    (pool,) = threads_named(daemon, "objm-pool")
    with V1(daemon.socket) as hangs, connect(daemon, way[0]) as waits:
        with hung_lookup(daemon, pool, hangs, "/hangs"):
            waits.ask("/s1048576", way[1])
            with pytest.raises(TimeoutError):
                waits.sock.settimeout(1)
                waits.head()
        waits.sock.settimeout(PATIENCE)
        assert hangs.reply().status == p.NOT_FOUND
        check(waits.reply(), large.files["/s1048576"])


class Local:
    """The same daemon over its Unix socket."""

    def __init__(self, daemon):
        self.daemon = daemon

    def connect(self, version):
        return V1(self.daemon.socket)


@ONE_OF_EACH
@pytest.mark.timing
def test_stalled_and_trickling_clients_cost_the_others_little(start, large, way):
    daemon = start({"/": large.path}, "--copy-pool-size", "4", config=PATIENT)
    rate(daemon, get_copy)
    memory, alone, beside = daemon.anon_kb(), [], []
    for _ in range(3):
        alone.append((rate(daemon, get_copy), rate(Local(daemon), get_fd)))
        with contextlib.ExitStack() as stack:
            ask_and_stop(daemon, stack, way, BAD)
            stack.enter_context(Tricklers([c.sock for c in ask_and_stop(daemon, stack, way, BAD)]))
            beside.append((rate(daemon, get_copy), rate(Local(daemon), get_fd)))
            grown = daemon.anon_kb() - memory
        assert grown < 4096, f"{grown} KB for {2 * BAD} clients"
        if keep_half(alone, beside):
            break
    print(f"alone {alone}, beside {beside}, memory +{grown} KB")
    assert keep_half(alone, beside), (alone, beside)


def test_cut_off_while_replies_wait(start, large, version):
    """Small bodies, no transfer: the same holds."""
    daemon = start({"/": large.path}, config='timeouts = { request = "1s"; };\n')
    with connect(daemon, version) as c:
        c.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError, Closed):  # the end may come before the socket is full
            while True:
                c.ask("/s16384", p.COPY)
        wait_until(lambda: ended(c))
        wait_until(lambda: not daemon_side(daemon))


# ---- ends ------------------------------------------------------------------------------------------------------------

def test_half_close_during_bodies(daemon, sized, way):
    version, mode = way
    with connect(daemon, version) as c:
        c.ask_each([("/s1048576", mode), ("/a.txt", mode), ("/s4096", mode), ("/s300000", mode)])
        c.half_close()
        for uri in ("/s1048576", "/a.txt", "/s4096", "/s300000"):
            check(c.reply(), sized.files[uri])
        assert c.eof()


def reset(c):
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()


def vanish(daemon, tree, rng):
    """One client that asks for a few objects and resets the connection at some point."""
    version = rng.choice((1, 3))
    requests = [(f"/m{rng.randrange(OBJECTS)}", rng.choice((p.COPY, p.SPLICE))) for _ in range(rng.randrange(1, 4))]
    budget = rng.choice((0, 1, 1000, 100_000, 1 << 20))
    with connect(daemon, version) as c:
        c.ask_each(requests)
        if rng.random() < 0.1:
            c.half_close()
        for i in range(len(requests)):
            if rng.random() < 0.1:
                break
            r = c.head()
            n = min(budget, r.body_len)
            uri = requests[r.id if version == 3 else i][0]
            assert r.status == p.OK and c.take(n) == tree.files[uri][:n]
            budget -= n
            if n < r.body_len:
                rest = bytes(c.buf[c.at :])[: r.body_len - n]
                assert rest == tree.files[uri][n : n + len(rest)]
                break
        reset(c)


@pytest.mark.threads
def test_clients_that_reset(start, marked, model):
    daemon = start({"/": marked.path}, "--concurrency-model", model)
    often(daemon, 400, lambda rng: vanish(daemon, marked, rng))


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_clients_that_reset_a_hundred_thousand_times(start, marked, part):
    daemon = start({"/": marked.path})
    often(daemon, 25_000, lambda rng: vanish(daemon, marked, rng), part)


def test_last_reply_arrives_though_more_was_sent(start, sized, version):
    """A close with input unread would be a reset, which may overtake what was sent."""
    daemon = start({"/": sized.path}, config="concurrency = { persistent = false; };\n")
    for _ in range(20):
        with connect(daemon, version) as c:
            c.ask_each([("/s65536", p.COPY)] * 100)
            check(c.reply(), sized.files["/s65536"])


def test_status_arrives_before_the_end(daemon):
    with V1(daemon.address) as c:
        c.send(b"\xff" + b"x" * 20_000)
        assert c.reply().status == p.INVALID_MODE
        c.eof()


@pytest.mark.threads
def test_drain_lets_a_body_end(start, large, way, model):
    daemon = start({"/": large.path}, "--concurrency-model", model, config='timeouts = { drain = "30s"; };\n')
    with body_under_way(daemon, way) as c:
        c.ask("/s300000", way[1])
        drain(daemon)
        assert c.take(32 << 20) == large.files["/large"]
        check(c.reply(), large.files["/s300000"])
        assert c.eof()
    assert daemon.exit_status() == 0


# ---- limits and timeouts ---------------------------------------------------------------------------------------------

def test_too_many_connections(start, sized, version, model):
    daemon = start({"/": sized.path}, "--concurrency-model", model, config="concurrency = { max_connections = 2; };\n")
    with connect(daemon, version) as a, connect(daemon, version) as b:
        for c in (a, b):
            check(c.get("/a.txt", mode=p.COPY), b"hello\n")
        for _ in range(10):
            with V1(daemon.address) as c:
                assert c.head().status == p.UNAVAILABLE
                assert c.eof()
    wait_until(lambda: served(daemon))


def served(daemon):
    with contextlib.suppress(Closed, ConnectionResetError), V1(daemon.address) as c:
        return c.get("/a.txt", mode=p.COPY).status == p.OK


def test_timeouts(start, sized):
    daemon = start({"/": sized.path}, config='timeouts = { idle = "300ms"; request = "300ms"; };\n')
    for said in (b"", p.hello_encode(p.Hello()), b"2\0", p.hello_encode(p.Hello()) + p.REQUEST.pack(*[1] * 10)):
        with socket.create_connection(daemon.address) as s:
            s.settimeout(PATIENCE)
            s.sendall(said)
            while s.recv(100):
                pass


@pytest.mark.parametrize("nofile", [64])
def test_crowd_beyond_the_limit_of_descriptors(start, sized, nofile):
    daemon = start({"/": sized.path}, config="index = { watch = false; };\n", nofile=nofile)
    with contextlib.ExitStack() as stack:
        for _ in range(2 * nofile):
            stack.enter_context(contextlib.closing(socket.create_connection(daemon.address)))
    wait_until(lambda: served(daemon))


# ---- objmap ----------------------------------------------------------------------------------------------------------

def objmap(address, *args, status=0):
    host, port = address
    where = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
    done = subprocess.run([BIN.parent / "objmap", "--socket", where, *args], capture_output=True, timeout=PATIENCE)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr.decode()


@pytest.mark.parametrize("host", [HOST, pytest.param("::1", marks=pytest.mark.skipif(no_ipv6(), reason="no IPv6"))])
def test_objmap(start, sized, workdir, host):
    daemon = start({"/": sized.path}, tcp=host)
    for protocol in ("1", "3"):
        for mode in ((), ("--mode", "copy"), ("--mode", "splice"), ("--mode", "auto")):
            assert objmap(daemon.address, "--protocol", protocol, "cat", *mode, "/a.txt", "/s65537", "/s0") == (
                b"hello\n" + sized.files["/s65537"])
            objmap(daemon.address, "--protocol", protocol, "get", "-f", "-o", workdir / "out", *mode, "/s1048576")
            assert (workdir / "out").read_bytes() == sized.files["/s1048576"]
        for error, *args in (("a descriptor cannot cross TCP: ask for copy", "--mode", "fd", "/a.txt"),
                             ("not found\n", "/none")):
            assert error in objmap(daemon.address, "--protocol", protocol, "cat", *args, status=1)
    assert objmap(daemon.address, "cat", "--range", "100-199", "/s4096") == sized.files["/s4096"][100:200]
    assert b"/s4096: 4096 bytes" in objmap(daemon.address, "stat", "/s4096")
    assert b"in version 3" in objmap(daemon.address, "ping", "-c", "2")
    for mode in ("copy", "splice", "auto", "stat", "ping"):
        assert b"errors    0" in objmap(daemon.address, "bench", "--tree", sized.path, "--count", "50", "--mode", mode)
    assert b"bytes" in objmap(daemon.address, "bench", "--tree", sized.path, "--count", "50", "--connections", "4")
    assert "no descriptor" in objmap(daemon.address, "bench", "--tree", sized.path, "--mode", "fd", status=2)


def test_objmap_where_nobody_listens(start, tree):
    daemon = start({"/": tree.path})
    daemon.stop()
    assert "no daemon listens there" in objmap(daemon.address, "--timeout", "100", "cat", "/a.txt", status=1)
    assert "in numbers" in objmap(("localhost", 80), "cat", "/a.txt", status=1)


# ---- configuration ---------------------------------------------------------------------------------------------------

def run(workdir, *args, config="", **kw):
    (workdir / "c.conf").write_text(config)
    return subprocess.run([BIN, "--foreground", "--config", workdir / "c.conf", *args], capture_output=True, text=True,
                          timeout=PATIENCE, **kw)


def test_port_in_use(start, tree, workdir):
    port = start({"/": tree.path}).address[1]
    done = run(workdir, config=f'\nlisten = (\n{{ transport = "tcp"; port = {port}; }} );\n')
    assert done.returncode == 1
    assert f"{workdir}/c.conf:3: {HOST}:{port}: {os.strerror(errno.EADDRINUSE)}" in done.stderr
    done = run(workdir, "--tcp", f"{HOST}:{port}")
    assert done.returncode == 1 and f"--tcp: {HOST}:{port}: " in done.stderr


def test_address_of_another_machine(workdir):
    done = run(workdir, config='listen = ( { transport = "tcp"; port = 0; address = "192.0.2.1"; } );\n')
    assert done.returncode == 1
    assert f"{workdir}/c.conf:1: 192.0.2.1:0: {os.strerror(errno.EADDRNOTAVAIL)}" in done.stderr


@pytest.mark.parametrize("entry, key", [('port = 70000', "listen[0].port"),
                                        ('port = 1; address = "localhost"', "address"),
                                        ('port = 1; address = "::g"', "address"), ('address = "::1"', "no port")])
def test_wrong_entries(workdir, entry, key):
    done = run(workdir, "--check-config", config=f'listen = (\n{{ transport = "tcp"; {entry}; }} );\n')
    assert done.returncode == 1 and f"{workdir}/c.conf:2: " in done.stderr and key in done.stderr


@pytest.mark.parametrize("value", ["", "80", "localhost:80", "::1:80", "127.0.0.1:65536", "[::1]", "127.0.0.1:"])
def test_wrong_option(workdir, value):
    done = run(workdir, "--check-config", "--tcp", value)
    assert done.returncode == 1 and f"--tcp {value}: " in done.stderr


def test_entries_beside_each_other(start, tree, workdir):
    """As many as one likes; the file's, where no option says otherwise."""
    config = workdir / "c.conf"
    tcp = ['{ transport = "tcp"; port = 0; }'] * 3
    config.write_text(f"""listen = ( {tcp[0]}, {{ transport = "unix"; path = "{workdir}/s"; }}, {tcp[1]}, {tcp[2]} );
        exports = ( {{ prefix = "/"; path = "{tree.path}"; }} );\n""")
    daemon = start({"/": tree.path}, tcp=None)
    daemon.stop()
    daemon.argv = [str(BIN), "--config", str(config), "--foreground"]
    daemon.socket, daemon.stopped = str(workdir / "s"), False
    daemon.start()
    addresses = wait_until(lambda: len(daemon.tcp_addresses()) == 3 and daemon.tcp_addresses())
    for address in addresses:
        with V3(address) as c:
            check(c.get("/a.txt", mode=p.COPY), b"hello\n")
    assert daemon.get_status("/a.txt") == p.OK


PASS = """
import os, sys
for i in range(int(sys.argv[1])):
    os.set_inheritable(3 + i, True)
os.environ.update(LISTEN_FDS=sys.argv[1], LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def passed(workdir, socks, *args):
    """A daemon that is handed @socks, as systemd(1) would."""
    (workdir / "c.conf").touch()

    def place():
        for i, s in enumerate([os.dup(s.fileno()) for s in socks]):
            os.dup2(s, 100 + i)
        for i in range(len(socks)):
            os.dup2(100 + i, 3 + i)

    log = open(workdir / "log", "wb")
    with log:
        return subprocess.Popen([sys.executable, "-c", PASS, str(len(socks)), BIN, "--foreground", "--config",
                                 workdir / "c.conf", *args], stderr=log, preexec_fn=place, close_fds=False)


def test_sockets_passed_by_systemd(tree, workdir):
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server((HOST, 0)))
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        local.bind(str(workdir / "s"))
        local.listen()
        waiting = stack.enter_context(V3.__base__(tcp.getsockname()))  # connected before the daemon is there
        process = passed(workdir, [tcp, local], "--export", f"/={tree.path}", "--tcp", f"{HOST}:0")
        try:
            with V3(tcp.getsockname()) as c:
                check(c.get("/a.txt", mode=p.COPY), b"hello\n")
                assert c.get("/a.txt").status == p.INVALID_MODE
            with V3(str(workdir / "s")) as c:
                check(c.get("/a.txt"), b"hello\n")
            waiting.send(p.v1_request_encode(p.V1Request(p.COPY, b"/a.txt")))
            assert waiting.take(1) == b"\0"
            log = (workdir / "log").read_text()
            assert log.count("listening on tcp://") == 1 and f"{HOST}:{tcp.getsockname()[1]}\n" in log
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0


def test_udp_socket_of_every_address_is_refused(tree, workdir):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("0.0.0.0", 0))
        process = passed(workdir, [udp], "--export", f"/={tree.path}")
        assert process.wait(PATIENCE) == 1
        assert "passed by the service manager" in (workdir / "log").read_text()
