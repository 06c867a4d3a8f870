//! `enroll`: registers the box at a hub, with a key made here.
//!
//! Ticket → executor's attestation key → device key (made and kept first) → hub, pinned by the ticket → enrolment kept →
//! executor told. If anything fails after the hub agreed, the same key is shown again at the next try.

use crate::config::Config;
use crate::files;
use crate::identity::{self, Enrolment};
use anyhow::{Context as _, bail};
use felhom_client::executor::ExecutorClient;
use felhom_client::{Error as ClientError, ErrorKind};
use felhom_protocol::executor::BoxIdentity;
use felhom_protocol::hub_sync::{EnrollRequest, Ticket};
use std::io::Read as _;
use zeroize::Zeroizing;

/// Enrols the box and prints what the operator's machine should pin.
///
/// # Errors
/// With what was tried, why it failed and what to do.
pub(crate) async fn run(config: &Config, ticket: &str, again: bool, json: bool) -> anyhow::Result<()> {
    let ticket = Ticket::decode(&ticket_text(ticket)?)?;
    files::make_private_dir(&config.state_dir)?;
    if let Some(old) = identity::enrolment(config)?.filter(|_| !again) {
        bail!(
            "this box is enrolled already, as `{}` ({}) at {}; `--again` enrols it anew, which voids what is pending",
            old.name,
            old.box_id,
            old.hub_url
        );
    }
    let executor = ExecutorClient::new(&config.executor_socket)?;
    let observation = executor.observation().await.with_context(|| {
        format!(
            "cannot ask the executor for its attestation key on {}; is felhom-executor running, and may this user \
             speak on its socket?",
            config.executor_socket.display()
        )
    })?;
    let key = identity::device_key_or_new(config)?;
    let request = EnrollRequest {
        token: ticket.token.clone(),
        device_key: key.public(),
        attestation_key: observation.attestation_key,
        hostname: hostname(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let answer = felhom_client::sync::enroll(&ticket, &request).await.map_err(|e| explained(e, &ticket))?;
    let enrolment = Enrolment {
        box_id: answer.box_id,
        name: answer.name,
        epoch: answer.epoch,
        hub_url: ticket.hub_url,
        hub_fingerprint: ticket.hub_fingerprint,
        hub_key: ticket.hub_key,
    };
    // First the executor, which belongs to one box only; the running agent tells it as well, at each connection.
    executor
        .set_box(&BoxIdentity { box_id: enrolment.box_id, epoch: enrolment.epoch })
        .await
        .context("telling the executor which box this is")?;
    identity::keep_enrolment(config, &enrolment)?;
    print(&enrolment, &observation.attestation_key.fingerprint(), json);
    Ok(())
}

fn print(enrolment: &Enrolment, fingerprint: &str, json: bool) {
    let Enrolment { box_id, name, epoch, hub_url, .. } = enrolment;
    let text = format!(
        "enrolled as `{name}` ({box_id}) at {hub_url}\n\
         attestation key: {fingerprint}\n\
         on the operator's machine: felhom box pin {name} {fingerprint}"
    );
    if json {
        eprintln!("{text}");
        let line = serde_json::json!({
            "box_id": box_id, "name": name, "epoch": epoch, "hub_url": hub_url, "attestation_key": fingerprint,
        });
        println!("{line}");
    } else {
        println!("{text}");
    }
}

/// The ticket from the command line, or from standard input for `-`, where it is in nobody's process list.
fn ticket_text(argument: &str) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(argument.to_owned());
    if argument == "-" {
        text.clear();
        std::io::stdin()
            .take(16_384)
            .read_to_string(&mut text)
            .context("reading the ticket from standard input")?;
    }
    Ok(text)
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "unknown".to_owned() } else { name.trim().to_owned() }
}

/// The same error with what to do about it.
fn explained(error: ClientError, ticket: &Ticket) -> anyhow::Error {
    let hint = match &error.kind {
        ErrorKind::Unreachable(_) | ErrorKind::TimedOut => format!(
            "the hub at {} cannot be reached from this box; check network, name and firewall, then use the same \
             ticket again",
            ticket.hub_url
        ),
        ErrorKind::OtherCertificate { .. } => "the hub shows another certificate than the one in the ticket: the ticket \
             is of another hub, the hub's certificate was replaced, or somebody stands in between; nothing was sent. \
             Make a new ticket with `felhom box add`"
            .to_owned(),
        ErrorKind::Forged(_) => "the answer is not from the hub that made the ticket; the box was not enrolled".to_owned(),
        ErrorKind::Refused { .. } => "the hub did not take the ticket: it is used up by its first use, lives a limited \
             time, and belongs to one hub. Make a new one with `felhom box add`"
            .to_owned(),
        ErrorKind::Malformed(_) | ErrorKind::Local(_) => "are agent and hub of the same version?".to_owned(),
    };
    anyhow::anyhow!("{error}\n{hint}")
}
