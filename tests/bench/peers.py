#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Measures the daemon beside what people would use instead: nginx, memcached and redis, as Debian packages them.

All of them run at the same time, over Unix sockets only, started here with configurations of their own in a temporary
directory and stopped at the end. They are measured in turns, round by round, by one client that sends, receives and
throws away in the same way whatever the server. Ratios are taken round by round and their median counts. Every side
has to send the same bytes, which is checked. A peer that is not installed is skipped with a line that says so. Needs
two CPUs and quiet. Exit status 1 when a target is missed.

Bodies: mode splice beside nginx's sendfile, the same files in the page cache, connections kept, nothing logged; as many
nginx workers as CPUs; every thread runs where it likes.

Small objects: mode auto (1 KB, inline) beside GETs of memcached and redis, pipelined at a depth above 1. All three copy
the values out of their memory; objmapperd asks before each batch whether a file has changed. Each server has one thread
that serves, pinned to one CPU after its start; the client has another. objmapperd runs with its default configuration,
which polls for a while before it sleeps, and once more, for information, as objmapperd-sleeps: with
concurrency.optimize_for_latency = false.

Ring: obtaining an object of 1 KB and reading every byte of it, one client, one request at a time, through libobjmapper's
ring (default configuration: both sides poll), beside GETs of memcached and redis with a client that sleeps, as their
libraries do, and does not even look at the bytes. Objects are a thousand for the ring, 64 for the others.
"""
import argparse
import contextlib
import getpass
import grp
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import bench

CLIENT = os.path.join(bench.BUILD, 'bench', 'peer_client')
PATH = os.environ.get('PATH', os.defpath) + ':/usr/sbin:/sbin'
PACKAGES = {'nginx': 'nginx-light', 'memcached': 'memcached', 'redis-server': 'redis-server'}
SMALL = 1024

NGINX = """
daemon off;
worker_processes {workers};
pid {work}/nginx.pid;
error_log {work}/nginx.log;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    default_type application/octet-stream;
    client_body_temp_path {work}/nginx-body;
    proxy_temp_path {work}/nginx-proxy;
    fastcgi_temp_path {work}/nginx-fastcgi;
    uwsgi_temp_path {work}/nginx-uwsgi;
    scgi_temp_path {work}/nginx-scgi;
    server {{
        listen unix:{path};
        root {tree};
    }}
}}
"""
REDIS = """
port 0
unixsocket {path}
unixsocketperm 600
save ""
appendonly no
daemonize no
databases 1
dir {work}
logfile {work}/redis.log
"""


class Peer:
    """A server that runs: where to ask, in which protocol, and whose CPU time counts."""

    def __init__(self, name, speaker, path, pids):
        self.name, self.speaker, self.path, self.pids = name, speaker, path, pids

    def ask(self, names, connections, threads, depth, seconds, how='sleep', cpu=None):
        argv = [CLIENT, self.speaker, self.path, ','.join(map(str, self.pids)), str(connections), str(threads),
                str(depth), str(seconds), how, *names]
        if cpu is not None:
            argv = ['taskset', '-c', str(cpu), *argv]
        done = subprocess.run(argv, check=False, stdout=subprocess.PIPE, timeout=seconds + 60)
        if done.returncode:
            sys.exit(f'{self.name}: the client ended with {done.returncode}')
        result = json.loads(done.stdout)
        cpu_seconds = max(result['server_cpu_ns'], 1) / 1e9
        result['requests_per_cpu'] = result['requests'] / cpu_seconds
        result['bytes_per_cpu'] = result['bytes'] / cpu_seconds
        result['bytes_per_second'] = result['bytes'] / result['seconds']
        return result


class Report:
    def __init__(self):
        self.rows, self.skipped = [], []

    def line(self, text=''):
        print(text, flush=True)

    def skip(self, program):
        self.skipped.append(program)
        self.line(f'SKIPPED: {program.split("-")[0]} is not installed (apt-get install {PACKAGES[program]})')

    def ratio(self, name, value, more=None, limit=1):
        """more: the ratio has to be more than @limit, or (False) less; None: for information."""
        if more is None:
            self.line(f'    info   {name}: {value:.3f}')
            return
        met = value > limit if more else value < limit
        self.rows.append({'name': name, 'value': value, 'limit': limit, 'met': met})
        self.line(f'    {"ok    " if met else "MISSED"} {name}: {value:.3f} '
                  f'(target: {"more" if more else "less"} than {limit})')

    @property
    def missed(self):
        return sum(not row['met'] for row in self.rows)


def find(report, program):
    found = shutil.which(program, path=PATH)
    if not found:
        report.skip(program)
    return found


def version(program, option):
    done = subprocess.run([program, option], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, timeout=10)
    return done.stdout.decode(errors='replace').split('\n')[0].split(' sha=')[0]


def write(path, text):
    with open(path, 'w', encoding='ascii') as f:
        f.write(text)
    return path


def wait_for_children(pid, count):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with open(f'/proc/{pid}/task/{pid}/children', encoding='ascii') as f:
            children = [int(word) for word in f.read().split()]
        if len(children) == count:
            return children
        time.sleep(0.01)
    return sys.exit(f'process {pid} did not start its {count} workers')


def start_objmapperd(stack, work, tree, speaker, name='objmapperd', conf='', workers=0, cpu=None):
    path = os.path.join(work, f'{name}.sock')
    conf = write(path + '.conf', conf)
    argv = [bench.DAEMON, '--foreground', '--config', conf, '--socket', path, '--export', f'/={tree}',
            '--pool-size', str(workers)]
    return Peer(name, speaker, path, [stack.enter_context(bench.server(argv, path, cpu))])


def start_nginx(stack, program, work, tree):
    path = os.path.join(work, 'nginx.sock')
    user = '' if os.getuid() else f'user {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name};'
    conf = NGINX.format(workers=len(bench.CPUS), work=work, tree=tree, path=path, user=user)
    argv = [program, '-p', work, '-c', write(os.path.join(work, 'nginx.conf'), conf)]
    pid = stack.enter_context(bench.server(argv, path, None))
    return Peer('nginx', 'http', path, [pid, *wait_for_children(pid, len(bench.CPUS))])


def store(path, command, answer):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(path)
        s.sendall(command)
        got = s.recv(len(answer))
    if got != answer:
        sys.exit(f'{path}: {got!r} instead of {answer!r}')


def start_memcached(stack, program, work, objects):
    path = os.path.join(work, 'memcached.sock')
    user = [] if os.getuid() else ['-u', getpass.getuser()]
    argv = [program, '-s', path, '-a', '0600', '-t', '1', '-m', '64', *user]
    pid = stack.enter_context(bench.server(argv, path, bench.CPUS[0]))
    for name, data in objects.items():
        store(path, b'set %s 0 0 %d\r\n%s\r\n' % (name.encode(), len(data), data), b'STORED\r\n')
    return Peer('memcached', 'memcached', path, [pid])


def start_redis(stack, program, work, objects):
    path = os.path.join(work, 'redis.sock')
    argv = [program, write(os.path.join(work, 'redis.conf'), REDIS.format(work=work, path=path))]
    pid = stack.enter_context(bench.server(argv, path, bench.CPUS[0]))
    for name, data in objects.items():
        key = name.encode()
        store(path, b'*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n' % (len(key), key, len(data), data), b'+OK\r\n')
    return Peer('redis', 'redis', path, [pid])


def interleave(peers, rounds, measure):
    """Returns name -> results."""
    results = {peer.name: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            results[peer.name].append(measure(peer))
    sums = {name: {r['sum'] for r in rs} for name, rs in results.items()}
    if len(set.union(*sums.values())) != 1:
        sys.exit(f'not every side sent the same bytes: {sums}')
    return results


def values(results, key):
    if not all(r[key] for r in results):
        sys.exit(f'a side got nothing done ({key}): measure for longer, or when the machine is quiet')
    return [r[key] for r in results]


def compare_bodies(report, ours, theirs, name, size, clients, args):
    with_target = size >= 1 << 20
    results = interleave([ours, theirs], args.rounds, lambda peer: peer.ask(
        [f'body-{name.replace(" ", "")}'], clients, clients, 1, args.seconds))
    report.line(f'  {name}, clients: {clients}')
    for peer, rs in results.items():
        report.line(f'    {peer:12}{bench.spread(values(rs, "bytes_per_second"), 1e-6, 0):>26} MB/s'
                    f'{bench.spread(values(rs, "bytes_per_cpu"), 1e-6, 0):>28} MB per server-CPU-second')
    for key, what in (('bytes_per_second', 'MB/s'), ('bytes_per_cpu', 'MB per server-CPU-second')):
        value = bench.ratio(values(results[ours.name], key), values(results[theirs.name], key))
        report.ratio(f'splice over nginx, {name}, clients: {clients}, {what}', value, True if with_target else None)


def bodies(report, work, args):
    report.line('Bodies: splice beside sendfile of nginx (HTTP/1.1)')
    nginx = find(report, 'nginx')
    if not nginx:
        return
    report.line(f'  {version(nginx, "-v")}, workers: {len(bench.CPUS)}; objmapperd: default configuration')
    tree = os.path.join(work, 'bodies')
    os.mkdir(tree)
    for name, size in bench.BODIES.items():
        with open(os.path.join(tree, 'body-' + name.replace(' ', '')), 'wb') as f:
            for _ in range(-(-size // (1 << 20))):
                f.write(os.urandom(min(size, 1 << 20)))
    with contextlib.ExitStack() as stack:
        theirs = start_nginx(stack, nginx, work, tree)
        ours = start_objmapperd(stack, work, tree, 'splice')
        for name, size in bench.BODIES.items():
            for clients in (1, 8):
                compare_bodies(report, ours, theirs, name, size, clients, args)


# connections, depth, how the client receives, whether the ratios have targets
LOADS = [(1, 1, 'sleep', True), (1, 1, 'spin', False), (1, 16, 'sleep', True), (50, 1, 'sleep', True),
         (50, 16, 'sleep', True)]


def compare_small(report, peers, names, load, args):
    connections, depth, how, with_target = load
    what = f'connections: {connections}, depth: {depth}{", client polls" if how == "spin" else ""}'
    results = interleave(peers, args.rounds, lambda peer: peer.ask(
        names, connections, 1, depth, args.seconds, how, bench.CPUS[-1]))
    report.line(f'  {what}')
    for peer, rs in results.items():
        report.line(f'    {peer:20}p50 {bench.spread(values(rs, "p50_ns"), 1e-3, 1):>26} us'
                    f'{bench.spread(values(rs, "requests_per_cpu"), 1e-3, 1):>28} k requests per server-CPU-second'
                    f'{statistics.median(r["requests"] / r["seconds"] for r in rs) / 1e3:9.1f} k/s')
    ours = results['objmapperd']
    for peer in peers[2:]:
        rs = results[peer.name]
        value = bench.ratio(values(ours, 'p50_ns'), values(rs, 'p50_ns'))
        report.ratio(f'p50 over that of {peer.name}, {what}', value,
                     False if with_target and connections == depth == 1 else None)
        value = bench.ratio(values(ours, 'requests_per_cpu'), values(rs, 'requests_per_cpu'))
        report.ratio(f'requests per server-CPU-second over {peer.name}, {what}', value, True if with_target else None)


def small(report, work, args):
    report.line('Small objects: auto (1 KB, inline) beside get of memcached and GET of redis')
    report.line('  all copy the values out of their memory; objmapperd looks for changes to the files before each batch')
    found = {program: find(report, program) for program in ('memcached', 'redis-server')}
    if not any(found.values()):
        return
    tree = os.path.join(work, 'small')
    os.mkdir(tree)
    objects = {f'object-{i:02}': os.urandom(SMALL) for i in range(64)}
    for name, data in objects.items():
        with open(os.path.join(tree, name), 'wb') as f:
            f.write(data)
    with contextlib.ExitStack() as stack:
        peers = [start_objmapperd(stack, work, tree, 'inline', workers=1, cpu=bench.CPUS[0]),
                 start_objmapperd(stack, work, tree, 'inline', 'objmapperd-sleeps',
                                  'concurrency = { optimize_for_latency = false; };\n', 1, bench.CPUS[0])]
        report.line('  objmapperd: default configuration (polls: optimize_for_latency = true) but for --pool-size 1')
        if found['memcached']:
            report.line(f'  {version(found["memcached"], "--version")}, -t 1')
            peers.append(start_memcached(stack, found['memcached'], work, objects))
        if found['redis-server']:
            report.line(f'  {version(found["redis-server"], "--version")}, save ""')
            peers.append(start_redis(stack, found['redis-server'], work, objects))
        for load in LOADS:
            compare_small(report, peers, list(objects), load, args)


def ask_by_ring(path, seconds):
    argv = [os.path.join(bench.BUILD, 'bench', 'ring_client'), path, 'read', '1', str(seconds), 'spin', '1000', '0',
            str(bench.CPUS[-1])]
    done = subprocess.run(argv, check=False, stdout=subprocess.PIPE, timeout=seconds + 60)
    if done.returncode:
        sys.exit(f'ring_client ended with {done.returncode}')
    return json.loads(done.stdout)


def ring(report, work, args):
    report.line('Ring: 1 KB obtained and every byte read, depth 1, beside memcached and redis over Unix sockets')
    found = {program: find(report, program) for program in ('memcached', 'redis-server')}
    tree = os.path.join(work, 'ring')
    os.mkdir(tree)
    subprocess.run([os.path.join(bench.BUILD, 'bench', 'make_tree'), tree, '1', str(SMALL)], check=True)
    objects = {f'object-{i:02}': os.urandom(SMALL) for i in range(64)}
    with contextlib.ExitStack() as stack:
        ours = start_objmapperd(stack, work, tree, 'inline', 'ring', workers=1, cpu=bench.CPUS[0])
        peers = []
        if found['memcached']:
            peers.append(start_memcached(stack, found['memcached'], work, objects))
        if found['redis-server']:
            peers.append(start_redis(stack, found['redis-server'], work, objects))
        results = {name: [] for name in ['ring', *(peer.name for peer in peers)]}
        for _ in range(args.rounds):
            results['ring'].append(ask_by_ring(ours.path, args.seconds)['p50_ns'])
            for peer in peers:
                results[peer.name].append(peer.ask(list(objects), 1, 1, 1, args.seconds, cpu=bench.CPUS[-1])['p50_ns'])
    for name, p50 in results.items():
        report.line(f'    {name:12}p50 {bench.spread(p50, 1e-3):>26} us')
    for peer in peers:
        report.ratio(f'p50 of {peer.name} over that of the ring', bench.ratio(results[peer.name], results['ring']), True, 5)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--seconds', type=float, default=0.5, help='of each measurement')
    parser.add_argument('--only', help='comma-separated parts: bodies, small, ring')
    parser.add_argument('--json', help='write the targets to this file')
    args = parser.parse_args()
    if len(bench.CPUS) < 2:
        sys.exit('two CPUs are needed')
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    parts = {'bodies': bodies, 'small': small, 'ring': ring}
    wanted = args.only.split(',') if args.only else list(parts)
    if not set(wanted) <= set(parts):
        parser.error(f'--only: {args.only}')
    report = Report()
    with tempfile.TemporaryDirectory(prefix='peers-') as work:
        for name in wanted:
            parts[name](report, work, args)
            report.line()
    if args.json:
        with open(args.json, 'w', encoding='ascii') as f:
            json.dump(report.rows, f, indent=1)
    report.line(f'{len(report.rows)} targets, {report.missed} missed, {len(report.skipped)} peers skipped')
    sys.exit(1 if report.missed else 0)


if __name__ == '__main__':
    main()
