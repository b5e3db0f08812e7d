# SPDX-License-Identifier: MIT
"""The part "ring" of bench.py: shared memory, beside a bare ring, and what else there is for 64 bytes between processes.

The daemon looks each object up in an index of a million URIs, at random; that tree is made in memory (/dev/shm) first
and removed at the end. The bare ring looks nothing up; "2 reads" is the same ring with the two cache misses that a
lookup costs. "hot" are HOT of these objects, few enough for the worker to keep all of them open.

What depends on how the machine itself schedules stands beside a floor of the same run: at half load a bare ring with
the same pace, asleep nothing but the two wake-ups, of a CPU that has gone to sleep as well or on one CPU for both. How far apart the two CPUs are can change from minute to minute in a
virtual machine, and with it every figure here, the floors' too.
"""
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import bench

THOUSANDS = 1000
HOT = 256
SERVER, CLIENT = bench.CPUS[0], bench.CPUS[-1]


def program(name):
    return os.path.join(bench.BUILD, 'bench', name)


def run(argv, seconds):
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, check=False, timeout=seconds + 60)
    if done.returncode:
        sys.exit(f'{os.path.basename(argv[0])} ended with {done.returncode}')
    return json.loads(done.stdout)


def floor(kind, depth=1, seconds=0.4, rate=0):
    return run([program('ring_floor'), kind, seconds, depth, SERVER, CLIENT, *([rate] if rate else [])], seconds)


def ping(kind, seconds=0.4, cpu=CLIENT):
    argv = [program('ping_zmq')] if kind == 'zmq' else [program('ping'), kind]
    return run([*argv, seconds, SERVER, cpu], seconds)


def client(path, what='stat', depth=1, seconds=0.4, how='spin', rate=0, objects=THOUSANDS * 1000, cpu=CLIENT):
    return run([program('ring_client'), path, what, depth, seconds, how, objects, rate, cpu], seconds)


