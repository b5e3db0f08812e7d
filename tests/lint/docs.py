#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the pages say and what the programs have: every key, option, status and symbol, in both directions.

Asks the built programs (OBJM_BUILD, by default build/release) for their options.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

import source


def read(root, name):
    return (Path(root) / name).read_text(encoding="utf-8")


def differences(have, page_name, page, what):
    """have and page are sets of names."""
    for name in sorted(have - page):
        yield f"{page_name}: {what} {name} is missing"
    for name in sorted(page - have):
        yield f"{page_name}: {what} {name} does not exist"


# ---- configuration keys ----


def schema_keys(root):
    """(keys that hold, keys of later versions), as "group.key"."""
    text = read(root, "objmapperd/config_schema.c")
    entries = read(root, "objmapperd/config_entries.c")
    tables = dict(re.findall(r"static const struct config_key (\w+)\[\] = \{(.*?)\n\};", text, re.S))
    keys, later = set(), set()
    for group, table in re.findall(r'GROUP\("(\w+)", (\w+)\)', text):
        for kind, key in re.findall(r'([A-Z]+)\("(\w+)"', tables[table]):
            (later if kind == "UNSUPPORTED" else keys).add(f"{group}.{key}")
    for table, group in (("listen_keys", "listen"), ("export_keys", "exports")):
        body = re.search(rf"{table}\[\] = \{{(.*?)\n\}};", entries, re.S).group(1)
        keys |= {f"{group}.{key}" for key in re.findall(r'\{"(\w+)"', body)}
    return keys, later


def page_keys(text):
    """.Ss GROUP, and below it .It Ic KEY."""
    keys, group = set(), None
    for line in text.split("\n"):
        if line.startswith((".Ss ", ".Sh ")):
            group = line[4:].strip()
        match = re.match(r"\.It Ic (\w+)", line)
        if match:
            keys.add(f"{group}.{match.group(1)}")
    return keys


def conf_keys(text):
    """Keys of the installed file, which is all comments; also of entries of a list that are comments inside it."""
    keys = set()
    lines = (line[1:] for line in text.split("\n") if re.match(r"#([a-z}]| {8})", line))
    body = re.sub(r"(?<!\S)#(?! , \{).*", "", "\n".join(lines))
    for group, inside in re.findall(r"^(\w+) = (.*?\n?\}(?:\s*\))?);$", body, re.S | re.M):
        keys |= {f"{group}.{key}" for key in re.findall(r"(\w+) =", inside)}
    return keys


def check_config(root):
    keys, _ = schema_keys(root)
    if len(keys) < 20:
        yield "objmapperd/config_schema.c: this check no longer understands the tables"
    yield from differences(keys, "man/objmapperd.conf.5", page_keys(read(root, "man/objmapperd.conf.5")), "key")
    yield from differences(keys, "conf/objmapperd.conf", conf_keys(read(root, "conf/objmapperd.conf")), "key")


# ---- options ----


def taken_options(root, directory):
    """The names in the getopt_long(3) tables of a program."""
    tables = "".join(path.read_text(encoding="utf-8") for path in sorted((Path(root) / directory).glob("*.[ch]")))
    return set(re.findall(r'\{"([a-z][a-z0-9-]*)", (?:no|required|optional)_argument', tables))


def help_options(program):
    done = subprocess.run([program, "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    if done.returncode != 0:
        raise RuntimeError(f"{program} --help ended with {done.returncode}")
    return set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]*)", done.stdout))


def page_options(text):
    items = re.findall(r"^\.It Fl .*", text, re.M)
    return {name for item in items for name in re.findall(r"(?:Fl |, )-([a-z][a-z0-9-]*)", item)}


def check_options(root):
    build = Path(root) / os.environ.get("OBJM_BUILD", "build/release")
    for program, page in (("objmapperd", "man/objmapperd.8"), ("objmap", "man/objmap.1")):
        options = taken_options(root, program)
        yield from differences(options, page, page_options(read(root, page)), "option --")
        for name in sorted(help_options(build / program) - options):
            yield f"{program} --help: option --{name} does not exist"
    for name in sorted(taken_options(root, "objmapperd") - help_options(build / "objmapperd")):
        yield f"objmapperd --help: option --{name} is missing"


# ---- statuses ----


def check_statuses(root):
    header = read(root, "lib/protocol/status.h")
    page = read(root, "man/objmapper-protocol.7")
    have = {int(number) for number in re.findall(r"OBJM_STATUS_\w+ = (\d+)", header)}
    section = re.search(r"^\.Ss Status$(.*?)^\.Ss ", page, re.M | re.S).group(1)
    rows = re.findall(r"^\.It ([0-9a-f]{2}) Ta (\d+) Ta", section, re.M)
    yield from differences({f"{n:3}" for n in have}, "man/objmapper-protocol.7", {f"{int(d):3}" for _, d in rows}, "status")
    for as_hex, decimal in rows:
        if int(as_hex, 16) != int(decimal):
            yield f"man/objmapper-protocol.7: status {as_hex} is not {decimal}"


# ---- symbols ----


def check_symbols(root):
    exported = set(re.findall(r"^\s+(objmapper_\w+);", read(root, "lib/client/libobjmapper.map"), re.M))
    header = source.code(read(root, "lib/client/objmapper.h"))
    declared = set(re.findall(r"\b(objmapper_\w+)\(", header))
    described = set(re.findall(r"^\.Fo (objmapper_\w+)|^\.Fn \"?(objmapper_\w+)", read(root, "man/libobjmapper.3"), re.M))
    described = {a or b for a, b in described}
    yield from differences(exported, "lib/client/objmapper.h", declared, "call")
    yield from differences(exported, "man/libobjmapper.3", described, "call")
    packaged = set(re.findall(r"^ (objmapper_\w+)@", read(root, "debian/libobjmapper0.symbols"), re.M))
    yield from differences(exported, "debian/libobjmapper0.symbols", packaged, "call")


# ---- version ----


def check_version(root):
    version = re.search(r"^VERSION\s*:= (\S+)$", read(root, "Makefile"), re.M).group(1)
    packaged = re.match(r"objmapperd \(([^)]+)\)", read(root, "debian/changelog")).group(1)
    if packaged != version:
        yield f"debian/changelog: version {packaged} is not {version}"


# ---- pages ----


def check_mandoc(root):
    pages = sorted(str(p.relative_to(root)) for p in (Path(root) / "man").glob("*.[1-9]"))
    done = subprocess.run(["mandoc", "-Tlint", "-W", "warning", *pages], cwd=root, capture_output=True, text=True)
    yield from (done.stdout + done.stderr).splitlines()


CHECKS = [check_config, check_options, check_statuses, check_symbols, check_version, check_mandoc]


def check(root):
    for one in CHECKS:
        yield from one(root)


if __name__ == "__main__":
    sys.exit(source.run(check))
