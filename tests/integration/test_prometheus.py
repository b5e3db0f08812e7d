# SPDX-License-Identifier: MIT
"""A Prometheus scrapes the daemon, and says that it counts what this test has asked for."""
import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import urllib.parse
import urllib.request

import daemon as d
import omproto as p
import openmetrics
import pytest
from test_metrics import WITH_HTTP

# What tests/long/prometheus.sh has fetched, if nothing is installed.
FETCHED = d.ROOT / "build/prometheus/usr/bin/prometheus"
PROMETHEUS = shutil.which("prometheus") or (str(FETCHED) if FETCHED.exists() else None)
LIFE_S = 3 * d.PATIENCE  # at most, whatever becomes of the test

pytestmark = [WITH_HTTP, pytest.mark.skipif(not PROMETHEUS, reason="there is no prometheus: install Debian's package, or "
                                            "run tests/long/prometheus.sh, which fetches it")]

CONFIG = """
global: {{ scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 1m }}
scrape_configs:
- job_name: objmapperd
  static_configs: [ {{ targets: [ '127.0.0.1:{port}' ] }} ]
"""


@contextlib.contextmanager
def scraping(directory, port):
    """A Prometheus that scrapes @port; a function that asks it for a path of its API."""
    directory.mkdir()
    (directory / "prometheus.yml").write_text(CONFIG.format(port=port))
    log = directory / "log"
    argv = ["timeout", "-k", "5", str(LIFE_S), PROMETHEUS, f"--config.file={directory}/prometheus.yml",
            f"--storage.tsdb.path={directory}/data", "--web.listen-address=127.0.0.1:0"]
    with open(log, "w") as out, subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                                 cwd=directory) as process:
        try:
            def address():
                assert process.poll() is None, log.read_text()
                return re.search(r'"Listening on" address=(127\.0\.0\.1:[1-9]\d*)', log.read_text())

            base = "http://" + d.wait_until(address, message=log.read_text).group(1)
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

            def ask(path, **parameters):
                with opener.open(f"{base}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=d.PATIENCE) as r:
                    found = json.load(r)
                assert found["status"] == "success", found
                return found["data"]

            yield ask
        finally:
            process.terminate()
            process.wait(d.PATIENCE)


def value(ask, query):
    """Of the one series that it comes to; None: there is none."""
    found = ask("query", query=query)["result"]
    assert len(found) <= 1, found
    return float(found[0]["value"][1]) if found else None


def expressions():
    """Of the dashboard, with its variables replaced."""
    panels = json.loads((pathlib.Path(d.ROOT) / "conf/grafana-objmapperd.json").read_text())["panels"]
    for panel in panels:
        for target in panel["targets"]:
            yield re.sub(r"\$\w+|\$\{\w+\}", "1m", target["expr"])


def test_prometheus_scrapes(start, tree, workdir):
    daemon = start({"/": tree.path}, config='metrics = { http = "127.0.0.1:0"; };\n')
    port = int(re.search(r"metrics at http://127\.0\.0\.1:(\d+)/metrics", daemon.log()).group(1))
    with daemon.connect(3) as c, scraping(workdir / "prometheus", port) as ask:
        for _ in range(137):
            c.get("/a.txt").close()
        for _ in range(23):
            assert c.get("/none", mode=p.COPY).status == p.NOT_FOUND
        for _ in range(11):
            assert len(c.get("/sub/b.bin", mode=p.COPY).body) == 4096

        def up():
            return [t["scrapeUrl"] for t in ask("targets")["activeTargets"] if t["health"] == "up"]

        assert d.wait_until(up, message=lambda: ask("targets")) == [f"http://127.0.0.1:{port}/metrics"]
        wanted = {
            'objmapper_requests_total{transport="unix",mode="fd",status="ok"}': 137,
            'objmapper_requests_total{transport="unix",mode="copy",status="not_found"}': 23,
            'objmapper_requests_total{transport="unix",mode="copy",status="ok"}': 11,
            'objmapper_body_bytes_total{transport="unix",mode="copy"}': 11 * 4096,
            'objmapper_request_duration_seconds_count{transport="unix",mode="fd"}': 137,
            'objmapper_request_duration_seconds_bucket{transport="unix",mode="fd",le="+Inf"}': 137,
            'up{job="objmapperd"}': 1,
        }
        d.wait_until(lambda: {q: value(ask, q) for q in wanted} == wanted,
                     message=lambda: str({q: value(ask, q) for q in wanted}))
        for _ in range(5):
            c.get("/a.txt").close()
        d.wait_until(lambda: value(ask, next(iter(wanted))) == 142)
        check_all_is_known(daemon, ask)
        for expression in expressions():
            ask("query", query=expression)


def check_all_is_known(daemon, ask):
    """Every family of ours that has samples, with its type and its help."""
    families = openmetrics.parse(openmetrics.read(daemon, ord("m")))
    metadata = ask("targets/metadata", match_target='{job="objmapperd"}')
    seen = {m["metric"]: (m["type"], m["help"]) for m in metadata}
    assert {name: (f.kind, f.help) for name, f in families.items()}.items() <= seen.items()