def wait_for_index(path, count):
    """Until the scan is through, so that nothing is measured beside it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        out = subprocess.run([bench.OBJMAP, '--socket', path, 'stats', '--json'], stdout=subprocess.PIPE, check=True,
                             timeout=30).stdout
        index = json.loads(out)['index']
        if index['objects'] >= count and not index['scanning']:
            return
        time.sleep(0.2)
    sys.exit('the tree was not scanned within two minutes')


@contextlib.contextmanager
def million():
    where = tempfile.mkdtemp(prefix='objm-ring-', dir='/dev/shm' if os.access('/dev/shm', os.W_OK) else None)
    try:
        subprocess.run([program('make_tree'), where, str(THOUSANDS), '1024'], check=True)
        yield where
    finally:
        shutil.rmtree(where)


def others(report, rounds):
    report.line('64 bytes to and fro between two processes, each on its CPU')
    sides = {'ring, both sides poll': lambda: floor('bare')}
    sides.update((name, lambda k=kind: ping(k)) for name, kind in (
        ('Unix socket', 'unix'), ('pipe', 'pipe'), ('POSIX message queue', 'mq')))
    if os.path.exists(program('ping_zmq')):
        sides['ZeroMQ, ipc'] = lambda: ping('zmq')
    else:
        report.line('  SKIPPED: ZeroMQ is not installed (apt-get install libzmq3-dev)')
    bench.compare(report, rounds, sides, 'p50_ns', 1e-3, 'us')


def depth_one(report, path, rounds):
    report.line('Depth 1, both sides poll: p50 and round trips per second')
    results = {'bare ring': [], 'bare ring, 2 reads': [], 'objmapperd': []}
    for _ in range(rounds):
        results['bare ring'].append(floor('bare'))
        results['bare ring, 2 reads'].append(floor('lookup'))
        results['objmapperd'].append(client(path))
    for name, rs in results.items():
        report.line(f'  {name:24}{bench.spread([r["p50_ns"] for r in rs], 1e-3):>24} us'
                    f'{bench.spread([r["rate"] for r in rs], 1e-6):>24} M/s')
    bare, reads, ours = ([r['p50_ns'] for r in rs] for rs in results.values())
    rate = statistics.median(r['rate'] for r in results['objmapperd'])
    report.target('ring, depth 1, p50 in us', statistics.median(ours) / 1e3, 1, True)
    report.target('ring, depth 1, p50 over the bare ring', bench.ratio(ours, bare), 2, True)
    report.target('ring, depth 1, p50 over the bare ring with 2 reads', bench.ratio(ours, reads), 2, True)
    report.target('ring, depth 1, million round trips per second', rate / 1e6, 1, False)
    return rate


def throughput(report, path, rounds):
    report.line('Throughput, both sides poll')
    v = bench.compare(report, rounds, {
        'bare ring, depth 32': lambda: floor('bare', 32),
        'bare ring, 2 reads, depth 32': lambda: floor('lookup', 32),
        'objmapperd, depth 32': lambda: client(path, depth=32),
        'bare ring, 1 KB, depth 1': lambda: floor('inline'),
        'objmapperd, 1 KB, depth 1': lambda: client(path, 'read'),
        'objmapperd, 1 KB, hot, depth 1': lambda: client(path, 'read', objects=HOT),
        'bare ring, 1 KB, depth 32': lambda: floor('inline', 32),
        'objmapperd, 1 KB, depth 32': lambda: client(path, 'read', 32),
        'objmapperd, 1 KB, hot, depth 32': lambda: client(path, 'read', 32, objects=HOT),
    }, 'rate', 1e-6, 'M/s')
    report.target('ring, depth 32, million per second', statistics.median(v['objmapperd, depth 32']) / 1e6, 5, False)
    report.target('ring, 1 KB, depth 32, million per second', statistics.median(v['objmapperd, 1 KB, depth 32']) / 1e6,
                  1, False)
    report.target('ring, 1 KB, hot, depth 32, million per second',
                  statistics.median(v['objmapperd, 1 KB, hot, depth 32']) / 1e6, 1, False)


def half_load(report, path, rate, seconds):
    """In ten parts, the bare ring and the daemon in turns: who else gets the CPUs changes by the second. A request that is
    late is one that had to wait for that, or behind others that had to."""
    report.line(f'At {rate / 2e6:.2f} M requests per second for {seconds} s each, evenly')
    sides = {'bare ring, 2 reads': lambda: floor('lookup', seconds=seconds / 10, rate=int(rate / 2)),
             'objmapperd': lambda: client(path, seconds=seconds / 10, rate=int(rate / 2))}
    results = {name: [] for name in sides}
    for _ in range(10):
        for name, measure in sides.items():
            results[name].append(measure())
    late = {name: statistics.mean(r['late'] for r in rs) for name, rs in results.items()}
    for name, rs in results.items():
        p50, p99 = ([r[key] for r in rs] for key in ('p50_ns', 'p99_ns'))
        report.line(f'  {name:24}p50 {bench.spread(p50, 1e-3)} us, p99 {bench.spread(p99, 1e-3, 0)} us, '
                    f'{late[name] * 100:.2f} % took more than 50 us')
    report.target('ring, half load, p99 in us', statistics.median(p99) / 1e3, 50, True)
    report.target('ring, half load, those that took more than 50 us over the bare ring',
                  late['objmapperd'] / max(late['bare ring, 2 reads'], 1e-4), 1.2, True)


def asleep(report, path, polls, rounds):
    """@polls: the path of a daemon that polls when it pays."""
    report.line('Depth 1, nobody polls: p50')
    v = bench.compare(report, rounds, {
        'eventfd there, futex back': lambda: ping('doorbells'),
        'objmapperd': lambda: client(path, how='sleep'),
        'one CPU, eventfd and futex': lambda: ping('doorbells', cpu=SERVER),
        'one CPU, objmapperd': lambda: client(path, how='sleep', cpu=SERVER),
        'one CPU, it may poll': lambda: client(polls, cpu=SERVER),
    }, 'p50_ns', 1e-3, 'us')
    floor_one, one, may_poll = (v[f'one CPU, {name}'] for name in ('eventfd and futex', 'objmapperd', 'it may poll'))
    report.target('ring, both sides sleep, p50 in us', statistics.median(v['objmapperd']) / 1e3, 10, True)
    report.target('ring, both sides sleep, p50 over eventfd and futex', bench.ratio(v['objmapperd'],
                  v['eventfd there, futex back']), 1.25, True)
    report.target('ring, one CPU, both sides sleep, p50 in us', statistics.median(one) / 1e3, 10, True)
    report.target('ring, one CPU, both sides sleep, p50 over eventfd and futex', bench.ratio(one, floor_one), 2, True)
    report.target('ring, one CPU, polling allowed over not', bench.ratio(may_poll, one), 1.2, True)


def ring(report, work, rounds, long):
    others(report, rounds)
    with million() as tree:
        # Pinned when the scan, which takes the CPUs that there are, is over. Else the scheduler may leave client and
        # worker on one CPU and the other one idle.
        d, path = bench.daemon(work, 'ring', tree, cpu=None)
        with d as pid:
            wait_for_index(path, THOUSANDS * 1000)
            bench.pin(pid, SERVER)
            rate = depth_one(report, path, rounds)
            throughput(report, path, rounds)
            half_load(report, path, rate, 60 if long else 5)
            d, sleeps = bench.daemon(work, 'ring-sleep', tree, spin=False)
            with d:
                wait_for_index(sleeps, THOUSANDS * 1000)
                asleep(report, sleeps, path, rounds)
