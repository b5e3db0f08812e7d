#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""package.py ROOT: boots the tree ROOT, installs the packages of its /srv/packages, uses them and purges them.

Nothing is written to ROOT. Of what a purge leaves, only users and groups are allowed to be more than there was before.
"""
import pathlib
import re
import socket
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/systemd"))

import machine as machines  # noqa: E402
import service  # noqa: E402

OURS = ("objmapperd", "libobjmapper0", "libobjmapper-dev")
# Data of apt, dpkg and ldconfig; locks and backups that adding a user makes; directories that the machine has emptied,
# which deb-systemd-helper then removes.
NOT_COUNTED = re.compile(r"/var/(cache|lib/(apt|dpkg)|log)/.*|/etc/(\.pwd\.lock|(passwd|group|shadow|gshadow)-)|"
                         r"/etc/systemd/system/[^/]+\.wants")
APT = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", "Dpkg::Use-Pty=0")


def files(machine):
    found = machine.run("find", "/", "-xdev", "-not", "-path", "/srv/*").stdout.splitlines()
    assert len(found) > 1000
    return {name for name in found if not NOT_COUNTED.fullmatch(name)}


def install(machine, *options):
    machine.run("sh", "-c", 'exec "$@" /srv/packages/*.deb', "sh", *APT, "install", *options)


def enabled(machine, unit):
    return machine.run("systemctl", "is-enabled", unit, check=False).stdout.strip()


def is_installed_and_waits_for_a_client(machine):
    assert enabled(machine, service.SOCKET) == "enabled"
    assert enabled(machine, service.SERVICE) == "disabled"
    assert service.is_active(machine, service.SOCKET)
    assert not service.is_active(machine)
    mode = machine.run("stat", "-c", "%a %U %G", "/run/objmapper.sock", "/var/lib/objmapper").stdout
    assert mode == "660 objmapper objmapper\n755 root root\n", mode


def serves(machine):
    machine.path("/var/lib/objmapper/hello").write_text("hello\n")
    group = machine.run("getent", "group", "objmapper").stdout.split(":")[2]
    assert machine.run("objmap", "cat", "/hello", user=65534, groups=[group]).stdout == "hello\n"
    assert machine.run("objmap", "cat", "/hello", user=65534, check=False).returncode == 1
    assert service.is_active(machine)
    machine.run("systemctl", "reload", service.SERVICE)


def serves_metrics(machine):
    """Which needs what the package only recommends."""
    service.config(machine, 'metrics = { http = "/run/objmapperd/metrics.sock"; };\n')
    service.dropin(machine, service.SERVICE, "[Service]\nRuntimeDirectory=objmapperd\n")
    machine.run("systemctl", "restart", service.SERVICE)
    address = machine.path("/run/objmapperd/metrics.sock")
    machines.wait_until(address.is_socket, message=lambda: service.journal(machine))
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(machines.PATIENCE)
        client.connect(str(address))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    machine.run("systemctl", "revert", service.SERVICE)


def completes(machine):
    """What a shell completes is where it looks for it."""
    found = machine.run("bash", "-c", ". /usr/share/bash-completion/completions/objmap && complete -p objmap").stdout
    assert found.endswith(" objmap\n"), found
    assert machine.path("/usr/share/zsh/vendor-completions/_objmap").read_text().startswith("#compdef objmap\n")


def upgrade_restarts(machine):
    old = service.main_pid(machine)
    assert old
    install(machine, "--reinstall")
    service.restarted(machine, old)
    assert machine.run("objmap", "cat", "/hello").stdout == "hello\n"


def is_purged(machine, before):
    machine.path("/var/lib/objmapper/hello").unlink()
    machine.run(*APT, "purge", "--auto-remove", *OURS)
    after = files(machine)
    assert after == before, f"left: {sorted(after - before)}, missing: {sorted(before - after)}"
    assert not machine.path("/run/objmapper.sock").exists()
    units = machine.run("systemctl", "list-units", "--all", "--no-legend", "--plain", "objmapper*").stdout
    assert not units, units


def objects_survive_a_purge(machine):
    install(machine)
    machine.path("/var/lib/objmapper/mine").write_text("mine\n")
    machine.run(*APT, "purge", "--auto-remove", *OURS)
    assert machine.path("/var/lib/objmapper/mine").read_text() == "mine\n"


def main(lower):
    machine = machines.Machine(lower=lower)
    try:
        before = files(machine)
        install(machine)
        is_installed_and_waits_for_a_client(machine)
        serves(machine)
        completes(machine)
        upgrade_restarts(machine)
        serves_metrics(machine)
        is_purged(machine, before)
        objects_survive_a_purge(machine)
    finally:
        machine.stop()


if __name__ == "__main__":
    main(sys.argv[1])
