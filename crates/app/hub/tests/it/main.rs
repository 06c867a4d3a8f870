//! The hub as its users meet it: the real process over TLS, the operators' API, boxes that sign.

#![allow(clippy::unwrap_used, reason = "all of this is tests")]

mod api;
mod audit;
mod challenges;
mod contract;
mod crash;
mod enrol;
mod openapi;
mod pages;
mod sample;
mod setup;
mod support;
mod sync;
