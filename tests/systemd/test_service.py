# SPDX-License-Identifier: MIT
"""The service at work: what systemd shows of it, and what it does when something is asked or goes wrong."""
import contextlib
import json
import subprocess
import sys

import omclient
import pytest
from daemon import INSTRUMENTED
from machine import HERE, wait_until
from service import (SERVICE, SOCKET, config, dropin, is_active, journal, main_pid, restarted, show, status, threads)

CLIENT = 54321  # a uid that nobody has
OFTEN = 7       # more than the start limit of systemd would let pass


def group(machine):
    return int(machine.run("id", "-g", "objmapper").stdout)


def start(machine, watchdog=None):
    if watchdog:
        dropin(machine, SERVICE, f"[Service]\nWatchdogSec={watchdog}\n")
    machine.run("systemctl", "start", SERVICE)
    return main_pid(machine)


# ---- what is seen of it ----------------------------------------------------------------------------------------------

def test_status_counts_connections_and_objects(machine, objects, socket):
    for name in "abc":
        (objects / name).write_text(name)
    start(machine, watchdog="2s")
    with omclient.V3(str(socket)) as one, omclient.V3(str(socket)) as two:
        one.ping()
        two.ping()
        wait_until(lambda: status(machine) == (2, 3), message=lambda: status(machine))
        (objects / "d").write_text("d")
        wait_until(lambda: status(machine) == (2, 4), message=lambda: status(machine))
    wait_until(lambda: status(machine) == (0, 4), message=lambda: status(machine))


def test_log_is_in_the_journal_with_priorities(machine, socket):
    config(machine, "log = { level = 7; };\n")
    assert machine.run("systemctl", "start", SERVICE, check=False).returncode != 0
    said = journal(machine, "-p", "err", "-o", "json", "-t", "objmapperd")
    lines = [json.loads(line) for line in said.splitlines()]
    assert any("/etc/objmapper/objmapperd.conf:1: log.level" in line["MESSAGE"] for line in lines), said
    config(machine, "")
    restarted(machine, 0)
    assert "ready\n" in journal(machine, "-p", "info")
    assert "ready\n" not in journal(machine, "-p", "notice")


# ---- who may ---------------------------------------------------------------------------------------------------------

def test_clients_outside_the_group_cannot_connect(machine, objects, socket):
    (objects / "a.txt").write_text("an object\n")
    done = machine.run("objmap", "cat", "/a.txt", user=CLIENT, check=False)
    assert done.returncode != 0 and "denied" in done.stderr
    assert not is_active(machine)
    assert machine.run("objmap", "cat", "/a.txt", user=CLIENT, groups=[group(machine)]).stdout == "an object\n"


@pytest.mark.parametrize("who", [["--bounding-set=-dac_override"], ["--bounding-set=-all"]], ids=["partly", "wholly"])
def test_root_by_number_only_gets_nothing(machine, objects, socket, who):
    """Neither objects nor names nor control operations."""
    (objects / "a.txt").write_text("an object\n")
    start(machine)
    for command in (["cat", "/a.txt"], ["stat", "/a.txt"], ["stats"], ["reload"], ["drain"]):
        done = machine.run("setpriv", *who, "objmap", *command, check=False)
        assert done.returncode != 0 and "denied" in done.stderr and not done.stdout, done
    assert machine.run("objmap", "cat", "/a.txt").stdout == "an object\n"
    assert machine.run("objmap", "stats").stdout


def test_root_of_a_user_namespace_gets_nothing(machine, objects, socket):
    (objects / "a.txt").write_text("an object\n")
    start(machine)
    for command in (["cat", "/a.txt"], ["stat", "/a.txt"], ["stats"], ["reload"], ["drain"]):
        done = machine.run("unshare", "--user", "--map-root-user", "objmap", *command, check=False)
        assert done.returncode != 0 and "denied" in done.stderr and not done.stdout, done
    assert is_active(machine)


def test_root_of_a_container_is_no_administrator(machine, objects, socket):
    """With the capabilities that containers have, he gets objects like every user who may connect."""
    (objects / "a.txt").write_text("an object\n")
    start(machine)
    who = ["setpriv", "--bounding-set=-sys_admin"]
    assert machine.run(*who, "objmap", "cat", "/a.txt").stdout == "an object\n"
    for command in ("stats", "reload", "drain"):
        done = machine.run(*who, "objmap", command, check=False)
        assert done.returncode != 0 and "denied" in done.stderr and not done.stdout, done
        assert machine.run("objmap", "stats").stdout
    assert is_active(machine)


