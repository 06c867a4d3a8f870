//! `felhom operators`: the operators' file and its next versions. A hub takes part only where a version is handed to a box.

mod submit;

use super::Context;
use crate::args::{NewKeys, NextVersion, OperatorsCommand, Written};
use crate::config::Config;
use crate::exit::Failure;
use crate::output::Output;
use crate::{files, signer};
use felhom_signing::operators::{
    OperatorKey, OperatorsFile, Proposal, Role, RotationError, SignedOperators, Tally, examine,
};
use felhom_signing::sshsig::{self, Namespace};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Runs a command that asks nobody; gives back one that needs the hub.
pub(crate) fn local(
    config: &Config,
    out: Output,
    command: OperatorsCommand,
) -> Result<Option<OperatorsCommand>, Failure> {
    match command {
        OperatorsCommand::Init { keys, threshold, output, written } => {
            let file = OperatorsFile::new(1, threshold, read_keys(&keys, Role::Operator)?).map_err(wrong)?;
            put(out, &file, &output, written)
        }
        OperatorsCommand::Add { file, keys, role, next } => {
            let current = read(&file)?;
            let all = [current.keys().to_vec(), read_keys(&keys, role.into())?].concat();
            propose(out, &file, &current, all, next)
        }
        OperatorsCommand::Remove { file, key, next } => {
            let current = read(&file)?;
            let (gone, kept): (Vec<_>, Vec<_>) =
                current.keys().iter().cloned().partition(|entry| entry.key().fingerprint() == key);
            if gone.is_empty() {
                return Err(Failure::Failed(format!("{} has no key {key}", file.display())));
            }
            propose(out, &file, &current, kept, next)
        }
        OperatorsCommand::Show { file } => {
            let current = read(&file)?;
            print(out, &current);
            out.result(&described(&current, &file))
        }
        OperatorsCommand::Rotate { proposal, sign_with, output, dry_run } => {
            let output = output.as_deref();
            rotate(config, out, &proposal, (sign_with.as_deref(), output), dry_run)
        }
        OperatorsCommand::Verify { old, new } => verify(out, &old, &new),
        OperatorsCommand::Submit { .. } => return Ok(Some(command)),
    }?;
    Ok(None)
}

/// Runs a command that needs the hub.
pub(crate) async fn run(context: &Context, command: OperatorsCommand) -> Result<(), Failure> {
    let OperatorsCommand::Submit { name, bundle, old, no_wait } = command else { return Ok(()) };
    let files = submit::Files { bundle: &bundle, old: old.as_deref() };
    submit::submit(context, &name, files, no_wait).await
}

fn wrong(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

fn read(file: &Path) -> Result<OperatorsFile, Failure> {
    let parsed = OperatorsFile::parse(&files::read(file)?);
    parsed.map_err(|e| Failure::Failed(format!("{}: {e}", file.display())))
}

fn read_keys(keys: &NewKeys, role: Role) -> Result<Vec<OperatorKey>, Failure> {
    let read = |path: &PathBuf| {
        let text = String::from_utf8_lossy(&files::read(path)?).into_owned();
        if text.contains("PRIVATE KEY") {
            let shown = path.display();
            return Err(Failure::Failed(format!("{shown} is a private key; give the .pub file beside it")));
        }
        OperatorKey::new(&keys.name, role, &text)
            .map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))
    };
    keys.key.iter().map(read).collect()
}

/// Writes the version after `current` with these keys and threshold, or only shows it.
fn propose(
    out: Output,
    file: &Path,
    current: &OperatorsFile,
    keys: Vec<OperatorKey>,
    NextVersion { threshold, output, written }: NextVersion,
) -> Result<(), Failure> {
    let version = current.version() + 1;
    let next = OperatorsFile::new(version, threshold.unwrap_or(current.rotation()), keys).map_err(wrong)?;
    let output = output.unwrap_or_else(|| file.with_file_name(format!("operators-{version}.json")));
    if output == file {
        let why = "the version in force is not overwritten by a proposal; write it elsewhere";
        return Err(Failure::Failed(why.to_owned()));
    }
    put(out, &next, &output, written)?;
    let shown = output.display();
    out.say(format!(
        "A proposal only: {} name(s) of version {} and {} of version {version} have to sign it:\n  \
         felhom operators rotate {shown} --sign-with KEY",
        current.rotation(),
        current.version(),
        next.rotation()
    ));
    Ok(())
}

fn put(out: Output, file: &OperatorsFile, output: &Path, written: Written) -> Result<(), Failure> {
    let text = file.to_text().map_err(wrong)?;
    files::check_free(output, written.force)?;
    print(out, file);
    if written.dry_run {
        out.say(format!("Nothing was written (--dry-run); it would be {}.", output.display()));
    } else {
        files::replace(output, &text)?;
        out.say(format!("Written to {}.", output.display()));
    }
    let mut result = described(file, output);
    result["written"] = (!written.dry_run).into();
    out.result(&result)
}

fn print(out: Output, file: &OperatorsFile) {
    out.say(format!("Version {}; a rotation needs {} name(s) of it.", file.version(), file.rotation()));
    let row = |entry: &OperatorKey| {
        vec![entry.name().to_owned(), entry.role().to_string(), entry.key().fingerprint()]
    };
    out.table(&["name", "role", "key"], file.keys().iter().map(row).collect(), "");
}

fn described(file: &OperatorsFile, path: &Path) -> Value {
    let key = |entry: &OperatorKey| json!({ "name": entry.name(), "role": entry.role(), "key": entry.key().fingerprint() });
    json!({
        "file": path, "version": file.version(), "rotation": file.rotation(),
        "keys": file.keys().iter().map(key).collect::<Vec<_>>(),
    })
}

