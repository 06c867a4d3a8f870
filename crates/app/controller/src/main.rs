//! felhom-controller

fn main() {}
