//! A simulated Proxmox VE host in one program, genuine at the wire.
//!
//! ```text
//!  HTTPS ─▶ http  (TLS, tickets, tokens, forms)  ─▶ api (routes, rights, answers) ─▶ state (files)
//!                                                        │ a POST that starts a task
//!                                                        ▼
//!                       task (UPID, lists, logs)  ─▶ `pve-sim worker` ─▶ work ─▶ volume, archive, runtime
//! ```
//!
//! **Architecture invariant:** nothing is remembered in the serving process that a restart may lose; every process of the simulator
//! finds everything in the state directory.
//!
//! **Architecture invariant:** what no route names is answered 501; no handler says "ok" without having done it.
//!
//! | module | what it is |
//! |---|---|
//! | `cli`, `serve`, `preset`, `daemon` | command line, the serving process, what a new host holds |
//! | `http` | transport, callers, parameters, answers |
//! | `api` | the routes, one module an area |
//! | `perm` | Proxmox VE's access rules, pure |
//! | `state` | the files of the state directory |
//! | `fault`, `clock` | what a control file makes go wrong, where; what time it is |
//! | `destroyed` | a log of what was destroyed or overwritten |
//! | `pvestatd` | the ten-second round that lists live from |
//! | `reboot` | a power cycle |
//! | `task`, `work` | tasks as processes, and what they do |
//! | [`volume`] | a storage's `images/` folder: volumes as directory trees, snapshots, owner side tables |
//! | [`archive`] | `vzdump-lxc-*.tar[.zst]`: write, read the config, unpack |
//! | [`runtime`] | a guest as a group of processes: start, stop, freeze, link |
//! | [`pct`] | the commands `pct exec`, `pct push` and `pvesm path` |

mod api;
pub mod archive;
mod cli;
mod clock;
mod daemon;
mod destroyed;
mod error;
mod fault;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
pub mod pct;
mod perm;
mod preset;
mod pvestatd;
mod reboot;
pub mod runtime;
mod serve;
mod state;
mod task;
pub mod volume;
mod work;

pub use cli::main;
