# SPDX-License-Identifier: MIT
"""The SystemTap probes (USDT) of an ELF file, out of its notes, and a count of how often they are hit."""
import contextlib
import ctypes
import os
import pathlib
import platform
import struct
from typing import NamedTuple

PMU = pathlib.Path("/sys/bus/event_source/devices/uprobe/type")
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}.get(platform.machine())
STAPSDT = 3


class Probe(NamedTuple):
    provider: str
    name: str
    arguments: tuple
    offset: int  # in the file


class Elf:
    """Of 64 bits, little-endian."""

    def __init__(self, path):
        self.data = pathlib.Path(path).read_bytes()
        assert self.data[:6] == b"\x7fELF\x02\x01", path
        self.ph_at, self.sh_at = struct.unpack_from("<QQ", self.data, 32)
        self.ph_size, self.ph_n, self.sh_size, self.sh_n, self.sh_names = struct.unpack_from("<HHHHH", self.data, 54)

    def sections(self):
        """{name: (address, offset, size)}"""
        at = [struct.unpack_from("<IIQQQQ", self.data, self.sh_at + i * self.sh_size) for i in range(self.sh_n)]
        names = at[self.sh_names][4]
        return {self.text(names + name): (address, offset, size) for name, _, _, address, offset, size in at}

    def text(self, at):
        return self.data[at : self.data.index(b"\0", at)].decode()

    def offset_of(self, address):
        for i in range(self.ph_n):
            kind, _, offset, start, _, size = struct.unpack_from("<IIQQQQ", self.data, self.ph_at + i * self.ph_size)
            if kind == 1 and start <= address < start + size:
                return offset + address - start
        raise AssertionError(f"{address:#x} is not loaded")

    def probes(self):
        sections = self.sections()
        if ".note.stapsdt" not in sections:
            return
        base_now = sections[".stapsdt.base"][0]
        _, at, size = sections[".note.stapsdt"]
        end = at + size
        while at < end:
            name_len, len_, kind = struct.unpack_from("<III", self.data, at)
            desc = at + 12 + (name_len + 3 & ~3)
            at = desc + (len_ + 3 & ~3)
            if (kind, self.text(desc - (name_len + 3 & ~3))) != (STAPSDT, "stapsdt"):
                continue
            pc, base, _ = struct.unpack_from("<QQQ", self.data, desc)
            provider, name, arguments = self.data[desc + 24 : desc + len_].split(b"\0")[:3]
            yield Probe(provider.decode(), name.decode(), tuple(arguments.decode().split()),
                        self.offset_of(pc + base_now - base))


def probes(path):
    return list(Elf(path).probes())


def why_not_counted():
    """None: hits can be counted here."""
    if os.geteuid() != 0:
        return "counting hits of probes needs root"
    if not PMU.exists() or not PERF_EVENT_OPEN:
        return "this kernel has no uprobes for perf_event_open(2)"
    return None


def open_counter(path, offset, cpu):
    """A counter of the hits on one CPU by whatever process; as perf_event_open(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    name = ctypes.create_string_buffer(os.fsencode(path))
    attr = bytearray(112)
    struct.pack_into("<II", attr, 0, int(PMU.read_text()), len(attr))
    struct.pack_into("<QQ", attr, 56, ctypes.addressof(name), offset)
    buffer = (ctypes.c_char * len(attr)).from_buffer(attr)
    fd = libc.syscall(PERF_EVENT_OPEN, buffer, -1, cpu, -1, 8)  # 8: PERF_FLAG_FD_CLOEXEC
    if fd < 0:
        raise OSError(ctypes.get_errno(), "perf_event_open")
    return fd


class Hits:
    """Of each probe of a file that nobody else runs, by name, from now on."""

    def __init__(self, path):
        self.fds = {}
        with contextlib.ExitStack() as stack:
            for probe in probes(path):
                for cpu in sorted(os.sched_getaffinity(1)):
                    fd = open_counter(path, probe.offset, cpu)
                    stack.callback(os.close, fd)
                    self.fds.setdefault(probe.name, []).append(fd)
            self.stack = stack.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()

    def read(self):
        return {name: sum(struct.unpack("<Q", os.read(fd, 8))[0] for fd in fds) for name, fds in self.fds.items()}
