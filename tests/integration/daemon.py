# SPDX-License-Identifier: MIT
"""A running objmapperd in a directory of its own, and what /proc says of it."""
import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import time

import omclient
import omproto

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
BUILD = os.environ.get("OBJM_BUILD", "build/release")
BIN = ROOT / BUILD / "objmapperd"
INSTRUMENTED = pathlib.Path(BUILD).name in ("asan", "tsan", "cov")
PATIENCE = 60 if INSTRUMENTED else 20
ESCORT = "objm-escort"
REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:")


def wait_until(what, seconds=PATIENCE, message="nothing happened"):
    """Polls until what() is true and returns its value; fails after a time that only a hang reaches."""
    end = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < end, message() if callable(message) else message
        time.sleep(0.005)


def check_config(path):
    """(exit status, output) of --check-config."""
    done = subprocess.run([BIN, "--check-config", "--config", path], capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stdout + done.stderr


class Daemon:
    """@config is libconfig text; @exports maps prefixes to directories and goes on the command line, as @args do. With
    @tcp, an address, it listens there too, and connect() goes there. With @udp, addresses or pairs with a port, it takes
    datagrams there; self.udp is what became of them, with ports. With @listed the socket stands in the configuration, where
    a reload can change it. @through is put before the command."""

    def __init__(self, directory, exports=None, *args, config="", nofile=None, uid=None, socket_path=None, tcp=None,
                 udp=(), listed=False, through=()):
        self.dir = pathlib.Path(directory)
        self.config, self.log_path = self.dir / "objmapperd.conf", self.dir / "log"
        self.socket = str(socket_path or self.dir / "sock")
        self.config.write_text(config + (self.listen(udp) if udp or listed else ""))
        binary = str(BIN if uid is None else self.copy_of_binary())
        self.argv = [*through, binary, "--config", str(self.config), "--foreground"]
        self.argv += [] if udp or listed else ["--socket", self.socket]
        for prefix, path in (exports or {}).items():
            self.argv += ["--export", f"{prefix}={path}"]
        self.argv += args
        if tcp:
            self.argv += ["--tcp", f"[{tcp}]:0" if ":" in tcp else f"{tcp}:0"]
        self.tcp, self.address = tcp, self.socket
        self.nofile, self.uid = nofile, uid
        self.proc, self.baseline, self.stopped = None, None, False
        self.start()

    def listen(self, udp):
        """The list for a configuration; --socket would replace it."""
        pairs = [(a, 0) if isinstance(a, str) else a for a in udp]
        others = "".join(f', {{ transport = "udp"; address = "{a}"; port = {port}; }}' for a, port in pairs)
        return f'listen = ( {{ transport = "unix"; path = "{self.socket}"; }}{others} );\n'

    @property
    def udp(self):
        """Of the last start."""
        log = self.log()[self.log_at_start :]
        return [(a, int(port)) for a, port in re.findall(r"listening on udp://\[?([^]\n]*?)\]?:(\d+)\n", log)]

    def copy_of_binary(self):
        """Another user need not be able to look into the build directory."""
        return shutil.copy(BIN, self.dir / "objmapperd")

    def limit(self):
        if self.nofile:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.nofile, self.nofile))

    def start(self):
        who = {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": []}
        suppressions = shutil.copy(HERE / "tsan.supp", self.dir)  # TSAN_OPTIONS takes no path with a blank in it
        env = {"TSAN_OPTIONS": f"suppressions={suppressions}", **os.environ}
        with open(self.log_path, "ab") as log:
            self.log_at_start = log.tell()
            self.proc = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         preexec_fn=self.limit, env=env, **who)
        try:
            wait_until(self.answers, message=lambda: "does not start:\n" + self.log())
            if self.tcp:
                self.address = wait_until(self.tcp_addresses)[-1]
            self.baseline, self.threads_at_start = self.settled(self.fds), self.settled(self.threads)
        except BaseException:
            self.kill()
            raise

    def answers(self):
        """True once a client is answered, if only to say that there is no room."""
        assert self.proc.poll() is None, f"exited with {self.proc.returncode}:\n" + self.log()
        try:
            with omclient.V3(self.socket) as c:
                c.ping()
            return True
        except omproto.Bad:
            return True
        except (FileNotFoundError, ConnectionRefusedError, omclient.Closed):
            return False

    def settled(self, count, same=10):
        """A count of /proc once it no longer moves."""
        history = []

        def still():
            history.append(count())
            return len(history) >= same and len(set(history[-same:])) == 1

        wait_until(still, message="a count never settles")
        return history[-1]

    @property
    def proc_dir(self):
        return pathlib.Path("/proc") / str(self.proc.pid)

    def fds(self):
        return len(os.listdir(self.proc_dir / "fd"))

    def fd_targets(self):
        targets = []
        for name in os.listdir(self.proc_dir / "fd"):
            try:
                targets.append(os.readlink(self.proc_dir / "fd" / name))
            except FileNotFoundError:
                pass
        return sorted(targets)

    def thread_names(self):
        names = []
        for tid in os.listdir(self.proc_dir / "task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                names.append((self.proc_dir / "task" / tid / "comm").read_text().strip())
        return names

    def threads(self):
        """Without escorts, which stay for a while when there is nothing to do: see test_escorts."""
        return sum(name != ESCORT for name in self.thread_names())

    def escorts(self):
        return self.thread_names().count(ESCORT)

    def anon_kb(self):
        for line in (self.proc_dir / "smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return int(line.split()[1])
        raise AssertionError("no Anonymous line")

    def cpu_seconds(self):
        """Of all its threads, those that have ended too, in nanosecond steps (what clock_getcpuclockid(3) would name)."""
        return time.clock_gettime(~self.proc.pid << 3 | 2)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def at_rest(self):
        """Waits until the daemon has no more descriptors and threads than before its first client."""
        wait_until(lambda: self.fds() <= self.baseline and self.threads() <= self.threads_at_start,
                   message=lambda: f"{self.fds()} descriptors, {self.baseline} at start; {self.threads()} threads, "
                   f"{self.threads_at_start} at start: {self.fd_targets()}")

    def tcp_addresses(self):
        """(host, port) of each socket, as logged."""
        found = re.findall(r"listening on tcp://\[?([^]\n]*?)\]?:(\d+)\n", self.log())
        return [(host, int(port)) for host, port in found]

    def connect(self, version=3, **kw):
        return omclient.CLIENTS[version](self.address, **kw)

    def get_status(self, uri, version=3):
        """Of a descriptor, over the Unix socket."""
        with omclient.CLIENTS[version](self.socket) as c:
            r = c.get(uri)
            r.close()
            return r.status

    def signal(self, number):
        self.proc.send_signal(number)

    def exit_status(self):
        self.stopped = True
        return self.proc.wait(PATIENCE)

    def kill(self):
        self.stopped = True
        self.proc.kill()
        self.proc.wait()

    def stop(self):
        """The end of every test: at rest, SIGTERM, exit status 0, nothing said by a sanitizer."""
        if not self.stopped:
            try:
                assert self.proc.poll() is None, f"exited with {self.proc.returncode}:\n" + self.log()
                self.at_rest()
                self.signal(signal.SIGTERM)
                assert self.exit_status() == 0, self.log()
            finally:
                self.kill()
        assert not any(report in self.log() for report in REPORTS), self.log()
