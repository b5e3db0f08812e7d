# SPDX-License-Identifier: MIT
"""objmap(1): every option of every command, what it prints, and how it ends."""
import fcntl
import itertools
import json
import os
import pathlib
import pty
import re
import resource
import select
import signal
import struct
import subprocess
import termios

import daemon as d
import pytest

OBJMAP = d.ROOT / d.BUILD / "objmap"
MODES = ["fd", "copy", "splice", "auto"]
OK, FAILED, USAGE = 0, 1, 2
NO_OPERATION = "version 1 of the protocol has no such operation"
LINK = "a symbolic link, which the export does not follow (follow_symlinks)"
FD_OVER_TCP = "a descriptor cannot cross TCP: ask for copy, splice or auto"


class Cli:
    """objmap in a directory of its own, for one daemon."""

    def __init__(self, directory, socket):
        self.dir, self.socket = pathlib.Path(directory), socket
        self.dir.mkdir()

    def argv(self, *args):
        return [OBJMAP, "--socket", self.socket, *args]

    def __call__(self, *args, status=OK, **kw):
        kw = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kw}
        done = subprocess.run(self.argv(*args), cwd=self.dir, timeout=d.PATIENCE, **kw)
        assert done.returncode == status, done
        assert status == OK or done.stderr or kw["stderr"] != subprocess.PIPE, "it fails in silence"
        return done

    def out(self, *args, **kw):
        """What a run without a fault prints."""
        done = self(*args, **kw)
        assert not done.stderr, done
        return done.stdout

    def error(self, status, *args, **kw):
        """What a run says that ends with @status."""
        done = self(*args, status=status, **kw)
        assert done.stderr.startswith(b"objmap: ") or status == USAGE, done
        return done.stderr.decode()

    def file(self, name):
        return (self.dir / name).read_bytes()


@pytest.fixture
def daemon(served):
    return served


@pytest.fixture
def cli(workdir, daemon):
    return Cli(workdir / "cli", daemon.socket)


@pytest.fixture
def offline(workdir):
    """Without a daemon."""
    return Cli(workdir / "cli", "/nonexistent")


# ---- common options --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("socket, said", [("x" * 120, "107 bytes at most"), ("http://127.0.0.1:80", "must be a path, "),
                                          ("tcp://localhost:80", "in numbers")])
def test_wrong_sockets(offline, socket, said):
    offline.socket = socket
    line, = offline.error(FAILED, "--timeout", "50", "ping").splitlines()
    assert line.startswith(f"objmap: {socket}: ") and said in line


def test_help_and_version(offline):
    for args in (["--help"], ["get", "--help"], ["bench", "--help"]):
        assert offline.out(*args).startswith(b"Usage: objmap ")
    for args in (["--version"], ["stat", "--version"]):
        assert re.fullmatch(rb"objmap \d+\.\d+\.\d+\n", offline.out(*args))


@pytest.mark.parametrize("args", [
    [], ["frob"], ["--frob"], ["--socket"], ["get"], ["get", "/a", "/b"], ["get", "--frob", "/a"], ["get", "/"],
    ["get", "/.."], ["cat"], ["cat", "-f", "/a"], ["cat", "-o", "x", "/a"], ["stat"], ["stat", "--mode", "fd", "/a"],
    ["ping", "/a"], ["ping", "-c", "0"], ["ping", "-c", "x"], ["ping", "-c", "-1"], ["ping", "--count", ""],
    ["--protocol", "2", "ping"], ["--protocol", "", "ping"], ["--protocol", "31", "ping"], ["--timeout", "0", "ping"],
    ["--timeout", "-1", "ping"], ["--timeout", "1s", "ping"], ["--timeout", "99999999999", "ping"],
    ["get", "--mode", "Copy", "/a"], ["get", "--mode", "", "/a"], ["cat", "--mode", "ping", "/a"],
    ["get", "-c", "--range", "0-1", "/a"], ["get", "-c", "-o", "-", "/a"],
    ["bench"], ["bench", "/a"], ["bench", "--uris", "u", "--tree", "t"], ["bench", "--uris", "u", "--prefix", "/"],
    ["bench", "--mode", "x", "--uris", "u"], ["bench", "--mode", "copy", "--connections", "2000", "--uris", "u"],
    ["bench", "--transient", "--depth", "2", "--uris", "u"], ["bench", "--prefix", "/"],
    ["bench", "--transient", "--connections", "2", "--uris", "u"], ["bench", "--uris", "/dev/null"],
    *(["bench", "--mode", "ping", option, value] for value in ("0", "x", "-1", "", "1.5", "99999999999999999999")
      for option in ("--connections", "--depth", "--threads", "--duration", "--count", "--pid")),
], ids=" ".join)
def test_wrong_usage(offline, args):
    first, second = offline.error(USAGE, *args).splitlines()
    assert first.startswith("objmap: ") and second == "Try 'objmap --help'."
    assert os.listdir(offline.dir) == []


