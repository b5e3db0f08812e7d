# SPDX-License-Identifier: MIT
"""Reload: what changes, what stays, and that nothing is dropped while clients run at full speed."""
import os
import re
import signal
import stat
import threading

import omclient
import omproto as p
import pytest
from daemon import wait_until
from omudp import Udp
from test_control import become, refuse, stats

ANY = 'transport = "tcp"; address = "127.0.0.1"; port = 0;'


def exports(path, *more):
    return f'exports = ( {{ prefix = "/"; path = "{path}"; {" ".join(more)} }} );\n'


def unix(path, mode="0660"):
    return f'transport = "unix"; path = "{path}"; mode = "{mode}";'


def listen(*entries):
    return f"listen = ( {', '.join(f'{{ {e} }}' for e in entries)} );\n"


@pytest.fixture
def daemon(start, tree):
    """Its configuration is a file alone; at the end it has the socket that it began with and nothing else."""
    daemon = start(config=exports(tree.path), listed=True)
    yield daemon
    if not daemon.stopped:
        become(daemon, exports(tree.path) + listen(unix(daemon.socket)))


def reachable(address):
    try:
        with omclient.V3(address) as c:
            c.ping()
        return True
    except (FileNotFoundError, ConnectionRefusedError):
        return False


# ---- sockets ----


def test_socket_is_added_and_removed(daemon, tree):
    other, here = daemon.socket + "2", unix(daemon.socket)
    become(daemon, exports(tree.path) + listen(here, unix(other)))
    with omclient.V3(daemon.socket) as old, omclient.V3(other) as new:
        become(daemon, exports(tree.path) + listen(unix(other)))
        assert not os.path.exists(daemon.socket) and not os.path.exists(daemon.socket + ".lock")
        for c in (old, new):
            assert c.get("/a.txt").content() == b"hello\n", "a connection does not end with the socket it came by"
        assert reachable(other) and not reachable(daemon.socket)
        daemon.config.write_text(exports(tree.path) + listen(here))
        assert new.control(p.RELOAD).status == p.OK
        assert reachable(daemon.socket) and not reachable(other) and not os.path.exists(other)
        assert new.get("/a.txt").content() == b"hello\n"


def test_socket_that_stays_is_the_same(daemon, tree):
    before = os.stat(daemon.socket)
    become(daemon, exports(tree.path) + listen(ANY, unix(daemon.socket)))
    assert os.stat(daemon.socket).st_ino == before.st_ino
    (address,) = daemon.tcp_addresses()
    become(daemon, exports(tree.path) + listen(unix(daemon.socket), ANY))
    assert daemon.tcp_addresses() == [address], "nothing new was opened"
    become(daemon, exports(tree.path) + listen(unix(daemon.socket), ANY.replace("port = 0", f"port = {address[1]}")))
    assert daemon.tcp_addresses() == [address] and reachable(address)


def test_tcp_is_added_and_removed(daemon, tree):
    become(daemon, exports(tree.path) + listen(unix(daemon.socket), ANY, ANY))
    first, second = daemon.tcp_addresses()
    with omclient.V3(first) as c, omclient.V3(second) as d:
        become(daemon, exports(tree.path) + listen(unix(daemon.socket)))
        assert not reachable(first) and not reachable(second)
        for client in (c, d):
            assert client.get("/big", mode=p.COPY).content() == tree.files["/big"]


def test_datagrams_are_added_and_removed(daemon, tree):
    entry = 'transport = "udp"; address = "127.0.0.1"; port = 0;'
    for _ in range(2):
        become(daemon, exports(tree.path) + listen(unix(daemon.socket), entry))
        with Udp(daemon.udp[-1]) as u:
            assert u.ask("/a.txt", size=p.UDP_MAX).body == b"hello\n"
            become(daemon, exports(tree.path) + listen(unix(daemon.socket)))
            u.send(u.request("/a.txt", size=p.UDP_MAX))
            with pytest.raises(ConnectionRefusedError):
                u.recv()
    daemon.baseline = daemon.fds()  # the service for datagrams stays
    daemon.threads_at_start = daemon.threads()


def test_mode_changes_and_the_socket_stays(daemon, tree):
    before = os.stat(daemon.socket)
    assert stat.S_IMODE(before.st_mode) == 0o660
    for mode in ("0666", "0600", "0606"):
        become(daemon, exports(tree.path) + listen(unix(daemon.socket, mode)))
        now = os.stat(daemon.socket)
        assert (stat.S_IMODE(now.st_mode), now.st_ino, now.st_gid) == (int(mode, 8), before.st_ino, before.st_gid)


