#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Who may include whom. Prints breaches; exit status 1 when there are any."""
import fnmatch
import re
import sys
from pathlib import Path

import source

# directory: (project headers, libraries' headers) beside its own and libc's; patterns as in fnmatch
LAYERS = {
    "lib/base": ([], ["xxhash.h"]),
    "lib/protocol": (["base/*"], []),
    "lib/concurrency": (["base/*"], []),
    "lib/transport": (["base/*", "concurrency/ring.h", "protocol/*"], []),
    "lib/storage": (["base/*", "concurrency/*"], []),
    "lib/client": (["base/*", "protocol/*", "transport/*"], []),
    "objmapperd": (
        ["base/*", "protocol/*", "concurrency/*", "transport/*", "storage/*"],
        ["libconfig.h", "systemd/*", "jemalloc/*"],
    ),
    "objmap": (["client/objmapper.h", "base/hist.h", "base/clock.h", "base/fd.h", "base/attr.h"], []),
}

# Headers of libraries: everything else in <> is libc's or the kernel's.
LIBRARIES = ["xxhash.h", "libconfig.h", "systemd/*", "jemalloc/*", "urcu*", "cmocka.h", "zlib.h", "openssl/*"]

# lib/protocol turns bytes into structs: no descriptors, no threads, no I/O.
IMPURE = ["pthread.h", "stdio.h", "unistd.h", "fcntl.h", "poll.h", "sys/*", "threads.h"]

# What a directory may not call even though it may include the header: transport takes sizes from protocol, no codecs.
CALLS = {"lib/transport": re.compile(r"\bobjm_v[13]_\w+\s*\(")}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.M)


def matches(name, patterns):
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def allowed(layer, name, root):
    own = layer.rsplit("/", 1)[-1]
    if "/" not in name:
        return (root / layer / name).exists()
    return name.startswith(own + "/") or matches(name, LAYERS[layer][0])


def check_file(root, layer, relative):
    text = (root / relative).read_text(encoding="utf-8")
    for match in INCLUDE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        project, system = match.groups()
        if project and not allowed(layer, project, root):
            yield f'{relative}:{line}: {layer} may not include "{project}"'
        if system and matches(system, LIBRARIES) and not matches(system, LAYERS[layer][1]):
            yield f"{relative}:{line}: {layer} may not include <{system}>"
        if system and layer == "lib/protocol" and matches(system, IMPURE):
            yield f"{relative}:{line}: {layer} is pure, it may not include <{system}>"
    if layer in CALLS:
        for match in CALLS[layer].finditer(source.code(text)):
            line = text.count("\n", 0, match.start()) + 1
            yield f"{relative}:{line}: {layer} may not call {match.group().rstrip('( ')}()"


def check(root):
    root = Path(root)
    for relative in source.files(root, ".c", ".h"):
        layer = str(relative.parent)
        if relative.parts[0] in ("lib", "objmapperd", "objmap"):
            if layer not in LAYERS:
                yield f"{relative}: {layer} is not a layer"
            else:
                yield from check_file(root, layer, relative)


if __name__ == "__main__":
    sys.exit(source.run(check))
