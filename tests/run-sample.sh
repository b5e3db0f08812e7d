#!/bin/sh
# SPDX-License-Identifier: MIT
# make run: serves a small tree in the foreground. Every path is relative, so that the directory that this project lies
# in may be deep and have any name: a socket's path is 107 bytes at most.
set -eu
tree=build/run/tree
socket=build/run/objmapper.sock

make_tree() {
        mkdir -p "$tree/docs" "$tree/sizes"
        echo "Hello from objmapperd." >"$tree/hello.txt"
        cp README.md LICENSE "$tree/docs/"
        for size in 1 1024 16384 1048576 16777216; do
                [ -e "$tree/sizes/$size" ] || head -c "$size" /dev/zero | tr '\0' o >"$tree/sizes/$size"
        done
        : >"$tree/sizes/0"
}

here=$(pwd | sed "s/'/'\\\\''/g")
make_tree
cat <<EOF

Serving $tree. In another terminal:

    cd '$here'
    build/release/objmap --socket $socket cat /hello.txt

Ctrl-C ends it.

EOF
exec build/release/objmapperd --foreground --socket "$socket" --export "/=$tree"
