# SPDX-License-Identifier: MIT
"""The tree passes its linters, and each linter finds a breach that is planted."""
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lint"))

import docs  # noqa: E402
import layers  # noqa: E402
import source  # noqa: E402
import style  # noqa: E402


@pytest.fixture
def tree(tmp_path):
    """A copy of what the linters look at."""
    copy = tmp_path / "tree"
    for name in source.files(ROOT):
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    return copy


@pytest.mark.parametrize("check", [layers.check, style.check, *docs.CHECKS], ids=lambda c: f"{c.__module__}.{c.__name__}")
def test_tree_is_clean(check):
    assert list(check(ROOT)) == []


@pytest.mark.parametrize(
    "name, line, word",
    [
        ("lib/base/fd.c", '#include "storage/store.h"', "storage/store.h"),
        ("lib/base/fd.c", "#include <libconfig.h>", "libconfig.h"),
        ("lib/protocol/v1.c", '#include "concurrency/pool.h"', "concurrency/pool.h"),
        ("lib/protocol/v1.c", "#include <pthread.h>", "pure"),
        ("lib/concurrency/pool.c", '#include "transport/unix.h"', "transport/unix.h"),
        ("lib/transport/fdpass.c", '#include "concurrency/pool.h"', "concurrency/pool.h"),
        ("lib/transport/fdpass.c", "size_t n = objm_v1_request_encode(b, c, m, u, l);", "objm_v1_request_encode"),
        ("lib/storage/store.c", '#include "protocol/status.h"', "protocol/status.h"),
        ("lib/client/objmapper.c", '#include "storage/store.h"', "storage/store.h"),
        ("objmapperd/config.c", '#include "client/objmapper.h"', "client/objmapper.h"),
        ("objmap/planted.c", '#include "protocol/v3.h"', "protocol/v3.h"),
        ("lib/odd/planted.c", "", "not a layer"),
    ],
)
def test_layer_breach_is_found(tree, name, line, word):
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as f:
        f.write(line + "\n")
    found = list(layers.check(tree))
    assert len(found) == 1 and name in found[0] and word in found[0]


def test_commented_includes_and_calls_do_not_count(tree):
    with open(tree / "lib/transport/fdpass.c", "a") as f:
        f.write("/* objm_v1_request_encode( */\n")
    assert list(layers.check(tree)) == []


@pytest.mark.parametrize(
    "name, text, word",
    [
        ("objmapperd/planted.c", "int main(void) { return 0; }\n", "SPDX"),
        ("lib/base/fd.c", "void f(char *a) { strcpy(a, a); }\n", "strcpy"),
        ("objmapperd/config.c", "int f(char *a) { return atoi(a); }\n", "atoi"),
        ("objmap/main.c", 'void f(char *a) { sprintf(a, "x"); }\n', "sprintf"),
        ("lib/base/fd.c", "void f(void) { abort(); }\n", "not for lib/"),
        ("lib/base/fd.c", "\tint x;\n", "tab"),
        ("lib/base/fd.c", "int x; \n", "blanks"),
        ("lib/base/fd.c", "int x;", "newline"),
        ("lib/base/fd.c", "/* TO" "DO */\n", "unfinished"),
        ("dev", "echo x \n", "blanks"),
        ("lib/base/planted.h", "/* SPDX-License-Identifier: MIT */\n", "include guard"),
    ],
)
def test_style_breach_is_found(tree, name, text, word):
    with open(tree / name, "a") as f:
        f.write(text)
    found = [breach for breach in style.check(tree) if breach not in list(style.check(ROOT))]
    assert len(found) == 1 and name in found[0] and word in found[0]


@pytest.mark.parametrize(
    "check, name, old, new, words",
    [
        (docs.check_config, "man/objmapperd.conf.5", ".It Ic drain", ".It Ic drian", ["timeouts.drain", "timeouts.drian"]),
        (docs.check_config, "conf/objmapperd.conf", "        drain =", "        drian =", ["timeouts.drain", "timeouts.drian"]),
        (docs.check_options, "man/objmapperd.8", ".It Fl -socket", ".It Fl -sokcet", ["socket", "sokcet"]),
        (docs.check_options, "man/objmap.1", ".It Fl -socket", ".It Fl -sokcet", ["socket", "sokcet"]),
        (docs.check_statuses, "man/objmapper-protocol.7", ".It 0e Ta 14", ".It 0f Ta 15", ["14", "15"]),
        (docs.check_symbols, "man/libobjmapper.3", "objmapper_ping", "objmapper_pong", ["objmapper_ping", "objmapper_pong"]),
        (docs.check_symbols, "lib/client/objmapper.h", "objmapper_ping(", "objmapper_pong(", ["objmapper_ping", "objmapper_pong"]),
        (docs.check_symbols, "debian/libobjmapper0.symbols", " objmapper_ping@", " objmapper_pong@", ["objmapper_ping", "objmapper_pong"]),
        (docs.check_version, "debian/changelog", "objmapperd (0", "objmapperd (9", ["debian/changelog", "version 9"]),
        (docs.check_mandoc, "man/objmapperd.8", ".Sh NAME", ".Sh NAMED", ["NAME"]),
    ],
)
def test_docs_breach_is_found(tree, monkeypatch, check, name, old, new, words):
    build = Path(docs.os.environ.get("OBJM_BUILD", "build/release"))
    monkeypatch.setenv("OBJM_BUILD", str(ROOT / build))
    path = tree / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    found = "\n".join(check(tree))
    for word in words:
        assert word in found


@pytest.mark.parametrize("name", ["layers.py", "style.py", "docs.py"])
def test_exit_status_tells(tree, name, monkeypatch):
    build = Path(docs.os.environ.get("OBJM_BUILD", "build/release"))
    monkeypatch.setenv("OBJM_BUILD", str(ROOT / build))
    command = [sys.executable, str(tree / "tests/lint" / name)]
    assert subprocess.run(command, stdin=subprocess.DEVNULL).returncode == 0
    (tree / "lib/base/fd.c").write_text('#include "storage/store.h"\n')
    (tree / "conf/objmapperd.conf").write_text("")
    assert subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode == 1


@pytest.mark.parametrize("name", ["dev", ".ci/run", "debian/objmapperd.postrm", *map(str, source.files(ROOT, ".sh"))])
def test_scripts_are_posix_shell(name):
    assert (ROOT / name).read_text().startswith("#!/bin/sh\n")
    assert subprocess.run(["sh", "-n", ROOT / name]).returncode == 0


@pytest.mark.parametrize("arguments", [[], ["build"], ["run", "check"]])
def test_dev_says_how_it_is_used(arguments):
    done = subprocess.run([ROOT / "dev", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and "run|check" in done.stderr


def test_dev_without_root_and_sudo_says_what_to_run(tmp_path):
    """dpkg-query knows no package here, and there is nobody who could install one."""
    for name in ("dpkg-query", "id", "apt-get"):
        (tmp_path / name).write_text("#!/bin/sh\n[ ${0##*/} = id ] && echo 1000\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    for name in ("sh", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        [ROOT / "dev", "check"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 1
    if "not a Debian system" not in done.stderr:
        assert "apt-get install --no-install-recommends make gcc" in done.stderr
    assert "libcmocka-dev" in done.stderr
