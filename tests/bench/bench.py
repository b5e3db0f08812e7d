#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Measures the daemon against floors: programs that make the same system calls with no daemon around them.

Both sides of every comparison run in turns, round by round, driven by the same client; ratios are taken round by round
and their median counts. Needs two CPUs: the servers are pinned to one, the clients to the other. Exit status 1 when a
target is missed.
"""
import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, 'build', 'release')
CLIENT = os.path.join(BUILD, 'bench', 'bare_client')
FLOOR = os.path.join(BUILD, 'bench', 'floor_server')
DAEMON = os.path.join(BUILD, 'objmapperd')
OBJMAP = os.path.join(BUILD, 'objmap')
CPUS = sorted(os.sched_getaffinity(0))


def pin(pid, *cpus):
    """All threads, after start: a daemon that is confined from the beginning would never spin."""
    for tid in os.listdir(f'/proc/{pid}/task'):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(tid), cpus)


def wait_for_socket(path, process):
    deadline = time.monotonic() + 10
    while not os.path.exists(path):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f'{process.args[0]} did not start')
        time.sleep(0.01)


@contextlib.contextmanager
def server(argv, path, cpu):
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    try:
        wait_for_socket(path, process)
        time.sleep(0.2)
        if cpu is not None:
            pin(process.pid, cpu)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def floor(work, kind, tree, cpu=CPUS[0]):
    path = os.path.join(work, f'floor-{kind}.sock')
    return server([FLOOR, path, tree, kind], path, cpu), path


def daemon(work, name, tree, cpu=CPUS[0], spin=True, model='thread-pool', workers=0):
    path = os.path.join(work, f'{name}.sock')
    conf = os.path.join(work, f'{name}.conf')
    with open(conf, 'w', encoding='ascii') as f:
        f.write('concurrency = { max_connections = 4000; optimize_for_latency = %s; };\n' % str(spin).lower())
    argv = [DAEMON, '--foreground', '--config', conf, '--socket', path, '--export', f'/={tree}',
            '--concurrency-model', model, '--pool-size', str(workers)]
    return server(argv, path, cpu), path


def ask(path, pid, uris, connections=1, depth=1, seconds=0.5, how='sleep', cpu=CPUS[-1]):
    argv = ['taskset', '-c', str(cpu), CLIENT, path, str(pid), str(connections), str(depth), str(seconds), how, *uris]
    result = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=seconds + 60).stdout)
    result['per_cpu'] = result['requests'] * 1e9 / max(result['server_cpu_ns'], 1)
    result['rate'] = result['requests'] / result['seconds']
    return result


def anonymous_kb(pid):
    with open(f'/proc/{pid}/status', encoding='ascii') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('RssAnon'))


def spread(values, scale=1.0, digits=2):
    values = [v * scale for v in values]
    return f'{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})'


class Report:
    def __init__(self):
        self.rows, self.missed = [], 0

    def line(self, text=''):
        print(text, flush=True)

    def target(self, name, value, limit, at_most):
        met = value <= limit if at_most else value >= limit
        self.missed += not met
        self.rows.append({'name': name, 'value': value, 'limit': limit, 'met': met})
        self.line(f'  {"met   " if met else "MISSED"} {name}: {value:.3f} (target: at {"most" if at_most else "least"} '
                  f'{limit:g})')


def compare(report, rounds, sides, key, scale, unit, digits=2):
    """sides: name -> function that measures once. Returns name -> values."""
    values = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            values[name].append(measure()[key])
    for name, v in values.items():
        report.line(f'  {name:42} {spread(v, scale, digits):>34} {unit}')
    return values


def ratio(over, under):
    return statistics.median(a / b for a, b in zip(over, under))


def depth_one(report, work, tree, uris, rounds):
    for how, kind, spin, limit in (('spin', 'spin', True, 1.15), ('sleep', 'epoll', False, 1.25)):
        report.line(f'One connection, depth 1, {"both sides spin" if spin else "no spinning"}: p50')
        with contextlib.ExitStack() as stack:
            (f, fpath), (d, dpath) = floor(work, kind, tree), daemon(work, 'd1' + how, tree, spin=spin)
            fpid, dpid = stack.enter_context(f), stack.enter_context(d)
            v = compare(report, rounds, {
                f'floor ({kind})': lambda: ask(fpath, fpid, uris, how=how),
                'objmapperd': lambda: ask(dpath, dpid, uris, how=how)}, 'p50_ns', 1e-3, 'us')
        report.target(f'p50 over the floor, {how}', ratio(v['objmapperd'], v[f'floor ({kind})']), limit, True)


def depth_64(report, work, tree, uris, rounds):
    report.line('One connection, depth 64, FD_BATCH: requests per server-CPU-second')
    with contextlib.ExitStack() as stack:
        (f, fpath), (d, dpath) = floor(work, 'epoll', tree), daemon(work, 'd64', tree, spin=False)
        fpid, dpid = stack.enter_context(f), stack.enter_context(d)
        v = compare(report, rounds, {
            'floor (epoll)': lambda: ask(fpath, fpid, uris, depth=64),
            'objmapperd': lambda: ask(dpath, dpid, uris, depth=64)}, 'per_cpu', 1e-6, 'M')
    ours = v['objmapperd']
    report.target('depth 64 per CPU over the floor', ratio(ours, v['floor (epoll)']), 0.75, False)
    report.target('depth 64 requests per server-CPU-second', statistics.median(ours), 500000, False)


def thousand(report, work, tree, uris, rounds):
    report.line('1000 connections, depth 1, one worker: requests per server-CPU-second')
    with contextlib.ExitStack() as stack:
        (f, fpath), (d, dpath) = floor(work, 'epoll', tree), daemon(work, 'k1', tree, workers=1)
        fpid, dpid = stack.enter_context(f), stack.enter_context(d)
        v = compare(report, rounds, {
            'floor (epoll)': lambda: ask(fpath, fpid, uris, connections=1000),
            'objmapperd': lambda: ask(dpath, dpid, uris, connections=1000)}, 'per_cpu', 1e-6, 'M', 3)
    report.target('1000 connections over the floor', ratio(v['objmapperd'], v['floor (epoll)']), 0.8, False)


WAYS = {'copy': 'copy over read and write', 'splice': 'splice over sendfile'}
BODIES = {'1 KB': 1 << 10, '64 KB': 1 << 16, '1 MB': 1 << 20, '100 MB': 100 << 20}
SIZES = {'1 KB': 1 << 10, '64 KB': 1 << 16, '1 MB': 1 << 20, '100 MB': 100 << 20, '1 GB': 1 << 30}


def sizes(report, work, tree, rounds):
    report.line('p50 by object size, one connection, depth 1, both sides spin')
    for name, size in SIZES.items():
        with open(os.path.join(tree, 'size-' + name.replace(' ', '')), 'wb') as f:
            f.truncate(size)
    d, path = daemon(work, 'sizes', tree)
    with d as pid:
        sides = {name: (lambda n=name: ask(path, pid, ['/size-' + n.replace(' ', '')], how='spin', seconds=0.3))
                 for name in SIZES}
        v = compare(report, 2 * rounds, sides, 'p50_ns', 1e-3, 'us')
    worst = max(abs(ratio(v[n], v['1 KB']) - 1) for n in SIZES)
    report.target('largest deviation of p50 from that of 1 KB', worst, 0.05, True)


def one_cpu(report, work, tree, uris, rounds):
    """The library and the daemon, both allowed to spin, on one CPU; both learn that only afterwards."""
    report.line('Both sides on one CPU: p50 and requests per second of objmap bench')
    listing = os.path.join(work, 'uris')
    with open(listing, 'w', encoding='ascii') as f:
        f.write('\n'.join(uris) + '\n')

    def run(path, *options):
        script = f'taskset -p -c {CPUS[0]} $$ >/dev/null; exec "$0" "$@"'
        argv = ['sh', '-c', script, OBJMAP, '--socket', path, 'bench', '--uris', listing, '--duration', '1',
                '--json', *options]
        out = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=60).stdout)
        return {'p50_ns': out['latency_us']['p50'] * 1e3}

    with contextlib.ExitStack() as stack:
        (a, apath), (b, bpath) = daemon(work, 'one-spin', tree), daemon(work, 'one-sleep', tree, spin=False)
        apid, bpid = stack.enter_context(a), stack.enter_context(b)
        v = compare(report, rounds, {
            'spinning allowed': lambda: run(apath), 'no spinning': lambda: run(bpath, '--no-spin')},
            'p50_ns', 1e-3, 'us')
        w = compare(report, rounds, {
            'daemon may spin, bare client': lambda: ask(apath, apid, uris, cpu=CPUS[0]),
            'daemon may not, bare client': lambda: ask(bpath, bpid, uris, cpu=CPUS[0])}, 'p50_ns', 1e-3, 'us')
    report.target('library and daemon: spinning over not', ratio(v['spinning allowed'], v['no spinning']), 1.1, True)
    report.target('daemon alone: spinning over not', ratio(w['daemon may spin, bare client'],
                                                           w['daemon may not, bare client']), 1.1, True)


def models(report, work, tree, uris, rounds):
    report.line('Concurrency models, depth 1 (servers and clients share both CPUs)')
    report.line(f'  {"model":24}{"connections":>12}{"p50 us":>26}{"p99 us":>10}{"k requests per":>18}{"anonymous KB":>14}')
    report.line(f'  {"":24}{"":12}{"":26}{"":10}{"server-CPU-second":>18}')
    for n in (10, 100, 1000):
        with contextlib.ExitStack() as stack:
            sides = []
            for model in ('thread-pool', 'thread-per-connection', 'thread-per-request'):
                d, path = daemon(work, f'm{n}{model}', tree, cpu=None, model=model)
                sides.append((model, stack.enter_context(d), path, []))
            for _ in range(rounds):
                for model, pid, path, results in sides:
                    results.append(ask(path, pid, uris, connections=n))
                    results[-1]['kb'] = anonymous_kb(pid)
        for model, _, _, results in sides:
            median = {k: statistics.median(r[k] for r in results) for k in results[0]}
            report.line(f'  {model:24}{n:12}{spread([r["p50_ns"] for r in results], 1e-3, 1):>26}'
                        f'{median["p99_ns"] / 1e3:10.1f}{median["per_cpu"] / 1e3:18.1f}{median["kb"]:14.0f}')


def bodies(report, work, tree, rounds, wanted):
    """A thread a connection with blocking calls is the floor; here both CPUs are everybody's."""
    client = os.path.join(BUILD, 'bench', 'body_client')
    path = os.path.join(work, 'floor-body.sock')
    floor_server = server([os.path.join(BUILD, 'bench', 'floor_body'), path, tree], path, None)
    d, dpath = daemon(work, 'bodies', tree, cpu=None)
    for name, size in BODIES.items():
        with open(os.path.join(tree, 'body-' + name.replace(' ', '')), 'wb') as f:
            for _ in range(-(-size // (1 << 20))):
                f.write(os.urandom(min(size, 1 << 20)))
    cases = [(mode, clients, name) for mode in WAYS for clients in (1, 8) for name in BODIES]

    def run(where, mode, clients, name):
        argv = [client, where, str(clients), '0.3', {'copy': '2', 'splice': '3'}[mode], '/body-' + name.replace(' ', '')]
        out = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=60).stdout)
        return out['bytes'] / out['seconds']

    with floor_server, d:
        for mode, clients, name in cases:
            if not wanted.issubset({mode, str(clients), name.replace(' ', '')}):
                continue
            pairs = [(run(path, mode, clients, name), run(dpath, mode, clients, name)) for _ in range(rounds)]
            report.line(f'  floor {spread([a for a, _ in pairs], 1e-6, 0)} MB/s, objmapperd '
                        f'{spread([b for _, b in pairs], 1e-6, 0)} MB/s, ratios {spread([b / a for a, b in pairs])}')
            report.target(f'{WAYS[mode]}, {name}, clients: {clients}', statistics.median(b / a for a, b in pairs),
                          0.95, False)


