# SPDX-License-Identifier: MIT
"""Byte for byte: every size by copy, splice and auto, over Unix and TCP, whole and in ranges, one by one and a hundred
at once. (Each size by itself, in both versions and all models, is in test_bodies and test_tcp.)"""
import contextlib
import itertools
import os

import omproto as p
import pytest
from test_bodies import ALL, compare, connect

SIZES = (0, 1, 4095, 4096, 65537, 1 << 20)
LARGE, HUGE = 100 << 20, (5 << 30) + 4097
MODES = (p.COPY, p.SPLICE, p.AUTO)


@pytest.fixture(params=["unix", "tcp"])
def daemon(request, start, workdir):
    """Of a directory with a file of random bytes for each of SIZES, named for it."""
    path = workdir / "sized"
    path.mkdir()
    for size in SIZES:
        (path / str(size)).write_bytes(os.urandom(size))
    daemon = start({"/": path}, tcp="127.0.0.1" if request.param == "tcp" else None)
    daemon.path = path
    return daemon


def sparse(path, size, places):
    """A file with random bytes around @places and both ends, and holes."""
    with open(path, "wb") as file:
        file.truncate(size)
        for place in (0, *places, size):
            os.pwrite(file.fileno(), os.urandom(6000), max(0, min(place - 3000, size - 6000)))


def ranges(size, lengths):
    edges = {0, 1, 4095, 4096, size // 2, size, size + 1} | ({size - 1} if size else set())
    return [(offset, length) for offset in sorted(edges) for length in lengths]


def ask(c, uri, mode, wanted):
    """@wanted: (offset, length; 0: to the end), or None for the whole."""
    if wanted:
        c.ask(uri, mode, flags=p.RANGE, range_offset=wanted[0], range_length=wanted[1])
    else:
        c.ask(uri, mode)


def check(c, path, wanted):
    check_from(c, c.head(), path, wanted)


def check_from(c, r, path, wanted):
    """A descriptor is of the whole object, whatever was wanted; what is read of it is that."""
    offset, length = wanted or (0, 0)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        at = min(offset, size)
        n = min(length or size, size - at)
        assert r.status == p.OK and r.size == size
        if r.fd >= 0:
            assert os.fstat(r.fd).st_ino == os.fstat(file.fileno()).st_ino
            assert os.pread(r.fd, n, at) == os.pread(file.fileno(), n, at)
            r.close()
        else:
            assert r.body_len == n
            compare(c, n, file, at)


def test_ranges_of_every_size(daemon):
    with connect(daemon, 3) as c:
        for mode, size in itertools.product(MODES, SIZES):
            for wanted in (None, *ranges(size, (0, 1, 4096, 65537))):
                ask(c, f"/{size}", mode, wanted)
                check(c, daemon.path / str(size), wanted)


def test_ranges_of_a_large_one(daemon):
    sparse(daemon.path / "large", LARGE, [LARGE // 2])
    with connect(daemon, 3, chunk=1 << 20) as c:
        for mode, wanted in itertools.product(MODES, (None, *ranges(LARGE, (1, 65537)), (LARGE // 2, 0))):
            ask(c, "/large", mode, wanted)
            check(c, daemon.path / "large", wanted)


def test_a_hundred_at_once_in_ranges_and_whole(daemon):
    """All sizes and modes beside each other, each client asks twice."""
    every = [(size, mode, wanted) for size in SIZES for mode in MODES
             for wanted in (None, *ranges(size, (0, 65537)))]
    asked = [every[i * len(every) // 200] for i in range(200)]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(daemon, 3)) for _ in range(100)]
        for c, pair in zip(clients, zip(asked[:100], asked[100:])):
            for size, mode, wanted in pair:
                ask(c, f"/{size}", mode, wanted)
        for c, pair in reversed(list(zip(clients, zip(asked[:100], asked[100:])))):
            check_pair(c, daemon.path, pair)


def check_pair(c, path, pair):
    """A descriptor may come before a body that was asked for earlier; two small ones are looked at in their order."""
    for _ in pair:
        r = c.head()
        size, _, wanted = pair[r.id - 1]
        check_from(c, r, path / str(size), wanted)


def test_a_hundred_large_ones_at_once(daemon):
    """A megabyte each, in every way: what the pool and the escorts share out."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(daemon, version)) for version, _ in ALL for _ in range(20)]
        for c, (_, mode) in zip(clients, [way for way in ALL for _ in range(20)]):
            c.ask("/1048576", mode)
        for c in reversed(clients):
            check(c, daemon.path / "1048576", None)


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES, ids=["copy", "splice", "auto"])
def test_five_gigabytes_whole_and_in_ranges(daemon, mode):
    edges = [(1 << 31), (1 << 32), HUGE // 2]
    sparse(daemon.path / "huge", HUGE, edges)
    with connect(daemon, 3, chunk=1 << 20) as c:
        for wanted in (None, *((edge - 3, length) for edge in edges for length in (1, 7, 65537)),
                       *ranges(HUGE, (1, 65537)), ((1 << 32) - 3, 0)):
            ask(c, "/huge", mode, wanted)
            if mode == p.AUTO and not daemon.tcp:
                wanted = wanted and (wanted[0], min(wanted[1] or 65537, 65537)) or (0, 65537)
            check(c, daemon.path / "huge", wanted)
