//! `felhom veto`: stop an operation while it waits for signatures or for its grace. Signed with the operator's own key, as an
//! approval is; the box judges it.

use super::{Context, approve};
use crate::args::VetoArgs;
use crate::challenge::{Carried, Checked};
use crate::config::Config;
use crate::escape::escaped;
use crate::exit::Failure;
use crate::signer;
use felhom_model::OperationId;
use felhom_protocol::hub_api::{AddVeto, AnswerView};
use felhom_signing::consent::{Armored, Veto};
use felhom_signing::sshsig::Namespace;
use serde_json::json;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(500);
/// How long the box's word is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(context: &Context, args: &VetoArgs, config: &Config) -> Result<(), Failure> {
    let checked = find(context, args.operation).await?;
    let key = config.sign_with(args.sign_with.as_deref())?;
    for line in checked.lines(context.now) {
        context.out.say(line);
    }
    context.out.say(format!("\nVETO: this operation is stopped for good. Reason: {}\n", args.reason));
    approve::confirm(&checked, args.yes_i_read)?;
    let veto = Veto {
        v: 1,
        box_id: checked.challenge.box_id,
        veto: args.operation,
        object: None,
        reason: args.reason.clone(),
        at: context.now,
    };
    let bytes = veto.to_bytes().map_err(|e| Failure::Failed(e.to_string()))?;
    let signature = signer::sign(&bytes, Namespace::Operation, &key)?.armored;
    let add = AddVeto { signed: Armored { bytes, signature } };
    let sent = context.hub.add_veto(&checked.box_name, args.operation, &add).await?;
    context.out.say("Sent. The box judges it.");
    judged(context, &checked, args, sent).await
}

/// What is to be stopped, from a challenge that its box signed: so the box is named by its own word, not by the hub's.
async fn find(context: &Context, operation: OperationId) -> Result<Checked, Failure> {
    let all = context.hub.challenges().await?;
    let of_this: Vec<_> = all.into_iter().filter(|view| view.operation == Some(operation)).collect();
    let mut problem = None;
    for view in of_this {
        match Carried::from(view).check(&context.known) {
            Ok(checked) if checked.challenge.operation.id == operation => return Ok(checked),
            Ok(_) => {}
            Err(failure) => problem = Some(failure),
        }
    }
    Err(problem.unwrap_or_else(|| {
        Failure::Failed(format!(
            "the hub has no challenge of operation {operation}; see `felhom challenges list`"
        ))
    }))
}

async fn judged(
    context: &Context,
    checked: &Checked,
    args: &VetoArgs,
    mut vetoes: Vec<AnswerView>,
) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let last = vetoes.last().cloned();
        let told = json!({ "operation": args.operation, "box": checked.box_name, "veto": last });
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
                context.out.say(format!(
                    "Not judged yet; see: felhom ops show {} {}",
                    checked.box_name, args.operation
                ));
                return context.out.result(&told);
            }
            None => {}
        }
        tokio::time::sleep(POLL).await;
        vetoes = context.hub.vetoes(&checked.box_name, args.operation).await?;
    }
}
