# SPDX-License-Identifier: MIT
"""What a service manager does for a daemon: sockets that outlive it, messages from it, descriptors kept for its next start
(sd_listen_fds(3), sd_notify(3)). Nothing of systemd(1) is needed."""
import array
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading

from daemon import BIN, HERE, PATIENCE, REPORTS, wait_until

PASS = """
import os, sys
names = sys.argv[1].split(":") if sys.argv[1] else []
for i in range(len(names)):
    os.set_inheritable(3 + i, True)
os.environ.update(LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=sys.argv[1], LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""
FDS_MAX = 253
WATCH = "objmapper-watch"


class Manager:
    """Starts the daemon with @args as often as is wanted; its sockets are a Unix one, .path, and a TCP one, .address. The
    store is .store, pairs of name and descriptor; with @keeps false descriptors are not kept."""

    def __init__(self, directory, *args, keeps=True, tcp=False):
        self.dir, self.args, self.keeps = directory, args, keeps
        self.path, self.log_path = str(directory / "sock"), directory / "log"
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(directory / "notify"))
        self.listeners = [("objmapperd.socket", socket.socket(socket.AF_UNIX))]
        self.listeners[0][1].bind(self.path)
        self.listeners[0][1].listen(128)
        os.chmod(self.path, 0o666)
        if tcp:
            self.listeners.append(("tcp", socket.create_server(("127.0.0.1", 0))))
            self.address = self.listeners[1][1].getsockname()
        (directory / "conf").touch()
        self.config = directory / "conf"
        self.store, self.states, self.proc, self.ended = [], [], None, False
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    # ---- messages

    def listen(self):
        room = socket.CMSG_SPACE(FDS_MAX * 4)
        while True:
            data, ancillary, _, _ = self.notify.recvmsg(65536, room, socket.MSG_CMSG_CLOEXEC)
            fds = array.array("i")
            for _, _, raw in ancillary:
                fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
            if data == b"END":
                return
            self.handle(dict(line.split("=", 1) for line in data.decode().splitlines()), fds.tolist())

    def handle(self, message, fds):
        """The store first: a state is seen when all that was sent before has been done."""
        name = message.get("FDNAME")
        if "FDSTORE" in message and self.keeps:
            self.store += [(name, fd) for fd in fds]
            fds = []
        if "FDSTOREREMOVE" in message:
            for item in [item for item in self.store if item[0] == name]:
                self.store.remove(item)
                os.close(item[1])
        for fd in fds:
            os.close(fd)  # a barrier's among them
        self.states.append(message)

    def said(self, key, value):
        return any(message.get(key) == value for message in self.states)

    # ---- the daemon

    @property
    def proc_dir(self):
        return pathlib.Path("/proc") / str(self.proc.pid)

    def start(self):
        """Returns when it is ready. What was in the store is passed on, behind the sockets, and stays there."""
        passed = [(name, s.fileno()) for name, s in self.listeners] + self.store
        fds = [os.dup(fd) for _, fd in passed]

        def place():
            high = [os.dup2(fd, 2000 + i) for i, fd in enumerate(fds)]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)

        self.states.clear()
        env = {"TSAN_OPTIONS": f"suppressions={HERE / 'tsan.supp'}", **os.environ,
               "NOTIFY_SOCKET": str(self.dir / "notify")}
        with open(self.log_path, "ab") as log:
            self.proc = subprocess.Popen([sys.executable, "-c", PASS, ":".join(name for name, _ in passed), BIN,
                                          "--foreground", "--config", self.config, *self.args],
                                         stdin=subprocess.DEVNULL, stderr=log, env=env, preexec_fn=place,
                                         pass_fds=range(3, 3 + len(fds)))
        for fd in fds:
            os.close(fd)
        wait_until(self.is_ready, message=lambda: "does not start:\n" + self.log())

    def is_ready(self):
        assert self.proc.poll() is None, f"exited with {self.proc.returncode}:\n" + self.log()
        return self.said("READY", "1")

    def terminate(self, number=signal.SIGTERM):
        self.proc.send_signal(number)
        assert self.proc.wait(PATIENCE) in (0, -number), self.log()
        if number == signal.SIGTERM:
            assert self.proc.returncode == 0, self.log()

    def restart(self, number=signal.SIGTERM):
        self.terminate(number)
        self.start()

    def watches(self):
        """The inotify descriptors that are there whenever the daemon watches its exports."""
        return [fd for name, fd in self.store if name == WATCH]

    def stored(self):
        """How many other descriptors of each name."""
        names = [name for name, _ in self.store if name != WATCH]
        return {name: names.count(name) for name in names}

    def log(self):
        return self.log_path.read_text(errors="replace")

    def close(self):
        """The end of every test: SIGTERM, exit status 0, nothing said by a sanitizer, nothing kept."""
        try:
            if self.proc and self.proc.poll() is None:
                self.terminate()
        finally:
            if self.proc:
                self.proc.kill()
                self.proc.wait()
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as s:
                s.sendto(b"END", str(self.dir / "notify"))
            self.thread.join()
            self.notify.close()
            for _, s in self.listeners:
                s.close()
            for _, fd in self.store:
                os.close(fd)
        assert not any(report in self.log() for report in REPORTS), self.log()
