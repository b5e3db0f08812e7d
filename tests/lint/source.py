# SPDX-License-Identifier: MIT
"""What the linters share: which files there are, and C text without comments and strings."""
import re
from pathlib import Path

SKIP = {"build", ".git", "__pycache__", ".pytest_cache"}

_TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)


def files(root, *suffixes):
    """All project files below root with one of the suffixes (all files without), as paths relative to root."""
    for path in sorted(Path(root).rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and not SKIP & set(relative.parts) and (not suffixes or path.suffix in suffixes):
            yield relative


def code(text):
    """C text with comments and string and character literals blanked; line numbers stay."""

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())

    return _TOKEN.sub(blank, text)


def run(check):
    """Runs check(root) on the tree that this file belongs to; prints breaches; returns an exit status."""
    breaches = list(check(Path(__file__).resolve().parents[2]))
    for breach in breaches:
        print(breach)
    return 1 if breaches else 0
