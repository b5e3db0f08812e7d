# SPDX-License-Identifier: MIT
"""Every daemon of these tests is in its sandbox, because that is the default; here it is looked at."""
import daemon as d
import omproto as p
import pytest

SANDBOXED = "sandbox: system calls are filtered (seccomp)\n"


def seccomp_modes(daemon):
    """Of each thread: 0 none, 2 a filter."""
    modes = set()
    for task in (daemon.proc_dir / "task").iterdir():
        status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines())
        modes.add((status["Seccomp"], status["NoNewPrivs"]))
    return modes


@pytest.mark.skipif(d.INSTRUMENTED, reason="instruments need more system calls")
def test_every_thread_is_filtered(start, tree, model):
    daemon = start({"/": tree.path}, "--concurrency-model", model)
    d.wait_until(lambda: SANDBOXED in daemon.log())
    with daemon.connect(3) as c:
        c.get("/a.txt").close()
        assert seccomp_modes(daemon) == {("2", "1")}


def test_the_log_says_what_is_in_force(served):
    d.wait_until(lambda: "ready\n" in served.log())
    assert "sandbox: nothing is executed, nothing written but beside the sockets (Landlock" in served.log() or (
        "sandbox: files are not restricted: " in served.log())
    assert (SANDBOXED in served.log()) != d.INSTRUMENTED


def test_it_can_be_left_out(start, tree):
    daemon = start({"/": tree.path}, config="security = { sandbox = false; };\n")
    d.wait_until(lambda: "ready\n" in daemon.log())
    assert "sandbox" not in daemon.log() and seccomp_modes(daemon) == {("0", "0")}


def test_a_reload_can_bring_exports(start, tree, workdir):
    """What was not configured at start can still be read."""
    other = workdir / "other"
    other.mkdir()
    (other / "new.txt").write_bytes(b"new\n")
    daemon = start(config=f'exports = ( {{ prefix = "/"; path = "{tree.path}"; }} );\n')
    with daemon.connect(3) as c:
        assert c.get("/new.txt").status == p.NOT_FOUND
        daemon.config.write_text(f'exports = ( {{ prefix = "/"; path = "{other}"; }} );\n')
        assert c.control(p.RELOAD).status == p.OK
        assert c.get("/new.txt").content() == b"new\n"
