#!/bin/sh
# SPDX-License-Identifier: MIT
# 10^8 rounds of going to sleep and being woken, 10^6 of them in the kernel; then 10^7 sleeps in the kernel by each
# doorbell with both sides on one CPU, and 10^6 on two. Three to fifteen minutes.
set -eu
unset CDPATH
cd -- "$(dirname -- "$0")/../.."
"${MAKE:-make}" -s MODE=release wakes
# While this is open no CPU goes to sleep: waking one up takes 40 us and more in a virtual machine, else 2 us.
if [ -w /dev/cpu_dma_latency ]; then
        exec 9>/dev/cpu_dma_latency
        printf '\0\0\0\0' >&9
fi
exec sh tests/wake/run.sh build/release/wake "${OBJM_WAKE_ROUNDS:-100000000}" 1000000 \
        "${OBJM_WAKE_ONE:-10000000}" "${OBJM_WAKE_TWO:-1000000}"