/// A proposal or a bundle of it.
fn read_bundle(path: &Path) -> Result<(SignedOperators, bool), Failure> {
    let bytes = files::read(path)?;
    match SignedOperators::parse(&bytes) {
        Ok(bundle) => Ok((bundle, true)),
        Err(_) => Ok((SignedOperators { document: bytes, signatures: vec![] }, false)),
    }
}

/// Adds a signature to the bundle of a proposal.
fn rotate(
    config: &Config,
    out: Output,
    path: &Path,
    (sign_with, output): (Option<&Path>, Option<&Path>),
    dry_run: bool,
) -> Result<(), Failure> {
    let (mut bundle, is_bundle) = read_bundle(path)?;
    let shown = path.display();
    let next = OperatorsFile::parse(&bundle.document)
        .map_err(|e| Failure::Failed(format!("{shown} is neither a proposal nor a bundle of one: {e}")))?;
    let beside = if is_bundle { path.to_owned() } else { path.with_extension("signed.json") };
    let output = output.map_or(beside, Path::to_owned);
    if output != path
        && let Some(bytes) = files::read_if_there(&output)?
    {
        let other = SignedOperators::parse(&bytes).map_err(wrong)?;
        if other.document != bundle.document {
            let why = "it holds signatures of another proposal; write elsewhere with --output";
            return Err(Failure::Failed(format!("{}: {why}", output.display())));
        }
        bundle = other;
    }
    print(out, &next);
    let key = config.sign_with(sign_with)?;
    if dry_run {
        out.say(format!("Nothing was signed (--dry-run); the bundle would be {}.", output.display()));
        return out.result(&json!({ "bundle": output, "version": next.version(), "written": false }));
    }
    let made = signer::sign(&bundle.document, Namespace::Operators, &key)?;
    bundle.signatures.retain(|other| sshsig::claimed_key(other).as_ref() != Ok(&made.key));
    bundle.signatures.push(made.armored);
    let text = serde_json::to_string_pretty(&bundle).map_err(wrong)?;
    files::replace(&output, &(text + "\n"))?;
    let fingerprint = made.key.fingerprint();
    let name = next.find(&made.key).map(|entry| entry.name().to_owned());
    match &name {
        Some(name) => out.say(format!("Signed as {name} ({fingerprint}).")),
        None => out.say(format!(
            "Signed by {fingerprint}, which is not in version {}: it counts only if it is in the version before.",
            next.version()
        )),
    }
    let count = bundle.signatures.len();
    out.say(format!(
        "{} holds {count} signature(s). Check: felhom operators verify OLD NEW",
        output.display()
    ));
    out.result(&json!({
        "bundle": output, "version": next.version(), "signed_by": fingerprint, "name": name, "signatures": count,
        "written": true,
    }))
}

/// Says who signed and what is missing.
fn verify(out: Output, old: &Path, new: &Path) -> Result<(), Failure> {
    let current = read(old)?;
    let (bundle, _) = read_bundle(new)?;
    let examined = examine(&current, &bundle.document, &bundle.signatures);
    let proposal = examined.map_err(|error| {
        let (result, failure) = not_following(new, error);
        out.failed_result(result, failure)
    })?;
    changes(out, &current, proposal.proposed());
    for tally in [&proposal.of_current, &proposal.of_next] {
        out.say(tally_text(tally));
    }
    let result =
        |complete| json!({ "complete": complete, "of_old": proposal.of_current, "of_new": proposal.of_next });
    if missing(&proposal) == 0 {
        out.say(format!("Complete: version {} may follow.", proposal.proposed().version()));
        return out.result(&result(true));
    }
    let failure = Failure::Unverified(format!("{}: signatures are missing", new.display()));
    Err(out.failed_result(result(false), failure))
}

/// Why a version does not follow, for programs and as a failure.
fn not_following(new: &Path, error: RotationError) -> (Value, Failure) {
    let result = json!({ "complete": false, "reason": error.code() });
    let text = format!("{}: {error}", new.display());
    let failure = match error {
        RotationError::Operators(_) | RotationError::Malformed(_) => Failure::Failed(text),
        RotationError::TooManySignatures(_)
        | RotationError::NotNext { .. }
        | RotationError::Signature { .. }
        | RotationError::Missing { .. } => Failure::Unverified(text),
    };
    (result, failure)
}

fn missing(proposal: &Proposal) -> usize {
    proposal.of_current.missing() + proposal.of_next.missing()
}

fn tally_text(tally: &Tally) -> String {
    let signed = if tally.signed.is_empty() { "nobody".to_owned() } else { tally.signed.join(", ") };
    let missing = match tally.missing() {
        0 => "enough".to_owned(),
        n => format!("{n} name(s) missing"),
    };
    format!("Version {}: signed by {signed}; {} needed: {missing}.", tally.version, tally.needed)
}

/// Which keys come, go, or change their name or role.
fn changes(out: Output, old: &OperatorsFile, new: &OperatorsFile) {
    let line =
        |entry: &OperatorKey| format!("{} ({}) {}", entry.name(), entry.role(), entry.key().fingerprint());
    let differs = |entry: &&OperatorKey, in_file: &OperatorsFile| {
        in_file.find(entry.key()).is_none_or(|o| (o.name(), o.role()) != (entry.name(), entry.role()))
    };
    for entry in old.keys().iter().filter(|entry| differs(entry, new)) {
        out.say(format!("  - {}", line(entry)));
    }
    for entry in new.keys().iter().filter(|entry| differs(entry, old)) {
        out.say(format!("  + {}", line(entry)));
    }
    if old.rotation() != new.rotation() {
        out.say(format!("  rotation threshold: {} becomes {}", old.rotation(), new.rotation()));
    }
}
