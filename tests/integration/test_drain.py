# SPDX-License-Identifier: MIT
"""Draining: what is under way ends as it should, all else at once, and none of it takes longer than it may."""
import contextlib
import signal
import time

import omclient
import omproto as p
import pytest
from daemon import PATIENCE, wait_until
from test_control import objmap

LARGE = 3 << 20  # more than what the kernel takes for a client that does not read


@pytest.fixture(params=["signal", "operation"])
def drain(request):
    def by_signal(daemon):
        daemon.signal(signal.SIGTERM)

    def by_operation(daemon):
        assert objmap(daemon, "drain") == ("", "")

    return by_signal if request.param == "signal" else by_operation


@pytest.fixture
def large(tree):
    data = bytes(range(256)) * (LARGE // 256)
    (tree.path / "large").write_bytes(data)
    return data


def ask_for_large(c, mode=p.COPY):
    """Asks, and takes a little of it: the rest is under way."""
    c.ask("/large", mode)
    r = c.head()
    assert (r.status, r.body_len) == (p.OK, LARGE)
    return c.take(1000)


def is_draining(daemon):
    return "draining" in daemon.log()


@pytest.mark.threads
@pytest.mark.parametrize("version, mode", [(1, p.COPY), (3, p.SPLICE)], ids=["v1-copy", "v3-splice"])
def test_bodies_under_way_are_sent_to_their_end(start, tree, large, model, version, mode):
    daemon = start({"/": tree.path}, "--concurrency-model", model)
    with daemon.connect(version) as c, daemon.connect(version) as idle, daemon.connect(version) as fresh:
        idle.get("/a.txt").close()
        first = ask_for_large(c, mode)
        daemon.signal(signal.SIGTERM)
        assert idle.eof() and fresh.eof(), "who waits for nothing is let go at once"
        assert daemon.proc.poll() is None
        assert first + c.take(LARGE - len(first)) == large
        assert c.eof()
    assert daemon.exit_status() == 0


def test_nobody_new_is_served(start, tree, large, drain):
    daemon = start({"/": tree.path}, config='timeouts = { drain = "0s"; };\n')
    with daemon.connect(3) as c:
        first = ask_for_large(c)
        drain(daemon)
        wait_until(lambda: is_draining(daemon))
        with omclient.Client(daemon.socket) as late:
            late.send(p.hello_encode(p.Hello()))
            c.take(LARGE - len(first))
            with pytest.raises(omclient.Closed):
                late.need(1)
    assert daemon.exit_status() == 0


@pytest.mark.parametrize("command", ["file", "operation"])
def test_time_is_bounded(start, tree, large, command):
    """One takes no more of its body, one does not read its replies."""
    text = 'timeouts = {{ drain = "{}"; }};\n'
    daemon = start({"/": tree.path}, config=text.format("600ms" if command == "file" else "0s"))
    with daemon.connect(1) as c, daemon.connect(3) as mute:
        if command == "operation":
            daemon.config.write_text(text.format("600ms"))
            objmap(daemon, "reload")
        ask_for_large(c)
        mute.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                mute.sock.send(p.request_encode(p.Request(p.GET, p.FD, uri=b"/a.txt")) * 100)
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_status() == 0
        assert time.monotonic() - began >= 0.5
        with pytest.raises(omclient.Closed):
            c.take(LARGE)


def test_second_signal_ends_it_at_once(start, tree, large, drain):
    daemon = start({"/": tree.path}, config='timeouts = { drain = "0s"; };\n')
    with daemon.connect(3) as c, daemon.connect(3) as idle:
        ask_for_large(c)
        drain(daemon)
        assert idle.eof()
        assert daemon.proc.poll() is None
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_status() == 0


def test_control_while_it_drains(start, tree, large, drain):
    """It is answered, in its turn; nothing is reloaded any more, and a second drain is no second signal."""
    daemon = start({"/": tree.path}, config='timeouts = { drain = "0s"; };\n')
    with daemon.connect(3) as c, daemon.connect(3) as idle:
        first = ask_for_large(c)
        for op in (p.STATS, p.RELOAD, p.DRAIN, p.PING):
            c.ask(op=op, mode=0, flags=p.METADATA)
        drain(daemon)
        assert idle.eof()
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: "not reloaded" in daemon.log())
        assert first + c.take(LARGE - len(first)) == large
        replies = {r.op: r for r in (c.reply() for _ in range(4))}
        assert b'"draining": true' in replies[p.STATS].body
        assert replies[p.RELOAD].status == p.UNAVAILABLE and b"draining" in replies[p.RELOAD].metadata
        assert replies[p.DRAIN].status == replies[p.PING].status == p.OK
        assert c.eof()
    assert daemon.exit_status() == 0


@pytest.mark.threads
def test_many_reloads_and_drains_at_once(start, tree, model):
    """Whoever asks for control operations when the daemon ends gets an answer or the end, and it ends."""
    daemon = start({"/": tree.path}, "--concurrency-model", model)
    clients = [daemon.connect(3) for _ in range(20)]
    for i, c in enumerate(clients):
        with contextlib.suppress(omclient.Closed):  # drained by one of those before
            for op in (p.RELOAD, p.STATS, p.DRAIN if i >= 10 else p.RELOAD) * 3:
                c.ask(op=op, mode=0)
    for c in clients:
        with c:
            try:
                while True:
                    r = c.reply()
                    assert r.status in (p.OK, p.UNAVAILABLE)
            except omclient.Closed:
                pass
    assert daemon.proc.wait(PATIENCE) == 0
    assert daemon.exit_status() == 0
