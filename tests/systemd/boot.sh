#!/bin/sh
# SPDX-License-Identifier: MIT
# boot.sh TOP LOWER [INSTALL...]: becomes systemd. Runs as pid 1 of new mount, pid, network, UTS, IPC and cgroup
# namespaces (see machine.py). The root file system is LOWER with a tmpfs over it; nothing is written to LOWER, and the
# tmpfs goes with the mount namespace. TOP is an empty directory to mount it on. INSTALL is a command that is run before
# systemd is, with the new root as its last argument.
#
# boot.sh probe TOP: makes the mounts that a container may refuse, and leaves.
set -eu

root_over() {
        mount -t tmpfs -o mode=0755,size=512m tmpfs "$1"
        mkdir "$1/upper" "$1/work" "$1/root"
        mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
        cd "$1/root"
}

# An overlay does not follow mounts below LOWER, so these are empty. What reaches the host's kernel is read-only: pid 1
# would raise fs.file-max and fs.nr_open. Below net it is this network namespace's.
kernel_file_systems() {
        mkdir -p proc sys dev run tmp
        mount -t proc -o nosuid,nodev,noexec proc proc
        mount --bind proc/sys proc/sys
        mount --bind proc/sys/net proc/sys/net
        mount -o remount,bind,ro proc/sys
        mount -t sysfs -o nosuid,nodev,noexec sysfs sys
        mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
        mount -o remount,bind,ro sys
        mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs run
        mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs tmp
}

devices() {
        mount -t tmpfs -o mode=0755,nosuid,strictatime,size=4m tmpfs dev
        for name in null zero full random urandom tty; do
                mknod -m 666 "dev/$name" c $(stat -c '0x%t 0x%T' "/dev/$name") 2>/dev/null && continue
                : >"dev/$name"
                mount --bind "/dev/$name" "dev/$name"
        done
        mkdir dev/pts dev/shm
        mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5,nosuid,noexec devpts dev/pts
        mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
        ln -s pts/ptmx dev/ptmx
        ln -s /proc/self/fd dev/fd
        ln -s /proc/self/fd/0 dev/stdin
        ln -s /proc/self/fd/1 dev/stdout
        ln -s /proc/self/fd/2 dev/stderr
}

# What the host has enabled stays off, and what would touch its kernel cannot be started.
quieten() {
        rm -f etc/systemd/system/*.wants/* etc/.updated var/.updated
        mkdir -p etc/systemd/system etc/systemd/journald.conf.d etc/systemd/system.conf.d
        for unit in systemd-modules-load.service systemd-sysctl.service systemd-udevd.service \
                systemd-udev-trigger.service systemd-remount-fs.service systemd-update-utmp.service \
                systemd-random-seed.service systemd-pstore.service sys-kernel-debug.mount sys-kernel-tracing.mount \
                sys-kernel-config.mount sys-fs-fuse-connections.mount dev-hugepages.mount dev-mqueue.mount \
                proc-sys-fs-binfmt_misc.automount systemd-journald-audit.socket systemd-firstboot.service \
                systemd-ask-password-console.path systemd-ask-password-wall.path getty.target \
                apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
                man-db.timer; do
                ln -sf /dev/null "etc/systemd/system/$unit"
        done
        : >etc/fstab
        echo machine >etc/hostname
        tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
        printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nReadKMsg=no\nAudit=no\n' \
                >etc/systemd/journald.conf.d/test.conf
        printf '[Manager]\nDefaultTimeoutStopSec=20s\n' >etc/systemd/system.conf.d/test.conf
}

if [ "$1" = probe ]; then
        root_over "$2" /
        kernel_file_systems
        exit 0
fi
top=$1 lower=$2
shift 2
here=$PWD
root_over "$top" "$lower"
kernel_file_systems
devices
quieten
[ $# -eq 0 ] || (cd "$here" && "$@" "$top/root")

# Not chroot: units get mount namespaces of their own, which are made from a root that is a shared mount.
mkdir -p mnt
pivot_root . mnt
umount -l /mnt
mount --make-rshared /
exec env -i container=test LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-syslog,-wake_alarm,-block_suspend \
        /lib/systemd/systemd --system --unit=basic.target --show-status=no
