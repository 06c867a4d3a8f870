//! The agent as a process, between a hub and an executor that speak the real protocols over real sockets.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod agent;
mod audit;
mod consents;
mod enroll;
mod executor;
mod guests;
mod hostile_guest;
mod hub;
mod jobs;
mod link;
mod messages;
mod people;
mod reconcile;