def test_options_go_before_or_behind_the_command(daemon, cli):
    cli.socket = "/nonexistent"
    for args in (["--socket", daemon.socket, "cat", "/a.txt"], ["cat", "--socket", daemon.socket, "/a.txt"],
                 ["cat", "/a.txt", "--socket", daemon.socket]):
        assert cli.out(*args) == b"hello\n"


@pytest.mark.parametrize("command", [["get", "/a.txt"], ["cat", "/a.txt"], ["stat", "/a.txt"], ["ping"],
                                     ["bench", "--mode", "ping", "--count", "1"]], ids=lambda c: c[0])
def test_no_daemon(offline, command):
    assert offline.error(FAILED, "--timeout", "50", *command) == (
        "objmap: /nonexistent: no daemon listens there: start objmapperd, or say where it does with --socket\n")
    assert os.listdir(offline.dir) == []


def test_reload_does_not_wait_long_for_a_daemon_that_is_not_there(offline):
    assert "no daemon listens there" in offline.error(FAILED, "reload")


@pytest.mark.parametrize("version", ["1", "3"])
def test_protocol(cli, tree, version):
    for mode in MODES:
        assert cli.out("--protocol", version, "cat", "--mode", mode, "/sub/b.bin") == tree.files["/sub/b.bin"]
    if version == "3":
        assert b"in version 3:" in cli.out("--protocol", version, "ping")
    else:
        assert NO_OPERATION in cli.error(FAILED, "--protocol", version, "ping")
        assert "from the beginning only" in cli.error(FAILED, "--protocol", "1", "cat", "--mode", "copy", "--range",
                                                      "1", "/a.txt")


# ---- get and cat -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", MODES)
def test_get_and_cat_in_every_mode(cli, tree, mode):
    for uri in ("/big", "/empty", "/a.txt", "/with space", "/\u00e9"):
        assert cli.out("get", "--mode", mode, uri) == b""
        assert cli.file(uri[1:]) == tree.files[uri]
        assert cli.out("get", "--mode", mode, "-o", "-", uri) == tree.files[uri]
    assert cli.out("cat", "--mode", mode, "/a.txt", "/empty", "/big") == b"hello\n" + tree.files["/big"]


@pytest.mark.parametrize("mode", MODES)
def test_existing_file(cli, tree, mode):
    (cli.dir / "a.txt").write_bytes(b"mine, and longer than the object")
    assert "a.txt: File exists" in cli.error(FAILED, "get", "--mode", mode, "/a.txt")
    assert cli.file("a.txt").startswith(b"mine")
    assert "/none: not found" in cli.error(FAILED, "get", "--mode", mode, "-f", "-o", "a.txt", "/none")
    assert cli.file("a.txt").startswith(b"mine"), "nothing has come to replace it"
    for force in ("-f", "--force"):
        cli("get", "--mode", mode, force, "/a.txt")
        assert cli.file("a.txt") == b"hello\n"
    cli("get", "--mode", mode, "--output", "x", "/a.txt")
    assert cli.file("x") == b"hello\n"


