# SPDX-License-Identifier: MIT
"""One call of one libc function fails in a client, the first, the second, and so on until none is reached any more.

Each run ends by itself: with status 0 and the right bytes, or with another status, a message, and no byte that is wrong.
"""
import contextlib
import json
import subprocess

import daemon as d
import pytest
from faults import Fault, built

pytestmark = pytest.mark.skipif(d.INSTRUMENTED, reason="a sanitizer has its own allocator and must be loaded first")

OBJMAP = d.ROOT / d.BUILD / "objmap"
# Every call at first; then ever fewer, because a client that polls makes more calls the longer it has to wait.
CALLS = [*range(1, 200), *(int(200 * 1.2 ** i) for i in range(40))]

FAULTS = [
    ("malloc", "ENOMEM"), ("calloc", "ENOMEM"), ("realloc", "ENOMEM"), ("mmap", "ENOMEM"), ("madvise", "ENOMEM"),
    ("socket", "EMFILE"), ("socket", "ENOBUFS"), ("connect", "EAGAIN"), ("connect", "EINTR"), ("connect", "EPERM"),
    ("connect", "ECONNREFUSED"), ("send", "EAGAIN"), ("send", "EINTR"), ("send", "EPIPE"), ("send", "ENOBUFS"),
    ("send", "ECONNRESET"), ("recvmsg", "EAGAIN"), ("recvmsg", "EINTR"), ("recvmsg", "ECONNRESET"),
    ("recvmsg", "ENOMEM"), ("poll", "EINTR"), ("poll", "ENOMEM"), ("ppoll", "EINTR"), ("ppoll", "ENOMEM"),
    ("write", "EINTR"), ("write", "EIO"), ("write", "ENOSPC"), ("pread", "EINTR"), ("pread", "EIO"),
    ("copy_file_range", "EINTR"), ("copy_file_range", "EIO"), ("copy_file_range", "ENOSPC"), ("sendfile", "EINTR"),
    ("sendfile", "EIO"), ("ftruncate", "EIO"), ("open", "EMFILE"), ("open", "ENOSPC"), ("__getdelim", "ENOMEM"),
    ("epoll_create1", "EMFILE"), ("epoll_add", "ENOSPC"), ("epoll_mod", "ENOMEM"), ("epoll_wait", "EINTR"),
    ("epoll_wait", "EIO"), ("pthread_create", "EAGAIN"), ("fstat", "EIO"),
]

# After these a call is made again, or another way is taken: nobody notices.
HARMLESS = {("madvise", "ENOMEM"), ("mmap", "ENOMEM"), ("sendfile", "EINTR")} | {
    (f, "EINTR") for f in ("send", "recvmsg", "poll", "ppoll", "write", "copy_file_range", "epoll_wait")} | {
    (f, "EAGAIN") for f in ("connect", "send", "recvmsg")}


class Run:
    def __init__(self, tree, directory, done):
        self.tree, self.dir, self.argv = tree, directory, done.args
        self.status, self.out = done.returncode, done.stdout


def printed(*uris):
    def check(run):
        content = b"".join(run.tree.files[u] for u in uris)
        assert run.out == content if run.status == 0 else content.startswith(run.out)
    return check


def written(run):
    """To the end, or not at all."""
    out = run.dir / "out"
    assert out.read_bytes() == run.tree.files["/body"] if run.status == 0 else not out.exists()
    out.unlink(missing_ok=True)


def continued(run):
    """To the end, or so that the same once more, without a fault, comes to the end."""
    out, part, content = run.dir / "out", run.dir / "out.part", run.tree.files["/body"]
    if run.status == 0:
        assert out.read_bytes() == content and not part.exists()
    else:
        assert not out.exists() or content.startswith(out.read_bytes())
        subprocess.run(run.argv, cwd=run.dir, check=True, capture_output=True)
        assert out.read_bytes() == content and not part.exists()
    out.unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def said(run):
    if run.status == 0:
        assert json.loads(run.out)["size"] == len(run.tree.files["/a.txt"])


