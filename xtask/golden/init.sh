#!/bin/sh
# The guest's init where a guest is a directory and its processes: translates what the simulator says into the
# controller's own options. In a real guest systemd starts the controller with none of this.
set -eu
root="$PVE_SIM_ROOTFS"
mkdir -p "$root/run/felhom" "$root/var/log/felhom"
exec "$root/opt/felhom/current/felhom-controller" run >>"$root/var/log/felhom/controller.log" 2>&1