@pytest.mark.parametrize("mode", MODES)
def test_errors_of_objects(cli, tree, mode):
    assert "objmap: /none: not found\n" == cli.error(FAILED, "get", "--mode", mode, "/none")
    assert not (cli.dir / "none").exists()
    done = cli("cat", "--mode", mode, "/none", "/a.txt", "/../x", "/a.txt", "/" + "x" * 5000, status=FAILED)
    assert done.stdout == b"hello\nhello\n"
    assert [line.rsplit(b": ", 1)[1] for line in done.stderr.splitlines()] == [
        b"not found", b"it has an empty part, '.', '..' or a NUL byte", b"URI too long"]


@pytest.mark.parametrize("version", ["1", "3"])
def test_refusals_say_why(start, tree, workdir, version):
    """What the server says of it, over both transports."""
    daemon = start({"/": tree.path, "/x:/": tree.path}, tcp="127.0.0.1")
    (tree.path / "link").symlink_to("a.txt")
    sockets = [Cli(workdir / "unix", daemon.socket), Cli(workdir / "tcp", "tcp://%s:%d" % daemon.address)]
    commands = [["get"], ["cat"], ["stat"], *(["cat", "--mode", m] for m in MODES)]
    for cli, command in itertools.product(sockets, commands):
        remote = cli is sockets[1] and (command[-1] == "fd" or (command[0], version) == ("stat", "1"))
        for uri, reason in (("/sub", "not a regular file"), ("/link", LINK),
                            ("/../a.txt", "it has an empty part, '.', '..' or a NUL byte"),
                            ("a.txt", "no export has a prefix that it begins with"), ("/none", "not found")):
            if remote:
                reason = FD_OVER_TCP if command[-1] == "fd" else "over TCP, " + NO_OPERATION
            said = cli.error(FAILED, "--protocol", version, *command, uri)
            assert said.startswith(f"objmap: {uri}: ") and said.endswith(f": {reason}\n") and said.count("\n") == 1
        if not remote:
            assert cli.error(FAILED, "--protocol", version, *command, "/none") == "objmap: /none: not found\n"


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user for the daemon")
def test_refusals_of_files_that_the_daemon_may_not_read(start, tree, workdir):
    (tree.path / "secret").write_bytes(b"")
    (tree.path / "secret").chmod(0o600)
    cli = Cli(workdir / "cli", start({"/": tree.path}, uid=1234).socket)
    assert cli.error(FAILED, "cat", "/secret") == "objmap: /secret: denied: the daemon has no permission to read it\n"


@pytest.mark.parametrize("version", ["1", "3"])
def test_no_room_says_why(start, tree, workdir, version):
    daemon = start({"/": tree.path}, config="concurrency = { max_connections = 1; };\n")
    cli = Cli(workdir / "cli", daemon.socket)
    with daemon.connect(1) as c:
        c.get("/a.txt").close()
        said = cli.error(FAILED, "--protocol", version, "--timeout", "300", "cat", "/a.txt")
        assert said.endswith(": the server is busy: too many connections\n")


def test_control_operations_say_why(start, tree, workdir):
    daemon = start({"/": tree.path}, tcp="127.0.0.1")
    cli = Cli(workdir / "cli", "tcp://%s:%d" % daemon.address)
    for command in ("stats", "top", "reload", "drain"):
        assert cli.error(FAILED, command) == f"objmap: {command}: denied: not over TCP, use the Unix socket\n"
        assert NO_OPERATION in cli.error(FAILED, "--protocol", "1", command)


def test_errors_of_files(cli):
    assert "no/dir: No such file or directory" in cli.error(FAILED, "get", "-o", "no/dir", "/a.txt")
    assert "Is a directory" in cli.error(FAILED, "get", "-f", "-o", "/", "/a.txt")