@pytest.mark.skipif(os.getuid() != 0, reason="gives a socket to another group")
def test_group_changes_and_the_socket_stays(daemon, tree):
    before = os.stat(daemon.socket)
    become(daemon, exports(tree.path) + listen(unix(daemon.socket) + ' group = "daemon";'))
    now = os.stat(daemon.socket)
    assert now.st_ino == before.st_ino and now.st_gid != before.st_gid and stat.S_IMODE(now.st_mode) == 0o660
    become(daemon, exports(tree.path) + listen(unix(daemon.socket)))
    assert os.stat(daemon.socket).st_gid == before.st_gid


def test_path_in_use_changes_nothing(daemon, start, tree, workdir):
    neighbour = start({"/": tree.path}, socket_path=daemon.socket + "n")  # where the sandbox lets files be written
    before, more, file = os.stat(daemon.socket), daemon.socket + "2", daemon.dir / "file"
    file.write_text("not a socket")
    for taken in (neighbour.socket, file):
        said = refuse(daemon, 'log = { level = "debug"; };\n' + exports("/", "allow_uids = [ 1 ];")
                      + "listen = (" + ",\n".join(f"{{ {e} }}" for e in (
                          unix(more), unix(daemon.socket, "0606"), ANY, unix(taken))) + ");\n")
        assert said == f"{daemon.config}:6: {taken}: Address already in use"
        now = os.stat(daemon.socket)
        assert (now.st_ino, now.st_mode) == (before.st_ino, before.st_mode)
        assert not os.path.exists(more) and not os.path.exists(more + ".lock") and not daemon.tcp_addresses()
        with daemon.connect(3) as c:
            assert c.get("/a.txt").content() == b"hello\n"
    assert file.read_text() == "not a socket" and reachable(neighbour.socket)


def test_export_that_is_not_there_changes_no_socket(daemon, tree):
    more = daemon.socket + "2"
    said = refuse(daemon, listen(unix(more), unix(daemon.socket, "0606")) + exports(tree.path / "none"))
    assert said == f"{daemon.config}:2: export /: {tree.path}/none: No such file or directory"
    assert stat.S_IMODE(os.stat(daemon.socket).st_mode) == 0o660 and not os.path.exists(more)
    assert daemon.get_status("/a.txt") == p.OK


def test_who_has_connected_is_served_when_the_socket_goes(daemon, tree):
    """The daemon is held while clients connect and ask, so that it finds all of it at once."""
    other = daemon.socket + "2"
    become(daemon, exports(tree.path) + listen(unix(daemon.socket), unix(other)))
    daemon.config.write_text(exports(tree.path) + listen(unix(daemon.socket)))
    seen = daemon.log().count("reloaded\n")
    daemon.signal(signal.SIGSTOP)
    waiting = [omclient.V1(other) for _ in range(50)]
    for c in waiting:
        c.ask("/a.txt")
    daemon.signal(signal.SIGHUP)
    daemon.signal(signal.SIGCONT)
    for c in waiting:
        with c:
            assert c.reply().content() == b"hello\n"
    wait_until(lambda: daemon.log().count("reloaded\n") > seen)
    assert not reachable(other)


def test_command_line_wins_over_the_file(start, tree, workdir):
    daemon = start({"/": tree.path}, "--tcp", "127.0.0.1:0")
    become(daemon, listen(unix(workdir / "other")) + exports("/nowhere"))
    assert reachable(daemon.socket) and not os.path.exists(workdir / "other") and len(daemon.tcp_addresses()) == 1
    assert daemon.get_status("/a.txt") == p.OK


# ---- the rest of the file ----


def test_limits_and_timeouts_change(start, tree, model):
    daemon = start(None, "--concurrency-model", model, config=exports(tree.path))
    with daemon.connect(3) as c:
        assert c.get("/sub/deep/er/c").content() == tree.files["/sub/deep/er/c"]
        daemon.config.write_text(exports(tree.path) + 'limits = { uri_length = 6; in_flight = 7; };\n'
                                 'concurrency = { max_connections = 3; requests_per_connection = 2; };\n')
        assert c.control(p.RELOAD).status == p.OK
        assert c.eof(), "it has had more requests than it may have now"
    with daemon.connect(3) as c:
        assert (c.hello.uri_max, c.hello.in_flight) == (6, 7)
        assert c.get("/sub/deep/er/c").status == p.URI_TOO_LONG
    become(daemon, exports(tree.path) + 'timeouts = { idle = "200ms"; };\n')
    with daemon.connect(3) as idle:
        assert idle.eof()


def test_log_level_changes(daemon, tree):
    become(daemon, exports(tree.path) + 'log = { level = "error"; };\n' + listen(unix(daemon.socket)))
    length = len(daemon.log())
    become(daemon, exports(tree.path) + listen(unix(daemon.socket)))
    become(daemon, exports(tree.path) + 'log = { level = "error"; };\n' + listen(unix(daemon.socket)))
    assert daemon.log()[length:].count("reloaded\n") == 1


