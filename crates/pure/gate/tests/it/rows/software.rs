//! Updates and apps: signed, never backwards, and no code into a guest that its customer did not want.

use super::*;

fn release(bend: impl FnOnce(&mut ReleaseFacts)) -> Facts {
    let mut seen = release_facts();
    bend(&mut seen);
    about(Concerning::Release(seen))
}

#[test]
fn releases() {
    let host = Operation::UpdateHost(Version(3));
    let controller = Operation::UpdateController(UpdateController { guest: uuid(1), version: Version(3) });
    for ask in [&host, &controller] {
        assert_eq!(code(ask, &release(|_| ())), "signed_release");
        assert_eq!(code(ask, &release(|seen| seen.floor = 2)), "signed_release");
        only_with_its_facts(ask, &release(|_| ()));
        for (wanted, facts) in [
            ("release_not_signed", release(|seen| seen.signed = false)),
            ("other_release", release(|seen| seen.version = 4)),
            ("below_floor", release(|seen| seen.floor = 4)),
            ("past_no_return", release(|seen| seen.past_no_return = true)),
        ] {
            assert_eq!(code(ask, &facts), wanted);
            assert_eq!(asked_with(ask, &facts, &[operator("ada"), operator("bob"), customer(1)]), wanted);
        }
    }
    objects_to_a_bad_guest(&controller, &release(|_| ()));
    only_for(&controller, &release(|_| ()), &[Purpose::Tenant], "not_a_tenant");
    let mut missing = release(|_| ());
    missing.observed.guests[0].power = Power::Missing;
    assert_eq!(code(&controller, &missing), "guest_missing");
    assert_eq!(code(&host, &missing), "signed_release");
}

fn entry(bend: impl FnOnce(&mut AppFacts)) -> Facts {
    let mut seen = app_facts();
    bend(&mut seen);
    about(Concerning::App(seen))
}

#[test]
fn apps() {
    let app = App { guest: uuid(1), app: "notes".parse().unwrap() };
    let (deploy, update) = (Operation::DeployApp(app.clone()), Operation::UpdateApp(app));
    for ask in [&deploy, &update] {
        assert_eq!(code(ask, &entry(|_| ())), "signed_entry");
        assert_eq!(code(ask, &entry(|seen| seen.installed = Some(4))), "signed_entry");
        assert_eq!(needs(ask, &entry(|seen| seen.new_source = true)), [(0, vec![uuid(1)])]);
        objects_to_a_bad_guest(ask, &entry(|_| ()));
        only_for(ask, &entry(|_| ()), &[Purpose::Tenant], "not_a_tenant");
        only_with_its_facts(ask, &entry(|_| ()));
        for (wanted, facts) in [
            ("entry_not_signed", entry(|seen| seen.signed = false)),
            ("below_installed", entry(|seen| seen.installed = Some(6))),
            ("value_from_hub", entry(|seen| seen.value_from_hub = true)),
        ] {
            assert_eq!(code(ask, &facts), wanted);
            assert_eq!(asked_with(ask, &facts, &[operator("ada"), operator("bob"), customer(1)]), wanted);
        }
    }
    let new = entry(|seen| seen.installed = None);
    assert_eq!(needs(&deploy, &new), [(0, vec![uuid(1)])]);
    assert_eq!(asked_with(&deploy, &new, &[operator("ada"), operator("bob")]), "needs_authorization");
    assert_eq!(code(&update, &new), "not_installed");
}
