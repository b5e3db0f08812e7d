#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Facts of house style that a program can see. Prints breaches; exit status 1 when there are any."""
import re
import sys
from pathlib import Path

import source

TEXT = {".c", ".h", ".py", ".sh", ".bash", ".mk", ".md", ".conf", ".service", ".socket", ".map", ".in"}
WIDTH = 120
# Files whose format has no comments, or that belong to somebody else's format.
NO_SPDX = {".md", ".in", ".map", ".hex"}

FORBIDDEN = re.compile(r"\b(strcpy|stpcpy|strcat|sprintf|vsprintf|gets|atoi|atol|atoll|atof|strtok|alloca|tmpnam|mktemp)\s*\(")
SHIPPED = ("lib", "objmapperd", "objmap")
# lib/ hands errors to its caller: it does not print, log or end the process.
LOUD = re.compile(r"\b(exit|_exit|abort|printf|fprintf|vfprintf|puts|perror|syslog|err|errx|warn|warnx|sd_journal_\w+)\s*\(")
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")


def is_page(relative):
    return relative.parts[0] == "man" and relative.suffix[1:].isdigit()


def is_text(root, relative):
    if relative.suffix in TEXT or is_page(relative) or relative.name in ("Makefile", "dev"):
        return True
    return not relative.suffix and (root / relative).read_bytes()[:2] == b"#!"


def guard_of(relative):
    """lib/base/fd.h: OBJM_BASE_FD_H; objmapperd/config.h: OBJMAPPERD_CONFIG_H."""
    parts = relative.parts
    if parts[0] == "lib" and parts[1] != "client":
        return "OBJM_" + "_".join(parts[1:]).replace(".", "_").upper()
    return None


def check_c(relative, text):
    code = source.code(text)
    patterns = [(FORBIDDEN, "is forbidden")] if relative.parts[0] in SHIPPED else []
    if relative.parts[0] == "lib":
        patterns.append((LOUD, "is not for lib/"))
    for pattern, what in patterns:
        for match in pattern.finditer(code):
            yield f"{relative}:{code.count(chr(10), 0, match.start()) + 1}: {match.group(1)}() {what}"
    if relative.suffix == ".h":
        guard = guard_of(relative)
        if not re.search(rf"^#ifndef {guard or '[A-Z][A-Z0-9_]*_H'}$", text, re.M):
            yield f"{relative}: no include guard{' ' + guard if guard else ''}"


def check_lines(relative, text):
    tabs_are_fine = relative.suffix == ".mk" or relative.name in ("Makefile", "rules") or is_page(relative)
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{relative}:{number}"
        if line != line.rstrip():
            yield f"{where}: blanks at the end"
        if "\t" in line and not tabs_are_fine:
            yield f"{where}: tab"
        if len(line) > WIDTH and relative.suffix in (".c", ".h"):
            yield f"{where}: longer than {WIDTH} columns"
        if UNFINISHED.search(line):
            yield f"{where}: unfinished"
    if text and not text.endswith("\n"):
        yield f"{relative}: no newline at the end"


def check(root):
    root = Path(root)
    for relative in source.files(root):
        if not is_text(root, relative):
            continue
        text = (root / relative).read_text(encoding="utf-8")
        head = "\n".join(text.split("\n", 4)[:4])
        if relative.suffix not in NO_SPDX and "SPDX-License-Identifier: MIT" not in head:
            yield f"{relative}: no SPDX line"
        yield from check_lines(relative, text)
        if relative.suffix in (".c", ".h"):
            yield from check_c(relative, text)


if __name__ == "__main__":
    sys.exit(source.run(check))
