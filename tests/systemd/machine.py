#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A machine to test in: systemd as pid 1 of namespaces, with the root file system of the host under a tmpfs.

Only root can have one. Between the test and the machine stands a keeper, a process that ends the machine when the test
closes a pipe, so also when the test is killed; and the kernel ends the machine when the keeper is killed.
"""
import ctypes
import functools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests/integration"))

import daemon  # noqa: E402 (found by the line before)

SYSTEMD = "/lib/systemd/systemd"
NAMESPACES = ["unshare", "--mount", "--propagation", "private", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--fork",
              "--kill-child=KILL", "--"]
ENVIRONMENT = ["env", "-i", "TERM=dumb", "LANG=C.UTF-8", "SYSTEMD_PAGER=cat", "SYSTEMD_COLORS=0",
               "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
PATIENCE = 60
PR_SET_PDEATHSIG = 1

wait_until = functools.partial(daemon.wait_until, seconds=PATIENCE)


# ---- control groups --------------------------------------------------------------------------------------------------

def cgroup2():
    """Where the unified hierarchy is mounted, or None."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return next((line.split()[1] for line in mounts if line.split()[2] == "cgroup2"), None)


class Cgroup:
    """One of our own: what a process is in when it makes a cgroup namespace is the root there."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="objm-machine-", dir=cgroup2()))

    def enter(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self):
        """Processes that have been killed hold it until they are reaped."""
        wait_until(self.removed, message=f"{self.path} is in use")

    def removed(self):
        for directory, _, _ in os.walk(self.path, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                pass
        return not self.path.exists()


# ---- can there be one? -----------------------------------------------------------------------------------------------

def why_not():
    """Why no machine can be had here, in a few words; None: it can."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in (SYSTEMD, "unshare", "nsenter", "setpriv", "pivot_root"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    if not cgroup2():
        return "no cgroup2 file system is mounted"
    top = tempfile.mkdtemp(prefix="objm-probe-")
    cgroup = None
    try:
        cgroup = Cgroup()
        done = subprocess.run([*NAMESPACES, "sh", HERE / "boot.sh", "probe", top], preexec_fn=cgroup.enter,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode != 0:
            return "namespaces are not permitted: " + " ".join(done.stderr.split("\n")[:1])
    except (OSError, subprocess.SubprocessError) as e:
        return f"no cgroup of its own: {e}"
    finally:
        if cgroup:
            cgroup.remove()
        os.rmdir(top)
    return None


# ---- the keeper ------------------------------------------------------------------------------------------------------

def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def keep(lower, install):
    """The keeper's process: boots, says "PID-of-unshare CGROUP", and ends the machine at the end of its input."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cgroup = Cgroup()
    top = tempfile.mkdtemp(prefix="objm-machine-")
    unshare = None

    def begin():
        die_with_parent()
        cgroup.enter()

    try:
        unshare = subprocess.Popen([*NAMESPACES, "sh", HERE / "boot.sh", top, lower, *install], preexec_fn=begin,
                                   stdin=subprocess.DEVNULL, stdout=sys.stderr, cwd=ROOT)
        print(unshare.pid, cgroup.path, flush=True)
        sys.stdin.read()
    finally:
        if unshare:
            unshare.kill()
            unshare.wait()
        cgroup.remove()
        os.rmdir(top)


# ---- for tests -------------------------------------------------------------------------------------------------------

class Machine:
    """Booted when the constructor returns. @install: a command that gets the new root as its last argument; @lower: the
    tree to boot, which is not written to."""

    def __init__(self, install=(), lower="/"):
        self.log = tempfile.TemporaryFile("w+")
        self.keeper = subprocess.Popen([sys.executable, __file__, lower, *map(str, install)], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=self.log, text=True)
        try:
            self.unshare, self.cgroup = self.keeper.stdout.readline().split()
            self.pid = wait_until(self.first_process)
            wait_until(self.booted, message=lambda: "does not boot: " + self.said())
        except BaseException:
            self.stop()
            raise

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def state(self):
        """Of the process unshare: a letter, see proc(5); X when it is gone."""
        try:
            return pathlib.Path(f"/proc/{self.unshare}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return "X"

    def first_process(self):
        """The machine's pid 1 as seen from here, once it is systemd."""
        assert self.state() not in "ZX", "the machine has died: " + self.said()
        for pid in pathlib.Path(f"/proc/{self.unshare}/task/{self.unshare}/children").read_text().split():
            if pathlib.Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                return int(pid)
        return None

    def booted(self):
        assert self.state() not in "ZX", "the machine has died: " + self.said()
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        assert state != "degraded", self.run("systemctl", "--failed").stdout
        return state == "running"

    def run(self, *command, check=True, user=None, groups=()):
        """Runs a program inside; its output is text. @user: a number, with @groups and no others."""
        who = []
        if user is not None:
            supplementary = [f"--groups={','.join(map(str, groups))}"] if groups else ["--clear-groups"]
            who = ["setpriv", f"--reuid={user}", f"--regid={user}", *supplementary, "--"]
        done = subprocess.run(["nsenter", "-t", str(self.pid), "-a", "--", *ENVIRONMENT, *who, *map(str, command)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        if check and done.returncode != 0:
            last = self.run("journalctl", "--no-pager", "-n", "30", check=False).stdout
            raise AssertionError(f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}\n{last}")
        return done

    def path(self, inside):
        """How a file of the machine is called out here. Unix sockets can be connected to by that name too."""
        return pathlib.Path(f"/proc/{self.pid}/root") / str(inside).lstrip("/")

    def stop(self):
        """Nothing of it is left when this returns."""
        self.keeper.stdin.close()
        self.keeper.stdout.close()
        assert self.keeper.wait(PATIENCE) == 0, self.said()
        self.log.close()


if __name__ == "__main__":
    keep(sys.argv[1], sys.argv[2:])
