# SPDX-License-Identifier: MIT
import os
import pathlib

import machine as machines
import pytest

MODE = pathlib.Path(os.environ.get("OBJM_BUILD", "build/release")).name
INSTALL = ["sh", "-c", f'exec env -u MAKEFLAGS -u MFLAGS make -s install MODE={MODE} prefix=/usr DESTDIR="$1"', "install"]


def pytest_collection_modifyitems(items):
    why = machines.why_not() if items else None
    if why:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=why))


def pytest_report_header():
    return f"systemd: {machines.why_not() or 'can be booted'}"


@pytest.fixture(scope="module")
def machine():
    """One for all tests of a file, with the project installed and nothing of it running. What looks for leaks stops the
    process by ptrace(2), which services may not; else a build with ASan ends with that failure each time."""
    m = machines.Machine(INSTALL)
    m.run("systemctl", "set-environment", "ASAN_OPTIONS=detect_leaks=0")
    yield m
    m.stop()


@pytest.fixture
def objects(machine):
    """The exported directory, empty."""
    directory = machine.path("/var/lib/objmapper")
    yield directory
    for path in directory.iterdir():
        path.unlink()


@pytest.fixture
def socket(machine, objects):
    """The socket unit is up, the service is not. Drop-ins that a test makes with dropin() go at the end."""
    machine.run("systemctl", "start", "objmapperd.socket")
    yield machine.path("/run/objmapper.sock")
    machine.run("systemctl", "stop", "objmapperd.socket", "objmapperd.service")
    machine.run("systemctl", "revert", "objmapperd.socket", "objmapperd.service")
    machine.path("/etc/objmapper/objmapperd.conf").write_text("")
    machine.run("systemctl", "reset-failed", "objmapperd.socket", "objmapperd.service", check=False)
