#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""freeze.py TID: stops one thread of a process, which SIGSTOP cannot, says "frozen", and waits for its end.

Whoever traces a thread has to wait for it: the end of its process is not reported before.
"""
import ctypes
import os
import sys

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, tid):
    if libc.ptrace(request, tid, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


if __name__ == "__main__":
    thread = int(sys.argv[1])
    ptrace(PTRACE_SEIZE, thread)
    ptrace(PTRACE_INTERRUPT, thread)
    _, what = os.waitpid(thread, WALL)
    assert os.WIFSTOPPED(what)
    print("frozen", flush=True)
    while not (os.WIFEXITED(what) or os.WIFSIGNALED(what)):
        _, what = os.waitpid(thread, WALL)
