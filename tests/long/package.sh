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

skip() {
        echo "SKIPPED: $1"
        exit 0
}

[ "$(id -u)" -eq 0 ] || skip "needs root"
for tool in debootstrap dpkg-buildpackage dh lintian apt-get; do
        command -v $tool >/dev/null || skip "needs $tool"
done
dpkg-checkbuilddeps 2>/dev/null || skip "not all that debian/control builds with is installed"
why=$("$python" tests/systemd/possible.py) || skip "no systemd: ${why#skipped: }"
sources=$(apt-get indextargets --format 'deb $(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
        grep ' bookworm' | sort -u) || skip "the host's apt has no Debian 12 mirror"
mirror=$(echo "$sources" | awk '$3 == "bookworm" { print $2; exit }')
[ -n "$mirror" ] || skip "the host's apt has no Debian 12 mirror"

top=$(mktemp -d "${OBJM_BARE_DIR:-${TMPDIR:-/tmp}}/objm-package-XXXXXX")
trap 'rm -rf --one-file-system "$top"' EXIT
trap 'exit 1' HUP INT TERM
root=$top/root

proxy=$(apt-config dump | grep -i '^Acquire::[a-z]*::Proxy' || :)
export http_proxy="${http_proxy-$(echo "$proxy" | sed -n 's/^Acquire::http::Proxy "\(.*\)";$/\1/Ip' | head -n 1)}"

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

echo "== debootstrap"
quietly debootstrap.log debootstrap --variant=minbase --include=systemd bookworm "$root" "$mirror"
echo "$sources" >"$root/etc/apt/sources.list"
[ -z "$proxy" ] || echo "$proxy" >"$root/etc/apt/apt.conf.d/99proxy"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
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