def test_what_takes_a_restart_is_said(daemon, tree):
    become(daemon, "concurrency = { pool_size = 3; max_connections = 500; };\n" + exports(tree.path)
           + listen(unix(daemon.socket)))
    assert re.findall(r"(\S+): changed, which takes a restart", daemon.log()) == ["concurrency.pool_size"]


def test_who_asks_after_a_reload_gets_what_it_brought(daemon, tree, workdir):
    """Also on connections that the daemon polls: it has just been busy with them."""
    trees = [tree.path, workdir / "other"]
    trees[1].mkdir()
    (trees[1] / "a.txt").write_bytes(b"other")
    with daemon.connect(3) as admin, daemon.connect(3) as one, daemon.connect(1) as two:
        for i in range(1, 30):
            daemon.config.write_text(exports(trees[i % 2]) + listen(unix(daemon.socket)))
            one.get("/a.txt").close()
            assert admin.control(p.RELOAD).status == p.OK
            for c in (one, two):
                assert c.get("/a.txt").content() == (b"hello\n", b"other")[i % 2]


# ---- under load ----


class Load:
    """Clients of one kind that ask until told to stop; every reply has to be right and no connection may break."""

    def __init__(self, daemon, kinds, files):
        self.stop, self.errors, self.counts = threading.Event(), [], dict.fromkeys(kinds, 0)
        self.files = files
        self.threads = [threading.Thread(target=self.run, args=(k, daemon.socket)) for k in kinds]

    def run(self, kind, path):
        try:
            while not self.stop.is_set():
                version = 1 if kind.startswith("v1") else 3
                with omclient.CLIENTS[version](path) as c:
                    self.serve(kind, c)
        except BaseException as e:
            self.errors.append((kind, e))

    def serve(self, kind, c):
        mode = p.COPY if kind.endswith("copy") else p.FD
        uris = list(self.files)
        while not self.stop.is_set():
            c.ask_many(uris, mode)
            for i in range(len(uris)):
                r = c.reply()
                assert r.status == p.OK
                uri = uris[r.id if c.protocol == 3 else i]
                assert r.content() == self.files[uri]
                self.counts[kind] += 1
            if kind.endswith("transient"):
                return

    def __enter__(self):
        for t in self.threads:
            t.start()
        wait_until(lambda: all(self.counts.values()) or self.errors)
        return self

    def __exit__(self, *exc):
        self.stop.set()
        for t in self.threads:
            t.join()
        assert not self.errors


KINDS = ["v1", "v3", "v1 copy", "v3 copy", "v3 transient"]
BROKEN = ["nonsense", "limits = { none = 1; };", 'exports = ( { prefix = "/"; path = "/nowhere/at/all"; } );',
          'timeouts = { idle = "soon"; };', "listen = ( );", 'log = { level = "loud"; };']


def reload_under_load(start, tree, n):
    """Every good file has another store, other limits and another socket, every second one is broken."""
    files = {u: tree.files[u] for u in ("/a.txt", "/sub/b.bin", "/empty", "/sub/deep/er/c", "/big")}
    daemon = start(config=exports(tree.path), listed=True)
    here, spare = unix(daemon.socket), unix(daemon.socket + "2")
    with Load(daemon, KINDS, files) as load, daemon.connect(3) as admin:
        for i in range(n):
            good = i % 2 == 0
            daemon.config.write_text(
                f"index = {{ scan = {str(i % 8 == 0).lower()}; watch = {str(i % 4 == 0).lower()}; }};\n"
                f"limits = {{ in_flight = {64 + i % 64}; }};\n" + exports(tree.path)
                + listen(*([here, spare] if i % 4 == 0 else [here])) if good else BROKEN[i // 2 % len(BROKEN)])
            before = dict(load.counts)
            r = admin.control(p.RELOAD)
            assert r.status == (p.OK if good else p.INVALID), r
            assert good or r.entries()[p.META_ERROR]
            wait_until(lambda: all(load.counts[k] > before[k] for k in KINDS) or load.errors)
            assert not load.errors
            assert os.path.exists(daemon.socket + "2") == (i // 2 % 2 == 0)
    become(daemon, exports(tree.path) + listen(here))
    assert stats(daemon)["denied"] == 0


@pytest.mark.threads
def test_40_reloads_under_load_drop_nothing(start, tree):
    reload_under_load(start, tree, 40)


@pytest.mark.long
@pytest.mark.threads
def test_1000_reloads_under_load_drop_nothing(start, tree):
    reload_under_load(start, tree, 1000)
