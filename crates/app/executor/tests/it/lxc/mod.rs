//! What only root can do: `cargo xtask test lxc`.

mod install;
