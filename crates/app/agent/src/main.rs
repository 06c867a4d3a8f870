//! felhom-agent

fn main() {}
