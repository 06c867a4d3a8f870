//! felhom-signing
