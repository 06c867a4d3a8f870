#!/bin/sh
# The guest's init where a guest is a directory and its processes: translates what the simulator says into the
# controller's own configuration. In a real guest systemd starts the controller, and none of this is there.
set -eu
root="$PVE_SIM_ROOTFS"
printf 'lo = "%s"\nnet0_file = "%s/run/pve-sim/net0"\n' "$PVE_SIM_LO" "$root" >"$root/etc/felhom/controller.toml"
exec "$root/opt/felhom/current/felhom-controller" run >>"$root/var/log/felhom/controller.log" 2>&1
