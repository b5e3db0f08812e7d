#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""leavers.py SECONDS: clients with a ring each, a thousand at a time; each makes one request, is answered and leaves.

Afterwards the daemon has no more descriptors and threads than before its first client, less than 512 KB more anonymous
memory than after the first ten thousand, and uses less than 0.1 % of a CPU. Exit status 1 when it does not.

jemalloc keeps pages that were freed for some seconds, by turns more and fewer of them, up to half a megabyte: here it is
told to give them back at once, so that what is seen to grow is in use.
"""
import os
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

import omproto as p  # noqa: E402
from daemon import Daemon, wait_until  # noqa: E402
from omring import Ring  # noqa: E402

AT_ONCE = 1000
WARM = 10
GROWTH_KB = 512
IDLE = 0.001  # of a CPU
GIVE_BACK = "dirty_decay_ms:0,muzzy_decay_ms:0"


def come_and_go(daemon):
    rings = [Ring(daemon.socket, 64, 65536) for _ in range(AT_ONCE)]
    try:
        for i, c in enumerate(rings):
            c.put(p.GET, "/a", p.INLINE, rid=i)
            assert c.publish()
        for i, c in enumerate(rings):
            reply = c.answers(1)[0]
            assert (reply.id, reply.status, reply.body) == (i, p.OK, b"a" * 1000)
    finally:
        for c in rings:
            c.close()


def settled_kb(daemon):
    """Anonymous memory at its lowest in the later half of some rounds."""
    found = []
    for _ in range(WARM):
        come_and_go(daemon)
        daemon.at_rest()
        found.append(daemon.anon_kb())
    return min(found[WARM // 2 :])


def cpu_of_a_second(daemon):
    before = daemon.cpu_seconds()
    time.sleep(1)
    return daemon.cpu_seconds() - before


def main(seconds):
    with tempfile.TemporaryDirectory(prefix="objm") as work:
        tree = pathlib.Path(work, "tree")
        tree.mkdir()
        (tree / "a").write_bytes(b"a" * 1000)
        daemon = Daemon(work, {"/": tree}, config="concurrency = { max_connections = 2000; };\n")
        try:
            first, rounds, end = settled_kb(daemon), 0, time.monotonic() + seconds
            while time.monotonic() < end:
                come_and_go(daemon)
                rounds += 1
            grown = settled_kb(daemon) - first
            wait_until(lambda: cpu_of_a_second(daemon) < IDLE, message="it uses a CPU although nobody is there")
            print(f"{rounds * AT_ONCE} rings: {grown} KB more than after {WARM * AT_ONCE} before, {daemon.fds()} descriptors, "
                  f"{daemon.threads()} threads as at the start, {cpu_of_a_second(daemon) * 1e3:.1f} ms of CPU a second")
            return grown >= GROWTH_KB
        finally:
            daemon.stop()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.environ.setdefault("OBJM_BUILD", "build/release")
    os.environ["MALLOC_CONF"] = GIVE_BACK
    sys.exit(main(float(sys.argv[1])))
