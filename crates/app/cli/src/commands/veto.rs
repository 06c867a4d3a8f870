//! `felhom veto`: stop an operation while it waits for signatures or for its grace. Signed with the operator's own key, as an
//! approval is; the box judges it.
//!
//! What it would stop is read from the challenge that its box signed. An operation that asks nobody, such as a rotation of the
//! operators' file, has none: then from what its box signed of it, and the veto says itself what it is against.

use super::{Context, approve};
use crate::args::VetoArgs;
use crate::challenge::Carried;
use crate::config::Config;
use crate::escape::escaped;
use crate::exit::Failure;
use crate::signer;
use crate::waiting::CheckedWaiting;
use felhom_model::{BoxId, OperationId};
use felhom_protocol::hub_api::{AddVeto, AnswerView, WaitingView};
use felhom_signing::consent::{Act, Armored, Veto};
use felhom_signing::sshsig::Namespace;
use serde_json::json;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(500);
/// How long the box's word is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be stopped.
struct Against {
    /// The pin's name.
    box_name: String,
    box_id: BoxId,
    /// What the veto says itself that it is against.
    act: Option<Act>,
    lines: Vec<String>,
    /// What has to be typed.
    labels: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: &VetoArgs, config: &Config) -> Result<(), Failure> {
    let against = find(context, args.operation).await?;
    let key = config.sign_with(args.sign_with.as_deref())?;
    for line in &against.lines {
        context.out.say(line);
    }
    context.out.say(format!("\nVETO: this operation is stopped for good. Reason: {}\n", args.reason));
    approve::confirm(&against.labels, args.yes_i_read)?;
    let veto = Veto {
        v: if against.act.is_some() { 2 } else { 1 },
        box_id: against.box_id,
        veto: args.operation,
        object: None,
        act: against.act,
        reason: args.reason.clone(),
        at: context.now,
    };
    let bytes = veto.to_bytes().map_err(|e| Failure::Failed(e.to_string()))?;
    let signature = signer::sign(&bytes, Namespace::Operation, &key)?.armored;
    let add = AddVeto { signed: Armored { bytes, signature } };
    let sent = context.hub.add_veto(&against.box_name, args.operation, &add).await?;
    context.out.say("Sent. The box judges it.");
    judged(context, &against.box_name, args, sent).await
}

/// What is to be stopped, from a challenge that its box signed: so the box is named by its own word, not by the hub's.
async fn find(context: &Context, operation: OperationId) -> Result<Against, Failure> {
    let all = context.hub.challenges().await?;
    let of_this: Vec<_> = all.into_iter().filter(|view| view.operation == Some(operation)).collect();
    let mut problem = None;
    for view in of_this {
        match Carried::from(view).check(&context.known) {
            Ok(checked) if checked.challenge.operation.id == operation => {
                return Ok(Against {
                    box_id: checked.challenge.box_id,
                    act: None,
                    lines: checked.lines(context.now),
                    labels: checked.labels(),
                    box_name: checked.box_name,
                });
            }
            Ok(_) => {}
            Err(failure) => problem = Some(failure),
        }
    }
    match problem {
        Some(problem) => Err(problem),
        None => find_waiting(context, operation).await,
    }
}

/// The same without a challenge, from what its box signed of an operation in its grace.
async fn find_waiting(context: &Context, operation: OperationId) -> Result<Against, Failure> {
    let mut problem = None;
    for view in all_waiting(context).await?.iter().filter(|view| view.operation.id == operation) {
        match CheckedWaiting::check(view, operation, &context.known) {
            Ok(checked) => {
                return Ok(Against {
                    box_id: checked.says.box_id,
                    act: Some(checked.says.act),
                    lines: checked.lines(),
                    labels: vec![checked.says.act.kind.name().to_owned()],
                    box_name: checked.box_name,
                });
            }
            Err(failure) => problem = Some(failure),
        }
    }
    Err(problem.unwrap_or_else(|| {
        Failure::Failed(format!(
            "the hub has no challenge of operation {operation}, and knows of no grace in which it waits; see `felhom challenges \
             list` and `felhom ops list BOX`"
        ))
    }))
}

/// Operations in their grace without a challenge; a hub that is older than this program knows of none.
pub(crate) async fn all_waiting(context: &Context) -> Result<Vec<WaitingView>, Failure> {
    match context.hub.waiting().await {
        Err(error) if error.status() == Some(404) => Ok(Vec::new()),
        other => Ok(other?),
    }
}

async fn judged(
    context: &Context,
    box_name: &str,
    args: &VetoArgs,
    mut vetoes: Vec<AnswerView>,
) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let last = vetoes.last().cloned();
        let told = json!({ "operation": args.operation, "box": box_name, "veto": last });
        match last.as_ref().and_then(|veto| veto.accepted) {
            Some(true) => {
                context.out.say("The box took it: the operation is vetoed.");
                return context.out.result(&told);
            }
            Some(false) => {
                let why = last.and_then(|veto| veto.why).unwrap_or_default();
                let failure = Failure::Refused(format!("the box refused the veto: {}", escaped(&why)));
                return Err(context.out.failed_result(told, failure));
            }
            None if args.no_wait || tokio::time::Instant::now() >= deadline => {
                context
                    .out
                    .say(format!("Not judged yet; see: felhom ops show {box_name} {}", args.operation));
                return context.out.result(&told);
            }
            None => {}
        }
        tokio::time::sleep(POLL).await;
        vetoes = context.hub.vetoes(box_name, args.operation).await?;
    }
}
