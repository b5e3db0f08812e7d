# SPDX-License-Identifier: MIT
"""The part "metrics" of bench.py: what counting costs, as a share of the CPU time of whole requests.

First way: metrics_bench does over and over what a worker does for its metrics, and nothing else; whole requests are
measured in the daemon, which nobody polls, beside it. Second way: the daemon and a build of it that counts no request,
in turns.
"""
import contextlib
import json
import os
import statistics
import subprocess

import bench

LIMIT = 0.01
REQUESTS = 4000000
SECONDS = 0.5


def program(name):
    return os.path.join(bench.BUILD, 'bench', name)


def counting(kind, batch):
    """Nanoseconds a request."""
    argv = ['taskset', '-c', str(bench.CPUS[0]), program('metrics_bench'), kind, str(batch), str(REQUESTS)]
    return float(subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=60).stdout)


def inline(path, pid, uris, depth):
    argv = ['taskset', '-c', str(bench.CPUS[-1]), program('peer_client'), 'inline', path, str(pid), '1', '1', str(depth),
            str(SECONDS), 'sleep', *(uri[1:] for uri in uris)]
    out = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=60).stdout)
    return out['server_cpu_ns'] / out['requests']


def descriptors(path, pid, uris, depth):
    out = bench.ask(path, pid, uris, depth=depth, seconds=SECONDS)
    return out['server_cpu_ns'] / out['requests']


def worked(path):
    """(seconds that workers worked, requests by ring)"""
    argv = [bench.OBJMAP, '--socket', path, 'stats', '--json']
    found = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=30).stdout)['metrics']
    return (next(s['value'] for s in found['objmapper_worker_seconds_total'] if s['state'] == 'working'),
            sum(s['value'] for s in found['objmapper_requests_total'] if s['transport'] == 'ring'))


def by_ring(path, what, depth, intervals):
    """Both sides poll; what the worker does while it finds nothing is no part of a request. The time from answer to
    answer goes to @intervals, in ns."""
    before = worked(path)
    argv = [program('ring_client'), path, what, str(depth), str(SECONDS), 'spin', '1', '0', str(bench.CPUS[-1])]
    out = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=60).stdout)
    after = worked(path)
    intervals.append(1e9 / out['rate'])
    return (after[0] - before[0]) * 1e9 / (after[1] - before[1])


def ring_case(path, kind, what, depth):
    intervals = []
    return kind, depth, lambda: by_ring(path, what, depth, intervals), intervals


def shares(report, cases, rounds):
    report.line('What counting takes of a request: ns of CPU time for each')
    worst = 0
    for name, (kind, batch, whole, intervals) in cases.items():
        pairs = [(counting(kind, batch), whole()) for _ in range(rounds)]
        share = [c / w for c, w in pairs]
        worst = max(worst, statistics.median(share))
        report.line(f'  {name:28}{bench.spread([c for c, _ in pairs], 1, 1):>22} of '
                    f'{bench.spread([w for _, w in pairs], 1, 0):>22} ns: {bench.spread(share, 100):>18} %')
        if intervals:
            share = [c / i for (c, _), i in zip(pairs, intervals)]
            report.line(f'    from answer to answer       {bench.spread(intervals, 1, 0):>22} ns: '
                        f'{bench.spread(share, 100):>18} %')
    report.target('largest share of counting in a request', worst, LIMIT, True)


def turns(report, work, tree, uris, rounds):
    report.line('The daemon over a build that counts no request: CPU time a request, nobody polls')
    with contextlib.ExitStack() as stack:
        d, path = bench.daemon(work, 'counts', tree, spin=False)
        with without_counting():
            b, bare_path = bench.daemon(work, 'counts-not', tree, spin=False)
            bare_pid = stack.enter_context(b)
        pid = stack.enter_context(d)
        for depth in (1, 64):
            pairs = [(descriptors(path, pid, uris, depth), descriptors(bare_path, bare_pid, uris, depth))
                     for _ in range(2 * rounds)]
            report.line(f'  depth {depth:2}: {bench.spread([a for a, _ in pairs], 1, 0)} over '
                        f'{bench.spread([b for _, b in pairs], 1, 0)} ns, ratios '
                        f'{bench.spread([a / b for a, b in pairs], 1, 3)}')


@contextlib.contextmanager
def without_counting():
    before, bench.DAEMON = bench.DAEMON, program('objmapperd_uncounted')
    try:
        yield
    finally:
        bench.DAEMON = before


def metrics(report, work, tree, uris, rounds):
    ring_tree = os.path.join(work, 'ring-tree')
    os.mkdir(ring_tree)
    subprocess.run([program('make_tree'), ring_tree, '1', '1024'], check=True)
    with contextlib.ExitStack() as stack:
        d, path = bench.daemon(work, 'metrics', tree, spin=False)
        r, ring_path = bench.daemon(work, 'metrics-ring', ring_tree)
        pid = stack.enter_context(d)
        stack.enter_context(r)
        cases = {f'descriptors, depth {n}': ('fd', n, lambda n=n: descriptors(path, pid, uris, n), [])
                 for n in (1, 16, 64)}
        cases.update((f'1 KB inline, depth {n}', ('inline', n, lambda n=n: inline(path, pid, uris, n), []))
                     for n in (1, 16, 64))
        for name, kind, what in (('1 KB', 'ring', 'read'), ('look-up', 'lookup', 'stat')):
            cases.update((f'{name} by ring, depth {n}', ring_case(ring_path, kind, what, n)) for n in (1, 32))
        shares(report, cases, rounds)
    turns(report, work, tree, uris, rounds)
