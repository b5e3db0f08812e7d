# SPDX-License-Identifier: MIT
"""make install and make uninstall, below a directory with a space in its name."""
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FILES = {
    "bin/objmap": 0o755,
    "sbin/objmapperd": 0o755,
    "lib/libobjmapper.a": 0o644,
    "lib/pkgconfig/libobjmapper.pc": 0o644,
    "include/objmapper.h": 0o644,
    "lib/systemd/system/objmapperd.service": 0o644,
    "lib/systemd/system/objmapperd.socket": 0o644,
    "lib/systemd/system-preset/80-objmapperd.preset": 0o644,
    "lib/sysusers.d/objmapperd.conf": 0o644,
    "lib/tmpfiles.d/objmapperd.conf": 0o644,
    "share/bash-completion/completions/objmap": 0o644,
    "share/zsh/site-functions/_objmap": 0o644,
    "share/doc/objmapperd/examples/grafana-objmapperd.json": 0o644,
    "share/doc/objmapperd/examples/home.conf": 0o644,
    "share/doc/objmapperd/examples/network.conf": 0o644,
    "share/doc/objmapperd/examples/tcp.conf": 0o644,
    "share/man/man1/objmap.1": 0o644,
    "share/man/man3/libobjmapper.3": 0o644,
    "share/man/man5/objmapperd.conf.5": 0o644,
    "share/man/man7/objmapper-protocol.7": 0o644,
    "share/man/man8/objmapperd.8": 0o644,
}


def make(target, destdir, **variables):
    arguments = [f"{name}={value}" for name, value in variables.items()]
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MODE", "CI")}
    subprocess.run(
        ["make", "-s", target, "MODE=release", f"DESTDIR={destdir}", *arguments],
        cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=True, timeout=300,
    )


def listing(top):
    return {str(p.relative_to(top)) for p in top.rglob("*") if not p.is_dir() or p.is_symlink()}


@pytest.fixture
def destdir(tmp_path):
    top = tmp_path / "a root"
    top.mkdir()
    return top


def test_installs_what_it_should_and_uninstall_is_its_reverse(destdir):
    (destdir / "usr/bin").mkdir(parents=True)
    (destdir / "usr/bin/other").write_text("not ours")
    before = listing(destdir)
    make("install", destdir, prefix="/usr")
    usr = destdir / "usr"
    for name, mode in FILES.items():
        assert (usr / name).stat().st_mode & 0o777 == mode, name
    real = next(p for p in usr.glob("lib/libobjmapper.so.*.*.*") if not p.is_symlink())
    assert os.readlink(usr / "lib/libobjmapper.so.0") == real.name
    assert os.readlink(usr / "lib/libobjmapper.so") == "libobjmapper.so.0"
    assert (destdir / "etc/objmapper/objmapperd.conf").exists()
    libraries = {f"usr/lib/{real.name}", "usr/lib/libobjmapper.so.0", "usr/lib/libobjmapper.so"}
    wanted = {f"usr/{name}" for name in FILES} | libraries | {"etc/objmapper/objmapperd.conf"}
    assert listing(destdir) - before == wanted
    make("uninstall", destdir, prefix="/usr")
    assert listing(destdir) == before
    assert not (destdir / "etc/objmapper").exists()


def test_paths_reach_the_installed_files(destdir):
    make("install", destdir, prefix="/opt/om", libdir="/opt/om/lib64")
    service = (destdir / "opt/om/lib/systemd/system/objmapperd.service").read_text()
    assert "ExecStart=/opt/om/sbin/objmapperd\n" in service and "ExecReload=/opt/om/bin/objmap reload\n" in service
    assert not re.search(r"@\w+@", service)
    pc = (destdir / "opt/om/lib64/pkgconfig/libobjmapper.pc").read_text()
    assert "prefix=/opt/om\n" in pc and "libdir=/opt/om/lib64\n" in pc and "@" not in pc
    make("uninstall", destdir, prefix="/opt/om", libdir="/opt/om/lib64")
    assert listing(destdir) == set()


def test_an_edited_configuration_survives_a_second_install(destdir):
    make("install", destdir)
    conf = destdir / "etc/objmapper/objmapperd.conf"
    conf.write_text("# mine\n")
    make("install", destdir)
    assert conf.read_text() == "# mine\n"


def test_a_program_builds_against_what_is_installed(tmp_path):
    usr = tmp_path / "usr"
    make("install", "", prefix=usr, sysconfdir=tmp_path / "etc")
    source = tmp_path / "client.c"
    source.write_text('#include <objmapper.h>\nint main(void) { return objmapper_version()[0] == 0; }\n')
    environment = dict(os.environ, PKG_CONFIG_PATH=str(usr / "lib/pkgconfig"))
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libobjmapper"], env=environment, capture_output=True, text=True, check=True,
    ).stdout.split()
    assert flags == [f"-I{usr}/include", f"-L{usr}/lib", "-lobjmapper"]
    program = tmp_path / "client"
    subprocess.run(["gcc", "-Wall", "-Werror", "-o", program, source, *flags], check=True, timeout=60)
    for command in ([program], [usr / "bin/objmap", "--version"], [usr / "sbin/objmapperd", "--version"]):
        done = subprocess.run(command, env=dict(os.environ, LD_LIBRARY_PATH=str(usr / "lib")), timeout=10)
        assert done.returncode == 0
