//! `felhom restore-test`.

use super::{Context, job};
use crate::args::RestoreTestCommand;
use crate::exit::Failure;
use crate::receipts::{Judged, judge};
use crate::time::{ago, millis};
use serde_json::json;

pub(crate) async fn run(context: &Context, command: RestoreTestCommand) -> Result<(), Failure> {
    match command {
        RestoreTestCommand::Run { guest, archive, level } => {
            let params = json!({ "guest": guest.guest, "archive": archive, "level": level });
            job::run_and_wait(context, &guest.name, "restore_test", params, guest.no_wait).await
        }
        RestoreTestCommand::List { name } => list(context, &name).await,
    }
}

async fn list(context: &Context, name: &str) -> Result<(), Failure> {
    let detail = context.hub.show_box(name).await?;
    let pin = context.known.pin_of(name)?;
    let receipts = detail.report.map(|report| report.receipts).unwrap_or_default();
    let (key, box_id) = (detail.attestation_key.as_ref(), detail.summary.box_id);
    let judged: Vec<Judged> =
        receipts.iter().map(|receipt| judge(receipt, pin.as_deref(), key, box_id)).collect();
    let head = ["tested", "verdict", "level", "took", "signature", "archive"];
    context.out.table(&head, judged.iter().map(|j| row(context, j)).collect(), "No restore was tested yet.");
    for judged in &judged {
        print_failures(context, judged);
    }
    let proven = judged.iter().filter_map(Judged::proves).max();
    let result = json!({ "receipts": judged, "proven": proven });
    let bad: Vec<&str> =
        judged.iter().filter(|j| j.signature == "bad").filter_map(|j| j.problem.as_deref()).collect();
    match bad.first() {
        None => context.out.result(&result),
        Some(problem) => {
            let text = format!("{} receipt(s) do not verify: {problem}", bad.len());
            Err(context.out.failed_result(result, Failure::Unverified(text)))
        }
    }
}

fn row(context: &Context, judged: &Judged) -> Vec<String> {
    let signature = judged.signature.replace('_', " ");
    let Some(receipt) = &judged.receipt else {
        return vec!["?".into(), "?".into(), "?".into(), "?".into(), signature, "?".into()];
    };
    vec![
        ago(receipt.started, context.now),
        format!("{:?}", receipt.verdict).to_lowercase(),
        receipt.level.map_or_else(|| "none".to_owned(), |level| level.to_string()),
        millis(receipt.took_ms),
        signature,
        receipt.archive.to_string(),
    ]
}

fn print_failures(context: &Context, judged: &Judged) {
    let Some(receipt) = &judged.receipt else { return };
    for check in receipt.checks.iter().filter(|check| !check.passed) {
        context.out.say(format!("failed: {} {}: {}", check.level, check.name, check.detail));
    }
}
