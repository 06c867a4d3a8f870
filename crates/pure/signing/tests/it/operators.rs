//! The operators' file: what is refused in one, and how one version follows another.

use crate::keygen::signed_line;
use crate::sample::{ADA, ADA_TOO, BELA, STRANGER, VAULT, entries, entry, flipped, key, operators};
use felhom_signing::SignatureError;
use felhom_signing::operators::{
    OperatorKey, OperatorsError, OperatorsFile, Role, RotationError, SignedOperators, rotate,
};
use felhom_signing::sshsig::{self, Namespace, openssh_line};
use proptest::prelude::*;
use serde_json::{Value, json};

fn sign(keys: &[u8], bytes: &[u8]) -> Vec<String> {
    keys.iter().map(|n| sshsig::sign(&key(*n), Namespace::Operators, bytes).unwrap()).collect()
}

/// The next version: Bela left, Cili came, one name suffices.
fn next(version: u64) -> Vec<u8> {
    let keys = vec![entry("ada", Role::Operator, ADA), entry("cili", Role::Operator, STRANGER)];
    OperatorsFile::new(version, 1, keys).unwrap().to_text().unwrap().into_bytes()
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let file = operators();
    let text = file.to_text().unwrap();
    assert_eq!(OperatorsFile::parse(text.as_bytes()).unwrap(), file);
    assert_eq!((file.version(), file.rotation(), file.keys().len()), (3, 2, 4));
    assert_eq!(file.find(entry("x", Role::Operator, BELA).key()).unwrap().name(), "bela");
}

/// Up to the byte: what is written can be read again.
#[test]
fn a_file_may_have_64_kib_and_no_byte_more() {
    let with_comment = |n: usize| {
        let line = openssh_line(&key(ADA).public(), &"c".repeat(n)).unwrap();
        let file = OperatorsFile::new(1, 1, vec![OperatorKey::new("ada", Role::Operator, &line).unwrap()]);
        file.unwrap().to_text()
    };
    let room = 65_536 - with_comment(1).unwrap().len();
    let full = with_comment(1 + room).unwrap();
    assert_eq!(full.len(), 65_536);
    assert!(OperatorsFile::parse(full.as_bytes()).is_ok());
    assert_eq!(with_comment(2 + room), Err(OperatorsError::TooLong(65_537)));
    assert_eq!(OperatorsFile::parse(format!("{full} ").as_bytes()), Err(OperatorsError::TooLong(65_537)));
    assert_eq!([Role::Operator, Role::Recovery].map(|role| role.to_string()), ["operator", "recovery"]);
}

fn changed(change: impl FnOnce(&mut Value)) -> Result<OperatorsFile, OperatorsError> {
    let mut value: Value = serde_json::from_str(&operators().to_text().unwrap()).unwrap();
    change(&mut value);
    OperatorsFile::parse(value.to_string().as_bytes())
}

#[test]
fn what_breaks_a_rule_is_refused_by_name() {
    let malformed = |r| matches!(r, Err(OperatorsError::Malformed(_)));
    assert!(malformed(changed(|v| v["extra"] = 1.into())));
    assert!(malformed(changed(|v| v["thresholds"]["operations"] = 0.into())));
    assert!(malformed(changed(|v| v["keys"][0]["comment"] = "x".into())));
    assert!(malformed(changed(|v| v["keys"][0]["role"] = "root".into())));
    assert!(malformed(OperatorsFile::parse(b"{\"v\":1,\"v\":1}")));
    assert_eq!(changed(|v| v["v"] = 2.into()), Err(OperatorsError::OtherForm(2)));
    assert_eq!(changed(|v| v["version"] = 0.into()), Err(OperatorsError::Version(0)));
    assert_eq!(changed(|v| v["version"] = u64::MAX.into()), Err(OperatorsError::Version(u64::MAX)));
    for threshold in [0, 4] {
        let refused = changed(|v| v["thresholds"]["rotation"] = threshold.into());
        assert_eq!(refused, Err(OperatorsError::Threshold { threshold, names: 3 }));
    }
    for name in ["", "Ada", "ada ", "аda", "a\u{1b}[2J", &"a".repeat(65)] {
        let refused = changed(|v| v["keys"][0]["name"] = name.into());
        assert_eq!(refused, Err(OperatorsError::Name(name.to_owned())));
    }
    let recovery_only = OperatorsFile::new(1, 1, vec![entry("vault", Role::Recovery, VAULT)]);
    assert_eq!(recovery_only, Err(OperatorsError::NoOperator));
    assert_eq!(OperatorsFile::new(1, 1, vec![]), Err(OperatorsError::NoOperator));
    assert!(matches!(OperatorsFile::parse(&vec![b' '; 70_000]), Err(OperatorsError::TooLong(70_000))));
    let many = vec![entry("ada", Role::Operator, ADA); 65];
    assert_eq!(OperatorsFile::new(1, 1, many), Err(OperatorsError::TooManyKeys(65)));
}

#[test]
fn the_same_material_under_another_comment_or_name_is_the_same_key() {
    let line = openssh_line(&key(ADA).public(), "another comment").unwrap();
    let again = OperatorKey::new("dora", Role::Recovery, &line).unwrap();
    let refused = OperatorsFile::new(1, 1, [entries(), vec![again]].concat());
    let fingerprint = key(ADA).public().fingerprint();
    let (first, second) = ("ada".to_owned(), "dora".to_owned());
    assert_eq!(refused, Err(OperatorsError::TwiceTheKey { fingerprint, first, second }));
}

