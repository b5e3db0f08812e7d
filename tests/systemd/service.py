# SPDX-License-Identifier: MIT
"""What the tests ask systemd about the service, and tell it."""
import re
from pathlib import Path

from machine import wait_until

SERVICE, SOCKET = "objmapperd.service", "objmapperd.socket"


def show(machine, name, unit=SERVICE):
    return machine.run("systemctl", "show", "-P", name, unit).stdout.rstrip("\n")


def is_active(machine, unit=SERVICE):
    return show(machine, "ActiveState", unit) == "active"


def main_pid(machine):
    return int(show(machine, "MainPID"))


def status(machine):
    """(connections, objects) of the status text; None while it has none."""
    found = re.fullmatch(r"connections: (\d+), objects: (\d+)", show(machine, "StatusText"))
    return tuple(map(int, found.groups())) if found else None


def journal(machine, *arguments):
    machine.run("journalctl", "--sync")
    return machine.run("journalctl", "--no-pager", "-o", "cat", "-u", "objmapperd", *arguments).stdout


def dropin(machine, unit, text):
    """In force from the next start. `systemctl revert` removes it."""
    directory = machine.path(f"/etc/systemd/system/{unit}.d")
    directory.mkdir(exist_ok=True)
    (directory / "test.conf").write_text(text)
    machine.run("systemctl", "daemon-reload")


def restarted(machine, old):
    """Waits for a main process other than @old that is ready."""
    return wait_until(lambda: is_active(machine) and main_pid(machine) not in (0, old) and main_pid(machine),
                      message=lambda: journal(machine))


def processes(machine):
    """Those of the service, as numbers out here."""
    try:
        return [int(pid) for pid in Path(machine.cgroup, "system.slice", SERVICE, "cgroup.procs").read_text().split()]
    except OSError:  # not running; the directory may go while it is read
        return []


def threads(machine, name):
    """Those of the service with that name, a pattern, as numbers out here."""
    tasks = [task for pid in processes(machine) for task in Path(f"/proc/{pid}/task").iterdir()]
    return [int(task.name) for task in tasks if re.fullmatch(name, (task / "comm").read_text().strip())]


def config(machine, text):
    machine.path("/etc/objmapper/objmapperd.conf").write_text(text)
