#!/bin/sh
# SPDX-License-Identifier: MIT
# To be sourced: makes bare Debian 12 trees from the host's mirrors and proxy, which are left in $sources, $mirror and
# $proxy. Ends with a word where that cannot be.

skip() {
        echo "SKIPPED: $1"
        exit 0
}

[ "$(id -u)" -eq 0 ] || skip "needs root"
command -v debootstrap >/dev/null || skip "needs debootstrap"
command -v apt-get >/dev/null || skip "needs apt, to learn the mirrors from"
sources=$(apt-get indextargets --format 'deb $(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
        grep ' bookworm' | sort -u) || skip "the host's apt has no Debian 12 mirror"
mirror=$(echo "$sources" | awk '$3 == "bookworm" { print $2; exit }')
[ -n "$mirror" ] || skip "the host's apt has no Debian 12 mirror"

proxy=$(apt-config dump | grep -i '^Acquire::[a-z]*::Proxy' || :)
export http_proxy="${http_proxy-$(echo "$proxy" | sed -n 's/^Acquire::http::Proxy "\(.*\)";$/\1/Ip' | head -n 1)}"

# bare_tree DIR LOG OPTION...
bare_tree() {
        dir=$1
        log=$2
        shift 2
        echo "== debootstrap"
        debootstrap --variant=minbase "$@" bookworm "$dir" "$mirror" >"$log" 2>&1 </dev/null || {
                tail -n 40 "$log"
                exit 1
        }
        echo "$sources" >"$dir/etc/apt/sources.list"
        [ -z "$proxy" ] || echo "$proxy" >"$dir/etc/apt/apt.conf.d/99proxy"
        cp -L /etc/resolv.conf "$dir/etc/resolv.conf"
}
