//! pve-sim

fn main() {}