GOOD = ["0", "0-", "0-0", "1", "3-7", "4095-", "4095-4095", "4096", "4097-", "100-99999999", "99999999", "0-4095",
        "9223372036854775806", "9223372036854775807", "4095-9223372036854775806"]


@pytest.mark.parametrize("mode", MODES)
def test_good_ranges(cli, tree, mode):
    content = tree.files["/sub/b.bin"]
    assert len(content) == 4096
    for text in GOOD:
        first, _, last = text.partition("-")
        expected = content[int(first):int(last) + 1 if last else None]
        assert cli.out("cat", "--mode", mode, "--range", text, "/sub/b.bin") == expected, text
        cli("get", "-f", "--mode", mode, "--range", text, "/sub/b.bin")
        assert cli.file("b.bin") == expected, text


@pytest.mark.parametrize("text", ["", "-", "-5", "a", "5-4", "1-2-3", "1,2", " 1", "1 ", "+1", "0x10", "1-a", "1--2",
                                  "18446744073709551616", "9223372036854775808", "0-9223372036854775807", "1-+2", "1k"])
def test_bad_ranges(offline, text):
    for command in ("get", "cat"):
        assert f"--range is OFFSET or OFFSET-LAST, not '{text}'" in \
            offline.error(USAGE, command, "--range", text, "/a.txt")


# ---- where the bytes go ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", MODES)
def test_full_disk(cli, mode):
    with open("/dev/full", "wb") as full:
        assert cli.error(FAILED, "cat", "--mode", mode, "/big", stdout=full) == \
            "objmap: standard output: No space left on device\n"
        assert "No space left" in cli.error(FAILED, "get", "--mode", mode, "-o", "-", "/a.txt", stdout=full)
    assert cli.error(FAILED, "get", "-f", "--mode", mode, "-o", "/dev/full", "/a.txt") == \
        "objmap: /dev/full: No space left on device\n"


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["stat", "/a.txt"], ["stat", "--json"] + ["/a.txt"] * 500,
                                  ["ping"], ["ping", "-c", "2000"], ["bench", "--mode", "ping", "--count", "3"]],
                         ids=lambda a: " ".join(a[:2]))
def test_full_disk_of_what_is_printed(cli, args):
    with open("/dev/full", "wb") as full:
        assert "standard output: No space left on device" in cli.error(FAILED, *args, stdout=full)


@pytest.mark.parametrize("mode", MODES)
def test_closed_pipe(daemon, cli, mode):
    """Ends as any filter does, in silence, and leaves nothing at the daemon."""
    r, w = os.pipe()
    os.close(r)
    with open(w, "wb") as pipe:
        cli("cat", "--mode", mode, "/big", stdout=pipe, stderr=None, status=-signal.SIGPIPE)
    daemon.at_rest()


@pytest.mark.parametrize("mode", MODES)
def test_closed_pipe_with_the_signal_ignored(cli, mode):
    r, w = os.pipe()
    os.close(r)
    with open(w, "wb") as pipe:
        assert cli.error(FAILED, "cat", "--mode", mode, "/big", stdout=pipe, restore_signals=False,
                         preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN)) == \
            "objmap: standard output: Broken pipe\n"


@pytest.mark.parametrize("args", [["cat", "/a.txt"], ["get", "-o", "-", "/a.txt"], ["cat", "--mode", "copy", "/big"],
                                  ["stat", "/a.txt"], ["ping"]], ids=" ".join)
def test_closed_standard_output(daemon, cli, args):
    """The socket must not take its number: the daemon would get what is printed."""
    assert cli.error(FAILED, *args, preexec_fn=lambda: os.close(1)) == \
        "objmap: standard output: Bad file descriptor\n"
    daemon.at_rest()


@pytest.mark.parametrize("mode", ["fd", "copy"])
def test_output_that_does_not_block(cli, tree, mode):
    r, w = os.pipe()
    os.set_blocking(w, False)
    with subprocess.Popen(cli.argv("cat", "--mode", mode, "/big"), stdout=w, stderr=subprocess.PIPE) as p:
        os.close(w)
        with open(r, "rb") as pipe:
            assert pipe.read() == tree.files["/big"]
        assert p.wait(d.PATIENCE) == OK and p.stderr.read() == b""


