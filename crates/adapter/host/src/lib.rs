//! felhom-host
