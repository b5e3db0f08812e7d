#!/bin/sh
# SPDX-License-Identifier: MIT
# make check: every stage runs even when an earlier one failed; the last lines say how each ended. A stage that cannot
# run here ends with 77 and is counted as skipped. MAKE, PYTHON and JOBS come from the Makefile.
set -u
: "${MAKE:=make}" "${PYTHON:=/usr/bin/python3}" "${JOBS:=2}"
export PYTHONDONTWRITEBYTECODE=1
unset MAKEFLAGS MFLAGS MODE
mkdir -p build/check
tally=build/check/units
: >"$tally"
results=
bad=0

# stage NAME COMMAND...
stage() {
        name=$1
        shift
        echo
        echo "== $name"
        began=$(date +%s)
        "$@"
        case $? in
        0) result=ok ;;
        77) result=SKIPPED ;;
        *) result=FAILED bad=1 ;;
        esac
        results="$results$result $name ($(($(date +%s) - began)) s)
"
}

build() {
        "$MAKE" -s -j"$JOBS" MODE="$1" "$2"
}

# gcc 12's ThreadSanitizer cannot map its shadow memory under the address randomisation of newer kernels.
unrandomized() {
        if setarch -R true 2>/dev/null; then
                setarch -R "$@"
        else
                "$@"
        fi
}

# units MODE AT-ONCE: most of the programs wait more than they work
units() {
        build "$1" unit-tests &&
                AT_ONCE=$2 unrandomized sh tests/run-units.sh "$tally" build/"$1"/tests/unit/*_test
}

# suite MODE PYTEST-ARGUMENT...
suite() {
        mode=$1
        shift
        build "$mode" all && OBJM_BUILD=build/$mode unrandomized timeout -k 5 1500 "$PYTHON" -m pytest -q -rs "$@"
}

under_systemd() {
        "$PYTHON" tests/systemd/possible.py && suite release -m "not long" tests/systemd
}

# together COMMAND... -- COMMAND... -- : runs them at the same time, shows what each printed, one after the other
together() {
        n=0
        pids=
        while [ $# -gt 0 ]; do
                command=
                while [ $# -gt 0 ] && [ "$1" != -- ]; do
                        command="$command '$1'"
                        shift
                done
                [ $# -eq 0 ] || shift
                n=$((n + 1))
                eval "$command" >build/check/together.$n 2>&1 &
                pids="$pids $!"
        done
        status=0
        i=0
        for pid in $pids; do
                i=$((i + 1))
                wait "$pid" || status=1
                cat build/check/together.$i
        done
        return $status
}

wakes() {
        build release wakes && timeout -k 5 600 sh tests/wake/run.sh build/release/wake 300000 3000 50000 5000
}

replay() {
        build asan fuzz-targets && sh tests/replay.sh build/asan/fuzz
}

# Most tests wait more than they work: several at a time. With six parts two CPUs still have nothing to do for half of
# the time.
quick="not long and not timing"
quick_part() {
        suite "$1" -m "$quick" --part "$2" tests/integration
}

threads_part() {
        suite "$1" -m "threads and $quick" --part "$2" tests/integration
}

released() {
        build release all && together quick_part release 1/6 -- quick_part release 2/6 -- quick_part release 3/6 -- \
                quick_part release 4/6 -- quick_part release 5/6 -- quick_part release 6/6
}

# An eighth of the tests under ASan, in two halves; `make check-long` runs the others.
sanitized() {
        build asan all && build tsan all && together quick_part asan 1/16 -- quick_part asan 9/16 -- \
                threads_part tsan 1/2 -- threads_part tsan 2/2
}

stage "lint and docs" suite release -p no:cacheprovider tests/lint
stage "unit tests, release" units release 2
stage "unit tests, ASan and UBSan" units asan 2
stage "unit tests, TSan; every hash alike" together units tsan 1 -- units hash 1
stage "wake-ups of the ring, with and without fences" wakes
stage "fuzz corpora, ASan and UBSan" replay
stage "integration, release" released
stage "integration, what measures" suite release -m "timing and not long" tests/integration
stage "integration, sanitizers" sanitized
stage "under systemd, release" under_systemd

echo
echo "== results"
printf '%s' "$results"
awk '{ passed += $1; failed += $2 } END { print "unit programs: " passed + 0 " passed, " failed + 0 " failed" }' "$tally"
exit "$bad"