@pytest.mark.parametrize("options", [["-f"], ["-f", "-c"]], ids=" ".join)
def test_get_onto_the_object_itself(cli, tree, options):
    """It was emptied first."""
    assert "it is the object itself" in cli.error(FAILED, "get", *options, "-o", tree.path / "a.txt", "/a.txt")
    assert (tree.path / "a.txt").read_bytes() == tree.files["/a.txt"]


@pytest.mark.parametrize("mode", MODES)
def test_partial_file_is_removed(cli, mode):
    assert "File too large" in limited(cli, 100_000, "get", "--mode", mode, "/big")
    assert os.listdir(cli.dir) == []


# ---- get --continue --------------------------------------------------------------------------------------------------

def limited(cli, size, *args):
    """What is said where no file may become larger than @size."""
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return cli.error(FAILED, *args, preexec_fn=limit, restore_signals=False)


def begun(cli, mode, size=100_000):
    """A beginning of /big, whose first bytes are then made to tell whether they stay."""
    assert "File too large" in limited(cli, size, "get", "-c", "--mode", mode, "/big")
    assert sorted(os.listdir(cli.dir)) == ["big", "big.part"]
    assert 0 < len(cli.file("big")) <= size
    with open(cli.dir / "big", "r+b") as f:
        f.write(b"MARK")


@pytest.mark.parametrize("option", ["-c", "--continue"])
@pytest.mark.parametrize("mode", MODES)
def test_continue(cli, tree, mode, option):
    begun(cli, mode)
    assert cli.out("get", option, "--mode", mode, "/big") == b""
    assert cli.file("big") == b"MARK" + tree.files["/big"][4:]
    assert os.listdir(cli.dir) == ["big"]


@pytest.mark.parametrize("mode", MODES)
def test_continue_with_a_changed_object(cli, tree, mode):
    begun(cli, mode)
    new = os.urandom(300_000)
    (tree.path / "big.new").write_bytes(new)
    (tree.path / "big.new").rename(tree.path / "big")
    said = cli("get", "-c", "--mode", mode, "/big").stderr
    assert said == b"objmap: big: the object has changed, starting again\n"
    assert cli.file("big") == new
    assert os.listdir(cli.dir) == ["big"]


@pytest.mark.parametrize("mode", MODES)
def test_continue_with_an_object_that_shrank(cli, tree, mode):
    begun(cli, mode)
    (tree.path / "big.new").write_bytes(b"short")
    (tree.path / "big.new").rename(tree.path / "big")
    cli("get", "-c", "--mode", mode, "/big")
    assert cli.file("big") == b"short"


@pytest.mark.parametrize("mode", MODES)
def test_continue_with_an_object_that_is_gone(cli, tree, mode):
    begun(cli, mode)
    before = cli.file("big")
    (tree.path / "big").unlink()
    assert "/big: not found" in cli.error(FAILED, "get", "-c", "--mode", mode, "/big")
    assert cli.file("big") == before and sorted(os.listdir(cli.dir)) == ["big", "big.part"]


def test_continue_with_another_uri(cli, tree):
    begun(cli, "copy")
    said = cli("get", "-c", "-o", "big", "/sub/deep/er/c").stderr
    assert said == b"objmap: big: it is a part of another object, starting again\n"
    assert cli.file("big") == tree.files["/sub/deep/er/c"]


def test_continue_leaves_other_files_alone(cli, tree):
    (cli.dir / "a.txt").write_bytes(b"mine")
    assert "-f overwrites it" in cli.error(FAILED, "get", "-c", "/a.txt")
    assert cli.file("a.txt") == b"mine"
    cli("get", "-c", "-f", "/a.txt")
    assert cli.file("a.txt") == b"hello\n"
    assert "-f overwrites it" in cli.error(FAILED, "get", "-c", "/a.txt"), "complete already"