def test_the_daemon_knows_who_asks(machine, objects, socket):
    (objects / "a.txt").write_text("an object\n")
    config(machine, f'exports = ( {{ prefix = "/"; path = "/var/lib/objmapper"; allow_uids = [ {CLIENT} ]; }} );\n')
    assert machine.run("objmap", "cat", "/a.txt", user=CLIENT, groups=[group(machine)]).stdout == "an object\n"
    done = machine.run("objmap", "cat", "/a.txt", user=CLIENT + 1, groups=[group(machine)], check=False)
    assert done.returncode != 0 and done.stdout == ""


def test_the_daemon_may_not(machine, socket):
    """What the unit takes away, seen from the process."""
    start(machine)
    said = dict(line.split(":\t") for line in machine.path(f"/proc/{main_pid(machine)}/status").read_text().splitlines()
                if ":\t" in line)
    assert said["NoNewPrivs"] == "1" and said["Seccomp"] == "2"
    assert int(said["CapBnd"], 16) == int(said["CapEff"], 16) == 0
    calls = "not filtered: not in a build with instruments" if INSTRUMENTED else "filtered (seccomp)"
    assert f"sandbox: system calls are {calls}\n" in journal(machine)
    assert "sandbox: nothing is executed, nothing written (Landlock ABI" in journal(machine) or (
        "sandbox: files are not restricted" in journal(machine))
    assert set(said["Uid"].split()) == {machine.run("id", "-u", "objmapper").stdout.strip()}
    mounts = machine.path(f"/proc/{main_pid(machine)}/mounts").read_text().splitlines()
    root = next(line for line in mounts if line.split()[1] == "/")
    assert "ro" in root.split()[3].split(",")


# ---- what is asked of it ---------------------------------------------------------------------------------------------

def test_reload_is_over_when_systemctl_is(machine, objects, socket):
    (objects / "a.txt").write_text("an object\n")
    pid = start(machine)
    config(machine, 'exports = ( { prefix = "/other/"; path = "/var/lib/objmapper"; } );\n')
    with omclient.V3(str(socket)) as c:
        c.ping()
        machine.run("systemctl", "reload", SERVICE)
        assert machine.run("objmap", "cat", "/other/a.txt").stdout == "an object\n"
        c.ping()
    assert main_pid(machine) == pid and is_active(machine)
    config(machine, "exports = 1;\n")
    assert machine.run("systemctl", "reload", SERVICE, check=False).returncode != 0
    assert "not reloaded\n" in journal(machine, "-p", "err")
    assert machine.run("objmap", "cat", "/other/a.txt").stdout == "an object\n"
    assert main_pid(machine) == pid and is_active(machine)


def test_reload_moves_the_metrics(machine, socket):
    """Within a directory that it had at the start; elsewhere the old place stays."""
    places = "/run/objmapperd/a", "/run/objmapperd/b"

    def place(path):
        config(machine, f'metrics = {{ http = "{path}"; }};\n')

    def there():
        return [machine.run("test", "-S", path, check=False).returncode == 0 for path in places]

    dropin(machine, SERVICE, "[Service]\nRuntimeDirectory=objmapperd\n")
    place(places[0])
    pid = start(machine)
    assert there() == [True, False]
    place(places[1])
    machine.run("systemctl", "reload", SERVICE)
    assert there() == [False, True]
    place("/var/lib/objmapper/metrics")
    assert machine.run("systemctl", "reload", SERVICE, check=False).returncode != 0
    assert "metrics.http: /var/lib/objmapper/metrics: " in journal(machine, "-p", "err")
    assert there() == [False, True] and main_pid(machine) == pid and is_active(machine)


def test_clients_of_a_restart_wait(machine, objects, socket):
    (objects / "a.txt").write_text("an object\n")
    pid = start(machine)
    for _ in range(OFTEN):
        machine.run("systemctl", "restart", "--no-block", SERVICE)
        assert machine.run("objmap", "cat", "/a.txt").stdout == "an object\n"
    assert restarted(machine, pid)


def test_a_drained_service_waits_for_the_next_client(machine, objects, socket):
    (objects / "a.txt").write_text("an object\n")
    pid = start(machine)
    machine.run("objmap", "drain")
    wait_until(lambda: show(machine, "ActiveState") == "inactive", message=lambda: journal(machine))
    assert (show(machine, "Result"), show(machine, "NRestarts"), is_active(machine, SOCKET)) == ("success", "0", True)
    assert machine.run("objmap", "cat", "/a.txt").stdout == "an object\n"
    assert main_pid(machine) not in (0, pid)


