# SPDX-License-Identifier: MIT
"""Configuration, reload, and the socket file."""
import contextlib
import os
import signal
import socket
import subprocess
import time

import omproto as p
import pytest
from daemon import BIN, PATIENCE, check_config, wait_until

WRONG = [
    ("unknown key", "\n\nnothing = 1;\n", 3, "nothing"),
    ("unknown key inside", "concurrency = {\n  pool_sise = 2;\n};\n", 2, "concurrency.pool_sise"),
    ("type", "concurrency = {\n\n  pool_size = \"two\";\n};\n", 3, "concurrency.pool_size"),
    ("negative", "concurrency = { pool_size = -1; };\n", 1, "concurrency.pool_size"),
    ("model", "concurrency = { model = \"fork\"; };\n", 1, "concurrency.model"),
    ("duration", "timeouts = {\n idle = \"10 parsecs\"; };\n", 2, "timeouts.idle"),
    ("uri length", "limits = { uri_length = 4097; };\n", 1, "limits.uri_length"),
    ("level", "log = { level = \"loud\"; };\n", 1, "log.level"),
    ("prefix", "exports = (\n{ prefix = \"/a\"; path = \"/tmp\"; } );\n", 2, "prefix"),
    ("no path", "exports = (\n{ prefix = \"/a/\"; } );\n", 2, "path"),
    ("mode", "listen = ( { transport = \"unix\"; path = \"/tmp/x\";\n mode = \"rw\"; } );\n", 2, "mode"),
    ("transport", "listen = ( { transport = \"pigeon\"; path = \"/tmp/x\"; } );\n", 1, "transport"),
    ("syntax", "log = { level = \"info\" };\nidle = = 1;\n", 2, ""),
]


@pytest.mark.parametrize("text,line,key", [w[1:] for w in WRONG], ids=[w[0].replace(" ", "-") for w in WRONG])
def test_what_is_wrong_is_said_with_file_line_and_key(workdir, text, line, key):
    file = workdir / "wrong.conf"
    file.write_text(text)
    status, output = check_config(file)
    assert status != 0
    assert f"{file}:{line}: " in output and key in output, output