def test_continue_in_version_1_leaves_nothing(cli, tree):
    assert "File too large" in limited(cli, 1000, "--protocol", "1", "get", "-c", "--mode", "copy", "/big")
    assert os.listdir(cli.dir) == []
    cli("--protocol", "1", "get", "-c", "--mode", "copy", "/big")
    assert cli.file("big") == tree.files["/big"]


# ---- stat, ping ------------------------------------------------------------------------------------------------------

def test_stat(cli, tree):
    os.utime(tree.path / "a.txt", (1_000_000_000, 1_000_000_000))
    d.wait_until(lambda: json.loads(cli.out("stat", "--json", "/a.txt"))["mtime"] == 1_000_000_000)
    text = cli.out("stat", "/a.txt", env={**os.environ, "TZ": "UTC"}).decode()
    assert re.fullmatch(r"/a\.txt: 6 bytes, version [0-9a-f]{16}, modified 2001-09-09 01:46:40 \+0000\n", text)
    done = cli("stat", "--json", "/none", "/a.txt", "/sub/b.bin", status=FAILED)
    assert done.stderr == b"objmap: /none: not found\n"
    a, b = map(json.loads, done.stdout.splitlines())
    assert a.keys() == {"uri", "size", "version", "mtime"}
    assert (a["uri"], a["size"], a["mtime"]) == ("/a.txt", 6, 1_000_000_000)
    assert (b["uri"], b["size"]) == ("/sub/b.bin", 4096)
    assert re.fullmatch("[0-9a-f]+", a["version"]) and a["version"] != b["version"] and a["version"] in text
    assert json.loads(cli.out("--protocol", "1", "stat", "--json", "/a.txt")) == {
        "uri": "/a.txt", "size": 6, "version": None, "mtime": 1_000_000_000}