def mix(report, work, tree, rounds):
    """Descriptors at a steady rate over 1000 connections, with and without one copy to every four of them."""
    d, path = daemon(work, 'mix', tree)

    def run(rate, share, uri):
        argv = ['taskset', '-c', str(CPUS[-1]), os.path.join(BUILD, 'bench', 'mix_client'), path, '1000', str(rate),
                str(share), '0.5', '/object-00', uri]
        return json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=60).stdout)

    with d:
        for name, rate in (('4KB', 20000), ('64KB', 10000), ('1MB', 1000)):
            with open(os.path.join(tree, 'mix-' + name), 'wb') as f:
                f.write(os.urandom({'4KB': 4096, '64KB': 65536, '1MB': 1 << 20}[name]))
            v = compare(report, rounds, {
                f'descriptors alone, {rate * 8 // 10}/s': lambda: run(rate * 8 // 10, 0, '/object-00'),
                f'and copies of {name}, {rate * 2 // 10}/s': lambda: run(rate, 20, '/mix-' + name),
            }, 'p50_ns', 1e-3, 'us')
            alone, beside = v.values()
            report.target(f'descriptors beside copies of {name} over alone, p50', ratio(beside, alone), 1.2, True)


@contextlib.contextmanager
def bad_readers(path, mode, n):
    """Mode '-': the same program reads as much from sockets of its own."""
    argv = ['taskset', '-c', str(CPUS[-1]), os.path.join(BUILD, 'bench', 'bad_readers'), path, str(n), str(n), '60', mode,
            '/bad']
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline() != 'ready\n':
            sys.exit('bad_readers did not start')
        yield
        process.stdin.close()


def hostile(report, work, tree, rounds):
    """400 clients that read nothing and 400 that read next to nothing, on a pool of four.

    For bodies all threads of the daemon have both CPUs. For descriptors they share one, so that the pool is in the
    worker's way whenever it runs, and the client, which does not sleep, has the other: where both float, and wake each
    other, p99 of one run is up to ten times that of the next. Of seven short runs the median counts: what else the
    machine does now and then spoils one or two.
    """
    client = os.path.join(BUILD, 'bench', 'body_client')
    d, path = daemon(work, 'hostile', tree, cpu=None)
    for name, size in (('bad', 32 << 20), ('good', 1 << 20)):
        with open(os.path.join(tree, name), 'wb') as f:
            f.write(os.urandom(size))

    def bodies_of_eight():
        argv = [client, path, '8', '0.5', '2', '/good']
        out = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=60).stdout)
        return out['bytes'] / out['seconds'], out['p99_ns']

    def descriptors():
        pin(pid, CPUS[0])
        runs = [ask(path, pid, ['/object-00'], seconds=0.15, how='spin')['p99_ns'] for _ in range(7)]
        pin(pid, *CPUS)
        return statistics.median(runs)

    def measure(mode):
        with bad_readers(path, mode, 400):
            return (*bodies_of_eight(), descriptors())

    with d as pid:
        for mode in '23':
            alone, beside = [], []
            for _ in range(rounds):
                alone.append(measure('-'))
                beside.append(measure(mode))
            ratios = [[b[i] / a[i] for a, b in zip(alone, beside)] for i in range(3)]
            report.line(f'  eight good clients, bad ones by mode {mode}: alone {spread([a[0] for a in alone], 1e-6, 0)} '
                        f'MB/s, beside {spread([b[0] for b in beside], 1e-6, 0)} MB/s')
            report.line(f'  p99 of descriptors: alone {spread([a[2] for a in alone], 1e-3, 0)} us, beside '
                        f'{spread([b[2] for b in beside], 1e-3, 0)} us, ratios {spread(ratios[2])}')
            for what, r, limit, at_most in (('throughput', ratios[0], 0.9, False), ('p99 of bodies', ratios[1], 2, True),
                                            ('p99 of descriptors', ratios[2], 1.2, True)):
                report.target(f'{what} beside 800 bad readers (mode {mode}) over alone', statistics.median(r), limit,
                              at_most)


