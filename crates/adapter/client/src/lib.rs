//! felhom-client
