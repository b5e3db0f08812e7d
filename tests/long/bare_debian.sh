#!/bin/sh
# SPDX-License-Identifier: MIT
# ./dev run and ./dev check on a bare Debian 12, where there is neither make nor a compiler nor sudo: first as root, then
# as an ordinary user, each twice in a row, in a directory with an awkward name. Uses the host's Debian mirrors and proxy.
#
# All mounts are made in a mount namespace and all processes run in a pid namespace of their own, so that nothing is left
# behind however this ends. OBJM_BARE_DIR: where to put the tree (about 1 GB), by default below TMPDIR.
set -eu
unset CDPATH
cd -- "$(dirname -- "$0")/../.."

. tests/bare-tree.sh

top=$(mktemp -d "${OBJM_BARE_DIR:-${TMPDIR:-/tmp}}/objm-bare-XXXXXX")
trap 'rm -rf --one-file-system "$top"' EXIT
pid=
trap '[ -z "$pid" ] || kill -KILL "$pid"; exit 1' HUP INT TERM
root=$top/root

# In the background, so that a signal to this script is taken at once; unshare itself ignores it.
inside() {
        unshare --mount --propagation private --pid --fork --kill-child=KILL --mount-proc="$root/proc" \
                chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
                ${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} \
                ${no_proxy:+"no_proxy=$no_proxy"} "$@" &
        pid=$!
        wait "$pid"
        pid=
}

bare_tree "$root" "$top/debootstrap.log"
for tool in make gcc sudo; do
        inside sh -c "! command -v $tool" || { echo "the tree is not bare: it has $tool"; exit 1; }
done

# Two copies of the working tree: root's and the user's.
for who in root user; do
        mkdir -p "$root/srv/$who"
        mkdir "$root/srv/$who/källa och 'test'"
        tar --exclude=./build --exclude=./.git --exclude=__pycache__ -cf - . |
                tar --no-same-owner -xf - -C "$root/srv/$who/källa och 'test'"
done
inside useradd --create-home user
inside chown -R user: /srv/user

cat >"$root/srv/twice" <<'EOF'
#!/bin/sh
# Runs in the bare tree, in the project's directory.
set -eu
serve() {
        ./dev run >run.log 2>&1 </dev/null &
        pid=$!
        until grep -q 'objmapperd: ready' run.log; do
                kill -0 "$pid" 2>/dev/null || { cat run.log; exit 1; }
                sleep 0.1
        done
        answer=$(build/release/objmap --socket build/run/objmapper.sock cat /hello.txt)
        kill -TERM "$pid"
        wait "$pid" || :
        [ "$answer" = "Hello from objmapperd." ] || { echo "answer: $answer"; cat run.log; exit 1; }
        [ ! -e build/run/objmapper.sock ] || ! build/release/objmap --socket build/run/objmapper.sock ping 2>/dev/null
}
for round in 1 2; do
        echo "== $(id -un): ./dev run, $round"
        serve
done
for round in 1 2; do
        echo "== $(id -un): ./dev check, $round"
        ./dev check >check.log 2>&1 </dev/null || { grep -E "^(FAILED|ERROR|E  )" check.log; tail -n 60 check.log; exit 1; }
        sed -n '/^== results/,$p' check.log
done
EOF
inside sh -c 'cd /srv/root/k* && sh /srv/twice'
inside su user -c 'cd /srv/user/k* && sh /srv/twice'
echo "ok: bare Debian"
