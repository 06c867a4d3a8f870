//! What is shown of boxes: summaries for the fleet, everything for one box. The same for the API and the pages.

use felhom_model::Generation;
use felhom_protocol::hub_api::{AuditHeadView, BoxDetail, BoxSummary, DesiredVersion, Enrolment, JobView};
use felhom_protocol::status::Operation;
use jiff::Timestamp;

use crate::audit::Standing;
use crate::facts::Facts;
use crate::hub::Inner;
use crate::receipts::Judged;
use crate::risk::{self, Limits, Risk, Seen};
use crate::store::boxes::{self, BoxRow};
use crate::store::desired::Version;
use crate::store::jobs::QUEUED;
use crate::store::sightings::Sighting;
use crate::store::{
    Cause, Conn, StoreError, audit_heads, challenges, desired, events, jobs, reports, sightings, tickets,
    waiting,
};

/// Alarms of an audit log that are shown.
const ALARMS: u32 = 10;

/// One box with all that the hub keeps of it.
pub(crate) struct Found {
    /// As the API gives it.
    pub(crate) detail: BoxDetail,
    /// Risk with the severity of each reason.
    pub(crate) risk: Risk,
    /// Operations, also those that the report no longer lists, newest first.
    pub(crate) operations: Vec<Operation>,
    /// Receipts with what they count for, newest first.
    pub(crate) receipts: Vec<Judged>,
    /// Where its audit log ends, as it told last.
    pub(crate) audit_head: Option<AuditHeadView>,
    /// Ends of its audit log that are an alarm.
    pub(crate) audit_problems: Vec<AuditHeadView>,
    /// What else is known of that log.
    pub(crate) audit: Standing,
    /// Entries of it of which no end was told, in all.
    pub(crate) audit_unseen: u64,
    /// Challenges, open ones first.
    pub(crate) challenges: Vec<crate::challenges::Found>,
    /// Operations in their grace that have no challenge.
    pub(crate) waiting: Vec<crate::waiting::InGrace>,
    /// When the report came in.
    pub(crate) reported: Option<Timestamp>,
    /// Generations of desired state, newest first.
    pub(crate) history: Vec<DesiredVersion>,
    /// Until when an unused ticket is good.
    pub(crate) ticket_until: Option<Timestamp>,
}

/// All boxes, those at the highest risk first.
///
/// # Errors
/// The database's.
pub(crate) async fn all(hub: &Inner) -> Result<Vec<BoxSummary>, StoreError> {
    let (limits, now) = (hub.limits, hub.now());
    let mut boxes: Vec<(Risk, BoxSummary)> = hub
        .store
        .read("reading the fleet", |c| {
            Box::pin(async move {
                let mut found = Vec::new();
                for row in boxes::all(c).await? {
                    let audit = standing(c, &row).await?;
                    found.push(summary(c, (&row, &audit), &limits, now).await?);
                }
                Ok(found)
            })
        })
        .await?;
    boxes.sort_by(|(a, x), (b, y)| b.severity.cmp(&a.severity).then_with(|| x.name.cmp(&y.name)));
    Ok(boxes.into_iter().map(|(_, summary)| summary).collect())
}

/// One box, if there is one of this name.
///
/// # Errors
/// The database's.
pub(crate) async fn detail(hub: &Inner, name: &str) -> Result<Option<Found>, StoreError> {
    let (limits, now, name) = (hub.limits, hub.now(), name.to_owned());
    hub.store
        .read("reading a box", |c| {
            Box::pin(async move {
                match boxes::by_name(c, &name).await? {
                    Some(row) => Ok(Some(load(c, row, &limits, now).await?)),
                    None => Ok(None),
                }
            })
        })
        .await
}

async fn load(c: &mut Conn, row: BoxRow, limits: &Limits, now: Timestamp) -> Result<Found, Cause> {
    let audit = standing(c, &row).await?;
    let (risk, summary) = summary(c, (&row, &audit), limits, now).await?;
    let name = row.name.as_str();
    let stored = reports::get(c, name).await?;
    let reported = stored.as_ref().map(|stored| stored.received);
    let key = row.identity.map(|identity| identity.attestation_key);
    let jobs = jobs::newest(c, name).await?;
    let detail = BoxDetail {
        summary,
        hostname: row.hostname,
        attestation_key: key,
        attestation_fingerprint: key.map(|key| key.fingerprint()),
        desired: desired::newest(c, name).await?.map(|version| version.view),
        report: stored.map(|stored| stored.report),
        jobs: jobs.into_iter().map(|job| with_deadline(job, now)).collect(),
        events: events::newest(c, name).await?,
    };
    Ok(Found {
        detail,
        risk,
        operations: reports::operations(c, name).await?,
        receipts: reports::receipts(c, name).await?,
        audit_head: audit_heads::newest(c, name, false, 1).await?.pop(),
        audit_problems: audit_heads::newest(c, name, true, ALARMS).await?,
        audit,
        audit_unseen: match &key {
            Some(key) => audit_heads::unseen(c, name, key).await?,
            None => 0,
        },
        challenges: challenges::all(c, Some(name), now).await?,
        waiting: waiting::all(c, Some(name)).await?,
        reported,
        history: desired::history(c, name).await?.into_iter().map(|version| version.view).collect(),
        ticket_until: open_ticket(c, name, now).await?,
    })
}

