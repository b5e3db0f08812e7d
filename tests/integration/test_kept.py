# SPDX-License-Identifier: MIT
"""Small objects that workers keep open: what a client changes it sees in its next answer, or soon where nobody reports
it, and nothing is kept for long.

In each of these tests the object is kept at the moment of the change, which /proc shows.
"""
import mmap
import os
import resource
import select
import signal
import time

import omproto as p
import pytest
from daemon import INSTRUMENTED, wait_until
from faults import Fault

OTHER_UID = 12347
HELLO = p.Hello(capabilities=p.BODIES, inline_limit=16384)
N = 4  # objects for each kind of change


@pytest.fixture
def small(workdir):
    """A tree of directories with a small file each; outside of it `beside`."""
    path = workdir / "small"
    for i in range(N * len(CHANGES)):
        (path / f"{i}").mkdir(parents=True)
        (path / f"{i}/file").write_bytes(b"%d" % i * 100)
    (workdir / "beside").mkdir()
    return path


@pytest.fixture
def daemon(start, small):
    """Of a user who may not read everything."""
    return start({"/": small}, "--pool-size", "1", uid=OTHER_UID if os.getuid() == 0 else None)


def kept(daemon, tree):
    """URIs of the files that the daemon has open."""
    return [t[len(str(tree)) :] for t in daemon.fd_targets() if t.startswith(f"{tree}/")]


def get(c, uri, **fields):
    return c.get(uri, p.AUTO, **fields)


def keep(daemon, tree, c, *uris):
    """Asks until all of them are kept, and answers from what is kept once more. A file that changed just when it was
    asked for may not be kept before the next event of it: after a second there is one."""
    since = time.monotonic()

    def asked():
        nonlocal since
        for uri in uris:
            assert get(c, uri).status == p.OK
        if time.monotonic() - since > 1:
            since = time.monotonic()
            for uri in uris:
                os.utime(tree / uri[1:])
        return set(uris) <= set(kept(daemon, tree))

    wait_until(asked, message="not kept")
    for uri in uris:
        get(c, uri)


def rename_over(path):
    new = path.with_name("new")
    new.write_bytes(b"renamed over")
    os.rename(new, path)
    return b"renamed over"


def append(path):
    with open(path, "ab") as f:
        f.write(b"more")
    return path.read_bytes()


def overwrite(path):
    with open(path, "r+b") as f:
        f.write(b"over")
    return path.read_bytes()


def truncate(path):
    os.truncate(path, 3)
    return path.read_bytes()


