# SPDX-License-Identifier: MIT
"""A strict reader of what the daemon reports as OpenMetrics text; and the same numbers out of its JSON."""
import collections
import json
import re

import omclient
import omproto as p

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="[^"\\\n]*",?)+)\})? ([0-9.]+)$')
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}


class Family:
    def __init__(self, kind):
        self.kind, self.help, self.unit, self.samples = kind, None, None, {}


def parse(text):
    """{family: Family}; fails on anything that the format does not allow."""
    families, current = {}, None
    assert text.endswith("# EOF\n")
    for line in text.split("\n")[:-2]:
        words = line.split(" ", 3)
        if words[0] == "#" and words[1] == "TYPE":
            assert words[2] not in families and words[3] in SUFFIXES, line
            current, families[words[2]] = words[2], Family(words[3])
        elif words[0] == "#":
            assert words[1] in ("UNIT", "HELP") and words[2] == current, line
            if words[1] == "UNIT":
                assert current.endswith("_" + words[3]), line
                families[current].unit = words[3]
            else:
                families[current].help = words[3]
        else:
            name, labels, value = SAMPLE.match(line).groups()
            assert any(name == current + s for s in SUFFIXES[families[current].kind]), line
            pairs = tuple(re.findall(r'([a-z]+)="([^"]*)"', labels or ""))
            assert len(dict(pairs)) == len(pairs), line
            key = (name[len(current) :], pairs)
            assert key not in families[current].samples, line
            families[current].samples[key] = float(value)
    for name, family in families.items():
        assert family.help, name
        if family.kind == "histogram":
            check_histogram(name, family.samples)
    return families


def check_histogram(name, samples):
    series = collections.defaultdict(list)
    for (suffix, labels), value in samples.items():
        if suffix == "_bucket":
            series[labels[:-1]].append((labels[-1][1], value))
    assert series, name
    for labels, buckets in series.items():
        edges, counts = zip(*buckets)
        assert edges[-1] == "+Inf" and list(counts) == sorted(counts), name
        assert [float(e) for e in edges] == sorted(float(e) for e in edges), name
        assert counts[-1] == samples["_count", labels], name
        assert ("_sum", labels) in samples


def read(daemon, form=0):
    """The body of STATS; @form is its mode."""
    with omclient.V3(daemon.socket) as c:
        r = c.get(b"", mode=form, op=p.STATS, flags=p.METADATA)
        assert r.status == p.OK
        return r.body.decode()


def numbers(daemon):
    """{name: {labels: sample}} of the JSON, labels as a tuple of values."""
    metrics = json.loads(read(daemon))["metrics"]
    values = ("value", "count", "sum", "p50", "p99", "p999")
    return {name: {tuple(v for k, v in s.items() if k not in values): {k: s[k] for k in values if k in s} for s in samples}
            for name, samples in metrics.items()}


def counter(found, name):
    """A Counter of the values of one family."""
    return collections.Counter({labels: s["value"] for labels, s in found[name].items()})
