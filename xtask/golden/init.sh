#!/bin/sh
# The guest's init where a guest is a directory and its processes: translates what the simulator says into the
# controller's own options, and starts the controller again when it ends, as systemd does in a real guest.
root="$PVE_SIM_ROOTFS"
child=
stopping=no
stop() {
    stopping=yes
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
}
trap stop TERM INT
while [ "$stopping" = no ]; do
    "$root/opt/felhom/current/felhom-controller" serve --root "$root" --lo "$PVE_SIM_LO" \
        --net0-file "$root/run/pve-sim/net0" >>"$root/var/log/felhom/controller.log" 2>&1 &
    child=$!
    # A signal that came while it was being started.
    [ "$stopping" = no ] || stop
    # `wait` returns early when a signal comes; the child may still be ending.
    while kill -0 "$child" 2>/dev/null; do wait "$child"; done
    [ "$stopping" = yes ] || /bin/sleep 0.2
done
