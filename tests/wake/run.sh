#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh DIRECTORY ROUNDS SLEEPS: no wake-up of the ring is lost in ROUNDS rounds of polling and SLEEPS of sleeping in the
# kernel; and with either fence left out the same program does see one lost, within a minute.
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
for fence in 1 2; do
        "$dir"/ring_wake_$fence 1000000000000 60 spin
        if [ $? -ne 1 ]; then
                echo "FAILED: the test does not see that fence $fence is missing"
                exit 1
        fi
done
