# SPDX-License-Identifier: MIT
"""A real tree: every regular file through both versions, compared byte for byte; everything else in it refused."""
import os
import stat

import omproto as p
import pytest
from omclient import get_many

REAL = os.environ.get("OBJM_TREE", "/usr/share")
CHUNK = 1 << 20


def walk(top):
    """{'file': URIs, 'link': ..., 'dir': ..., 'other': ...} of what is there."""
    kinds = {"file": [], "link": [], "dir": [], "other": []}
    stack = [os.fsencode(top)]
    while stack:
        for entry in os.scandir(stack.pop()):
            mode = entry.stat(follow_symlinks=False).st_mode
            kind = ("file" if stat.S_ISREG(mode) else "link" if stat.S_ISLNK(mode) else
                    "dir" if stat.S_ISDIR(mode) else "other")
            kinds[kind].append(entry.path[len(os.fsencode(top)) :])
            if kind == "dir":
                stack.append(entry.path)
    return kinds


def same_bytes(fd, path):
    own = os.open(path, os.O_RDONLY)
    try:
        at = 0
        while True:
            mine = os.pread(own, CHUNK, at)
            assert os.pread(fd, CHUNK, at) == mine, path
            if not mine:
                return at
            at += len(mine)
    finally:
        os.close(own)


@pytest.fixture(scope="module")
def kinds():
    found = walk(REAL)
    if len(found["file"]) < 1000:
        pytest.skip(f"{REAL} has fewer than 1000 files")
    return found


@pytest.mark.parametrize("version", [1, 3], ids=["v1", "v3"])
def test_every_regular_file(start, kinds, version):
    daemon = start({"/": REAL})
    n = n_bytes = 0
    with daemon.connect(version) as c:
        for uri, r in get_many(c, kinds["file"]):
            path = os.fsencode(REAL) + uri
            if r.status == p.DENIED:
                assert not os.access(path, os.R_OK), path
                continue
            assert r.status == p.OK, path
            size = same_bytes(r.fd, path)
            assert version == 1 or r.size == size, path
            r.close()
            n += 1
            n_bytes += size
    assert n > 0.9 * len(kinds["file"]) and n_bytes > 0


def test_everything_else_is_refused(start, kinds):
    daemon = start({"/": REAL})
    with daemon.connect(3) as c:
        for kind, status in (("link", p.DENIED), ("dir", p.UNSUPPORTED)):
            wrong = [(u, r.status) for u, r in get_many(c, kinds[kind]) if r.status != status]
            assert not wrong, wrong[:5]


def test_stat_agrees_with_the_tree(start, kinds):
    daemon = start({"/": REAL})
    with daemon.connect(3) as c:
        for uri in kinds["file"][:2000]:
            r = c.stat(uri, flags=p.METADATA)
            own = os.lstat(os.fsencode(REAL) + uri)
            assert (r.status, r.size) == (p.OK, own.st_size), uri
            assert int.from_bytes(r.entries()[p.META_MTIME], "big") == int(own.st_mtime), uri
