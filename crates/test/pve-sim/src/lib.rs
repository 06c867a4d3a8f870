//! Parts of the simulator that know bytes on disk and processes, but neither HTTP nor access rights.
//!
//! | module | what it is |
//! |---|---|
//! | [`volume`] | a storage's `images/` folder: volumes as directory trees, snapshots, owner side tables |
//! | [`archive`] | `vzdump-lxc-*.tar[.zst]`: write, read the config, unpack |
//! | [`runtime`] | a guest as a group of processes: start, stop, freeze, link |
//! | [`pct`] | the commands `pct exec`, `pct push` and `pvesm path` |

pub mod archive;
pub mod pct;
pub mod runtime;
pub mod volume;
