#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Ends with 0 if the tests of this directory can be run here; else says why not and ends with 77."""
import sys

import machine

if __name__ == "__main__":
    why = machine.why_not()
    if why:
        print(f"skipped: {why}")
    sys.exit(77 if why else 0)
