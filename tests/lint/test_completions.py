# SPDX-License-Identifier: MIT
"""Completion knows what the manual page names; a breach is found; and bash offers what fits the place."""
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lint"))

import completions  # noqa: E402


@pytest.fixture
def tree(tmp_path):
    for name in (completions.BASH, completions.ZSH, completions.PAGE):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def test_completions_know_what_the_page_names():
    assert list(completions.check(ROOT)) == []


@pytest.mark.parametrize(
    "check, name, old, new, words",
    [
        (completions.check_bash, completions.BASH, "top reload", "reload", ["top"]),
        (completions.check_bash, completions.BASH, "--openmetrics", "--openmetric", ["stats", "--openmetrics", "--openmetric "]),
        (completions.check_bash, completions.BASH, "--socket --protocol --timeout", "--socket --protocol", ["--timeout"]),
        (completions.check_bash, completions.PAGE, ".It Fl -timeout", ".It Fl -no-such", ["--timeout", "--no-such"]),
        (completions.check_zsh, completions.ZSH, "                'top:", "                'pot:", ["top", "pot"]),
        (completions.check_zsh, completions.ZSH, "reload|drain)", "reload|darin)", ["drain", "darin"]),
        (completions.check_zsh, completions.ZSH, "--no-spin[", "--no-spni[", ["bench", "no-spin", "no-spni"]),
        (completions.check_zsh, completions.ZSH, "--output=}", "--outptu=}", ["get", "output", "outptu"]),
        (completions.check_zsh, completions.ZSH, "$common $body '*", "$common '*", ["cat", "range"]),
        (completions.check_zsh, completions.PAGE, ".It Fl -ring", ".It Fl -gnir", ["ring", "gnir"]),
    ],
)
def test_completion_breach_is_found(tree, check, name, old, new, words):
    text = (tree / name).read_text()
    assert old in text
    (tree / name).write_text(text.replace(old, new))
    found = "\n".join(check(tree))
    for word in words:
        assert word in found


@pytest.mark.parametrize(
    "line, offers",
    [
        ("objmap st", {"stat", "stats"}),
        ("objmap --socket st", set()),
        ("objmap --socket x --protocol 3 re", {"reload"}),
        ("objmap --protocol ''", {"1", "3"}),
        ("objmap get --mode = s", {"splice"}),
        ("objmap get --mode =", {"fd", "copy", "splice", "auto"}),
        ("objmap get --mode s", {"splice"}),
        ("objmap --timeout 5 bench --mode s", {"stat", "splice"}),
        ("objmap bench --tree tests/li", {"tests/lint"}),
        ("objmap get -o READ", {"README.md"}),
        ("objmap get --output = READ", {"README.md"}),
        ("objmap get READ", set()),
        ("objmap ping -c ''", set()),
        ("objmap get -c --mode a", {"auto"}),
        ("objmap get cat --js", set()),
    ],
)
def test_bash_offers_what_fits(line, offers):
    assert completions.offered(ROOT, line) == [offers]
