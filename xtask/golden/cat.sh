#!/bin/sh
# Debian's cat, where a guest is a directory: paths are the guest's own.
set -eu
for path; do
    /bin/cat "$PVE_SIM_ROOTFS$path"
done