#[test]
fn only_keys_whose_signatures_can_count_are_taken() {
    for (kind, why) in [
        (&["-t", "rsa", "-b", "1024"][..], "rsa with 1024 bits"),
        (&["-t", "ecdsa", "-b", "521"], "ecdsa-sha2-nistp521"),
    ] {
        let (_, line) = signed_line(kind, "felhom-operators-v1", b"x");
        match OperatorKey::new("ada", Role::Operator, &line) {
            Err(OperatorsError::Key { source: SignatureError::KeyType(found), .. }) => assert_eq!(found, why),
            other => panic!("{other:?}"),
        }
    }
    let line = openssh_line(&key(ADA).public(), "x").unwrap();
    for bad in ["", "ssh-ed25519", &format!("{line}\n{line}"), &format!("cert-authority {line}")] {
        assert!(OperatorKey::new("ada", Role::Operator, bad).is_err(), "{bad}");
    }
}

#[test]
fn both_versions_have_to_sign() {
    let bytes = next(4);
    let missing = |keys: &[u8]| match rotate(&operators(), &bytes, &sign(keys, &bytes)) {
        Err(RotationError::Missing { of_current, of_next }) => {
            (of_current.signed.join(","), of_current.missing(), of_next.signed.join(","), of_next.missing())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(&[]), (String::new(), 2, String::new(), 1));
    assert_eq!(missing(&[ADA]), ("ada".to_owned(), 1, "ada".to_owned(), 0));
    assert_eq!(missing(&[ADA, ADA, ADA_TOO]), ("ada".to_owned(), 1, "ada".to_owned(), 0));
    assert_eq!(missing(&[BELA, VAULT]), ("bela,vault".to_owned(), 0, String::new(), 1));
    assert_eq!(missing(&[ADA, STRANGER]), ("ada".to_owned(), 1, "ada,cili".to_owned(), 0));
    let enough = rotate(&operators(), &bytes, &sign(&[ADA, VAULT], &bytes)).unwrap();
    assert_eq!(enough.get().version(), 4);
    let text = rotate(&operators(), &bytes, &sign(&[ADA], &bytes)).unwrap_err().to_string();
    assert!(text.contains("of version 3 signed ada, needed are 2 names"), "{text}");
}

#[test]
fn a_signature_that_does_not_count_is_named() {
    let bytes = next(4);
    let number = |signatures: &[String]| match rotate(&operators(), &bytes, signatures) {
        Err(RotationError::Signature { number, source }) => (number, source),
        other => panic!("{other:?}"),
    };
    let stranger = sign(&[ADA, VAULT, 77], &bytes);
    assert!(matches!(number(&stranger), (3, SignatureError::UnknownKey { .. })));
    let elsewhere = vec![sshsig::sign(&key(ADA), Namespace::Operation, &bytes).unwrap()];
    assert!(matches!(number(&elsewhere), (1, SignatureError::Namespace { .. })));
    assert_eq!(number(&sign(&[ADA], b"other bytes")), (1, SignatureError::Mismatch));
    let many = vec![sign(&[ADA], &bytes).remove(0); 129];
    assert_eq!(rotate(&operators(), &bytes, &many), Err(RotationError::TooManySignatures(129)));
    // One for each key of both files, and no more.
    let enough = [sign(&[ADA, VAULT], &bytes), many[..126].to_vec()].concat();
    assert!(rotate(&operators(), &bytes, &enough).is_ok());
}

#[test]
fn each_refusal_of_a_rotation_has_its_word() {
    let bytes = next(4);
    let code =
        |bytes: &[u8], signatures: &[String]| rotate(&operators(), bytes, signatures).unwrap_err().code();
    assert_eq!(code(b"{}", &[]), "operators_malformed");
    assert_eq!(code(&next(5), &[]), "not_next_version");
    assert_eq!(code(&bytes, &vec![String::new(); 129]), "too_many_signatures");
    assert_eq!(code(&bytes, &["nonsense".to_owned()]), "bad_signature");
    assert_eq!(code(&bytes, &sign(&[ADA], &bytes)), "signatures_missing");
    assert_eq!(SignedOperators::parse(b"{}").unwrap_err().code(), "bundle_malformed");
}

#[test]
fn a_bundle_travels_as_json() {
    let document = next(4);
    let bundle = SignedOperators { signatures: sign(&[ADA, VAULT], &document), document };
    let wire = serde_json::to_vec(&bundle).unwrap();
    let back = SignedOperators::parse(&wire).unwrap();
    assert_eq!(back, bundle);
    assert_eq!(back.rotate(&operators()).unwrap().get().version(), 4);
    assert!(SignedOperators::parse(b"{}").is_err());
    assert!(serde_json::from_value::<SignedOperators>(json!({ "document": "*", "signatures": [] })).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was signed by everybody: only the very next version follows.
    #[test]
    fn invariant_12_operators_versions_rise_one_step_at_a_time(version in prop_oneof![1_u64..8, any::<u64>()]) {
        prop_assume!(version != 0 && version != u64::MAX);
        let bytes = next(version);
        let outcome = rotate(&operators(), &bytes, &sign(&[ADA, BELA, VAULT, STRANGER], &bytes));
        if version == 4 {
            prop_assert_eq!(outcome.unwrap().get().version(), 4);
        } else {
            prop_assert_eq!(outcome, Err(RotationError::NotNext { current: 3, proposed: version }));
        }
    }

    #[test]
    fn invariant_12_a_torn_or_altered_file_does_not_follow(at: usize, length: prop::sample::Index) {
        let bytes = next(4);
        let signatures = sign(&[ADA, VAULT], &bytes);
        prop_assert!(rotate(&operators(), &flipped(&bytes, at), &signatures).is_err());
        prop_assert!(rotate(&operators(), &bytes[..length.index(bytes.len())], &signatures).is_err());
    }
}
