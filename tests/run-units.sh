#!/bin/sh
# SPDX-License-Identifier: MIT
# run-units.sh TALLY PROGRAM...: runs cmocka programs, as many at a time as $AT_ONCE says (1), shows the output of those
# that fail, and appends to the file TALLY one line "passed failed" for each. A program that ends badly without naming a
# failed test counts as one failure.
set -u
tally=$1
shift
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT
bad=0

printf '%s\n' "$@" | xargs -P "${AT_ONCE:-1}" -I {} sh -c '
        timeout -k 5 300 "$1" >"$2/${1##*/}.log" 2>&1
        echo $? >"$2/${1##*/}.status"' sh {} "$logs"
for program; do
        log=$logs/${program##*/}.log
        status=$(cat "$logs/${program##*/}.status")
        passed=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | tail -n 1)
        failed=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$log" | tail -n 1)
        if [ "${status:-1}" -ne 0 ]; then
                bad=1
                [ "${failed:-0}" -gt 0 ] || failed=1
                echo "FAILED (${status:-no status}): $program"
                cat "$log"
        elif [ "${passed:-0}" -eq 0 ]; then
                bad=1 failed=1
                echo "FAILED (no test ran): $program"
        else
                echo "ok: $program: $passed"
        fi
        echo "${passed:-0} ${failed:-0}" >>"$tally"
done
exit "$bad"
