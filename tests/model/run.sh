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
        spin -DKIND="$1" -DWITHOUT="$2" -a "$model" >spin.log || { cat spin.log; exit 1; }
        "${CC:-cc}" -O2 -w -DSAFETY -o pan pan.c
        ./pan -m1000000 >pan.log || { cat pan.log; exit 1; }
        states=$(sed -n 's/ *\([0-9]*\) states, stored.*/\1/p' pan.log)
        depth=$(sed -n 's/.*depth reached \([0-9]*\),.*/\1/p' pan.log)
        fault=$(sed -n 's/^pan:1: \([a-z ]*[a-z]\).*/\1/p' pan.log)
        if [ -z "$fault" ] && ! grep -q "errors: 0" pan.log; then fault="none, and no end"; fi
        if [ -z "$fault" ] && grep -q -e "not completed" -e "too small" pan.log; then fault="search not complete"; fi
}

# expect KIND WITHOUT WHAT FAULT
expect() {
        search "$1" "$2"
        if [ "$fault" != "$4" ]; then
                cat pan.log
                echo "FAILED: $3: expected '${4:-no error}', found '${fault:-no error}'"
                exit 1
        fi
        echo "ok: $3: ${4:-no error}, $states states, depth $depth"
}

expect 0 0 "doorbell, as it is" ""
expect 0 1 "doorbell, without the consumer's fence" "invalid end state"
expect 0 2 "doorbell, without the producer's fence" "invalid end state"
expect 0 3 "doorbell, without the release of head" "assertion violated"
expect 0 4 "doorbell, the flag looked at before publishing" "invalid end state"
expect 0 5 "doorbell, without the second look" "invalid end state"
expect 1 0 "message, as it is" ""
expect 1 1 "message, without the consumer's fence" "invalid end state"
expect 1 2 "message, without the producer's fence" "invalid end state"
expect 1 6 "message, sleeps not counted" "invalid end state"
expect 2 0 "futex, as it is" ""
expect 2 1 "futex, without the consumer's fence" "invalid end state"
expect 2 2 "futex, without the producer's fence" "invalid end state"
expect 2 3 "futex, without the release of head" "assertion violated"
expect 2 6 "futex, sleeps not counted" "invalid end state"
expect 2 7 "futex, not compared" "invalid end state"
expect 2 8 "futex, a wake-up counts that woke nobody" "invalid end state"
