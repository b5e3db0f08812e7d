# SPDX-License-Identifier: MIT
"""Control operations: statistics, reload and drain, by the protocol and by objmap(1)."""
import json
import subprocess

import daemon as d
import omproto as p
import pytest

OBJMAP = d.ROOT / d.BUILD / "objmap"


def objmap(daemon, *args, status=0):
    """(standard output, standard error)"""
    done = subprocess.run([OBJMAP, "--socket", daemon.socket, *args], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=d.PATIENCE)
    assert done.returncode == status, done
    return done.stdout, done.stderr


def stats(daemon):
    with daemon.connect(3) as c:
        r = c.control(p.STATS)
    assert (r.status, r.mode, r.fd, r.size, r.version, r.op) == (p.OK, 0, -1, 0, 0, p.STATS)
    return json.loads(r.body)


def reload(daemon):
    """(status, text) of RELOAD."""
    with daemon.connect(3) as c:
        r = c.control(p.RELOAD)
    assert (r.fd, r.size, r.version, r.body) == (-1, 0, 0, b"")
    return r.status, r.entries().get(p.META_ERROR, b"").decode()


def become(daemon, text):
    daemon.config.write_text(text)
    assert reload(daemon) == (p.OK, "")


def refuse(daemon, text):
    """What is said of it."""
    daemon.config.write_text(text)
    status, said = reload(daemon)
    assert status == p.INVALID
    return said


def test_stats(start, tree, model):
    daemon = start({"/": tree.path}, "--concurrency-model", model)
    d.wait_until(lambda: not stats(daemon)["index"]["scanning"])
    with daemon.connect(3) as other:
        found = d.wait_until(lambda: (now := stats(daemon))["connections"]["open"] == 2 and now)
        assert found["instance"] == other.hello.instance.hex()
    assert found["connections"]["max"] > 2
    assert found["index"]["objects"] == len(tree.files) and found["draining"] is False
    d.wait_until(lambda: 0 < found["uptime_s"] < stats(daemon)["uptime_s"])
    assert json.loads(objmap(daemon, "stats", "--json")[0])["instance"] == found["instance"]


def test_stats_among_other_requests(served, tree):
    """Pipelined with descriptors and bodies, every reply is whole and its own."""
    with served.connect(3) as c:
        requests = [(p.GET, b"/a.txt", p.FD), (p.STATS, b"", 0), (p.GET, b"/big", p.COPY), (p.STATS, b"", 0),
                    (p.PING, b"", 0)] * 5
        c.send(b"".join(p.request_encode(p.Request(op, mode, id=i, uri=uri)) for i, (op, uri, mode) in
                        enumerate(requests)))
        for _ in requests:
            r = c.reply()
            op, uri, _ = requests[r.id]
            assert (r.status, r.op) == (p.OK, op)
            content = r.content()
            if op == p.STATS:
                assert "index" in json.loads(content)
            else:
                assert content == tree.files.get(uri.decode(), b"")


def test_reload_answers_when_it_is_done(start, tree, workdir, model):
    daemon = start(None, "--concurrency-model", model, config=exports(tree, "/old/"))
    for prefix in ("/new/", "/newer/"):
        daemon.config.write_text(exports(tree, prefix))
        assert reload(daemon) == (p.OK, "")
        assert daemon.get_status(prefix + "a.txt") == p.OK and daemon.get_status("/old/a.txt") == p.NOT_FOUND
    daemon.config.write_text(exports(tree, "/old/"))
    assert objmap(daemon, "reload") == ("", "")
    assert daemon.get_status("/old/a.txt") == p.OK


def exports(tree, prefix):
    return f'exports = ( {{ prefix = "{prefix}"; path = "{tree.path}"; }} );\n'


BROKEN = {
    "syntax": ("exports = (\n  nonsense", ":2: "),
    "key": ("\nlimits = { none = 1; };", ":2: limits.none: unknown key"),
    "value": ('timeouts = {\nidle = "soon"; };', ":2: timeouts.idle: "),
    "directory": ('exports = ( { prefix = "/";\npath = "/nowhere/at/all"; } );', "/nowhere/at/all"),
}


@pytest.mark.parametrize("text, words", BROKEN.values(), ids=BROKEN)
def test_reload_of_a_broken_file_changes_nothing_and_says_why(start, tree, text, words):
    daemon = start(None, config=exports(tree, "/old/"))
    daemon.config.write_text(text)
    status, said = reload(daemon)
    assert status == p.INVALID and words in said
    if words.startswith(":"):
        assert said.startswith(str(daemon.config))
    assert daemon.get_status("/old/a.txt") == p.OK
    assert said in objmap(daemon, "reload", status=1)[1]
    assert said in daemon.log() and "not reloaded" in daemon.log()


def test_drain_ends_the_daemon(start, tree, model):
    daemon = start({"/": tree.path}, "--concurrency-model", model)
    with daemon.connect(3) as idle, daemon.connect(3) as c:
        assert c.control(p.DRAIN).status == p.OK
        assert c.eof() and idle.eof()
    assert daemon.exit_status() == 0
    daemon = start({"/": tree.path}, "--concurrency-model", model)
    assert objmap(daemon, "drain") == ("", "")
    assert daemon.exit_status() == 0


def test_version_1_has_no_control(served):
    for command in (["stats", "--json"], ["reload"], ["drain"]):
        assert "cannot do that" in objmap(served, "--protocol", "1", *command, status=1)[1]


def test_control_takes_no_uri_and_ignores_what_is_reserved(served):
    with served.connect(3) as c:
        assert c.get(b"/a.txt", mode=p.FD, op=p.STATS, extra=b"x" * 9, range_offset=7, if_version=3).status == p.OK
        assert c.control(67).status == p.UNSUPPORTED
        c.ping()
