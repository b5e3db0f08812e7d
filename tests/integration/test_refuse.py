# SPDX-License-Identifier: MIT
"""What is not granted: every kind of inode but regular files, every name but the one, everyone not allowed."""
import errno
import fcntl
import os
import socket
import stat

import omproto as p
import pytest
from omclient import Closed

OTHER_UID = 1234


@pytest.fixture(params=[1, 3], ids=["v1", "v3"])
def version(request):
    return request.param


def status_of(client, uri):
    r = client.get(uri)
    r.close()
    return r.status


@pytest.fixture
def odd(tree):
    """The tree with every kind of inode in it, and a secret beside it."""
    top = tree.path
    (top.parent / "secret").write_bytes(b"secret")
    os.mkfifo(top / "fifo")
    (top / "link").symlink_to("a.txt")
    (top / "link-out").symlink_to(top.parent / "secret")
    (top / "link-up").symlink_to("../secret")
    (top / "link-nowhere").symlink_to("nothing")
    (top / "link-dir").symlink_to("sub")
    (top / "link-proc").symlink_to("/proc/self")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(top / "socket"))
    return tree


REFUSED = [
    ("/none", p.NOT_FOUND), ("/sub/none", p.NOT_FOUND), ("/none/b.bin", p.NOT_FOUND), ("/a.txt/b", p.NOT_FOUND),
    ("/" + "s" * 256, p.NOT_FOUND), ("/A.TXT", p.NOT_FOUND),
    ("/sub", p.UNSUPPORTED), ("/sub/deep", p.UNSUPPORTED), ("/fifo", p.UNSUPPORTED), ("/socket", p.UNSUPPORTED),
    ("/link", p.DENIED), ("/link-out", p.DENIED), ("/link-up", p.DENIED), ("/link-nowhere", p.DENIED),
    ("/link-dir", p.DENIED), ("/link-dir/b.bin", p.DENIED), ("/link-proc/exe", p.DENIED),
    ("/", p.INVALID), ("//a.txt", p.INVALID), ("/sub//b.bin", p.INVALID), ("/sub/", p.INVALID), ("/a.txt/", p.INVALID),
    ("/.", p.INVALID), ("/..", p.INVALID), ("/./a.txt", p.INVALID), ("/../secret", p.INVALID),
    ("/sub/../a.txt", p.INVALID), ("/sub/..", p.INVALID), ("/sub/../../secret", p.INVALID),
    ("/a.txt\0", p.INVALID), ("/\0a.txt", p.INVALID), ("/a\0.txt", p.INVALID), ("/sub\0/b.bin", p.INVALID),
    ("/%2e%2e/secret", p.NOT_FOUND), ("/%2e/a.txt", p.NOT_FOUND), ("/sub%2fb.bin", p.NOT_FOUND),
    ("/..\\secret", p.NOT_FOUND), (b"/\xff\xfe", p.NOT_FOUND), ("/a.txt ", p.NOT_FOUND),
]


def test_kinds_and_names(start, odd, version):
    """Twice over one connection, so that what the index has learnt changes nothing, and never a descriptor."""
    daemon = start({"/": odd.path})
    with daemon.connect(version) as c:
        for _ in range(2):
            got = [(uri, status_of(c, uri)) for uri, _ in REFUSED]
            assert got == REFUSED
            assert status_of(c, "/a.txt") == p.OK
    with pytest.raises(OSError) as e:
        os.open(odd.path / "fifo", os.O_WRONLY | os.O_NONBLOCK)
    assert e.value.errno == errno.ENXIO, "the daemon holds the FIFO open"


def test_kinds_and_names_without_scan(start, odd, version):
    daemon = start({"/": odd.path}, config="index = { scan = false; watch = false; };\n")
    with daemon.connect(version) as c:
        for _ in range(2):
            assert [(uri, status_of(c, uri)) for uri, _ in REFUSED] == REFUSED


