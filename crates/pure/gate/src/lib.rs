//! felhom-gate
