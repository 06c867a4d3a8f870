//! The operator's key, and the guests' one, which every simulated guest has.

use felhom_signing::Key;
use felhom_signing::operators::{OperatorKey, OperatorsFile, Role};
use felhom_signing::sshsig::{Namespace, openssh_line, sign};

fn operator() -> Key {
    Key::from_seed(&[7; 32])
}

/// Signs golden archives.
pub(crate) fn release() -> Key {
    Key::from_seed(&[5; 32])
}

/// The key of each guest.
pub(crate) fn guest() -> Key {
    Key::from_seed(&[9; 32])
}

/// The operators' file of the box.
pub(crate) fn operators_file() -> Vec<u8> {
    let line = openssh_line(&operator().public(), "ada").unwrap();
    let key = OperatorKey::new("ada", Role::Operator, &line).unwrap();
    OperatorsFile::new(1, 1, vec![key]).unwrap().to_text().unwrap().into_bytes()
}

/// The operator's signature over a challenge.
pub(crate) fn consent(challenge: &[u8]) -> String {
    sign(&operator(), Namespace::Operation, challenge).unwrap()
}
