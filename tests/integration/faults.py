# SPDX-License-Identifier: MIT
"""A library that makes chosen calls of a daemon fail, and the words by which a test says which."""
import functools
import mmap
import pathlib
import shutil
import struct
import subprocess

import daemon as d


@functools.cache
def built(name):
    """The path of what the build makes for these tests, once it is up to date."""
    path = d.ROOT / d.BUILD / name
    mode = pathlib.Path(d.BUILD).name
    subprocess.run(["make", "-s", f"MODE={mode}", str(path.relative_to(d.ROOT))], cwd=d.ROOT, check=True)
    return path


class Fault:
    """The library's control words, shared with a daemon that is started while this is set in the environment."""

    def __init__(self, directory, function, error):
        self.function, self.error = function, error
        path = pathlib.Path(directory) / "fault"
        path.write_bytes(bytes(32))
        with open(path, "r+b") as f:
            self.words = mmap.mmap(f.fileno(), 32)
        preloaded = shutil.copy(built("fault.so"), directory)  # LD_PRELOAD takes no path with a blank in it
        self.env = {"LD_PRELOAD": preloaded, "OBJM_FAULT": f"{function}:{error}:0", "OBJM_FAULT_CONTROL": str(path)}

    def arm(self, nth, many=1):
        self.words[:] = struct.pack("=QQQQ", nth, many, 0, 0)

    def disarm(self):
        self.words[:8] = bytes(8)

    def word(self, i):
        return struct.unpack_from("=Q", self.words, 8 * i)[0]

    @property
    def calls(self):
        return self.word(2)

    @property
    def fired(self):
        return self.word(3)
