#!/bin/sh
# SPDX-License-Identifier: MIT
# Every state of the model of the ring's sleep is searched: none is wrong as it is, and one is with anything left out.
set -eu
unset CDPATH
if ! command -v spin >/dev/null; then
        echo "make check-model needs spin and a C compiler: apt-get install spin gcc libc6-dev" >&2
        exit 1
fi
model=$(cd -- "$(dirname -- "$0")" && pwd)/ring_sleep.pml
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

search() {
        spin -DWITHOUT="$1" -a "$model" >spin.log || { cat spin.log; exit 1; }
        "${CC:-cc}" -O2 -w -DSAFETY -o pan pan.c
        ./pan -m1000000 >pan.log || { cat pan.log; exit 1; }
        states=$(sed -n 's/ *\([0-9]*\) states, stored.*/\1/p' pan.log)
        fault=$(sed -n 's/^pan:1: \([a-z ]*[a-z]\).*/\1/p' pan.log)
        if [ -z "$fault" ] && ! grep -q "errors: 0" pan.log; then fault="none, and no end"; fi
        if [ -z "$fault" ] && grep -q -e "not completed" -e "too small" pan.log; then fault="search not complete"; fi
}

# expect WITHOUT WHAT FAULT
expect() {
        search "$1"
        if [ "$fault" != "$3" ]; then
                cat pan.log
                echo "FAILED: $2: expected '${3:-no error}', found '${fault:-no error}'"
                exit 1
        fi
        echo "ok: $2: ${3:-no error}, $states states"
}

expect 0 "as it is" ""
expect 1 "without the consumer's fence" "invalid end state"
expect 2 "without the producer's fence" "invalid end state"
expect 3 "without the release of head" "assertion violated"
expect 4 "the flag looked at before publishing" "invalid end state"
expect 5 "without the second look" "invalid end state"
