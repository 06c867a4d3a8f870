//! felhom-journal
