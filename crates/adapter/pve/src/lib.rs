//! felhom-pve
