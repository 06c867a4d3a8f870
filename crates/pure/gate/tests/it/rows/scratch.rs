//! What a restore made goes again, and nothing else.

use super::*;

#[test]
fn destroy_scratch() {
    let ask = Operation::DestroyScratch(uuid(1));
    let volume = volid("local:2900/vm-2900-disk-0.raw");
    let own = DestroyFacts { referenced: vec![volume.clone()], made: vec![volume] };
    let mut facts = facts();
    facts.observed.guests[0] = guest(1, 2900, Purpose::Scratch);
    facts.concerning = Concerning::Destroy(own.clone());
    assert_eq!(code(&ask, &facts), "scratch");
    type Bend<'a> = &'a dyn Fn(&mut ObservedGuest);
    let bent: [(&str, Bend<'_>); 5] = [
        ("not_scratch", &|guest| guest.purpose = Purpose::Copy),
        ("provenance_not_proven", &|guest| guest.provenance = Provenance::RowOnly),
        ("vmid_out_of_range", &|guest| guest.vmid = vmid(2000)),
        ("protected", &|guest| guest.protection = true),
        ("guest_missing", &|guest| guest.power = Power::Missing),
    ];
    for (wanted, bend) in bent {
        let mut facts = facts.clone();
        bend(&mut facts.observed.guests[0]);
        assert_eq!(code(&ask, &facts), wanted);
    }
    let mut moved = own;
    moved.referenced.push(volid("local:2000/vm-2000-disk-1.raw"));
    facts.concerning = Concerning::Destroy(moved);
    assert_eq!(code(&ask, &facts), "foreign_volume");
    assert_eq!(refusal(&Operation::DestroyScratch(uuid(9)), &facts).code, "unknown_guest");
}

#[test]
fn the_rest_of_destroy_scratch() {
    let ask = Operation::DestroyScratch(uuid(1));
    let mut good = about(Concerning::Destroy(volumes()));
    good.observed.guests[0] = guest(1, 2900, Purpose::Scratch);
    objects_to_a_bad_guest(&ask, &good);
    only_for(&ask, &good, &[Purpose::Scratch], "not_scratch");
    only_with_its_facts(&ask, &good);
    for (id, wanted) in
        [(2899, "vmid_out_of_range"), (2900, "scratch"), (2999, "scratch"), (3000, "vmid_out_of_range")]
    {
        good.observed.guests[0].vmid = vmid(id);
        assert_eq!(code(&ask, &good), wanted);
    }
}

#[test]
fn discard_restored_copy() {
    let ask = Operation::DiscardRestoredCopy(uuid(1));
    let with = |bend: &dyn Fn(&mut DestroyFacts, &mut bool, &mut ObservedGuest)| {
        let (mut volumes, mut served, mut facts) = (volumes(), false, facts());
        facts.observed.guests[0] = guest(1, 2800, Purpose::Copy);
        bend(&mut volumes, &mut served, &mut facts.observed.guests[0]);
        facts.concerning = Concerning::Discard { volumes, served };
        facts
    };
    let good = with(&|_, _, _| ());
    assert_eq!(code(&ask, &good), "unused_copy");
    objects_to_a_bad_guest(&ask, &good);
    only_for(&ask, &good, &[Purpose::Copy], "not_a_copy");
    only_with_its_facts(&ask, &good);
    for (wanted, facts) in [
        ("copy_served", with(&|_, served, _| *served = true)),
        ("protected", with(&|_, _, guest| guest.protection = true)),
        ("guest_missing", with(&|_, _, guest| guest.power = Power::Missing)),
        ("vmid_out_of_range", with(&|_, _, guest| guest.vmid = vmid(2900))),
        ("foreign_volume", with(&|volumes, _, _| volumes.made.clear())),
    ] {
        assert_eq!(code(&ask, &facts), wanted);
        assert_eq!(asked_with(&ask, &facts, &[operator("ada"), operator("bob"), customer(1)]), wanted);
    }
    // The facts of the other kind of destroy do not do.
    let scratch = Facts { concerning: Concerning::Destroy(volumes()), ..good };
    assert_eq!(code(&ask, &scratch), "fact_not_observed");
}
