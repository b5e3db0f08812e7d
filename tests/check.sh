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

units() {
        build "$1" unit-tests && unrandomized sh tests/run-units.sh "$tally" build/"$1"/tests/unit/*_test
}

# suite MODE PYTEST-ARGUMENT...
suite() {
        mode=$1
        shift
        build "$mode" all && OBJM_BUILD=build/$mode unrandomized timeout -k 5 1500 "$PYTHON" -m pytest -q "$@"
}

under_systemd() {
        "$PYTHON" tests/systemd/possible.py && suite release tests/systemd
}

replay() {
        build asan fuzz-targets && sh tests/replay.sh build/asan/fuzz
}

stage "lint and docs" suite release -p no:cacheprovider tests/lint
stage "unit tests, release" units release
stage "unit tests, ASan and UBSan" units asan
stage "unit tests, TSan" units tsan
stage "unit tests, every hash alike" units hash
stage "fuzz corpora, ASan and UBSan" replay
stage "integration, release" suite release -m "not long" tests/integration
stage "integration, ASan and UBSan" suite asan -m "not long and not timing" tests/integration
stage "integration, TSan" suite tsan -m "threads and not long and not timing" tests/integration
stage "under systemd, release" under_systemd

echo
echo "== results"
printf '%s' "$results"
awk '{ passed += $1; failed += $2 } END { print "unit programs: " passed + 0 " passed, " failed + 0 " failed" }' "$tally"
exit "$bad"
