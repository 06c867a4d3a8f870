#!/bin/sh
# The last step of a golden image, with the new system's root as $1: what runs, what does not, and nothing that two guests could
# share.
set -eu
root="$1"
inside() { chroot "$root" "$@"; }

inside systemctl --quiet enable felhom-controller.service felhom-first-boot.service docker.service
# Nobody logs in from the network unless the customer turns it on.
inside systemctl --quiet disable ssh.service ssh.socket
# What a container cannot do, and what would pull engines from under running apps.
inside systemctl --quiet mask sys-kernel-debug.mount sys-kernel-config.mount systemd-modules-load.service \
    apt-daily.timer apt-daily-upgrade.timer
inside apt-mark hold containerd docker.io docker-cli docker-compose runc >/dev/null

rm -f "$root"/etc/ssh/ssh_host_* "$root"/etc/resolv.conf "$root"/var/lib/dbus/machine-id
echo uninitialized >"$root/etc/machine-id"
echo golden >"$root/etc/hostname"
printf 'auto lo\niface lo inet loopback\n' >"$root/etc/network/interfaces"

# A guest whose link is down boots as fast as any other.
echo background >>"$root/etc/dhcpcd.conf"

# What differs from build to build.
rm -rf "$root"/var/log/* "$root"/var/cache/ldconfig/aux-cache "$root"/var/lib/systemd/random-seed "$root"/tmp/* \
    "$root"/var/tmp/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
