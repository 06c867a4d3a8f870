//! Backup keys and the recovery code.

use super::*;

fn with(bend: impl FnOnce(&mut KeyFacts, &mut Facts)) -> Facts {
    let (mut key, mut facts) = (key_facts(), facts());
    bend(&mut key, &mut facts);
    facts.concerning = Concerning::Key(key);
    facts
}

#[test]
fn rotate_at_most_weekly_and_after_a_failed_test() {
    let ask = Operation::RotateBackupKey(uuid(1));
    let week = 7 * 24 * 3600;
    let rotated =
        |ago: i64| with(|key, facts| key.rotated_at = Some(facts.now - SignedDuration::from_secs(ago)));
    assert_eq!(code(&ask, &with(|_, _| ())), "keeps_old_keys");
    assert_eq!(code(&ask, &rotated(0)), "too_soon");
    assert_eq!(code(&ask, &rotated(week - 1)), "too_soon");
    assert_eq!(code(&ask, &rotated(week)), "keeps_old_keys");
    // A clock that went back stops no rotation.
    assert_eq!(code(&ask, &rotated(-1)), "keeps_old_keys");
    let failed = with(|key, facts| (key.rotated_at, key.failed_since) = (Some(facts.now), true));
    assert_eq!(code(&ask, &failed), "keeps_old_keys");
    objects_to_a_bad_guest(&ask, &with(|_, _| ()));
    only_for(&ask, &with(|_, _| ()), &[Purpose::Tenant], "not_a_tenant");
    only_with_its_facts(&ask, &with(|_, _| ()));
}

#[test]
fn a_key_whose_envelope_nobody_read_back_is_not_used() {
    let ask = Operation::RotateBackupKey(uuid(1));
    let at_stage = |stage, envelope| {
        code(&ask, &with(|key, facts| (facts.stage, key.envelope_read_back) = (stage, envelope)))
    };
    assert_eq!(at_stage(Stage::BeforeAct, Seen::Is(false)), "envelope_not_read_back");
    assert_eq!(at_stage(Stage::BeforeAct, Seen::NotYet), "fact_not_observed");
    assert_eq!(at_stage(Stage::Begin, Seen::NotYet), "keeps_old_keys");
    assert_eq!(at_stage(Stage::Resume, Seen::NotYet), "keeps_old_keys");
    assert_eq!(at_stage(Stage::Begin, Seen::Is(false)), "envelope_not_read_back");
}

#[test]
fn forget_only_what_opens_nothing() {
    let ask = Operation::ForgetKey(ForgetKey { guest: uuid(1), key: Digest::of(b"key") });
    let good = with(|_, _| ());
    assert_eq!(needs(&ask, &good), [(2, vec![uuid(1)])]);
    let everybody = [operator("ada"), operator("bob"), customer(1)];
    let used = with(|key, _| key.backups_under_it = 1);
    assert_eq!(asked_with(&ask, &used, &everybody), "backups_under_key");
    assert_eq!(refusal(&ask, &used).evidence.get("backups"), Some("1"));
    let waited = |waited_s| with(|_, facts| facts.authorization.waited_s = waited_s);
    assert_eq!(asked_with(&ask, &waited(7 * 24 * 3600 - 1), &everybody), "in_grace");
    assert_eq!(asked_with(&ask, &waited(7 * 24 * 3600), &everybody), "consented");
    objects_to_a_bad_guest(&ask, &good);
    only_for(&ask, &good, &[Purpose::Tenant, Purpose::Tombstone], "not_a_tenant");
    only_with_its_facts(&ask, &good);
}

#[test]
fn replace_recovery_code_is_the_customers_alone() {
    let ask = Operation::ReplaceRecoveryCode(uuid(1));
    assert_eq!(needs(&ask, &facts()), [(0, vec![uuid(1)])]);
    let operators = [operator("ada"), operator("bob"), operator("cleo"), customer(2)];
    assert_eq!(asked_with(&ask, &facts(), &operators), "needs_authorization");
    objects_to_a_bad_guest(&ask, &facts());
    only_for(&ask, &facts(), &[Purpose::Tenant], "not_a_tenant");
}