def test_device(start, tree, version):
    try:
        os.mknod(tree.path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(tree.path / "loop", stat.S_IFBLK | 0o666, os.makedev(7, 0))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    with start({"/": tree.path}).connect(version) as c:
        assert status_of(c, "/null") == p.UNSUPPORTED
        assert status_of(c, "/loop") == p.UNSUPPORTED


def test_percent_is_literal(served, tree, version):
    with served.connect(version) as c:
        r = c.get("/%2e")
        assert os.pread(r.fd, 100, 0) == tree.files["/%2e"]
        r.close()


def deep_file(top, length):
    """A file whose path below @top has @length bytes; PATH_MAX keeps us from naming it in one piece."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    path = b""
    while length - len(path) > 255:
        name = b"d" * min(255, length - len(path) - 2)
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd, path = below, path + name + b"/"
    name = b"f" * (length - len(path))
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd))
    os.close(fd)
    return path + name


def test_longest_uri(start, tree, version):
    uri = b"/" + deep_file(tree.path, 4095)
    assert len(uri) == 4096
    with start({"/": tree.path}).connect(version) as c:
        assert status_of(c, uri) == p.OK
        assert status_of(c, uri[:-1]) == p.NOT_FOUND
        assert status_of(c, b"/" + b"x/" * 2047 + b"x") == p.NOT_FOUND


def test_uri_too_long_ends_the_connection(served, version):
    with served.connect(version) as c:
        c.ask("/a.txt")
        c.ask("/" + "x" * 4096)
        r = c.reply()
        r.close()
        assert r.status == p.OK, "what came before is still answered"
        assert c.reply().status == p.URI_TOO_LONG
        assert c.eof()


def test_configured_uri_length(start, tree, version):
    daemon = start({"/": tree.path}, config="limits = { uri_length = 10; };\n")
    with daemon.connect(version) as c:
        assert status_of(c, "/" + "x" * 9) == p.NOT_FOUND
        assert status_of(c, "/" + "x" * 10) == p.URI_TOO_LONG
        assert status_of(c, "/a.txt") == p.OK


def test_empty_uri(served, version):
    with served.connect(version) as c:
        assert status_of(c, "") == p.INVALID
        assert status_of(c, "/a.txt") == p.OK


def test_kinds_and_names_as_bytes(start, odd, version):
    """Copy and splice refuse what a descriptor is refused for, and send no byte of it."""
    daemon = start({"/": odd.path})
    with daemon.connect(version) as c:
        for mode in (p.COPY, p.SPLICE):
            for uri, status in REFUSED:
                r = c.get(uri, mode=mode)
                assert (r.status, r.fd, r.body_len) == (status, -1, 0), uri
            assert c.get("/a.txt", mode=mode).body == b"hello\n"


def test_unknown_mode_of_version_1(served):
    with served.connect(1) as c:
        c.ask("/a.txt")
        c.ask("/a.txt", mode=ord("4"))
        c.reply().close()
        assert c.reply().status == p.INVALID_MODE
        assert c.eof()


def test_refusals_say_why(served):
    with served.connect(1) as c:
        text = c.get("/sub").entries()[p.META_ERROR]
        assert text == b"not a regular file"
        assert c.get("/none").entries()[p.META_ERROR] == b"not found"


def test_outside_every_export(start, tree, version):
    daemon = start({"/data/": tree.path, "/data/sub/": tree.path / "sub" / "deep"})
    with daemon.connect(version) as c:
        assert status_of(c, "/data/a.txt") == p.OK
        assert status_of(c, "/data/sub/er/c") == p.OK, "the longest prefix wins"
        assert status_of(c, "/data/sub/b.bin") == p.NOT_FOUND
        assert status_of(c, "/a.txt") == p.NOT_FOUND
        assert status_of(c, "data/a.txt") in (p.NOT_FOUND, p.INVALID)
        assert status_of(c, "/database") == p.NOT_FOUND


def test_what_the_daemon_may_not_read(start, tree, version):
    (tree.path / "private").write_bytes(b"x")
    (tree.path / "private").chmod(0)
    (tree.path / "closed").mkdir()
    (tree.path / "closed" / "file").write_bytes(b"x")
    (tree.path / "closed").chmod(0)
    daemon = start({"/": tree.path}, uid=OTHER_UID if os.getuid() == 0 else None)
    with daemon.connect(version) as c:
        assert status_of(c, "/private") == p.DENIED
        assert status_of(c, "/closed/file") == p.DENIED
        assert status_of(c, "/a.txt") == p.OK
    (tree.path / "closed").chmod(0o755)


def exports(tree, *lists):
    """Configuration with one export /N/ for each list."""
    each = ",\n".join(f'{{ prefix = "/{i}/"; path = "{tree.path}"; {text} }}' for i, text in enumerate(lists))
    return f"exports = ( {each} );\n"


def test_allow_lists(start, tree, version):
    uid, gid = os.getuid(), os.getgid()
    daemon = start(config=exports(
        tree, "", f"allow_uids = [ {uid} ];", f"allow_uids = [ {uid + 1} ];", f"allow_gids = [ {gid} ];",
        f"allow_gids = [ {gid + 4000} ];", f"allow_uids = [ {uid + 1} ]; allow_gids = [ {gid} ];"))
    with daemon.connect(version) as c:
        got = [status_of(c, f"/{i}/a.txt") for i in range(6)]
        assert got == [p.OK, p.OK, p.DENIED, p.OK, p.DENIED, p.OK]
        assert status_of(c, "/2/none") == p.DENIED, "whoever is not allowed does not learn what exists"


def test_symlinks_inside_may_be_allowed(start, odd, version):
    """What leads out stays refused."""
    daemon = start(config=exports(odd, "follow_symlinks = true;"))
    with daemon.connect(version) as c:
        for _ in range(2):
            assert status_of(c, "/0/link") == p.OK
            assert status_of(c, "/0/link-dir/b.bin") == p.OK
            for uri in ("/0/link-out", "/0/link-up", "/0/link-proc/exe"):
                assert status_of(c, uri) in (p.DENIED, p.NOT_FOUND), uri
            assert status_of(c, "/0/link-nowhere") == p.NOT_FOUND


@pytest.mark.skipif(os.getuid() != 0, reason="changes its groups")
def test_supplementary_groups_count(start, tree):
    daemon = start(config=exports(tree, "allow_gids = [ 4321 ];"))
    assert daemon.get_status("/0/a.txt") == p.DENIED
    os.chmod(daemon.socket, 0o666)
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([4321])
            os.setgid(OTHER_UID)
            os.setuid(OTHER_UID)
            os._exit(daemon.get_status("/0/a.txt"))
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == p.OK


def test_grant_cannot_write(served, version):
    with served.connect(version) as c:
        r = c.get("/a.txt")
        assert fcntl.fcntl(r.fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        for attempt in (lambda: os.write(r.fd, b"x"), lambda: os.ftruncate(r.fd, 0)):
            with pytest.raises(OSError):
                attempt()
        r.close()


def test_closed_socket_is_seen_as_closed(served, version):
    """The client of these tests tells an end of stream from silence; without that the tests above prove nothing."""
    with served.connect(version) as c:
        c.half_close()
        with pytest.raises(Closed):
            c.reply()
