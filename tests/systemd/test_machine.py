# SPDX-License-Identifier: MIT
"""The machine goes away with whoever made it, and leaves nothing."""
import os
import pathlib
import signal
import subprocess
import sys

import machine as machines
import pytest

OWNER = """
import machine, sys
m = machine.Machine()
print(m.pid, m.unshare, m.keeper.pid, m.cgroup, flush=True)
sys.stdin.read()
"""


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_stop_leaves_nothing():
    before = set(os.listdir("/tmp"))
    m = machines.Machine()
    inside = m.run("systemctl", "show", "-P", "MainPID", "systemd-journald.service").stdout.strip()
    assert int(inside) > 1 and is_alive(m.pid)
    m.stop()
    assert not is_alive(m.pid) and not os.path.exists(m.cgroup)
    assert not {name for name in set(os.listdir("/tmp")) - before if name.startswith("objm-machine-")}


@pytest.mark.parametrize("victim", ["owner", "keeper"])
def test_a_kill_ends_the_machine(victim):
    owner = subprocess.Popen([sys.executable, "-c", OWNER], cwd=machines.HERE, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        init, unshare, keeper, cgroup = owner.stdout.readline().split()
        os.kill(owner.pid if victim == "owner" else int(keeper), signal.SIGKILL)
        machines.wait_until(lambda: not is_alive(init) and not is_alive(unshare))
        if victim == "owner":
            machines.wait_until(lambda: not os.path.exists(cgroup))
    finally:
        owner.kill()
        owner.communicate()
    if victim == "keeper":
        for directory, _, _ in os.walk(cgroup, topdown=False):
            machines.wait_until(lambda: remove(directory))


def remove(directory):
    try:
        os.rmdir(directory)
    except OSError:
        return False
    return True


def test_nothing_reaches_the_host(tmp_path):
    """The root is the host's, and what is written there stays inside."""
    m = machines.Machine()
    try:
        assert m.run("systemd-detect-virt", "--container").stdout == "container-other\n"
        m.run("touch", "/etc/objm-machine-was-here", "/usr/objm-machine-was-here")
        assert not os.path.exists("/etc/objm-machine-was-here")
        assert m.path("/etc/objm-machine-was-here").exists()
        assert m.run("sh", "-c", "echo 1 >/proc/sys/kernel/panic", check=False).returncode != 0
        assert m.run("sh", "-c", "echo 1 >/sys/kernel/profiling", check=False).returncode != 0
        assert m.run("ip", "-o", "link", check=False).stdout.count("\n") <= 1
    finally:
        m.stop()
