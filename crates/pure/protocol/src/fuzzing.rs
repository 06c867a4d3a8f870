//! What the fuzz targets in `fuzz/` call: readers of what a hub or an agent sends, with what must hold for every input. Not an
//! interface for anybody else.

use felhom_model::Operation;
use serde_json::{Value, json};

use crate::desired::{Document, Spec};
use crate::executor::{OperationRequest, params, parse};

/// A request for an operation.
///
/// # Panics
/// If what was read is of another kind, is not read again, or says nothing of a field that it does not know.
pub fn request(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<OperationRequest>(data) else { return };
    let Ok(operation) = parse(&request.kind, &request.params) else { return };
    assert_eq!(operation.kind().name(), request.kind);
    let text = serde_json::to_vec(&request).map(|bytes| serde_json::from_slice::<OperationRequest>(&bytes));
    assert!(matches!(text, Ok(Ok(again)) if again == request));
    let mut more = request.params.clone();
    if let Value::Object(fields) = &mut more {
        fields.insert("force".to_owned(), json!(true));
        assert!(parse(&request.kind, &more).is_err(), "an unknown field was passed over");
    }
    if plannable(&operation) {
        assert_eq!(parse(&request.kind, &params(&operation)).ok(), Some(operation));
    }
}

/// Whether a plan can hold it, so that its wire form is written as well as read.
fn plannable(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::ProvisionGuest(_)
            | Operation::StartGuest(_)
            | Operation::StopGuest(_)
            | Operation::ConfigureGuest(_)
            | Operation::BackupGuest(_)
            | Operation::RestoreTest(_)
    )
}

/// Desired state: a person's TOML, and the document that a hub signed.
///
/// # Panics
/// If what was read into the domain comes back as something else.
pub fn desired(data: &[u8]) {
    let written = std::str::from_utf8(data).ok().and_then(|text| toml::from_str::<Spec>(text).ok());
    let sent = serde_json::from_slice::<Document>(data).ok();
    if let Some(document) = &sent {
        let again = serde_json::to_vec(document).map(|bytes| serde_json::from_slice::<Document>(&bytes));
        assert!(matches!(again, Ok(Ok(again)) if again == *document));
    }
    for spec in written.into_iter().chain(sent.map(|document| document.spec)) {
        if let Ok(state) = spec.to_model() {
            assert_eq!(Spec::from(&state).to_model(), Ok(state));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each seed of a target is read, so that a run begins behind the door.
    #[test]
    fn the_seeds_are_read() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
        let (mut requests, mut documents) = (0, 0);
        for entry in std::fs::read_dir(folder.join("request")).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let request: OperationRequest = serde_json::from_slice(&bytes).unwrap();
            parse(&request.kind, &request.params).unwrap();
            super::request(&bytes);
            requests += 1;
        }
        for entry in std::fs::read_dir(folder.join("desired")).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let text = std::str::from_utf8(&bytes).unwrap();
            let read = toml::from_str::<Spec>(text).is_ok() || serde_json::from_str::<Document>(text).is_ok();
            assert!(read, "{text}");
            desired(&bytes);
            documents += 1;
        }
        assert!(requests >= 8 && documents >= 3, "{requests} {documents}");
    }
}
