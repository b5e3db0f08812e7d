# SPDX-License-Identifier: MIT
"""An attacker who renames and replaces while we ask: nothing outside the tree is ever opened."""
import contextlib
import os
import stat
import threading
import time

import omproto as p
import pytest

SECONDS = 3


@contextlib.contextmanager
def attacker(step):
    """Runs step() over and over in a thread of its own until the block ends; its rounds are counted."""
    rounds, over, failed = [0], threading.Event(), []

    def run():
        try:
            while not over.is_set():
                step()
                rounds[0] += 1
        except BaseException as e:
            failed.append(e)

    t = threading.Thread(target=run)
    t.start()
    try:
        yield rounds
    finally:
        over.set()
        t.join()
    assert not failed, failed
    assert rounds[0] > 100, "the attacker hardly ran"


def swap(a, b):
    """Exchanges two names by way of a third."""
    os.rename(a, f"{a}.swap")
    os.rename(b, a)
    os.rename(f"{a}.swap", b)


def collect(daemon, uris, allowed):
    """Asks in turn for some seconds; returns how often each status came. Every grant must be of @allowed."""
    seen = {}
    end = time.monotonic() + SECONDS
    with daemon.connect(3) as c:
        while time.monotonic() < end:
            for uri in uris:
                r = c.get(uri)
                if r.fd >= 0:
                    st = os.fstat(r.fd)
                    r.close()
                    assert stat.S_ISREG(st.st_mode)
                    assert (st.st_dev, st.st_ino) in allowed, f"{uri} opened what is outside"
                seen[r.status] = seen.get(r.status, 0) + 1
    return seen


def inode(path):
    st = os.stat(path)
    return st.st_dev, st.st_ino


@pytest.fixture
def arena(tree):
    """Outside the tree a secret file and a directory of the same shape; in it a file and a directory to swap."""
    outside = tree.path.parent / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"secret")
    (outside / "secret").write_bytes(b"secret")
    (tree.path / "x").write_bytes(b"x")
    (tree.path / "d").mkdir()
    (tree.path / "d" / "file").write_bytes(b"inside")
    return tree.path, outside


def test_file_swapped_with_symlink(start, arena):
    top, outside = arena
    (top / "evil").symlink_to(outside / "secret")
    allowed = {inode(top / "x")}
    daemon = start({"/": top})
    with attacker(lambda: swap(str(top / "x"), str(top / "evil"))):
        seen = collect(daemon, ["/x", "/evil"], allowed)
    assert seen.get(p.OK, 0) > 10 and seen.get(p.DENIED, 0) > 10, seen
    assert set(seen) <= {p.OK, p.DENIED, p.NOT_FOUND, p.UNAVAILABLE}, seen


def test_directory_swapped_with_symlink(start, arena):
    top, outside = arena
    (top / "e").symlink_to(outside)
    allowed = {inode(top / "d" / "file")}
    daemon = start({"/": top})
    with attacker(lambda: swap(str(top / "d"), str(top / "e"))):
        seen = collect(daemon, ["/d/file", "/e/file"], allowed)
    assert seen.get(p.OK, 0) > 10 and seen.get(p.DENIED, 0) > 10, seen
    assert set(seen) <= {p.OK, p.DENIED, p.NOT_FOUND, p.UNAVAILABLE}, seen


def test_directory_moved_out_of_the_tree(start, arena):
    top, outside = arena
    allowed = {inode(top / "d" / "file")}
    daemon = start({"/": top})

    def out_and_in():
        os.rename(top / "d", outside / "moved")
        os.rename(outside / "moved", top / "d")

    with attacker(out_and_in):
        seen = collect(daemon, ["/d/file", "/d/../../outside/secret"], allowed)
    assert seen.get(p.OK, 0) > 10 and seen.get(p.INVALID, 0) > 10, seen


def test_file_swapped_with_fifo(start, arena):
    """A FIFO must not be opened, let alone block."""
    top, _ = arena
    os.mkfifo(top / "pipe")
    allowed = {inode(top / "x")}
    daemon = start({"/": top})
    with attacker(lambda: swap(str(top / "x"), str(top / "pipe"))):
        seen = collect(daemon, ["/x", "/pipe"], allowed)
    assert seen.get(p.OK, 0) > 10 and seen.get(p.UNSUPPORTED, 0) > 10, seen


@pytest.mark.threads
def test_replaced_by_rename(start, arena):
    """Whoever replaces objects by rename loses no request, and every grant is one whole version."""
    top, _ = arena
    (top / "x").write_bytes(b"0" * 4096)
    number = [0]

    def replace():
        number[0] += 1
        (top / "new").write_bytes(b"%d" % (number[0] % 10) * 4096)
        os.rename(top / "new", top / "x")

    daemon = start({"/": top})
    end = time.monotonic() + SECONDS
    versions = set()
    with attacker(replace), daemon.connect(3) as c:
        while time.monotonic() < end:
            r = c.get("/x")
            assert r.status == p.OK
            data = os.pread(r.fd, 8192, 0)
            r.close()
            assert len(data) == r.size == 4096 and len(set(data)) == 1
            versions.add(r.version)
    assert len(versions) > 10
