//! felhom-executor

fn main() {}
