//! felhom-protocol
