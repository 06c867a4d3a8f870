//! felhom

fn main() {}
