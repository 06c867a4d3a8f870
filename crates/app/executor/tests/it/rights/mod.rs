//! Least privilege, proven: every operation with exactly the roles of `setup`, then with each privilege taken away in turn;
//! what an archive's configuration and the host's settings may hold; and which operation needs which root act.
//!
//! The tables of `docs/operator/rights.md` are compared with what is measured here. `FELHOM_WRITE_RIGHTS=1` writes them.

mod archives;
mod host_settings;
mod midway;
mod operations;
mod root_acts;
mod sweep;
mod table;
mod world;
