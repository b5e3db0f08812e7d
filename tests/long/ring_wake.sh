#!/bin/sh
# SPDX-License-Identifier: MIT
# 10^8 rounds of going to sleep and being woken, 10^6 of them in the kernel; two to ten minutes.
set -eu
unset CDPATH
cd -- "$(dirname -- "$0")/../.."
"${MAKE:-make}" -s MODE=release wakes
exec sh tests/wake/run.sh build/release/wake "${OBJM_WAKE_ROUNDS:-100000000}" 1000000
