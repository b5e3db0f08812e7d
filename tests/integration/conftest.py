# SPDX-License-Identifier: MIT
import itertools
import os
import pathlib
import resource
import shutil
import tempfile
import types

import pytest
from daemon import Daemon

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (HARD, HARD))


@pytest.fixture
def workdir():
    """A directory with a short name, because a socket's path has 107 bytes at most; others may look in."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="objm"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def tree(workdir):
    """A small tree: .path, and .files from URI to content."""
    path = workdir / "tree"
    files = {
        "/a.txt": b"hello\n",
        "/empty": b"",
        "/sub/b.bin": bytes(range(256)) * 16,
        "/sub/deep/er/c": b"c" * 5000,
        "/big": os.urandom(1 << 20),
        "/with space": b"space",
        "/%2e": b"percent",
        "/\u00e9": b"accent",
        "/...": b"three dots",
    }
    files.update({f"/many/{i}": b"%d" % i for i in range(100)})
    for uri, data in files.items():
        file = path / uri[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return types.SimpleNamespace(path=path, files=files)


@pytest.fixture
def start(workdir):
    """start(exports, *args, **kw) -> Daemon, each in a directory of its own; all are checked and stopped at the end."""
    running, numbers = [], itertools.count()

    def run(exports=None, *args, **kw):
        directory = workdir / f"d{next(numbers)}"
        directory.mkdir()
        if kw.get("uid") is not None:
            os.chown(directory, kw["uid"], kw["uid"])
        running.append(Daemon(directory, exports, *args, **kw))
        return running[-1]

    before = len(os.listdir("/proc/self/fd"))
    yield run
    after = len(os.listdir("/proc/self/fd"))
    errors = []
    for d in running:
        try:
            d.stop()
        except Exception as e:
            errors.append(e)
    if errors:
        raise errors[0]
    assert after == before, "the test itself left descriptors open"


@pytest.fixture
def served(start, tree):
    """A daemon that serves the small tree."""
    return start({"/": tree.path})


def part(text):
    """"2/4" -> (2, 4)."""
    number, _, count = text.partition("/")
    if not 1 <= int(number) <= int(count):
        raise ValueError(text)
    return int(number), int(count)


def pytest_addoption(parser):
    parser.addoption("--part", type=part, default=(1, 1), help="K/N: only the tests whose turn is K of N")
    parser.addoption("--model", action="append", default=None, help="concurrency models to run the model tests with")


def pytest_generate_tests(metafunc):
    if "model" in metafunc.fixturenames:
        models = metafunc.config.getoption("--model")
        metafunc.parametrize("model", models or ["thread-pool", "thread-per-connection", "thread-per-request"])


def pytest_collection_modifyitems(config, items):
    """Runs in parallel share the tests by turns, which spreads the slow ones of a file."""
    number, count = config.getoption("--part")
    config.hook.pytest_deselected(items=[item for i, item in enumerate(items) if i % count != number - 1])
    items[:] = items[number - 1::count]
