# SPDX-License-Identifier: MIT
"""What every concurrency model must do: the same."""
import os
import threading

import omproto as p
import pytest
from omclient import get_many

pytestmark = pytest.mark.threads


@pytest.fixture(params=[1, 3], ids=["v1", "v3"])
def version(request):
    return request.param


@pytest.fixture
def daemon(start, tree, model):
    return start({"/": tree.path}, "--concurrency-model", model)


def check(reply, content):
    assert reply.status == p.OK
    assert os.pread(reply.fd, len(content) + 1, 0) == content
    reply.close()


def test_every_file(daemon, tree, version):
    with daemon.connect(version) as c:
        for uri, content in tree.files.items():
            check(c.get(uri), content)


def test_refusals_do_not_end_the_connection(daemon, version):
    with daemon.connect(version) as c:
        for uri, status in (("/none", p.NOT_FOUND), ("/../a.txt", p.INVALID), ("/sub", p.UNSUPPORTED),
                            ("/a.txt", p.OK)):
            r = c.get(uri)
            r.close()
            assert r.status == status, uri


def test_pipelined(daemon, tree, version):
    uris = [u for u in tree.files] * 10
    with daemon.connect(version) as c:
        n = 0
        for uri, r in get_many(c, uris, depth=200):
            check(r, tree.files[os.fsdecode(uri)])
            n += 1
        assert n == len(uris)


def test_many_connections_at_once(daemon, tree, version):
    failures = []

    def work(i):
        try:
            with daemon.connect(version) as c:
                for _ in range(20):
                    check(c.get(f"/many/{i}"), b"%d" % i)
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(50)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    daemon.at_rest()


def test_transient_clients_leave_nothing(daemon, version):
    for i in range(300):
        with daemon.connect(version) as c:
            c.ask(f"/many/{i % 100}")
            if i % 3:
                c.reply().close()
    daemon.at_rest()


def test_half_close_still_gets_its_replies(daemon, tree, version):
    uris = [f"/many/{i}" for i in range(100)]
    with daemon.connect(version) as c:
        c.ask_many(uris)
        c.half_close()
        for _ in uris:
            r = c.reply()
            assert r.status == p.OK
            r.close()
        assert c.eof()


def test_request_of_the_next_client_after_a_torn_one(daemon, version):
    whole = {1: b"1\0\6/a.txt", 3: p.request_encode(p.Request(p.GET, p.FD, uri=b"/a.txt"))}[version]
    for cut in (1, 2, 5, len(whole) - 1):
        with daemon.connect(version) as c:
            c.send(whole[:cut])
    assert daemon.get_status("/a.txt", version) == p.OK
