//! felhom-model
