#!/bin/sh
# SPDX-License-Identifier: MIT
# replay.sh DIR: gives each fuzz program in DIR the inputs that the tree keeps for it.
set -u
bad=0
for program in "$1"/fuzz_*; do
        [ -x "$program" ] || continue
        corpus=tests/corpus/${program##*/}
        if [ -z "$(ls -A "$corpus" 2>/dev/null)" ]; then
                echo "FAILED: $corpus: no inputs"
                bad=1
        elif find "$corpus" -type f -exec timeout -k 5 120 "$program" {} +; then
                echo "ok: $program: $(ls "$corpus" | wc -l) inputs"
        else
                echo "FAILED: $program"
                bad=1
        fi
done
exit "$bad"
