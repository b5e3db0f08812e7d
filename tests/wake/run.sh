#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh DIRECTORY ROUNDS SLEEPS ONE TWO: no wake-up of the ring is lost in ROUNDS rounds of polling and SLEEPS of
# sleeping in the kernel, nor in ONE sleeps by each doorbell with both sides on one CPU and TWO with each on its own; and
# with either fence left out the same programs do see one lost, within a minute.
set -u
dir=$1
"$dir"/ring_wake_0 "$2" 0 spin
status=$?
if [ "$status" -eq 77 ]; then
        echo "SKIPPED: wake-ups cannot be lost on a single CPU"
        exit 0
fi
[ "$status" -eq 0 ] || exit 1
"$dir"/ring_wake_0 "$3" 0 sleep || exit 1
"$dir"/doorbells_0 "$4" 0 one || exit 1
"$dir"/doorbells_0 "$5" 0 two || exit 1
for fence in 1 2; do
        for program in "ring_wake_$fence 1000000000000 60 spin" "doorbells_$fence 1000000000000 60 two"; do
                "$dir"/$program
                if [ $? -ne 1 ]; then
                        echo "FAILED: $program does not see that the fence is missing"
                        exit 1
                fi
        done
done
