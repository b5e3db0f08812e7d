#!/bin/sh
# SPDX-License-Identifier: MIT
# Five minutes of clients with rings, a thousand at a time, each with one request: see tests/zoo/leavers.py.
set -eu
unset CDPATH
cd -- "$(dirname -- "$0")/../.."
"${MAKE:-make}" -s MODE=release all
OBJM_BUILD=build/release exec "${PYTHON:-/usr/bin/python3}" tests/zoo/leavers.py "${OBJM_LEAVERS_SECONDS:-300}"
