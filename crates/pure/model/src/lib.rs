//! The words of Felhom as types: identities, operations, desired state, observed state, backups.
//!
//! Everything here is plain data, parsed at the edge. There is no I/O, no clock and no randomness: whoever needs a new
//! identity passes the random bytes in. Aggregates are not serialised; the wire types live in `felhom-protocol`.
//! Identities and the names of operations are the same text everywhere, so those do implement `serde`.

pub mod backup;
pub mod desired;
pub mod id;
pub mod observed;
pub mod operation;

pub use id::{
    AppName, BoxId, Digest, DurableId, Generation, GuestName, GuestUuid, JobId, MessageId, OperationId,
    StorageId, Vmid, Volid,
};
pub use operation::{Operation, OperationKind, OperationState};