@pytest.mark.parametrize("name", [b'"', b"\\", b"tab\t", b"\x01\x7f", "\u00e9\u20ac\U0001f600".encode(), b"\xff", b"\xc3",
                                  b"\xe2\x82x", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xf0\x80\x80\x80"],
                         ids=ascii)
def test_stat_of_names_that_json_cannot_say(cli, tree, name):
    """Python's names for files with such bytes are JSON's, too."""
    with open(bytes(tree.path) + b"/" + name, "wb"):
        pass
    said = json.loads(cli.out("stat", "--json", b"/" + name).decode("ascii" if b"\xff" in name else "utf-8"))
    assert os.fsencode(said["uri"]) == b"/" + name


def test_ping(cli, daemon):
    for args, n in ((["-c", "3"], 3), (["--count", "1"], 1), ([], 4)):
        lines = cli.out("ping", *args).decode().splitlines()
        assert len(lines) == n + 1
        assert all(re.fullmatch(rf"{i}: \d+\.\d us", line) for i, line in enumerate(lines[:-1], 1))
        assert lines[-1].startswith(f"{n} answered by {daemon.socket} in version 3: min ")


# ---- bench -----------------------------------------------------------------------------------------------------------

KEYS = {"requests", "errors", "seconds", "requests_per_second", "latency_us"}
BYTES = {"bytes", "bytes_per_second"}
COST = {"server_cpu_us_per_request", "requests_per_server_cpu_second", "anon_kb_before", "anon_kb_after"}


def bench(cli, *args, **kw):
    r = json.loads(cli.out("bench", "--json", *args, **kw))
    assert r["latency_us"].keys() == {"p50", "p99", "p99.9", "max"}
    quantiles = list(r["latency_us"].values())
    assert 0 < quantiles[0] and quantiles[:3] == sorted(quantiles[:3]) and r["seconds"] > 0
    return r


@pytest.fixture
def uris(cli):
    (cli.dir / "uris").write_text("/a.txt\n\n/sub/b.bin\n/empty")
    return ["--uris", "uris"]


@pytest.mark.parametrize("mode", ["fd", "stat", "ping", "copy", "splice", "auto"])
def test_bench_json(cli, daemon, uris, mode):
    source = [] if mode == "ping" else uris
    bodies = mode in ("copy", "splice", "auto")
    r = bench(cli, "--mode", mode, "--count", "30", *source)
    assert r.keys() == KEYS | (BYTES if bodies else set())
    assert (r["requests"], r["errors"]) == (30, 0)
    assert not bodies or r["bytes"] == 10 * (6 + 4096)
    r = bench(cli, "--mode", mode, "--count", "30", "--pid", str(daemon.proc.pid), *source)
    assert r.keys() == KEYS | (BYTES if bodies else set()) | COST
    text = cli.out("bench", "--mode", mode, "--count", "30", *source).decode()
    assert re.match(r"requests  30 in \d+\.\d{3} s, \d+ a second\nerrors    0\nlatency   p50 ", text)


@pytest.mark.parametrize("how", [["--connections", "3"], ["--depth", "8"], ["--connections", "5", "--depth", "4"],
                                 ["--connections", "4", "--threads", "2"], ["--threads", "3"], ["--no-spin"],
                                 ["--no-batch", "--depth", "8"], ["--transient"], ["--transient", "--threads", "2"],
                                 ["--mode", "copy", "--connections", "3"], ["--mode", "auto", "--transient"],
                                 ["--mode", "splice", "--connections", "3", "--depth", "4", "--threads", "2"]],
                         ids=" ".join)
def test_bench_ways(daemon, cli, uris, how):
    r = bench(cli, "--count", "31", *uris, *how)
    assert (r["requests"], r["errors"]) == (31, 0)
    daemon.at_rest()


@pytest.mark.parametrize("way", [[], ["--ring"], ["--ring", "--connections", "3"]], ids=" ".join)
@pytest.mark.parametrize("mode", ["copy", "splice", "auto"])
def test_bench_many_bodies_at_once(cli, tree, uris, mode, way):
    args = ["--mode", mode, "--depth", "8", "--count", "30", *way]
    r = bench(cli, *uris, *args)
    assert (r["requests"], r["errors"], r["bytes"]) == (30, 0, 10 * (6 + 4096))
    (tree.path / "large").write_bytes(bytes(65537))
    (cli.dir / "large").write_text("/a.txt\n/large\n")
    r = bench(cli, "--uris", "large", *args)
    assert (r["requests"], r["errors"], r["bytes"]) == (30, 15, 15 * 6)


def test_bench_duration(cli, uris):
    r = bench(cli, "--duration", "1", *uris)
    assert r["requests"] > 1 and r["errors"] == 0 and r["seconds"] >= 0.9


def test_bench_sources(cli, tree):
    n = len(tree.files)
    assert bench(cli, "--count", str(n), "--tree", tree.path, "--mode", "copy")["bytes"] == \
        sum(map(len, tree.files.values()))
    assert bench(cli, "--count", "100", "--prefix", "/many/", "--tree", tree.path / "many")["errors"] == 0
    lines = "\n".join(tree.files).encode()
    for name in ("-", "/dev/stdin"):
        r = bench(cli, "--count", str(n), "--uris", name, "--mode", "copy", input=lines, stdin=None)
        assert r["bytes"] == sum(map(len, tree.files.values()))


def test_bench_errors_are_counted(cli):
    (cli.dir / "uris").write_text("/none\n/a.txt\n")
    r = bench(cli, "--count", "10", "--uris", "uris")
    assert (r["requests"], r["errors"]) == (10, 5)
    assert b"errors    5, the first: not found\n" in cli.out("bench", "--count", "10", "--uris", "uris")


def test_bench_sources_that_fail(cli):
    assert "nothere: No such file" in cli.error(FAILED, "bench", "--uris", "nothere")
    assert "nothere: No such file" in cli.error(FAILED, "bench", "--tree", "nothere")
    assert "/: Is a directory" in cli.error(FAILED, "bench", "--uris", "/")
    assert "--pid: No such process" in cli.error(FAILED, "bench", "--mode", "ping", "--count", "1", "--pid", "2147483646")


# ---- progress --------------------------------------------------------------------------------------------------------

SHOWN = re.compile(r"\d+(?:\.\d)? (?:B|[KMGT]iB)(?: of 64\.0 MiB(?:, [\d.]+ (?:B|[KMGT]iB)/s(?:, \d+:\d\d(?::\d\d)? left)?)?)?")


class Terminal:
    """The standard error of a transfer that goes on as long as the test takes its bytes, bit by bit."""

    def __init__(self, cli, columns, *args):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.proc = subprocess.Popen(cli.argv(*args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave,
                                     cwd=cli.dir)
        os.close(slave)
        self.drawn, self.taken = b"", 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.kill()
        self.proc.wait()
        self.proc.stdout.close()
        os.close(self.master)

    def take(self, n):
        self.taken += len(os.read(self.proc.stdout.fileno(), n))

    def look(self, seconds):
        while select.select([self.master], [], [], seconds)[0]:
            try:
                self.drawn += os.read(self.master, 4096)
            except OSError:  # the other side is closed
                return
            seconds = 0

    def until_drawn(self, times):
        def drawn():
            self.take(65536)
            self.look(0.02)
            return self.drawn.count(b"\033[K") >= times
        d.wait_until(drawn)

    def finish(self):
        while True:
            before = self.taken
            self.take(1 << 20)
            self.look(0)
            if self.taken == before:
                break
        assert self.proc.wait(d.PATIENCE) == 0
        self.look(0)


@pytest.fixture
def long_cli(start, tree, workdir):
    with open(tree.path / "long", "wb") as f:
        f.truncate(64 << 20)
    return Cli(workdir / "cli", start({"/": tree.path}).socket)


@pytest.mark.parametrize("columns,parts", [(0, 4), (200, 4), (80, 4), (38, 3), (24, 2), (12, 1), (5, 0), (1, 0)])
def test_progress_fits_the_terminal(long_cli, columns, parts):
    with Terminal(long_cli, columns, "cat", "--mode", "copy", "/long") as t:
        t.until_drawn(3)
        t.finish()
    *lines, end = t.drawn.decode().split("\r")[1:]
    assert end == "\033[K", "the line is taken away at the end"
    for line in lines:
        assert line.endswith("\033[K") and "\n" not in line
        text = line.removesuffix("\033[K")
        assert len(text) < (columns or 80)
        assert SHOWN.fullmatch(text) if parts else not text
    assert lines[0].count(" of ") + lines[0].count(",") + (parts > 0) == parts


@pytest.mark.parametrize("mode", MODES)
def test_no_progress_where_it_is_no_terminal(long_cli, mode):
    """Past the time at which a terminal would have seen it."""
    with Terminal(long_cli, 80, "cat", "--mode", "copy", "/long") as t:
        proc = subprocess.Popen(long_cli.argv("cat", "--mode", mode, "/long"), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with proc:
            os.read(proc.stdout.fileno(), 65536)
            t.until_drawn(1)
            out, err = proc.communicate(timeout=d.PATIENCE)
        t.finish()
    assert proc.returncode == 0 and err == b"" and not out.strip(b"\0")


def test_no_progress_for_short_transfers(cli):
    with Terminal(cli, 80, "cat", "/big") as t:
        t.finish()
    assert t.drawn == b"" and t.taken == 1 << 20


def test_errors_do_not_stand_in_the_progress_line(long_cli):
    with Terminal(long_cli, 80, "cat", "--mode", "copy", "/long", "/none") as t:
        t.until_drawn(1)
        while t.proc.poll() is None:
            t.take(1 << 20)
            t.look(0)
        t.look(0)
    assert t.drawn.decode().endswith("\r\033[Kobjmap: /none: not found\r\n") and t.proc.returncode == FAILED
