//! Guests as real containers. Each test needs root, LXC and `busybox-static`, and is left out of plain runs: `cargo xtask test lxc`.

mod archives;
mod kills;
mod leftovers;
mod life;
mod node;
mod world;
