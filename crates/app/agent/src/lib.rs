//! `felhom-agent`: the box's mind without hands. It talks with hub and guests, plans, and asks the executor.
//!
//! ```text
//!   hub ──signed sync──▶ hub_link ──▶ store (desired state, jobs) ──▶ pass ──▶ executor's socket
//!   guests ──local API──▶ local_api ──▶ backups ────────────────────▶ ↗  ▲
//!                                          executor's events ──▶ events ──┘ (wake only)
//! ```
//! | module | holds |
//! |---|---|
//! | `hub_link`, `desired`, `report` | sync, which documents are accepted, what is told |
//! | `pass`, `ask`, `jobs`, `named`, `backups` | one pass: observe, plan, ask, note |
//! | `messages` | what people say to the executor, carried and not read |
//! | `local_api` | what guests may call |
//! | `store` | everything that must survive a kill |
//! | `observed`, `events`, `shared` | the executor's view, its wake-ups, what tasks share |
//! | `cli`, `command`, `wiring` | the command line; [`Agent`]: built once, served, or led round by round |
//!
//! **Architecture invariant:** no privilege, no key of a customer, no knowledge of Proxmox; whatever is asked for here,
//! the executor's gate decides.

mod ask;
mod backups;
mod cli;
mod command;
mod config;
mod desired;
mod events;
mod files;
mod hub_link;
mod identity;
mod jobs;
mod local_api;
mod messages;
mod named;
mod observed;
mod pass;
mod report;
mod shared;
mod store;
mod wiring;

pub use cli::main;
pub use config::{Config, ConfigError};
pub use wiring::Agent;
