//! `felhom-controller`: runs inside a guest, runs its apps, makes them stand still for a backup, and tells the truth.
//!
//! ```text
//!  bootstrap, token ──▶ link ──heartbeat, backup──▶ agent's local API
//!                        │
//!          app files ──▶ engine ──▶ services (processes of their own sessions)
//!                        │
//!                        └ quiesce: dumps · lease · freeze · sample · thaw
//!  pct exec ──▶ probe, read, public-key, answers
//!  browser ──▶ web (status, /api/status; the customer's say) ──▶ customer ──▶ link, answers
//! ```
//!
//! **Architecture invariant:** it knows nothing of Proxmox, and of its surroundings only the paths and addresses that it
//! is given as options.
//!
//! **Architecture invariant:** nothing is frozen before something that does not depend on this process is bound to thaw
//! it ([`quiesce::lease`]).
//!
//! **Architecture invariant:** apps do not depend on this process: when it is killed they go on, and it finds them again.

pub mod app;
pub mod config;
pub mod customer;
pub mod engine;
pub mod files;
pub mod identity;
pub mod link;
pub mod paths;
pub mod probe;
pub mod quiesce;
pub mod read;
pub mod runtime;
pub mod serve;
pub mod state;
pub mod web;
pub mod wiring;

/// 128 random bits in hexadecimal.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn random_hex() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(hex::encode(bytes))
}