def answered(run):
    if run.status == 0:
        r = json.loads(run.out)
        assert r["requests"] == 30
    else:
        assert not run.out


def anything(run):
    pass


CASES = {
    "get": (["get", "-o", "out", "/body"], written),
    "get-copy": (["get", "--mode", "copy", "-o", "out", "/body"], written),
    "get-splice": (["get", "--mode", "splice", "-o", "out", "/body"], written),
    "get-auto": (["get", "--mode", "auto", "-o", "out", "/body"], written),
    "get-v1": (["--protocol", "1", "get", "--mode", "copy", "-o", "out", "/body"], written),
    "continue": (["get", "-c", "-o", "out", "/body"], continued),
    "continue-copy": (["get", "-c", "--mode", "copy", "-o", "out", "/body"], continued),
    "cat": (["cat", "/body"], printed("/body")),
    "cat-copy": (["cat", "--mode", "copy", "/body"], printed("/body")),
    "cat-auto": (["cat", "--mode", "auto", "/a.txt"], printed("/a.txt")),
    "stat": (["stat", "--json", "/a.txt"], said),
    "ping": (["ping", "-c", "3"], anything),
    "bench": (["bench", "--count", "30", "--json", "--uris", "uris"], answered),
    "bench-copy": (["bench", "--count", "30", "--json", "--uris", "uris", "--mode", "copy"], answered),
    "bench-reads": (["bench", "--count", "30", "--json", "--uris", "uris", "--mode", "auto", "--depth", "4"],
                    answered),
    "bench-epoll": (["bench", "--count", "30", "--json", "--uris", "uris", "--connections", "3", "--depth", "4"], answered),
    "bench-threads": (["bench", "--count", "30", "--json", "--uris", "uris", "--connections", "2", "--threads", "2"],
                      answered),
    "bench-transient": (["bench", "--count", "30", "--json", "--uris", "uris", "--transient"], answered),
}


@pytest.fixture
def body(tree):
    tree.files["/body"] = tree.files["/big"][:200_000]
    (tree.path / "body").write_bytes(tree.files["/body"])
    return tree


def run_once(workdir, tree, argv, check, fault, n):
    done = subprocess.run(argv, cwd=workdir, env=fault.env, capture_output=True, stdin=subprocess.DEVNULL,
                          timeout=d.PATIENCE)
    where = f"{fault.function} {fault.error}, call {n}: status {done.returncode}, {done.stderr}"
    assert done.returncode in (0, 1), where
    assert done.returncode == 0 or done.stderr, where
    if (fault.function, fault.error) in HARMLESS or not fault.fired:
        assert done.returncode == 0, where
    try:
        check(Run(tree, workdir, done))
    except AssertionError as e:
        raise AssertionError(where) from e


def run_each(workdir, tree, argv, check):
    """Every fault, every call."""
    reached = set()
    for function, error in FAULTS:
        fault = Fault(workdir, function, error)
        with contextlib.closing(fault.words):
            for n in CALLS:
                fault.arm(n)
                run_once(workdir, tree, argv, check, fault, n)
                if not fault.fired:
                    break
                reached.add(function)
            else:
                pytest.fail(f"{function} {error}: never a run without a failing call")
    return reached


@pytest.mark.parametrize("case", CASES)
def test_objmap(start, workdir, body, case):
    daemon = start({"/": body.path})
    (workdir / "uris").write_text("/a.txt\n/body\n/empty\n")
    argv, check = CASES[case]
    reached = run_each(workdir, body, [OBJMAP, "--socket", daemon.socket, "--timeout", "300", *argv], check)
    assert {"malloc", "calloc", "socket", "connect", "send", "recvmsg"} <= reached


def test_library(start, workdir, body):
    daemon = start({"/": body.path})
    reached = run_each(workdir, body, [built("fault-client"), daemon.socket, "/body", "/a.txt"], printed("/body"))
    assert {"malloc", "calloc", "socket", "connect", "send", "recvmsg", "pread"} <= reached
