# SPDX-License-Identifier: MIT
"""The part "ring" of bench.py: a bare ring in shared memory, and what else there is for 64 bytes between processes.

The bare ring looks nothing up; "2 reads" is the same ring with the two cache misses that a lookup in an index of a
million URIs costs.
"""
import json
import os
import subprocess
import sys

import bench

SERVER, CLIENT = bench.CPUS[0], bench.CPUS[-1]


def program(name):
    return os.path.join(bench.BUILD, 'bench', name)


def run(argv, seconds):
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, check=False, timeout=seconds + 60)
    if done.returncode:
        sys.exit(f'{os.path.basename(argv[0])} ended with {done.returncode}')
    return json.loads(done.stdout)


def floor(kind, depth=1, seconds=0.4):
    return run([program('ring_floor'), kind, seconds, depth, SERVER, CLIENT], seconds)


def ping(kind, seconds=0.4):
    argv = [program('ping_zmq')] if kind == 'zmq' else [program('ping'), kind]
    return run([*argv, seconds, SERVER, CLIENT], seconds)


def others(report, rounds):
    report.line('64 bytes to and fro between two processes, each on its CPU: p50')
    sides = {'ring, both sides poll': lambda: floor('bare'), 'the same, and 2 reads': lambda: floor('lookup')}
    sides.update((name, lambda k=kind: ping(k)) for name, kind in (
        ('Unix socket', 'unix'), ('pipe', 'pipe'), ('POSIX message queue', 'mq')))
    if os.path.exists(program('ping_zmq')):
        sides['ZeroMQ, ipc'] = lambda: ping('zmq')
    else:
        report.line('  SKIPPED: ZeroMQ is not installed (apt-get install libzmq3-dev)')
    bench.compare(report, rounds, sides, 'p50_ns', 1e-3, 'us')


def throughput(report, rounds):
    report.line('Round trips per second of a bare ring, both sides poll')
    bench.compare(report, rounds, {
        f'{kind}, depth {depth}': (lambda k=kind, n=depth: floor(k, n))
        for kind in ('bare', 'lookup', 'inline') for depth in (1, 32)}, 'rate', 1e-6, 'M/s')


def ring(report, work, rounds, long):
    others(report, rounds)
    throughput(report, rounds)
