//! What an app is: its compose file and its `felhom.yaml`, read and checked against each other.
//!
//! 1. [`yaml`] reads a file into a tree and remembers where a value stands, so that each refusal names file, service and key.
//! 2. [`compose`] and [`service`] take the keys they know out of the tree; a key they do not know is an error.
//! 3. [`manifest`] reads `felhom.yaml` (schema `felhom.app/v1`).
//! 4. [`catalogue`] reads both for each app of the guest and checks that they fit together.

pub mod catalogue;
pub mod compose;
pub mod manifest;
pub mod service;
pub mod values;
pub mod yaml;

pub use catalogue::{App, Catalogue};
pub use compose::Compose;
pub use manifest::{Consistency, Manifest};
pub use service::Service;
pub use yaml::AppError;
