//! The hub as its users meet it: the real process over TLS, the operators' API, boxes that sign.

mod api;
mod crash;
mod enrol;
mod setup;
mod support;
mod sync;
