//! felhom-hub

fn main() {}
