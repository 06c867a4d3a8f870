//! Updates and apps: the hub selects, it cannot mint; nothing goes below what was committed.

use super::{Judged, Passed, about, not_observed, present, tenant};
use crate::facts::{AppFacts, Concerning, Facts, ReleaseFacts};
use crate::verdict::{Evidence, Reason, Requirement};
use felhom_model::OperationKind;
use felhom_model::operation::{App, UpdateController, Version};

const IS_DONE: &str = "gets software";

pub(crate) fn judge_host(ask: Version, facts: &Facts) -> Judged {
    released(ask, Evidence::new(), facts)
}

pub(crate) fn judge_controller(ask: &UpdateController, facts: &Facts) -> Judged {
    let guest = tenant(ask.guest, IS_DONE, facts)?;
    present(guest)?;
    released(ask.version, about(guest), facts)
}

fn released(ask: Version, evidence: Evidence, facts: &Facts) -> Judged {
    let Concerning::Release(release) = &facts.concerning else { return Err(not_observed("release")) };
    let ReleaseFacts { signed, version, floor, past_no_return } = *release;
    let evidence = evidence.with("wanted", ask.0).with("version", version).with("floor", floor);
    let refuse = |code, text| Err(Reason::new(code, text, evidence.clone()));
    if !signed {
        return refuse("release_not_signed", "the release keys did not sign this release");
    }
    if version != ask.0 {
        return refuse("other_release", "the release at hand is not the one that was asked for");
    }
    if version < floor {
        return refuse("below_floor", "versions never go below the one that was committed last");
    }
    if past_no_return {
        return refuse("past_no_return", "an operation is past its point of no return; wait for its end");
    }
    Ok(Passed::Allow(Reason::new("signed_release", "signed, and not older than the committed one", evidence)))
}

/// `deploy_app` and `update_app`: the hub must not be able to put code into a guest.
pub(crate) fn judge_app(kind: OperationKind, ask: &App, facts: &Facts) -> Judged {
    let guest = tenant(ask.guest, IS_DONE, facts)?;
    let Concerning::App(entry) = &facts.concerning else { return Err(not_observed("app")) };
    let AppFacts { signed, serial, installed, new_source, value_from_hub } = *entry;
    let evidence = about(guest).with("app", &ask.app).with("serial", serial);
    let refuse = |code, text| Err(Reason::new(code, text, evidence.clone()));
    if !signed {
        return refuse("entry_not_signed", "the release keys did not sign this catalogue entry");
    }
    if installed.is_some_and(|installed| serial < installed) {
        return refuse("below_installed", "the entry is older than the installed one");
    }
    if value_from_hub {
        return refuse(
            "value_from_hub",
            "values of fields come from the customer or the entry, never from the hub",
        );
    }
    if installed.is_none() && kind == OperationKind::UpdateApp {
        return refuse("not_installed", "the app is not installed, so there is nothing to update");
    }
    if installed.is_none() || new_source {
        let why = "brings code into the guest that it did not have";
        return Ok(Passed::Needs(Requirement::of([(0, vec![ask.guest])], why), evidence));
    }
    Ok(Passed::Allow(Reason::new("signed_entry", "signed, and not older than the installed one", evidence)))
}
