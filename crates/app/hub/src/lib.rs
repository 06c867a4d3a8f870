//! `felhom-hub`: stores intent, receives reports, shows both. It has no way into a box.
//!
//! ```text
//!  box ──signed sync──▶ sync/ ─┐                       ┌─ api/    ◀── felhom (CLI), bearer token
//!                              ├─▶ store/ (SQLite) ◀───┤
//!  operator ──set──▶ intent ───┘        │              └─ pages/  ◀── browser, session
//!                                facts, receipts, risk, plan (pure)
//! ```
//! | module | does |
//! |---|---|
//! | `setup` | `init`, `operator`: makes keys, certificate, database, operators |
//! | `wiring` | `serve`: builds everything once and hands it in |
//! | `sync` | enrolment and signed sync with the boxes |
//! | `api`, `pages` | the same facts for programs and for people, from `fleet` |
//! | `intent`, `plan` | desired state: generations, chain, signature; preview |
//! | `facts`, `receipts`, `risk`, `audit` | pure judgements |
//! | `store` | the database |
//!
//! **Architecture invariant:** liveness and risk are computed from the hub's own clock when somebody looks, never stored and
//! never taken from a box. **Architecture invariant:** no customer secret passes through here.

mod api;
mod audit;
mod challenges;
mod cli;
mod config;
mod facts;
mod files;
mod fleet;
mod hub;
mod identity;
mod intent;
mod pages;
mod plan;
mod random;
mod receipts;
mod risk;
mod setup;
mod store;
mod sync;
mod throttle;
mod wait;
mod waiting;
mod wiring;
mod words;

pub use cli::{Output, main};
pub use config::{Config, ConfigError};
pub use wiring::serve;
