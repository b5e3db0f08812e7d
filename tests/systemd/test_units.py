# SPDX-License-Identifier: MIT
"""The units as they are installed."""
import pytest
from service import SERVICE, SOCKET, is_active, journal, main_pid, restarted, show

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
