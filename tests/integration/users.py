# SPDX-License-Identifier: MIT
"""Clients that are different users. Their numbers are this process's own, so that tests side by side do not meet in the
kernel's account of descriptors in flight."""
import contextlib
import os
import signal
import traceback

import pytest

BASE = 100_000 + os.getpid() % 50_000 * 3
X, Y, DAEMON = BASE, BASE + 1, BASE + 2

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the users that the limits tell apart")


@contextlib.contextmanager
def as_user(uid):
    """What is connected meanwhile is the user's: the kernel takes credentials down when a socket connects."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


class Process:
    """A process of a user that runs fn(), says so, and then waits for its end."""

    def __init__(self, uid, fn):
        ready, say = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setresuid(uid, uid, uid)
                kept = fn()
                os.write(say, b"1")
                signal.pause()
                del kept
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(say)
        said = os.read(ready, 1)
        os.close(ready)
        if said != b"1":
            self.kill()
            raise AssertionError("the process has failed")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.kill()

    def kill(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.pid = 0
