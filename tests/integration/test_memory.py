# SPDX-License-Identifier: MIT
"""Anonymous memory of the daemon with idle connections, each of which has had an object."""
import os
import re
import resource
import subprocess

import omproto as p
import pytest
from daemon import BIN, INSTRUMENTED

pytestmark = [pytest.mark.timing, pytest.mark.skipif(INSTRUMENTED, reason="the build is instrumented")]


@pytest.mark.parametrize("n,limit_mb", [(100, 3), (1000, 6), (10_000, 25)])
def test_idle_connections(start, tree, n, limit_mb):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < n + 1000:
        pytest.skip("RLIMIT_NOFILE is too low")
    daemon = start({"/": tree.path}, config=f"concurrency = {{ max_connections = {n + 10}; }};\n")
    clients = []
    try:
        for i in range(n):
            clients.append(daemon.connect(3))
            r = clients[-1].get(f"/many/{i % 100}")
            assert r.status == p.OK
            r.close()
        kb = daemon.anon_kb()
        print(f"{n} idle connections: {kb} KB, {kb * 1024 // n} bytes each")
        assert kb < limit_mb * 1024
    finally:
        for c in clients:
            c.close()


def test_the_allocator_makes_two_arenas():
    """However many CPUs there are. With one for each thread what the daemon takes would be chance."""
    done = subprocess.run([BIN, "--version"], env={**os.environ, "MALLOC_CONF": "stats_print:true"}, check=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=30)
    assert re.findall(r"^ *opt\.narenas: (\d+)", done.stderr, re.M) == ["2"], done.stderr[:500]
