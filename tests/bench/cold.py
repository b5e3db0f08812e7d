#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Reads that find nothing in the page cache: the pool as the daemon has it, variants of it, and io_uring, in turns.

Every pass evicts its files first and asks mincore(2) whether they are gone; where they stay (tmpfs, overlay on it) there
is nothing to measure and this says so. Medians of the rounds, with minimum and maximum. Exit status 2: no eviction.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(ROOT, 'build', 'release', 'bench', 'cold_bench')
HOT_SIZE = 128 << 10
# name: (bytes, files); together less than 2 GB
SETS = {'64K': (64 << 10, 1024), '1M': (1 << 20, 256), '64M': (64 << 20, 16)}
# How many of the files a pass with so many transfers at once reads, so that it is over in about half a second.
FILES = {'64K': {1: 128, 4: 512, 16: 1024, 64: 1024}, '1M': {1: 64, 4: 128, 16: 256, 64: 256},
         '64M': {1: 4, 4: 8, 16: 16}}
LOADS = ('pread', 'pread+seq', 'pread+will', 'pread+half', 'pread+half+will', 'sendfile', 'sendfile+seq',
         'sendfile+half', 'io_uring', 'io_uring+will')
MIXED = ('pread+seq', 'pread+half', 'pread+most', 'pread+half+will', 'sendfile+seq', 'sendfile+half', 'io_uring')
WARM = ('pread+seq', 'pread+half')


def make_files(work, names):
    for name in names:
        size, count = SETS[name]
        previous = None
        for n in sorted(set(FILES[name].values())):
            directory = os.path.join(work, f'{name}-{n}')
            os.mkdir(directory)
            for i in range(n):
                path = os.path.join(directory, str(i))
                if previous and os.path.exists(os.path.join(previous, str(i))):
                    os.link(os.path.join(previous, str(i)), path)
                    continue
                write_file(path, size)
            previous = directory
        assert n == count
    write_file(os.path.join(work, 'hot'), HOT_SIZE)


def write_file(path, size):
    block = os.urandom(min(size, 1 << 20))
    with open(path, 'wb') as f:
        for _ in range(size // len(block)):
            f.write(block)
        f.flush()
        os.fsync(f.fileno())


def run(engine, directory, size, at_once, state='cold', *more):
    argv = [PROGRAM, engine, directory, str(size), str(at_once), state, *map(str, more)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, text=True, check=False)
    if done.returncode:
        return done.stderr.strip() or f'status {done.returncode}'
    out = json.loads(done.stdout)
    if state == 'cold' and out['resident'] > 0.01:
        print(f'{directory}: {out["resident"]:.0%} stay in the page cache: no cold reads can be had here')
        sys.exit(2)
    return out


def spread(values, places=0):
    return f'{statistics.median(values):.{places}f} ({min(values):.{places}f}-{max(values):.{places}f})'


def in_turns(rounds, sides):
    """sides: name -> function. Those that cannot run (no io_uring) are said once and left out."""
    results = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            out = side() if name in results else None
            if isinstance(out, str):
                print(f'  {name}: {out}')
                del results[name]
            elif out:
                results[name].append(out)
    return results


def row(name, results, columns):
    print(f'  {name:20}' + ''.join(f'{spread([r[c] for r in results]):>26}' for c in columns), flush=True)


def loads(work, args):
    columns = ('mb_s', 'p50_us', 'p99_us', 'cpu_us_mb')
    for name in args.sizes:
        size = SETS[name][0]
        for at_once, files in FILES[name].items():
            print(f'{files} cold files of {name}, {at_once} at once')
            print(f'  {"":20}' + ''.join(f'{c:>26}' for c in ('MB/s', 'p50 us', 'p99 us', 'CPU us a MB')))
            directory = os.path.join(work, f'{name}-{files}')
            sides = {e: lambda e=e: run(e, directory, size, at_once) for e in args.engines or LOADS}
            results = in_turns(args.rounds, sides)
            for engine, values in results.items():
                row(engine, values, columns)


def mixed(work, args):
    columns = ('hot_p50_us', 'hot_p99_us', 'mb_s', 'cpu_us_mb')
    hot = os.path.join(work, 'hot')
    for name in args.sizes:
        size, files = SETS[name][0], max(FILES[name].values())
        directory = os.path.join(work, f'{name}-{files}')
        print(f'one client of a hot object of {HOT_SIZE >> 10} KiB beside {args.background} transfers of {name}')
        print(f'  {"":20}' + ''.join(f'{c:>26}' for c in ('hot p50 us', 'hot p99 us', 'others MB/s', 'CPU us a MB')))
        sides = {e: lambda e=e: run(e, directory, size, args.background, 'cold', args.seconds, hot)
                 for e in args.engines or MIXED}
        for e in WARM:
            sides[f'{e}, all warm'] = lambda e=e: run(e, directory, size, args.background, 'warm', args.seconds, hot)
        for engine, values in in_turns(args.rounds, sides).items():
            row(engine, values, columns)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--dir', default='/var/tmp', help='on the disk to be measured')
    parser.add_argument('--only', choices=('loads', 'mixed'))
    parser.add_argument('--engines', type=lambda s: s.split(','))
    parser.add_argument('--sizes', type=lambda s: s.split(','), default=list(SETS))
    parser.add_argument('--background', type=int, default=16)
    parser.add_argument('--seconds', type=float, default=0.7, help='of a pass of the mixed load')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir) as work:
        make_files(work, args.sizes)
        if args.only != 'mixed':
            loads(work, args)
        if args.only != 'loads':
            mixed(work, args)


if __name__ == '__main__':
    main()