def main():
    import metrics  # these import this module
    import ring
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--only', help='comma-separated parts: depth1, depth64, thousand, sizes, onecpu, bodies, mix, hostile, '
                        'models, metrics, ring')
    parser.add_argument('--long', action='store_true', help='measure for a minute what is measured over time')
    parser.add_argument('--of', default='', help='of bodies only these, comma-separated: copy or splice, 1 or 8 (clients), '
                        '1KB, 64KB, 1MB or 100MB')
    parser.add_argument('--json', help='write the targets to this file')
    args = parser.parse_args()
    if len(CPUS) < 2:
        sys.exit('two CPUs are needed')
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    wanted = set(filter(None, args.of.split(',')))
    report = Report()
    with tempfile.TemporaryDirectory() as work:
        tree = os.path.join(work, 'tree')
        os.mkdir(tree)
        for i in range(64):
            with open(os.path.join(tree, f'object-{i:02}'), 'wb') as f:
                f.write(os.urandom(1024))
        uris = [f'/object-{i:02}' for i in range(64)]
        parts = {
            'depth1': lambda: depth_one(report, work, tree, uris, args.rounds),
            'depth64': lambda: depth_64(report, work, tree, uris, args.rounds),
            'thousand': lambda: thousand(report, work, tree, uris, args.rounds),
            'sizes': lambda: sizes(report, work, tree, args.rounds),
            'onecpu': lambda: one_cpu(report, work, tree, uris, args.rounds),
            'bodies': lambda: bodies(report, work, tree, max(5, args.rounds), wanted),
            'mix': lambda: mix(report, work, tree, args.rounds),
            'hostile': lambda: hostile(report, work, tree, args.rounds),
            'models': lambda: models(report, work, tree, uris, max(3, args.rounds // 2)),
            'metrics': lambda: metrics.metrics(report, work, tree, uris, args.rounds),
            'ring': lambda: ring.ring(report, work, args.rounds, args.long),
        }
        for name in args.only.split(',') if args.only else parts:
            parts[name]()
            report.line()
    if args.json:
        with open(args.json, 'w', encoding='ascii') as f:
            json.dump(report.rows, f, indent=1)
    report.line(f'{len(report.rows)} targets, {report.missed} missed')
    sys.exit(1 if report.missed else 0)


if __name__ == '__main__':
    main()
