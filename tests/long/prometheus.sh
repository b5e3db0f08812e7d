#!/bin/sh
# SPDX-License-Identifier: MIT
# The scrape by a real Prometheus, where none is installed: Debian's package is fetched and unpacked under build/, not
# installed, since that would start a service.
set -eu
cd -- "$(dirname -- "$0")/../.."
: "${PYTHON:=/usr/bin/python3}"
into=build/prometheus

if ! command -v prometheus >/dev/null && [ ! -x "$into/usr/bin/prometheus" ]; then
        command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
                echo "SKIPPED: neither prometheus nor apt-get is there"
                exit 0
        }
        rm -rf "$into"
        mkdir -p "$into/fetched"
        (cd "$into/fetched" && apt-get -q -o APT::Sandbox::User=root download prometheus)
        dpkg-deb -x "$into"/fetched/prometheus_*.deb "$into"
        rm -rf "$into/fetched"
fi
OBJM_BUILD=build/release exec "$PYTHON" -m pytest -q -rs tests/integration/test_prometheus.py
