//! Integration tests of the simulator.
#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception for tests does not reach helpers of integration tests"
)]

mod archive;
mod backup;
mod bad_input;
mod btrfs;
mod carried;
mod config;
mod destroyed;
mod faults;
mod guest_os;
mod http_faults;
mod jobs;
mod kills;
mod leftovers;
mod life;
mod lxc;
mod move_volume;
mod pct;
mod pct_node;
mod phases;
mod raw_http;
mod readme;
mod reads;
mod restore;
mod rights;
mod rounds;
mod runtime;
mod server;
mod snapshot;
mod storage;
mod storage_away;
mod storage_full;
mod support;
mod tasks;
mod transport;
mod upload;
mod volume;
mod volumes;
mod vzdump;
mod walk;