@contextlib.contextmanager
def failing(workdir, *args):
    """Yields the process and what the service manager is told by it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(workdir / "notify"))
        notify.settimeout(PATIENCE)
        env = {**os.environ, "NOTIFY_SOCKET": str(workdir / "notify")}
        with subprocess.Popen([BIN, "--foreground", *args], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              env=env) as proc:
            yield proc, notify.recv(4096).decode()
    (workdir / "notify").unlink()


def test_what_cannot_start_is_not_started_again_in_a_tight_loop(workdir):
    """A second passes, unless the daemon is told to leave; the service manager knows why."""
    wrong = workdir / "wrong.conf"
    wrong.write_text("pool_sise = 2;\n")
    for args, status, why in [(["--no-such"], 2, "--no-such"), (["--config", wrong], 1, f"{wrong}:1: "),
                              (["--config", os.devnull + "/x"], 1, os.devnull),
                              (["--socket", workdir / "none" / "s", "--export", f"/={workdir}"], 1, "cannot start")]:
        began = time.monotonic()
        with failing(workdir, *args) as (proc, said):
            assert said.startswith("STATUS=") and why in said and "\n" not in said
            assert proc.wait(PATIENCE) == status
            assert time.monotonic() - began >= 1
    soon = []
    for _ in range(5):
        began = time.monotonic()
        with failing(workdir, "--no-such") as (proc, _):
            proc.terminate()
            assert proc.wait(PATIENCE) == 2
            soon.append(time.monotonic() - began)
    assert min(soon) < 1, soon


def test_good_configuration(workdir):
    file = workdir / "good.conf"
    file.write_text("""
        listen = ( { transport = "unix"; path = "/tmp/never-bound.sock"; mode = "0660"; } );
        concurrency = { model = "thread-pool"; pool_size = 0; copy_pool_size = 0; max_queue_depth = 1000;
                        max_connections = 1000; requests_per_connection = 0; persistent = true;
                        optimize_for_latency = true; };
        timeouts = { idle = "60s"; request = "30s"; drain = "5s"; };
        exports = ( { prefix = "/"; path = "/tmp"; allow_uids = [ ]; allow_gids = [ ]; } );
        index = { scan = true; watch = true; };
        limits = { uri_length = 4096; in_flight = 256; };
        log = { level = "info"; };
    """)
    status, output = check_config(file)
    assert status == 0, output
    assert not os.path.exists("/tmp/never-bound.sock")


def test_missing_file(workdir):
    status, output = check_config(workdir / "none.conf")
    assert status != 0 and "none.conf" in output


def run(*args):
    return subprocess.run([BIN, *args], capture_output=True, text=True, timeout=PATIENCE)


def minimal(workdir):
    """Arguments of a daemon that does not read the configuration of this machine."""
    (workdir / "empty.conf").touch()
    return "--config", str(workdir / "empty.conf"), "--foreground"


def test_options():
    assert run("--version").returncode == 0 and run("--version").stdout
    assert "--socket" in run("--help").stdout
    for bad in (["--nonsense"], ["--pool-size", "x"], ["--concurrency-model", "fork"], ["--export", "nothing"],
                ["word"]):
        done = run(*bad)
        assert done.returncode != 0 and done.stderr, bad


def test_export_that_is_not_there(workdir):
    done = run(*minimal(workdir), "--socket", str(workdir / "s"), "--export", f"/={workdir}/missing")
    assert done.returncode != 0 and "missing" in done.stderr


def exports(**prefixes):
    each = ", ".join(f'{{ prefix = "/{name}/"; path = "{path}"; }}' for name, path in prefixes.items())
    return f"exports = ( {each} );\n"


def test_reload_changes_exports(start, tree):
    daemon = start(config=exports(one=tree.path))
    with daemon.connect(3) as c:
        held = c.get("/one/a.txt")
        daemon.config.write_text(exports(two=tree.path))
        daemon.signal(signal.SIGHUP)

        def status(uri):
            r = c.get(uri)
            r.close()
            return r.status

        wait_until(lambda: status("/two/a.txt") == p.OK)
        assert status("/one/a.txt") == p.NOT_FOUND
        assert os.pread(held.fd, 100, 0) == tree.files["/a.txt"]
        held.close()
    assert daemon.get_status("/two/a.txt", 1) == p.OK


@pytest.mark.parametrize("text", ["nothing = 1;\n", "exports = (", exports(one="/nonexistent/tree")],
                         ids=["key", "syntax", "path"])
def test_reload_of_a_broken_file_keeps_the_old(start, tree, text):
    daemon = start(config=exports(one=tree.path))
    before = len(daemon.log())
    with daemon.connect(3) as c:
        daemon.config.write_text(text)
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: str(daemon.config) in daemon.log()[before:] or "/nonexistent/tree" in daemon.log()[before:])
        r = c.get("/one/a.txt")
        assert r.status == p.OK
        r.close()
        daemon.config.write_text(exports(two=tree.path))
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: daemon.get_status("/two/a.txt") == p.OK)


@pytest.mark.threads
def test_reloads_under_load_lose_no_request(start, tree):
    daemon = start(config=exports(one=tree.path))
    uris = [f"/one/many/{i}" for i in range(100)]
    with daemon.connect(3) as c, daemon.connect(1) as old:
        for n in range(60):
            daemon.config.write_text(exports(**{"one": tree.path, f"x{n}": tree.path}))
            daemon.signal(signal.SIGHUP)
            c.ask_many(uris)
            old.ask_many(uris[:20])
            for client, count in ((c, 100), (old, 20)):
                for _ in range(count):
                    r = client.reply()
                    assert r.status == p.OK
                    r.close()
        wait_until(lambda: daemon.get_status("/x59/a.txt") == p.OK)
    daemon.config.write_text(exports(one=tree.path))
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: daemon.get_status("/x59/a.txt") == p.NOT_FOUND)


def test_stale_socket_is_replaced(start, tree, workdir):
    path = workdir / "shared"
    first = start({"/": tree.path}, socket_path=path)
    first.kill()
    assert path.exists()
    second = start({"/": tree.path}, socket_path=path)
    assert second.get_status("/a.txt") == p.OK


def refused_start(path, tree, workdir):
    done = run(*minimal(workdir), "--socket", str(path), "--export", f"/={tree.path}")
    assert done.returncode > 0
    assert str(path) in done.stderr


def test_live_socket_is_refused(start, tree, workdir):
    daemon = start({"/": tree.path})
    refused_start(daemon.socket, tree, workdir)
    assert daemon.get_status("/a.txt") == p.OK


def test_socket_of_another_program_is_refused(tree, workdir):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(workdir / "s"))
        s.listen()
        refused_start(workdir / "s", tree, workdir)
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(str(workdir / "s"))


def test_file_that_is_no_socket_is_left_alone(tree, workdir):
    (workdir / "s").write_text("precious")
    refused_start(workdir / "s", tree, workdir)
    assert (workdir / "s").read_text() == "precious"


def listen(path, mode="0600"):
    return f'listen = ( {{ transport = "unix"; path = "{path}"; mode = "{mode}"; }} );\n'


def test_command_line_wins_over_the_file(start, tree, workdir):
    path = workdir / "configured"
    daemon = start({"/": tree.path}, config=listen(path) + exports(one=tree.path))
    assert not path.exists()
    assert daemon.get_status("/a.txt") == p.OK
    assert daemon.get_status("/one/a.txt") == p.NOT_FOUND


def connects(path):
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(str(path)) == 0


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_mode_of_the_socket(tree, workdir, mode):
    path = workdir / "configured"
    (workdir / "conf").write_text(listen(path, f"{mode:04o}") + exports(one=tree.path))
    with subprocess.Popen([BIN, "--config", workdir / "conf", "--foreground"], stderr=subprocess.DEVNULL) as daemon:
        try:
            wait_until(lambda: connects(path))
            assert path.stat().st_mode & 0o777 == mode
        finally:
            daemon.terminate()
    assert daemon.returncode == 0