async fn open_ticket(c: &mut Conn, name: &str, now: Timestamp) -> Result<Option<Timestamp>, Cause> {
    let ticket = tickets::newest(c, name).await?;
    Ok(ticket.filter(|ticket| ticket.used.is_none() && ticket.expires > now).map(|ticket| ticket.expires))
}

/// A job that the box never spoke of cannot begin after its deadline.
pub(crate) fn with_deadline(mut job: JobView, now: Timestamp) -> JobView {
    if job.state == QUEUED && job.deadline <= now {
        job.state = "expired".to_owned();
        job.message =
            "the box said nothing of it before its deadline, and will not begin it any more".to_owned();
    }
    job
}

/// Of the log that is signed with the box's key of now.
async fn standing(c: &mut Conn, row: &BoxRow) -> Result<Standing, Cause> {
    match &row.identity {
        Some(identity) => audit_heads::standing(c, &row.name, &identity.attestation_key).await,
        None => Ok(Standing::default()),
    }
}

async fn summary(
    c: &mut Conn,
    (row, audit): (&BoxRow, &Standing),
    limits: &Limits,
    now: Timestamp,
) -> Result<(Risk, BoxSummary), Cause> {
    let name = row.name.as_str();
    let enrolment = match &row.identity {
        Some(_) => Enrolment::Enrolled,
        None if open_ticket(c, name, now).await?.is_some() => Enrolment::Waiting,
        None => Enrolment::Expired,
    };
    let sighting = sightings::get(c, name).await?;
    let newest = desired::newest(c, name).await?;
    let facts = reports::facts(c, name).await?;
    let seen = seen(enrolment, sighting.as_ref(), newest.as_ref(), facts.as_ref(), audit);
    let risk = risk::assess(&seen, limits, now);
    let guests = facts.as_ref().map(|facts| facts.guests.as_slice()).unwrap_or_default();
    let running = guests.iter().filter(|guest| guest.running).count();
    let summary = BoxSummary {
        name: row.name.clone(),
        box_id: row.identity.map(|identity| identity.id),
        enrolment,
        liveness: risk::liveness(seen.last_seen, limits, now),
        last_seen: seen.last_seen,
        risk: risk.severity.name().to_owned(),
        reasons: risk.reasons.iter().map(|(_, reason)| reason.clone()).collect(),
        generation: seen.set.0,
        observed_generation: facts.as_ref().map(|f| f.observed_generation).unwrap_or_default(),
        guests: u32::try_from(running).unwrap_or(u32::MAX),
        last_backup: oldest(guests.iter().map(|guest| guest.last_backup)),
        last_proven: oldest(guests.iter().map(|guest| guest.last_proven)),
    };
    Ok((risk, summary))
}

fn seen<'a>(
    enrolment: Enrolment,
    sighting: Option<&Sighting>,
    newest: Option<&Version>,
    facts: Option<&'a Facts>,
    audit: &'a Standing,
) -> Seen<'a> {
    Seen {
        enrolment,
        last_seen: sighting.map(|sighting| sighting.last_seen),
        held: sighting.map_or((Generation(0), None), |s| (s.generation, s.document_digest)),
        set: newest.map_or((Generation(0), None, None), |version| {
            (version.view.generation, version.view.document_digest, Some(version.view.time))
        }),
        facts,
        audit,
    }
}

/// The oldest of all; `None` if one is missing or there are none: a box is as well protected as its worst guest.
fn oldest(times: impl Iterator<Item = Option<Timestamp>>) -> Option<Timestamp> {
    times.reduce(|a, b| Some(a?.min(b?))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_as_protected_as_its_worst_guest() {
        let at = |s| Timestamp::from_second(s).ok();
        assert_eq!(oldest([].into_iter()), None);
        assert_eq!(oldest([at(2), at(1), at(3)].into_iter()), at(1));
        assert_eq!(oldest([at(2), None, at(3)].into_iter()), None);
    }
}
