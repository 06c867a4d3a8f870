//! What the fuzz targets in `fuzz/` call: readers of what comes from outside, with what must hold for every input. Not an
//! interface for anybody else.

use crate::challenge::Challenge;
use crate::consent::Veto;
use crate::operators::{OperatorsFile, SignedOperators};
use crate::sshsig::{self, Namespace};

/// Documents that are signed for a box.
///
/// # Panics
/// If bytes are two documents at once, or if what was read is not read again.
pub fn challenge(data: &[u8]) {
    let (challenge, veto) = (Challenge::read(data), Veto::read(data));
    assert!(challenge.is_err() || veto.is_err(), "both a challenge and a veto");
    if let Ok(veto) = veto {
        let again = veto.to_bytes().and_then(|bytes| Veto::read(&bytes));
        assert_eq!(again, Ok(veto));
    }
    if let Ok(mut challenge) = challenge {
        // A number with a fraction need not come back to its last digit.
        challenge.operation.params = serde_json::Value::Null;
        let again = serde_json::to_vec(&challenge).map(|bytes| Challenge::read(&bytes));
        assert_eq!(again.ok(), Some(Ok(challenge)));
    }
}

/// Armored signatures.
///
/// # Panics
/// If a signature counts for bytes that nobody signed.
pub fn sshsig(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(key) = sshsig::claimed_key(&text) else { return };
    let accepted = [key];
    for namespace in [Namespace::Operation, Namespace::Operators, Namespace::Confirmation] {
        assert!(sshsig::verify(&text, namespace, b"signed by nobody".to_vec(), &accepted).is_err());
        if let Ok((_, by)) = sshsig::verify(&text, namespace, b"challenge".to_vec(), &accepted) {
            assert_eq!(by.fingerprint, accepted[0].fingerprint());
        }
    }
}

/// Operators' files, and bundles.
///
/// # Panics
/// If what was read is not read again, or if a version follows that nobody signed.
pub fn operators(data: &[u8]) {
    if let Ok(file) = OperatorsFile::parse(data) {
        assert!(crate::operators::rotate(&file, data, &[]).is_err());
        if let Ok(text) = file.to_text() {
            assert_eq!(OperatorsFile::parse(text.as_bytes()), Ok(file.clone()));
        }
        let _ = crate::operators::examine(&file, data, &[]);
    }
    if let Ok(bundle) = SignedOperators::parse(data)
        && let Ok(file) = OperatorsFile::parse(&bundle.document)
    {
        assert!(bundle.rotate(&file).is_err(), "a version follows itself");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| fs::read(file).unwrap()).collect()
    }

    #[test]
    fn the_seeds_are_what_they_are_called() {
        assert!(seeds("challenge").iter().any(|seed| Challenge::read(seed).is_ok()));
        assert!(seeds("challenge").iter().any(|seed| Veto::read(seed).is_ok()));
        assert!(seeds("operators").iter().any(|seed| OperatorsFile::parse(seed).is_ok()));
        assert!(seeds("operators").iter().any(|seed| SignedOperators::parse(seed).is_ok()));
        for seed in seeds("sshsig") {
            let armored = String::from_utf8(seed).unwrap();
            let key = sshsig::claimed_key(&armored).unwrap();
            let by = sshsig::verify(&armored, Namespace::Operation, b"challenge".to_vec(), &[key]);
            assert!(by.is_ok(), "{armored}");
        }
    }

    proptest! {
        /// A short form of the fuzz targets for every test run.
        #[test]
        fn what_is_near_the_seeds_holds(at: prop::sample::Index, put in prop::collection::vec(any::<u8>(), 0..3), cut in 0_usize..4) {
            for (target, run) in [("challenge", challenge as fn(&[u8])), ("sshsig", sshsig), ("operators", operators)] {
                for mut seed in seeds(target) {
                    let at = at.index(seed.len());
                    let end = (at + cut).min(seed.len());
                    seed.splice(at..end, put.iter().copied());
                    run(&seed);
                }
            }
        }
    }
}
