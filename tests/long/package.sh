#!/bin/sh
# SPDX-License-Identifier: MIT
# The Debian packages: built from a copy of the working tree, looked at by lintian, installed into a bare Debian 12 where
# systemd runs, used, upgraded and purged. Uses the host's Debian mirrors and proxy.
#
# OBJM_BARE_DIR: where to put the tree (about 400 MB), by default below TMPDIR. Everything is removed at the end.
set -eu
unset CDPATH
cd -- "$(dirname -- "$0")/../.."
here=$PWD
python=${PYTHON:-/usr/bin/python3}

. tests/bare-tree.sh
for tool in dpkg-buildpackage dh lintian; do
        command -v $tool >/dev/null || skip "needs $tool"
done
dpkg-checkbuilddeps 2>/dev/null || skip "not all that debian/control builds with is installed"
why=$("$python" tests/systemd/possible.py) || skip "no systemd: ${why#skipped: }"

top=$(mktemp -d "${OBJM_BARE_DIR:-${TMPDIR:-/tmp}}/objm-package-XXXXXX")
trap 'rm -rf --one-file-system "$top"' EXIT
trap 'exit 1' HUP INT TERM
root=$top/root

quietly() {
        log=$1
        shift
        "$@" >"$top/$log" 2>&1 </dev/null || { tail -n 40 "$top/$log"; exit 1; }
}

echo "== dpkg-buildpackage"
mkdir "$top/source"
tar --exclude=./build --exclude=./.git --exclude=__pycache__ -cf - . | tar --no-same-owner -xf - -C "$top/source"
cd "$top/source"
quietly build.log env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL DEB_BUILD_OPTIONS=parallel="$(nproc)" dpkg-buildpackage -us -uc -b
cd "$here"

echo "== lintian"
lintian --allow-root --fail-on error --suppress-tags initial-upload-closes-no-bugs "$top"/*.changes

bare_tree "$root" "$top/debootstrap.log" --include=systemd
mkdir "$root/srv/packages"
cp "$top"/*.deb "$root/srv/packages/"
rm "$root"/srv/packages/*-dbgsym_*.deb
# What the packages depend on is fetched now: the machine has no network.
quietly apt.log unshare --mount --propagation private --pid --fork --kill-child=KILL --mount-proc="$root/proc" \
        chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
        ${http_proxy:+"http_proxy=$http_proxy"} ${no_proxy:+"no_proxy=$no_proxy"} \
        sh -c 'apt-get update -q && apt-get install -q -y --download-only -o Dpkg::Use-Pty=0 /srv/packages/*.deb'

echo "== install, use, upgrade, purge"
"$python" tests/long/package.py "$root"
echo "ok: packages"
