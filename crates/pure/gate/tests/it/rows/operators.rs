//! New operators, and the way out of an operation that stands.

use super::*;

fn rotation(bend: impl FnOnce(&mut RotationFacts)) -> Facts {
    let mut seen = rotation_facts();
    bend(&mut seen);
    about(Concerning::Rotation(seen))
}

fn rotate(version: u64) -> Operation {
    Operation::RotateOperators(RotateOperators { version, document: Digest::of(b"operators") })
}

#[test]
fn rotation_objections() {
    assert_eq!(code(&rotate(2), &rotation(|_| ())), "in_grace");
    only_with_its_facts(&rotate(2), &rotation(|_| ()));
    let signed = [operator("ada"), operator("bob"), operator("cleo")];
    for (wanted, version, facts) in [
        ("other_document", 2, rotation(|seen| seen.document = Digest::of(b"others"))),
        ("other_document", 3, rotation(|_| ())),
        ("not_the_next_version", 3, rotation(|seen| seen.version = 3)),
        ("not_the_next_version", 1, rotation(|seen| seen.version = 1)),
        ("not_the_next_version", 0, rotation(|seen| (seen.current, seen.version) = (u64::MAX, 0))),
        ("not_signed_by_both", 2, rotation(|seen| seen.signed = false)),
    ] {
        assert_eq!(code(&rotate(version), &facts), wanted);
        assert_eq!(asked_with(&rotate(version), &facts, &signed), wanted);
    }
}

#[test]
fn a_rotation_waits_for_its_grace_and_no_signature_shortens_it() {
    let mut facts = rotation(|_| ());
    let week = 7 * 24 * 3600;
    for (waited, wanted) in [(0, "in_grace"), (week - 1, "in_grace"), (week, "consented")] {
        facts.authorization.waited_s = waited;
        assert_eq!(code(&rotate(2), &facts), wanted);
        assert_eq!(asked_with(&rotate(2), &facts, &[operator("ada"), customer(1)]), wanted);
    }
    facts.authorization.vetoed_by = Some("cleo".into());
    assert_eq!(code(&rotate(2), &facts), "vetoed");
}

#[test]
fn resolve_takes_an_offered_way_with_one_operator() {
    let ask = Operation::ResolveOperation(Resolve { operation: op(7), way: WayOut::RollBack });
    let offered = |offered: &[WayOut]| {
        about(Concerning::Resolve(ResolveFacts {
            offered: offered.to_vec(),
            what: Some("restore_test of family".to_owned()),
            reason: Some("it is protected".to_owned()),
            guest: Some(uuid(1)),
        }))
    };
    let good = offered(&[WayOut::Retry, WayOut::RollBack]);
    assert_eq!(needs(&ask, &good), [(1, vec![])]);
    assert_eq!(asked_with(&ask, &good, &[customer(1)]), "needs_authorization");
    let Verdict::NeedsAuthorization(_, evidence) = decide(&ask, &good, &[]) else { panic!() };
    assert_eq!(evidence.get("guest"), Some(uuid(1).to_string().as_str()));
    assert_eq!(code(&ask, &offered(&[])), "not_offered");
    let other = refusal(&ask, &offered(&[WayOut::Retry, WayOut::Accept]));
    assert_eq!((other.code, other.evidence.get("offered")), ("not_offered", Some("retry accept")));
    only_with_its_facts(&ask, &good);
}

#[test]
fn a_tunnel_changes_back_and_forth() {
    assert_eq!(code(&Operation::ChangeTunnel, &facts()), "reversible");
}
