//! felhom-planner
