# SPDX-License-Identifier: MIT
"""The probes for tracers: what the binary says of them, and that each request hits each of them once."""
import contextlib
import glob
import os
import random
import re
import shutil

import daemon as d
import elfnotes
import omclient
import omproto as p
import omring
import omudp
import pytest
from test_escorts import ROW, escorted
from test_metrics import CONFIG, URIS, Log, ask_all, make_odd

HEADER = glob.glob("/usr/include/sys/sdt.h") + glob.glob("/usr/include/*/sys/sdt.h")
WITH_PROBES = pytest.mark.skipif(not HEADER, reason="built without <sys/sdt.h> (systemtap-sdt-dev)")
WHY_NOT = elfnotes.why_not_counted()
COUNTED = pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or "")
ARGUMENTS = {"request__start": 6, "request__end": 6, "request__refer": 1}


@WITH_PROBES
def test_what_the_binary_says():
    found = elfnotes.probes(d.BIN)
    assert {x.provider for x in found} == {"objmapperd"}
    assert {x.name: len(x.arguments) for x in found} == ARGUMENTS
    code = elfnotes.Elf(d.BIN).data
    assert all(code[x.offset : x.offset + 1] == b"\x90" for x in found) or os.uname().machine != "x86_64", "not nops"


def test_the_manual_lists_them():
    page = (d.ROOT / "man/objmapperd.8").read_text()
    listed = re.findall(r"^\.It Li (request__\w+)((?: ,? ?\w+)*)$", page, re.M)
    assert {name: len(words.replace(",", " ").split()) for name, words in listed} == ARGUMENTS


class Watched:
    """A daemon and the hits of its probes. expect() compares them with what clients have seen since the last one."""

    def __init__(self, daemon, hits, tree):
        self.daemon, self.hits, self.tree = daemon, hits, tree
        self.wanted = dict.fromkeys(ARGUMENTS, 0)

    def expect(self, answered, referred=0):
        for name, n in zip(ARGUMENTS, (answered + referred, answered, referred)):
            self.wanted[name] += n
        d.wait_until(lambda: self.hits.read() == self.wanted, seconds=d.PATIENCE / 2,
                     message=lambda: f"hit {self.hits.read()}, wanted {self.wanted}")

    def settle(self):
        """What has been asked in a number that is not known has started and ended as often."""

        def same():
            found = self.hits.read()
            return found if found["request__start"] == found["request__end"] + found["request__refer"] else None

        self.wanted = d.wait_until(same)


@pytest.fixture
def watch(start, tree, workdir, monkeypatch):
    """watch(...): as start(), with a binary that nobody else runs; a Watched."""
    with contextlib.ExitStack() as stack:
        def run(*args, **kw):
            monkeypatch.setattr(d, "BIN", shutil.copy(d.BIN, workdir / "objmapperd"))
            daemon = start({"/": tree.path}, *args, **kw)
            try:
                return Watched(daemon, stack.enter_context(elfnotes.Hits(d.BIN)), tree)
            except OSError as e:
                return pytest.skip(f"no uprobes here: {e}")

        yield run


def streams(watched):
    """Every mode, status and version over both kinds of stream, pipelined; the first time the names are not known."""
    for address, transport in ((watched.daemon.socket, "unix"), (watched.daemon.address, "tcp")):
        log = Log()
        ask_all(watched.daemon, address, transport, log, watched.tree.files, random.Random(4))
        watched.expect(sum(log.requests.values()))


def late_readers(watched):
    """Replies are dropped and made again, and the requests have started all the same."""
    requests = [("/a.txt", p.FD), ("/sub/b.bin", p.COPY), ("/none", p.FD)] * 300
    for version in (1, 3):
        began = watched.hits.read()["request__start"]
        with omclient.CLIENTS[version](watched.daemon.socket) as c:
            c.ask_each(requests)
            d.wait_until(lambda: watched.hits.read()["request__start"] > began)
            for _ in requests:
                c.reply().close()
        watched.expect(len(requests))


def bodies(watched):
    """Those that are sent by the pool, by an escort, and what that leaves to the worker."""
    with omclient.V3(watched.daemon.address) as c:
        for _ in range(5):
            assert len(c.get("/big", mode=p.COPY).body) == 1 << 20
    watched.expect(5)
    if d.INSTRUMENTED:
        return
    with escorted(watched.daemon, (3, p.COPY), watched.tree) as c:
        watched.settle()
        for _ in range(ROW):
            assert len(c.get("/big", mode=p.COPY).body) == 1 << 20
        c.get("/a.txt").close()
        c.get("/none", mode=p.COPY)
        watched.expect(ROW + 2)


def datagrams(watched):
    with omudp.Udp(watched.daemon.udp[0]) as u:
        cookie = u.cookie()
        asked = [(uri, op, c) for uri in URIS for op in (p.GET, p.STAT) for c in (0, cookie)]
        for uri, op, c in asked:
            u.ask(uri, op=op, mode=p.COPY if op == p.GET else 0, cookie=c)
        u.send(b"junk")
        u.ask(op=p.PING)
    watched.expect(len(asked) + 2)


def ring(watched):
    """What the ring answers by itself and with the pool's help, and what it refers to the socket."""
    with omring.Ring(watched.daemon.socket, 64, 65536) as c:
        requests = [(op, mode, uri) for uri in URIS for op, mode in
                    [(p.GET, p.FD), (p.GET, p.AUTO), (p.GET, p.INLINE), (p.GET, p.COPY), (p.STAT, 0), (p.PING, 0)]] * 2
        referred = 0
        for rid, (op, mode, uri) in enumerate(requests):
            c.put(op, uri, mode, rid)
            c.publish()
            (r,) = c.answers(1)
            referred += bool(r.flags & omring.RS_SOCKET)
            if r.n_fds:
                os.close(c.fetch(rid))
        assert referred > len(URIS)
        watched.expect(len(requests) - referred + 1, referred)


COLD = "index = { scan = false; watch = false; };\n"


@WITH_PROBES
@COUNTED
@pytest.mark.parametrize("ways", [(ring, datagrams), (streams, late_readers, bodies)], ids=("ring", "streams"))
def test_each_request_starts_and_ends_once(watch, tree, ways):
    make_odd(tree)
    (tree.path / "s16385").write_bytes(b"s" * 16385)
    tree.files["/s16385"] = b"s" * 16385
    watched = watch(config=CONFIG + COLD, **({"udp": ["127.0.0.1"]} if datagrams in ways else {"tcp": "127.0.0.1"}))
    for way in ways:
        way(watched)


@WITH_PROBES
@COUNTED
def test_so_it_is_when_each_request_has_a_thread(watch, tree):
    make_odd(tree)
    streams(watch("--concurrency-model", "thread-per-request", config=CONFIG, tcp="127.0.0.1"))
