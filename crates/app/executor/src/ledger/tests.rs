use super::*;
use felhom_model::observed::Purpose;
use felhom_model::{GuestUuid, OperationId, Vmid};
use guests::GuestDetail;
use jiff::Timestamp;

fn ledger(dir: &tempfile::TempDir) -> Ledger {
    let store = Arc::new(SqliteStore::open(&dir.path().join("executor.db")).unwrap());
    let journal = Arc::new(Journal::open(store.clone(), Timestamp::now).unwrap());
    Ledger::open(store, journal).unwrap()
}

fn guest(n: u8, purpose: Purpose) -> GuestRow {
    GuestRow {
        uuid: GuestUuid::from_random([n; 16]),
        purpose,
        vmid: Vmid::try_from(2000 + u32::from(n)).unwrap(),
        state: RowState::Making,
        made_by: OperationId::from_parts(u64::from(n), 1),
        detail: GuestDetail { token: Some("secret-token".to_owned()), ..GuestDetail::empty() },
    }
}

#[test]
fn rows_are_recorded_once_and_changed_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(&dir);
    let row = guest(1, Purpose::Tenant);
    ledger.record_guest(&row).unwrap();
    ledger.record_guest(&GuestRow { state: RowState::Gone, ..row.clone() }).unwrap();
    assert_eq!(ledger.guest(row.uuid).unwrap(), Some(row.clone()));
    ledger.change_guest(row.uuid, |g| g.state = RowState::Present).unwrap();
    assert_eq!(ledger.guests().unwrap()[0].state, RowState::Present);
    assert!(!format!("{row:?}").contains("secret-token"), "a token never shows itself");
}

#[test]
fn nothing_becomes_scratch_later_and_rows_stay() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(&dir);
    ledger.record_guest(&guest(1, Purpose::Tenant)).unwrap();
    for sql in
        ["UPDATE guest SET purpose = 'scratch'", "UPDATE guest SET purpose = 'copy'", "DELETE FROM guest"]
    {
        assert!(ledger.store.transact("test", |tx| tx.execute(sql, [])).is_err(), "{sql}");
    }
}

#[test]
fn an_archive_is_noted_before_it_is_made_and_its_row_goes_when_it_is_taken_back() {
    use felhom_model::backup::Consistency;
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(&dir);
    let intent = |n: u64| felhom_gate::ArchiveIntent {
        operation: OperationId::from_parts(n, 1),
        guest: GuestUuid::from_random([1; 16]),
        vmid: Vmid::try_from(2000).unwrap(),
        target: "local".parse().unwrap(),
    };
    for n in [1, 2] {
        ledger.archive_is_made(&intent(n)).unwrap();
        ledger.archive_is_made(&intent(n)).unwrap();
        assert_eq!(ledger.archive_intent(intent(n).operation).unwrap(), Some(intent(n)));
        let digest = felhom_model::Digest::of(b"x");
        let detail = ArchiveDetail {
            operation: intent(n).operation,
            target: intent(n).target,
            bytes: 1,
            unpacked_bytes: None,
            digest,
            config_digest: digest,
            consistency: Consistency::CrashConsistent,
            proven: None,
        };
        let volid = format!("local:backup/{n}.tar.zst").parse().unwrap();
        let row = ArchiveRow { volid, guest: intent(n).guest, taken_at: Timestamp::UNIX_EPOCH, detail };
        ledger.record_archive(&row).unwrap();
    }
    ledger.archive_undone(intent(1).operation).unwrap();
    ledger.archive_undone(intent(1).operation).unwrap();
    assert_eq!(ledger.archive_intent(intent(1).operation).unwrap(), None);
    assert_eq!(ledger.archive_intent(intent(2).operation).unwrap(), Some(intent(2)));
    let left: Vec<_> = ledger.archives().unwrap().into_iter().map(|row| row.detail.operation).collect();
    assert_eq!(left, [intent(2).operation], "the other operation's row stays");
    let delete = ledger.store.transact("test", |tx| tx.execute("DELETE FROM archive_making", []));
    assert!(delete.is_err(), "rows of the ledger stay");
}

#[test]
fn settings_and_freezes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(&dir);
    assert_eq!(ledger.setting::<String>("x").unwrap(), None);
    ledger.set_setting("x", &"1").unwrap();
    ledger.set_setting("x", &"2").unwrap();
    assert_eq!(ledger.setting::<String>("x").unwrap().as_deref(), Some("2"));
    let (operation, at) = (OperationId::from_parts(1, 1), Timestamp::UNIX_EPOCH);
    let thawed = felhom_protocol::local_api::Thawed { downtime_ms: 7, apps: vec![], held: true };
    let later = felhom_protocol::local_api::Thawed { downtime_ms: 9, apps: vec![], held: true };
    ledger.record_freeze(operation, FreezeRow { frozen: None, thawed: Some((thawed.clone(), at)) }).unwrap();
    ledger.record_freeze(operation, FreezeRow { frozen: None, thawed: Some((later, at)) }).unwrap();
    assert_eq!(ledger.freeze(operation).unwrap().thawed, Some((thawed, at)), "the first word stands");
}

