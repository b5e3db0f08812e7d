# SPDX-License-Identifier: MIT
"""Each grant is a descriptor of its own: read-only, close-on-exec, at offset 0, shared with nobody."""
import ctypes
import fcntl
import os

import omproto as p
import pytest
from daemon import wait_until
from omclient import get_many

F_DUPFD_QUERY = 1027  # Linux 6.10, include/uapi/linux/fcntl.h
SYS_KCMP, KCMP_FILE = 312, 0  # x86-64


def by_fcntl(a, b):
    return fcntl.fcntl(a, F_DUPFD_QUERY, b) == 1


def by_kcmp(a, b):
    libc = ctypes.CDLL(None, use_errno=True)
    r = libc.syscall(SYS_KCMP, os.getpid(), os.getpid(), KCMP_FILE, a, b)
    assert r >= 0, os.strerror(ctypes.get_errno())
    return r == 0


@pytest.fixture(scope="module")
def same_description():
    """A function that tells whether two descriptors share an open file description; tried on two that do."""
    fd = os.open("/dev/null", os.O_RDONLY)
    twin, other = os.dup(fd), os.open("/dev/null", os.O_RDONLY)
    try:
        for found in (by_fcntl, by_kcmp):
            try:
                if found(fd, twin) and not found(fd, other):
                    return found
            except (OSError, AssertionError):
                pass
        pytest.skip("this kernel cannot tell")
    finally:
        for each in (fd, twin, other):
            os.close(each)


def check_one(fd):
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_PATH) == os.O_RDONLY
    assert fcntl.fcntl(fd, fcntl.F_GETFD) == fcntl.FD_CLOEXEC
    assert os.lseek(fd, 0, os.SEEK_CUR) == 0
    os.lseek(fd, 7, os.SEEK_SET)  # to be seen by whoever shares the description


@pytest.mark.parametrize("version,total", [(1, 20_000), (3, 100_000)], ids=["v1", "v3"])
def test_grants(served, tree, same_description, version, total):
    batch = 100
    uris = ([u for u in tree.files][:9] + ["/a.txt"] * 41) * 2
    assert len(uris) == batch
    mine, theirs = len(os.listdir("/proc/self/fd")), None
    kept = None
    with served.connect(version) as c:
        for _ in range(total // batch):
            replies = [r for _, r in get_many(c, uris, depth=batch)]
            for r in replies:
                assert r.status == p.OK
                check_one(r.fd)
            fds = [r.fd for r in replies]
            assert len(set(fds)) == batch
            for a, b in zip(fds, fds[1:]):
                assert not same_description(a, b)
            if kept is not None:
                assert not any(same_description(kept, fd) for fd in fds)
                os.close(kept)
            kept = fds.pop()
            for fd in fds:
                os.close(fd)
            if theirs is None:
                theirs = served.settled(served.fds)
        os.close(kept)
        assert served.settled(served.fds) == theirs
    assert len(os.listdir("/proc/self/fd")) == mine


def test_two_clients_share_nothing(served, tree, same_description):
    """What one does to its descriptor, and leaves behind when it goes, the other does not see."""
    content = tree.files["/sub/b.bin"]
    with served.connect(3) as a, served.connect(1) as b:
        mine, other = a.get("/sub/b.bin"), b.get("/sub/b.bin")
        assert not same_description(mine.fd, other.fd)
        os.lseek(mine.fd, 77, os.SEEK_SET)
        fcntl.fcntl(mine.fd, fcntl.F_SETFL, 0)
        fcntl.flock(mine.fd, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert os.read(other.fd, 100) == content[:100]
        mine.close()
        wait_until(lambda: locks(other.fd))  # the daemon closes what it has sent, if not before it is received
        other.close()


def locks(fd):
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_grant_survives_the_object_and_the_daemon(start, tree):
    daemon = start({"/": tree.path})
    with daemon.connect(3) as c:
        r = c.get("/a.txt")
        (tree.path / "a.txt").unlink()
    daemon.kill()
    assert os.pread(r.fd, 100, 0) == tree.files["/a.txt"]
    r.close()
