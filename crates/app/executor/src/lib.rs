//! felhom-executor: the one program on the box that knows Proxmox and acts as root.
//!
//! ```text
//! socket ─▶ submit ─▶ observe ─▶ facts ─▶ gate ─▶ journal ─▶ operations (steps) ─▶ pve, host
//!             │                                     │              └─ judge: the gate again before each act
//!             └─ refusals, too, are journaled       └─ runner: forward, undo, resume
//! ```
//! * [`observe`]: Proxmox now, joined with [`ledger`] and journal; [`facts`]: what the gate wants to know of it; [`recent`]: guests
//!   for whoever only plans;
//! * [`submit`]: a request becomes an operation; [`driver`]: steps and gate for the journal's runner;
//! * [`operations`]: the steps; [`checks`]: the verdict of a restore test, pure; [`tend`]: the token after a host's reboot;
//! * [`authorization`]: what waits for people; [`notices`]: what customers are told of it, past hub and agent;
//! * [`serve`]: the program; [`server`], [`wire`]: the unix socket; [`wiring`]: where adapters are built;
//! * [`audit`]: what was asked for, answered and destroyed; [`rollback`]: a database that is older than that;
//! * [`setup`], [`doctor`], [`teardown`], [`install`], [`golden`]: commands of local root.
//!
//! **Architecture invariant:** nothing is destroyed but through `operations::destroy::Permit`, whose two ways are the gate's
//! own approvals.

pub mod audit;
pub mod audit_command;
pub mod authorization;
pub mod checks;
pub mod config;
pub mod doctor;
pub mod driver;
pub mod facts;
pub mod golden;
pub mod golden_record;
pub mod install;
pub mod keys;
pub mod ledger;
pub mod limits_command;
pub mod marks;
pub mod notices;
pub mod observe;
pub mod operations;
pub mod operators;
pub mod ops;
pub mod recent;
pub mod request;
pub mod rights;
pub mod rollback;
pub mod serve;
pub mod server;
pub mod services;
pub mod setup;
pub mod submit;
pub mod teardown;
pub mod tend;
pub mod vzdump_log;
pub mod wire;
pub mod wiring;