def write_through_a_mapping(path):
    with open(path, "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
        m[:7] = b"through"
    return path.read_bytes()


def write_through_another_name(path):
    other = path.parents[2] / "beside" / path.parent.name
    os.link(path, other)
    other.write_bytes(b"under another name")
    return b"under another name"


def close_under_another_name(path):
    other = path.parents[2] / "beside" / path.parent.name
    os.link(path, other)
    other.chmod(0)
    return p.DENIED


def unlink(path):
    path.unlink()
    return p.NOT_FOUND


def close_the_file(path):
    path.chmod(0)
    return p.DENIED


def close_the_directory(path):
    path.parent.chmod(0)
    return p.DENIED


def move_the_directory(path):
    path.parent.rename(path.parents[2] / "beside" / path.parent.name)
    return p.NOT_FOUND


def exchange_the_directory(path):
    new = path.parents[2] / "beside" / path.parent.name
    new.mkdir()
    (new / "file").write_bytes(b"of another directory")
    path.parent.rename(new.with_name(f"old{new.name}"))
    new.rename(path.parent)
    return b"of another directory"


def make_a_symlink_of_the_directory(path):
    new = path.parents[2] / "beside" / path.parent.name
    path.parent.rename(new)
    path.parent.symlink_to(new)
    return p.DENIED


def make_a_symlink_of_the_file(path):
    path.rename(path.with_name("target"))
    path.symlink_to("target")
    return p.DENIED


def make_a_directory_of_the_file(path):
    path.unlink()
    path.mkdir()
    return p.UNSUPPORTED


UNREPORTED = [write_through_a_mapping, write_through_another_name, close_under_another_name]
CHANGES = [rename_over, append, overwrite, truncate, *UNREPORTED, unlink, close_the_file, close_the_directory, move_the_directory,
           exchange_the_directory, make_a_symlink_of_the_directory, make_a_symlink_of_the_file,
           make_a_directory_of_the_file]


def await_change(c, uri, before):
    """What nobody reports shows soon; until then the answer is the old one, whole."""

    def changed():
        r = get(c, uri)
        if r.status == p.OK and r.version == before.version:
            assert (r.body, r.size) == (before.body, before.size)
            return False
        return True

    wait_until(changed, message="a change is never seen")


def show(c, uri, change, path):
    """Makes the change; what the client then gets, three times, has to be what there is now."""
    before = get(c, uri)
    expected = change(path)
    if change in UNREPORTED:
        await_change(c, uri, before)
    after = [get(c, uri) for _ in range(3)]
    if not isinstance(expected, bytes):
        assert [(r.status, r.body) for r in after] == [(expected, b"")] * 3, change
        return
    assert [(r.status, r.body, r.size) for r in after] == [(p.OK, expected, len(expected))] * 3, change
    assert {before.version} & {r.version for r in after} == set(), change
    assert c.stat(uri).version == after[0].version, change


def test_a_change_shows_in_the_next_answer(daemon, small):
    with daemon.connect(hello=HELLO) as c:
        for i in range(N * len(CHANGES)):
            keep(daemon, small, c, f"/{i}/file")
            show(c, f"/{i}/file", CHANGES[i % len(CHANGES)], small / f"{i}/file")


@pytest.mark.threads
def test_every_version_of_a_file_is_seen_at_once(daemon, small):
    """Replaced all the time, and asked for at once and once more by two clients."""
    path = small / "0/file"
    with daemon.connect(hello=HELLO) as a, daemon.connect(hello=HELLO) as b:
        for i in range(400):
            if i % 20 == 0:
                keep(daemon, small, a, "/0/file")
            new = path.with_name("new")
            new.write_bytes(b"%d" % i)
            os.rename(new, path)
            assert [get(c, "/0/file").body for c in (a, b, a)] == [b"%d" % i] * 3


def stopped(daemon):
    tasks = daemon.proc_dir / "task"
    return {(tasks / t / "stat").read_text().rsplit(")", 1)[1].split()[0] for t in os.listdir(tasks)} == {"T"}


def stop_between(daemon, fault, connections):
    """Both connections are found readable at once; the daemon stops when it has answered one and is about to read the
    other. Returns them in this order."""
    daemon.signal(signal.SIGSTOP)
    wait_until(lambda: stopped(daemon))
    for c in connections:
        c.ask("/0/file", p.AUTO)
    fault.arm(2)
    daemon.signal(signal.SIGCONT)
    wait_until(lambda: fault.fired and stopped(daemon))
    answered = select.select([c.sock for c in connections], [], [], 0)[0]
    assert len(answered) == 1
    return sorted(connections, key=lambda c: c.sock not in answered)


@pytest.mark.skipif(INSTRUMENTED, reason="a sanitizer must be loaded before the library that stops the daemon")
def test_what_comes_while_others_are_answered_sees_what_was_changed_before(start, small, workdir, monkeypatch):
    fault = Fault(workdir, "recv", "SIGSTOP")
    with monkeypatch.context() as m:
        for name, value in fault.env.items():
            m.setenv(name, value)
        daemon = start({"/": small}, "--pool-size", "1", config="concurrency = { optimize_for_latency = false; };")
    with daemon.connect(hello=HELLO) as a, daemon.connect(hello=HELLO) as b, daemon.connect(hello=HELLO) as other:
        for i in range(8):
            keep(daemon, small, a, "/0/file")
            try:
                first, second = stop_between(daemon, fault, (a, b))
                new = small / "0/new"
                new.write_bytes(b"%d" % i)
                os.rename(new, small / "0/file")
                late = (second, other)[i % 2]
                late.ask("/0/file", p.AUTO)
                fault.disarm()
            finally:
                daemon.signal(signal.SIGCONT)
            assert [c.reply().status for c in (first, second)] == [p.OK] * 2  # asked before the change
            assert late.reply().body == b"%d" % i


def test_a_condition_is_answered_by_the_tree(daemon, small):
    with daemon.connect(hello=HELLO) as c:
        keep(daemon, small, c, "/0/file")
        known = get(c, "/0/file")
        r = get(c, "/0/file", flags=p.IF_VERSION, if_version=known.version)
        assert (r.status, r.flags & p.NOT_MODIFIED, r.body) == (p.OK, p.NOT_MODIFIED, b"")
        rename_over(small / "0/file")
        r = get(c, "/0/file", flags=p.IF_VERSION, if_version=known.version)
        assert (r.status, r.flags & p.NOT_MODIFIED, r.body) == (p.OK, 0, b"renamed over")


def test_a_part_of_a_kept_object(daemon, small):
    (small / "0/file").write_bytes(b"0123456789")
    with daemon.connect(hello=HELLO) as c:
        keep(daemon, small, c, "/0/file")
        r = get(c, "/0/file", flags=p.RANGE, range_offset=3, range_length=4)
        assert (r.status, r.body, r.size) == (p.OK, b"3456", 10)
        assert get(c, "/0/file", flags=p.RANGE, range_offset=30, range_length=4).body == b""
        assert get(c, "/0/file", inline_limit=9).content() == b"0123456789"


def test_what_is_kept_is_never_passed(daemon, small):
    with daemon.connect(hello=HELLO) as c:
        keep(daemon, small, c, "/0/file")
        for _ in range(3):
            r = c.get("/0/file", p.FD)
            os.lseek(r.fd, 7, os.SEEK_SET)
            r.close()
            assert get(c, "/0/file").body == b"0" * 100


def test_nothing_is_kept_when_nobody_asks(daemon, small):
    with daemon.connect(hello=HELLO) as c:
        keep(daemon, small, c, *(f"/{i}/file" for i in range(10)))
        wait_until(lambda: not kept(daemon, small), message="still open")


def test_an_idle_daemon_does_not_pin_what_is_deleted(daemon, small):
    with daemon.connect(hello=HELLO) as c:
        keep(daemon, small, c, "/0/file")
        os.unlink(small / "0/file")
        wait_until(lambda: not kept(daemon, small), message="still open")


def test_the_number_is_bounded_by_the_limit_on_descriptors(start, tree):
    daemon = start({"/": tree.path}, "--pool-size", "1", nofile=256)
    uris = [f"/many/{i}" for i in range(100)]
    with daemon.connect(hello=HELLO) as c:
        keep(daemon, tree.path, c, "/a.txt")
        most = 0
        for _ in range(20):
            for uri in uris:
                assert get(c, uri).body == tree.files[uri]
            most = max(most, len(kept(daemon, tree.path)))
        assert 0 < most <= 256 // 16
        clients = [daemon.connect() for _ in range(100)]
        for client in clients:
            client.ping()
            client.close()


def lowest_free(daemon):
    numbers = {int(n) for n in os.listdir(daemon.proc_dir / "fd")}
    return min(set(range(len(numbers) + 1)) - numbers)


def test_when_descriptors_run_out_the_kept_ones_go_first(start, tree):
    daemon = start({"/": tree.path}, "--pool-size", "1")
    limits = resource.prlimit(daemon.proc.pid, resource.RLIMIT_NOFILE)
    with daemon.connect(hello=HELLO) as c:
        for _ in range(3):
            keep(daemon, tree.path, c, *(f"/many/{i}" for i in range(10)))
            resource.prlimit(daemon.proc.pid, resource.RLIMIT_NOFILE, (lowest_free(daemon), limits[1]))
            r = c.get("/a.txt", p.FD)
            left = kept(daemon, tree.path)
            assert r.status == p.OK and r.content() == b"hello\n"
            assert len(left) < 10
            resource.prlimit(daemon.proc.pid, resource.RLIMIT_NOFILE, limits)


def test_a_reload_shows_another_tree_at_once(start, workdir, small):
    other = workdir / "beside"
    (other / "0").mkdir()
    (other / "0/file").write_bytes(b"beside")
    config = 'exports = ( {{ prefix = "/"; path = "{}"; }} );\n'
    daemon = start(None, "--pool-size", "1", config=config.format(small))
    with daemon.connect(hello=HELLO) as c:
        keep(daemon, small, c, "/0/file")
        daemon.config.write_text(config.format(other))
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: get(c, "/0/file").body == b"beside")
        for _ in range(20):
            assert get(c, "/0/file").body == b"beside"
        wait_until(lambda: not kept(daemon, small))


def test_every_model_keeps(start, small, model):
    """But for the one that looks objects up in threads of their own."""
    daemon = start({"/": small}, "--concurrency-model", model)
    with daemon.connect(hello=HELLO) as c:
        if model != "thread-per-request":
            keep(daemon, small, c, "/0/file")
        for i in range(30):
            new = small / "0/new"
            new.write_bytes(b"%d" % i)
            os.rename(new, small / "0/file")
            assert [get(c, "/0/file").body for _ in range(4)] == [b"%d" % i] * 4
