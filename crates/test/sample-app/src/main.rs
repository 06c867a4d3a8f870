//! sample-app

fn main() {}
