#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the shells complete and what man/objmap.1 names: every command, and the long options of each.

bash is asked what it offers; what zsh would offer is read from the file.
"""
import re
import subprocess
import sys
from pathlib import Path

import source
from docs import differences, read

BASH, ZSH, PAGE = "completions/objmap.bash", "completions/_objmap", "man/objmap.1"
LONG = r"--([a-z][a-z0-9-]*)"
# Reads lines of words, the last of which is to be completed, and answers each with a line.
ASK = """. "$1" || exit
while read -ra COMP_WORDS; do
        [[ ${COMP_WORDS[-1]} == "''" ]] && COMP_WORDS[-1]=""
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _objmap
        echo "${COMPREPLY[*]}"
done"""


def offered(root, *lines):
    """What bash offers for the last word of each line, which is '' for an empty one."""
    done = subprocess.run(["bash", "--norc", "-c", ASK, "ask", Path(root) / BASH], input="\n".join(lines) + "\n",
                          capture_output=True, text=True, timeout=30, check=True, cwd=root)
    answers = [set(line.split()) for line in done.stdout.splitlines()]
    if len(answers) != len(lines):
        raise RuntimeError(done.stderr)
    return answers


def page_names(root):
    """({command: long options}, long options of every command)."""
    text = read(root, PAGE)
    synopsis = re.search(r"^\.Sh SYNOPSIS$(.*?)^\.Sh ", text, re.M | re.S).group(1)
    description = re.search(r"^\.Sh DESCRIPTION$(.*?)^\.Sh ", text, re.M | re.S).group(1)
    common, *sections = re.split(r"^\.Ss ", description, flags=re.M)
    commands = {}
    for usage in synopsis.split(".Nm\n")[1:]:
        for name in re.search(r"^\.Cm (.*)$", usage, re.M).group(1).split(" | "):
            commands[name] = set(re.findall(r"Fl -([a-z][a-z-]*)", usage))
    for section in sections:
        commands.setdefault(section.split("\n")[0], set()).update(items(section))
    return commands, items(common)


def items(text):
    lines = re.findall(r"^\.It Fl .*$", text, re.M)
    return {name for line in lines for name in re.findall(r"(?:Fl |, )-([a-z][a-z-]*)", line)}


def zsh_names(root):
    """The same of the file for zsh."""
    text = read(root, ZSH)
    listed = set(re.findall(r"^ {16}'([a-z]+):", re.search(r"commands=\((.*?)\n {8}\)", text, re.S).group(1), re.M))
    arrays = {name: options(body) for name, body in re.findall(r"^ {8}(common|body)=\((.*?)\n {8}\)", text, re.M | re.S)}
    arms = re.findall(r"^ {8}([a-z|]+)\)\n(.*?)^ {16};;", text, re.M | re.S)
    behind = {}
    for names, body in arms:
        found = options(body)
        for array in re.findall(r"\$(common|body)", body):
            found |= arrays[array]
        behind.update({name: found for name in names.split("|")})
    return listed, behind, arrays["common"]


def options(text):
    """Where an option is described: behind the others that it excludes, and perhaps in braces."""
    return set(re.findall(rf"(?:'(?:\([^)]*\))?|,){LONG}=?(?:\[|\}})", text))


def check_bash(root):
    commands, common = page_names(root)
    names = sorted(commands)
    listed, before, *behind = offered(root, "objmap ''", "objmap --", *(f"objmap {name} --" for name in names))
    yield from differences(listed, PAGE, set(names), f"command of {BASH}")
    yield from differences({f"--{o}" for o in common}, BASH, before, "option")
    for name, found in zip(names, behind):
        yield from differences({f"--{o}" for o in commands[name] | common}, f"{BASH}: {name}", found, "option")


def check_zsh(root):
    commands, common = page_names(root)
    listed, behind, before = zsh_names(root)
    yield from differences(set(commands), ZSH, listed, "command")
    yield from differences(set(commands), f"{ZSH}: case", set(behind), "command")
    yield from differences(common, ZSH, before, "option --")
    for name in sorted(set(commands) & set(behind)):
        yield from differences(commands[name] | common, f"{ZSH}: {name}", behind[name], "option --")


CHECKS = [check_bash, check_zsh]


def check(root):
    for one in CHECKS:
        yield from one(root)


if __name__ == "__main__":
    sys.exit(source.run(check))
