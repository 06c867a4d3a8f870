//! A small store of notes and photos over HTTP: the application that tests and the demo run inside a guest.
//!
//! It behaves like a real self-hosted app where that matters to backups: notes live in an SQLite database in WAL mode,
//! files in a directory, and whatever was answered with success is on the disk (fsync) before the answer. It knows
//! nothing of the programs that run it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /health` | `{"ok":true}`; header `x-health-nonce` is the value of `HEALTH_NONCE`, if set |
//! | `POST /notes` `{"text":"…"}` | 201, the note with its id |
//! | `GET /notes` | all notes, oldest first |
//! | `PUT /files/NAME` | 201 with `{name, bytes, sha256}` |
//! | `GET /files/NAME`, `GET /files` | the bytes; the list with size and SHA-256 |
//! | `GET /` | a page for people |

pub mod files;
pub mod http;
pub mod notes;

use std::{net::SocketAddr, path::PathBuf};

/// What the app takes from its environment.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen: `HOST` (default `0.0.0.0`) and `PORT` (default 8080).
    pub listen: SocketAddr,
    /// `DATA_DIR`, default `data` below the working directory.
    pub data_dir: PathBuf,
    /// `HEALTH_NONCE`: proves which instance answers a health check.
    pub health_nonce: Option<String>,
}

impl Settings {
    /// Reads the settings through `var`, so that tests need not change the environment.
    ///
    /// # Errors
    /// Names the variable whose value cannot be used.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let host = var("HOST").unwrap_or_else(|| "0.0.0.0".into());
        let port = var("PORT").unwrap_or_else(|| "8080".into());
        Ok(Self {
            listen: format!("{host}:{port}")
                .parse()
                .map_err(|e| anyhow::anyhow!("HOST `{host}` and PORT `{port}` are no address: {e}"))?,
            data_dir: var("DATA_DIR").unwrap_or_else(|| "data".into()).into(),
            health_nonce: var("HEALTH_NONCE").filter(|nonce| !nonce.is_empty()),
        })
    }
}

/// Serves until SIGTERM or SIGINT, then finishes open requests (at most 5 s) and closes the database.
///
/// # Errors
/// When the data directory, the database or the address cannot be used.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(http::serve(settings))
}
