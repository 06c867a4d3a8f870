//! The executor as its users run it, against a simulated Proxmox host.

#![allow(clippy::unwrap_used, reason = "test helpers may panic; the lint spares test functions only")]

mod audit;
mod authorization;
mod backup_undo;
mod bench;
mod cancel;
mod carried;
mod clearing;
mod crash;
mod crash_signed;
mod customer;
mod cutover;
mod doctor;
mod glance;
mod golden;
mod guarded;
mod hostile;
mod install;
mod killed;
mod leftovers;
mod limits;
mod lxc;
mod matrix;
mod people;
mod progress;
mod prune;
mod random;
mod resolve;
mod rights;
mod rollback;
mod setup;
mod sim;
mod teardown;
mod trouble;
mod walk;
