# SPDX-License-Identifier: MIT
"""The units as they are installed."""
import pytest
from service import SERVICE, SOCKET, config, dropin, is_active, journal, main_pid, restarted, show

UNITS = "/usr/lib/systemd/system"
EXAMPLES = "/usr/share/doc/objmapperd/examples"


def test_systemd_finds_nothing_wrong(machine):
    machine.run("systemd-analyze", "verify", "--recursive-errors=yes", f"{UNITS}/{SERVICE}", f"{UNITS}/{SOCKET}")
    machine.run("systemd-analyze", "verify", "--recursive-errors=yes", f"{UNITS}/sockets.target")


@pytest.mark.parametrize("example, exposure", [(None, 10), ("network", 15), ("home", 10)])
def test_exposure(machine, tmp_path, example, exposure):
    """In tenths, as --threshold takes them."""
    text = machine.path(f"{UNITS}/{SERVICE}").read_text()
    if example:
        text += machine.path(f"{EXAMPLES}/{example}.conf").read_text()
    machine.path(f"/tmp/{SERVICE}").write_text(text)
    analyze = ["systemd-analyze", "security", "--no-pager", "--offline=yes", f"/tmp/{SERVICE}"]
    assert "Overall exposure level" in machine.run(*analyze, f"--threshold={exposure}").stdout
    assert machine.run(*analyze, "--threshold=1", check=False).returncode != 0


def example(machine, name):
    dropin(machine, SERVICE, machine.path(f"{EXAMPLES}/{name}.conf").read_text())


def test_home_by_the_example(machine, objects, socket):
    home = machine.path("/home/somebody")
    home.mkdir(mode=0o755, exist_ok=True)
    (home / "a.txt").write_text("at home\n")
    config(machine, 'exports = ( { prefix = "/"; path = "/home/somebody"; } );\n')
    assert machine.run("systemctl", "start", SERVICE, check=False).returncode != 0
    example(machine, "home")
    machine.run("systemctl", "restart", SERVICE)
    assert machine.run("objmap", "cat", "/a.txt").stdout == "at home\n"


def test_network_by_the_example(machine, objects, socket):
    """Without it the daemon can have no address of its own."""
    scrape = ["python3", "-c", "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9180/metrics').status)"]
    config(machine, 'metrics = { http = "127.0.0.1:9180"; };\n')
    assert machine.run("systemctl", "start", SERVICE, check=False).returncode != 0
    example(machine, "network")
    machine.run("systemctl", "restart", SERVICE)
    assert machine.run(*scrape).stdout == "200\n"


def test_preset_enables_the_socket_alone(machine):
    machine.run("systemctl", "preset", SOCKET, SERVICE)
    assert machine.run("systemctl", "is-enabled", SOCKET).stdout == "enabled\n"
    assert machine.run("systemctl", "is-enabled", SERVICE, check=False).stdout == "disabled\n"
    machine.run("systemctl", "disable", SOCKET)


def test_user_and_directory_are_made_at_boot(machine, objects):
    uid = int(machine.run("id", "-u", "objmapper").stdout)
    assert 0 < uid < 1000
    assert (objects.stat().st_uid, objects.stat().st_mode & 0o777) == (0, 0o755)


def test_first_client_starts_the_service(machine, objects, socket):
    (objects / "a.txt").write_text("an object\n")
    assert is_active(machine, SOCKET) and not is_active(machine)
    assert machine.run("objmap", "cat", "/a.txt").stdout == "an object\n"
    assert is_active(machine) and main_pid(machine) > 1
    assert socket.stat().st_mode & 0o777 == 0o660


def test_start_restart_stop(machine, socket):
    machine.run("systemctl", "start", SERVICE)
    first = main_pid(machine)
    machine.run("systemctl", "restart", SERVICE)
    assert restarted(machine, first) != first
    machine.run("systemctl", "stop", SOCKET, SERVICE)
    assert not is_active(machine) and not socket.exists()
    assert show(machine, "Result") == "success"
    assert journal(machine).count("draining\n") >= 2
