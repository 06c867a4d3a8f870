//! `felhom approve`: read what would happen, type what it would happen to, sign, send.

use super::{Context, challenges};
use crate::args::ApproveArgs;
use crate::challenge::{Carried, Checked};
use crate::config::Config;
use crate::exit::Failure;
use crate::known_boxes::KnownBoxes;
use crate::output::Output;
use crate::{files, signer};
use felhom_protocol::hub_api::AddAnswer;
use felhom_signing::sshsig::{self, Namespace};
use jiff::Timestamp;
use serde_json::json;
use std::io::Write as _;
use std::path::Path;

/// With the hub: approve, export, import.
pub(crate) async fn run(context: &Context, args: &ApproveArgs, config: &Config) -> Result<(), Failure> {
    if let Some(file) = &args.import {
        return import(context, file).await;
    }
    let id = args.id.as_deref().unwrap_or_default();
    if let Some(file) = &args.export {
        files::check_free(file, args.force)?;
        return export(context, file, id).await;
    }
    let view = challenges::find(context, id).await?;
    let state = view.state;
    let checked = Carried::from(view).check(&context.known)?;
    let key = config.sign_with(args.sign_with.as_deref())?;
    show(context.out, &checked, context.now);
    context.out.say(format!("state:        {} (by the hub)\n", challenges::state_word(state)));
    confirm(&checked.labels(), args.yes_i_read)?;
    let made = signer::sign(&checked.bytes, Namespace::Operation, &key)?;
    send(context, &checked, &[made.armored]).await
}

/// Without network: `--offline FILE`.
pub(crate) fn offline(
    known: &KnownBoxes,
    out: Output,
    args: &ApproveArgs,
    config: &Config,
    file: &Path,
) -> Result<(), Failure> {
    let mut carried = Carried::parse(&files::read(file)?)?;
    let checked = carried.check(known)?;
    let key = config.sign_with(args.sign_with.as_deref())?;
    show(out, &checked, Timestamp::now());
    confirm(&checked.labels(), args.yes_i_read)?;
    let made = signer::sign(&checked.bytes, Namespace::Operation, &key)?;
    carried.signatures.retain(|other| sshsig::claimed_key(other).as_ref() != Ok(&made.key));
    carried.signatures.push(made.armored);
    write(file, &carried)?;
    let fingerprint = made.key.fingerprint();
    out.say(format!("Signed by {fingerprint}. Carry {} back: felhom approve --import FILE", file.display()));
    out.result(&json!({ "digest": checked.digest(), "file": file, "signed_by": fingerprint }))
}

async fn export(context: &Context, file: &Path, id: &str) -> Result<(), Failure> {
    let open = challenges::find(context, id).await?;
    let before = Carried::from(open.clone()).check(&context.known)?;
    let carried = Carried::from(challenges::longer_lived(context, open).await?);
    let checked = carried.check(&context.known)?;
    if checked.challenge.operation != before.challenge.operation {
        return Err(Failure::Unverified("ALARM: the new challenge is about another operation".to_owned()));
    }
    show(context.out, &checked, context.now);
    write(file, &carried)?;
    context.out.say(format!(
        "\nWritten to {}. On the signing machine: felhom approve --offline FILE --sign-with KEY",
        file.display()
    ));
    context.out.result(&json!({ "digest": checked.digest(), "file": file }))
}

async fn import(context: &Context, file: &Path) -> Result<(), Failure> {
    let carried = Carried::parse(&files::read(file)?)?;
    let checked = carried.check(&context.known)?;
    if carried.signatures.is_empty() {
        return Err(Failure::Failed(format!(
            "{} has no signature yet: felhom approve --offline FILE --sign-with KEY",
            file.display()
        )));
    }
    for armored in &carried.signatures {
        let key = sshsig::claimed_key(armored);
        let bytes = checked.bytes.clone();
        key.and_then(|key| sshsig::verify(armored, Namespace::Operation, bytes, &[key]))
            .map_err(|e| Failure::Unverified(format!("a signature in {}: {e}", file.display())))?;
    }
    send(context, &checked, &carried.signatures).await
}

fn write(file: &Path, carried: &Carried) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(carried).map_err(|e| Failure::Failed(e.to_string()))?;
    files::replace(file, &(text + "\n"))
}

fn show(out: Output, checked: &Checked, now: Timestamp) {
    for line in checked.lines(now) {
        out.say(line);
    }
}

/// Asks for the names of what would be changed, so that nobody signs by habit.
pub(super) fn confirm(labels: &[String], yes_i_read: bool) -> Result<(), Failure> {
    if yes_i_read {
        return Ok(());
    }
    for label in labels {
        eprint!("Type `{label}` to sign: ");
        let _ = std::io::stderr().flush();
        let mut typed = String::new();
        let read = std::io::stdin().read_line(&mut typed);
        read.map_err(|e| Failure::Failed(format!("cannot read what was typed: {e}")))?;
        if typed.trim() != label.as_str() {
            return Err(Failure::Refused("that is another name; nothing was signed".to_owned()));
        }
    }
    Ok(())
}

async fn send(context: &Context, checked: &Checked, signatures: &[String]) -> Result<(), Failure> {
    let mut told = json!({ "digest": checked.digest() });
    for signature in signatures {
        let answer = AddAnswer { signature: signature.clone() };
        let view = context.hub.answer_challenge(checked.digest(), &answer).await?;
        told = challenges::told(&view);
    }
    let short = &checked.digest().hex()[..12];
    context.out.say(format!(
        "{} signature(s) sent. The box judges them; see: felhom challenges show {short}",
        signatures.len()
    ));
    context.out.result(&told)
}