def test_a_drained_service_whose_socket_is_stopped_stays_down(machine, objects, socket):
    """What the manual says."""
    start(machine)
    with omclient.V3(str(socket)) as c:
        c.ping()
        machine.run("systemctl", "stop", SOCKET, SERVICE)
        assert c.eof()
    assert not is_active(machine) and not is_active(machine, SOCKET)
    done = machine.run("objmap", "--timeout", "100ms", "ping", "-c", "1", check=False)
    assert done.returncode != 0 and not is_active(machine)


def test_a_long_stop_is_no_failure(machine, objects, socket):
    """The watchdog does not bark while the daemon lets a client finish."""
    (objects / "big").write_bytes(bytes(8 << 20))
    config(machine, 'timeouts = { drain = "2s"; };\n')
    start(machine, watchdog="1s")
    with omclient.V3(str(socket)) as c:
        c.ask("/big", mode=omclient.p.COPY)
        wait_until(lambda: status(machine) and status(machine)[0] == 1)
        machine.run("systemctl", "stop", SERVICE, SOCKET)
    assert show(machine, "Result") == "success", journal(machine)


# ---- what goes wrong -------------------------------------------------------------------------------------------------

def test_it_comes_back_however_often_it_dies(machine, objects, socket):
    (objects / "a.txt").write_text("an object\n")
    pid = start(machine)
    for _ in range(OFTEN):
        machine.run("systemctl", "kill", "--signal=KILL", SERVICE)
        pid = restarted(machine, pid)
    assert int(show(machine, "NRestarts")) == OFTEN
    assert is_active(machine, SOCKET)
    assert machine.run("objmap", "cat", "/a.txt").stdout == "an object\n"


def wakeups(tid):
    with open(f"/proc/{tid}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("voluntary_ctxt_switches")).split()[1])


def test_watchdog_is_fed_and_idle_threads_sleep(machine, socket):
    """A thread is woken up once for each time that the watchdog is fed, and for nothing else."""
    pid = start(machine, watchdog="2s")
    idle = threads(machine, "objm-worker") + threads(machine, "objm-accept")
    assert len(idle) >= 2
    fed = [show(machine, "WatchdogTimestampMonotonic")]
    before = {tid: wakeups(tid) for tid in idle}
    while len(fed) < 3:
        fed.append(wait_until(lambda: (now := show(machine, "WatchdogTimestampMonotonic")) != fed[-1] and now))
    after = {tid: wakeups(tid) for tid in idle}
    assert all(after[tid] - before[tid] <= len(fed) for tid in idle), (before, after)
    assert main_pid(machine) == pid


@contextlib.contextmanager
def frozen(tids):
    """Threads that do not run until their process has ended."""
    with contextlib.ExitStack() as stack:
        for tid in tids:
            tracer = stack.enter_context(subprocess.Popen([sys.executable, HERE / "freeze.py", str(tid)], text=True,
                                                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE))
            stack.callback(tracer.kill)
            assert tracer.stdout.readline() == "frozen\n"
        yield


@pytest.mark.parametrize("name, how_many", [("objm-worker", 1), ("objm-accept", 1), ("objm-pool-[0-9]+", None)],
                         ids=["worker", "accept", "pool"])
def test_a_thread_that_hangs_is_noticed(machine, objects, socket, name, how_many):
    """Of the pool all have to hang: as long as one goes on, so does the service."""
    (objects / "a.txt").write_text("an object\n")
    (objects / "big").write_bytes(bytes(8 << 20))
    pid = start(machine, watchdog="2s")
    before = journal(machine).count("Watchdog timeout")
    with omclient.V3(str(socket)) as c:
        c.ping()
        with frozen(threads(machine, name)[:how_many]):
            c.ask("/big", mode=omclient.p.COPY)
            assert restarted(machine, pid) != pid
    assert journal(machine).count("Watchdog timeout") == before + 1
    assert machine.run("objmap", "cat", "/a.txt").stdout == "an object\n"


# ---- TCP -------------------------------------------------------------------------------------------------------------

def test_tcp_by_the_example(machine, objects, socket):
    """The service has no network of its own there either."""
    (objects / "a.txt").write_text("an object\n")
    machine.run("systemctl", "stop", SOCKET, SERVICE)
    dropin(machine, SOCKET, machine.path("/usr/share/doc/objmapperd/examples/tcp.conf").read_text())
    machine.run("systemctl", "start", SOCKET)
    assert machine.run("objmap", "--socket", "tcp://127.0.0.1:9999", "cat", "/a.txt").stdout == "an object\n"
    assert machine.run("objmap", "cat", "/a.txt").stdout == "an object\n"
