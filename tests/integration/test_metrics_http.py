# SPDX-License-Identifier: MIT
"""metrics.http moves with a reload: the new place answers before the old one is left, or nothing changes."""
import http.client
import os
import re
import signal
import socket
import threading

import omproto as p
import openmetrics
import pytest
from daemon import wait_until
from test_control import become, refuse
from test_metrics import WITH_HTTP, fetch

pytestmark = WITH_HTTP

LEFT = (ConnectionError, FileNotFoundError, http.client.RemoteDisconnected)


def exports(tree):
    return f'exports = ( {{ prefix = "/"; path = "{tree.path}"; }} );\n'


def at(endpoint):
    return f'metrics = {{ http = "{endpoint}"; }};\n'


def ports(daemon):
    return [int(port) for port in re.findall(r"metrics at http://127\.0\.0\.1:(\d+)/metrics", daemon.log())]


def works(address):
    status, _, text = fetch(address)
    openmetrics.parse(text)
    return status == 200


def is_left(address):
    try:
        fetch(address)
    except LEFT:
        return True
    return False


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_comes_moves_and_goes(start, tree):
    """From nothing, with the library loaded inside the sandbox, over TCP and paths, back to nothing."""
    daemon = start(config=exports(tree))
    path = daemon.socket + ".metrics"
    become(daemon, exports(tree) + at("127.0.0.1:0"))
    first = ("127.0.0.1", ports(daemon)[0])
    assert works(first)
    become(daemon, exports(tree) + at("127.0.0.1:0") + 'log = { level = "debug"; };\n')
    assert works(first) and len(ports(daemon)) == 1, "what has not changed stays"
    become(daemon, exports(tree) + at(path))
    assert works(path) and is_left(first) and f"metrics at {path}\n" in daemon.log()
    become(daemon, exports(tree) + at(path + "2"))
    assert works(path + "2") and is_left(path) and not os.path.exists(path)
    daemon.config.write_text(exports(tree) + at("127.0.0.1:0"))
    daemon.signal(signal.SIGHUP)
    second = ("127.0.0.1", wait_until(lambda: ports(daemon)[1:])[0])
    wait_until(lambda: is_left(path + "2"))
    assert works(second)
    become(daemon, exports(tree))
    assert is_left(second) and "no metrics by HTTP any more\n" in daemon.log()


@pytest.mark.parametrize("bad, why", [
    ("127.0.0.1:{used}", "metrics.http: 127.0.0.1:{used}: Address already in use"),
    ("{nowhere}/metrics", "metrics.http: {nowhere}/metrics: No such file or directory"),
    ("127.0.0.1", "metrics.http"),
])
def test_what_cannot_be_used_changes_nothing(start, tree, workdir, bad, why):
    daemon = start(config=exports(tree) + at("127.0.0.1:0"))
    old = ("127.0.0.1", ports(daemon)[0])
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        words = {"used": other.getsockname()[1], "nowhere": workdir / "nowhere"}
        (workdir / "other").mkdir()
        said = refuse(daemon, exports(tree).replace(str(tree.path), str(workdir / "other")) + at(bad.format(**words)))
    assert why.format(**words) in said
    assert "not reloaded\n" in daemon.log() and works(old)
    assert daemon.get_status("/a.txt") == p.OK, "the exports are the old ones too"


def test_the_new_place_is_left_when_another_part_fails(start, tree, workdir):
    daemon = start(config=exports(tree) + at("127.0.0.1:0"))
    old, new = ("127.0.0.1", ports(daemon)[0]), ("127.0.0.1", free_port())
    said = refuse(daemon, exports(tree).replace(str(tree.path), str(workdir / "nowhere")) + at(f"127.0.0.1:{new[1]}"))
    assert "nowhere" in said and works(old) and is_left(new)
    become(daemon, exports(tree) + at(f"127.0.0.1:{new[1]}"))
    assert works(new) and is_left(old)


def test_there_is_always_a_place_that_answers(start, tree):
    """Somebody asks all the time while it moves to and fro: who finds the old place left finds the new one there."""
    daemon = start(config=exports(tree))
    places = [daemon.socket + str(i) for i in range(2)]
    become(daemon, exports(tree) + at(places[0]))
    failures, answered, moves = [], [0, 0], 20

    def ask(old, new, until):
        while not until.is_set():
            try:
                if is_left(old):
                    assert works(new)
                    answered[1] += 1
                else:
                    answered[0] += 1
            except BaseException as e:
                failures.append(e)
                return

    for i in range(moves):
        old, new = places[i % 2], places[(i + 1) % 2]
        moved = threading.Event()
        asker = threading.Thread(target=ask, args=(old, new, moved))
        asker.start()
        try:
            become(daemon, exports(tree) + at(new))
        finally:
            moved.set()
            asker.join()
        assert not failures, failures
        assert works(new) and is_left(old)
    assert sum(answered) >= moves
    become(daemon, exports(tree))
