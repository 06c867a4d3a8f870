//! Signatures of the stock tools, and of a security key made of software.
#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception for tests does not reach helpers of integration tests"
)]

mod audit;
mod consent;
mod customer;
mod keygen;
mod operators;
mod sample;
mod security_key;
mod veto;
