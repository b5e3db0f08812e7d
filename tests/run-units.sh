#!/bin/sh
# SPDX-License-Identifier: MIT
# run-units.sh TALLY PROGRAM...: runs cmocka programs, shows the output of those that fail, and appends to the file
# TALLY one line "passed failed" for each. A program that ends badly without naming a failed test counts as one failure.
set -u
tally=$1
shift
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
bad=0
for program; do
        timeout -k 5 300 "$program" >"$log" 2>&1
        status=$?
        passed=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | tail -n 1)
        failed=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$log" | tail -n 1)
        if [ "$status" -ne 0 ]; then
                bad=1
                [ "${failed:-0}" -gt 0 ] || failed=1
                echo "FAILED ($status): $program"
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