#[test]
fn the_audit_log_is_only_appended_to_and_a_customers_part_holds_the_other_containers_too() {
    use crate::audit::{Kind, Record};
    use felhom_signing::audit::{Chain, ChainError, Head, verify};
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(&dir);
    let (tenant, mut copy, mut tombstone) =
        (guest(1, Purpose::Tenant), guest(2, Purpose::Copy), guest(3, Purpose::Tombstone));
    copy.detail.restored_from = Some(tenant.uuid);
    tombstone.detail.succeeded_by = Some(tenant.uuid);
    for row in [&tenant, &copy, &tombstone, &guest(4, Purpose::Tenant)] {
        ledger.record_guest(row).unwrap();
    }
    let at = Timestamp::UNIX_EPOCH;
    for n in [1, 2, 3, 4, 9] {
        let uuid = Some(GuestUuid::from_random([n; 16]));
        let record = Record::new(Kind::Destroying, serde_json::json!({ "guest": uuid }));
        ledger.audit(at, &record.of(OperationId::from_parts(1, 1), uuid)).unwrap();
    }
    ledger.audit(at, &Record::new(Kind::BoxForgotten, serde_json::Value::Null).by("local root")).unwrap();
    let key = felhom_signing::Key::from_seed(&[1; 32]);
    let read = |guest: Option<GuestUuid>| {
        let read = ledger.audit_after(0, guest).unwrap();
        let head = Head::open(read.head.sign(&key).unwrap(), &key.public()).unwrap();
        let bytes: Vec<Vec<u8>> = read.entries.into_iter().map(|(_, bytes)| bytes).collect();
        verify(&bytes, &head, guest.map_or(Chain::Whole, Chain::Guest))
    };
    assert_eq!(read(None).unwrap().len(), 6);
    let numbers = |n: u8| -> Vec<u64> {
        read(Some(GuestUuid::from_random([n; 16]))).unwrap().iter().map(|entry| entry.seq).collect()
    };
    assert_eq!((numbers(1), numbers(4)), (vec![1, 2, 3], vec![4]));
    assert_eq!((numbers(2), numbers(9)), (vec![], vec![]), "a uuid that is no guest of this box has no log");
    for sql in [
        "UPDATE audit SET entry = x'00' WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 6",
        "INSERT INTO audit (seq, hash, entry) VALUES (8, 'x', x'00')",
        "INSERT OR REPLACE INTO audit (seq, hash, entry) VALUES (6, 'x', x'00')",
    ] {
        assert!(ledger.store.transact("test", |tx| tx.execute(sql, [])).is_err(), "{sql}");
    }
    // Who has the file can take the triggers away; what he changes then does not fit the head that others keep.
    let altered =
        "UPDATE audit SET entry = CAST(replace(CAST(entry AS TEXT), 'root', 'moon') AS BLOB) WHERE seq = 6";
    ledger.store.transact("test", |tx| tx.execute_batch("DROP TRIGGER audit_is_append_only_u")).unwrap();
    ledger.store.transact("test", |tx| tx.execute(altered, []).map(drop)).unwrap();
    assert_eq!(read(None), Err(ChainError::Altered { seq: 6 }));
}

#[test]
fn a_notice_is_told_once_and_acknowledged_only_after_that() {
    use felhom_model::OperationKind;
    use felhom_protocol::notices::{Notice, NoticeStage};
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(&dir);
    let (tenant, about) = (GuestUuid::from_random([1; 16]), GuestUuid::from_random([2; 16]));
    let notice = |stage, second| Notice {
        operation: OperationId::from_parts(1, 1),
        kind: OperationKind::ReclaimGuest,
        stage,
        about,
        label: "family".to_owned(),
        asked_by: "local".to_owned(),
        reason: String::new(),
        grace_s: 0,
        at: Timestamp::from_second(second).unwrap(),
    };
    let (first, grace, again) =
        (notice(NoticeStage::Consent, 1), notice(NoticeStage::Grace, 2), notice(NoticeStage::Consent, 3));
    ledger.record_notice(tenant, &first).unwrap();
    ledger.record_notice(tenant, &notice(NoticeStage::Consent, 9)).unwrap();
    ledger.notice_acknowledged(tenant, first.acknowledged(), 5).unwrap();
    let row = |ledger: &Ledger| ledger.newest_notices().unwrap().pop().unwrap();
    assert_eq!(row(&ledger).notice, first, "the same stage is kept once");
    assert_eq!(row(&ledger).acknowledged_s, None, "it was not told yet");
    for ran_s in [10, 20] {
        ledger.notices_told(tenant, std::slice::from_ref(&first), ran_s).unwrap();
        ledger.notice_acknowledged(tenant, first.acknowledged(), ran_s + 1).unwrap();
    }
    assert_eq!((row(&ledger).told_s, row(&ledger).acknowledged_s), (Some(10), Some(11)));
    ledger.record_notice(tenant, &grace).unwrap();
    ledger.record_notice(tenant, &again).unwrap();
    assert_eq!(ledger.newest_notices().unwrap().len(), 1, "only the newest one is shown");
    ledger.notices_told(tenant, std::slice::from_ref(&again), 30).unwrap();
    ledger.notice_acknowledged(tenant, first.acknowledged(), 31).unwrap();
    assert_eq!(
        (row(&ledger).notice, row(&ledger).acknowledged_s),
        (again, None),
        "back at a stage: told anew"
    );
    let about = ledger.notices_about(OperationKind::ReclaimGuest, about).unwrap();
    assert_eq!(about.iter().map(|row| row.told_s).collect::<Vec<_>>(), [Some(10), None, Some(30)]);
    assert!(ledger.store.transact("test", |tx| tx.execute("DELETE FROM notice", [])).is_err());
}
