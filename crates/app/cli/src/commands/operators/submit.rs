//! `felhom operators submit`: a bundle goes to a box as the job `rotate_operators`. It is checked here first with the functions
//! that the box checks it with; who could still veto it is told by the box.

use super::{changes, not_following, read, tally_text};
use crate::commands::{Context, job};
use crate::exit::Failure;
use crate::files;
use felhom_model::Digest;
use felhom_protocol::executor::RotateOperatorsParams;
use felhom_protocol::hub_api::JobView;
use felhom_signing::operators::{OperatorsFile, SignedOperators, examine};
use serde_json::json;
use std::path::{Path, PathBuf};

const KIND: &str = "rotate_operators";

/// Where the bundle is, and the version that it follows.
pub(crate) struct Files<'a> {
    /// The bundle.
    pub(crate) bundle: &'a Path,
    /// The version in force; absent: looked for beside the bundle.
    pub(crate) old: Option<&'a Path>,
}

/// Checks a bundle, and hands it to a box unless that was done before.
pub(crate) async fn submit(
    context: &Context,
    name: &str,
    files: Files<'_>,
    no_wait: bool,
) -> Result<(), Failure> {
    let shown = files.bundle.display();
    let bundle = SignedOperators::parse(&files::read(files.bundle)?)
        .map_err(|e| Failure::Failed(format!("{shown} is no bundle with signatures: {e}")))?;
    let next =
        OperatorsFile::parse(&bundle.document).map_err(|e| Failure::Failed(format!("{shown}: {e}")))?;
    let current = match files.old {
        Some(old) => read(old)?,
        None => before(files.bundle, next.version())?,
    };
    let refused = |error| {
        let (result, failure) = not_following(files.bundle, error);
        context.out.failed_result(result, failure)
    };
    let proposal = examine(&current, &bundle.document, &bundle.signatures).map_err(refused)?;
    changes(context.out, &current, proposal.proposed());
    for tally in [&proposal.of_current, &proposal.of_next] {
        context.out.say(tally_text(tally));
    }
    bundle.rotate(&current).map_err(refused)?;
    let digest = Digest::of(&bundle.document);
    if let Some(known) = submitted(context.hub.jobs(name).await?, digest) {
        context
            .out
            .say(format!("{KIND}: job {} of {name} is this bundle already: {}.", known.id, known.state));
        return job::follow(context, name, known, no_wait).await;
    }
    let SignedOperators { document, signatures } = bundle;
    let params = RotateOperatorsParams { version: next.version(), digest, document, signatures };
    job::run_and_wait(context, name, KIND, json!(params), no_wait).await
}

/// The job with which this version was handed in, if it came to something or still may.
fn submitted(jobs: Vec<JobView>, digest: Digest) -> Option<JobView> {
    let wanted = digest.to_string();
    let failed = |job: &JobView| ["failed", "refused", "vetoed", "expired"].contains(&job.state.as_str());
    let same = |job: &JobView| job.kind == KIND && job.params["digest"].as_str() == Some(wanted.as_str());
    jobs.into_iter().find(|job| same(job) && !failed(job))
}

/// The version before, where `felhom operators` writes it: beside the bundle.
fn before(bundle: &Path, next: u64) -> Result<OperatorsFile, Failure> {
    let version = next.saturating_sub(1);
    let names = [format!("operators-{version}.json"), "operators.json".to_owned()];
    let paths: Vec<PathBuf> = names.iter().map(|name| bundle.with_file_name(name)).collect();
    for path in &paths {
        if files::read_if_there(path)?.is_some() {
            let file = read(path)?;
            if file.version() == version {
                return Ok(file);
            }
        }
    }
    let looked: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    Err(Failure::Failed(format!(
        "the bundle follows version {version}, which is in none of {}; give the version in force with --old FILE, so that the \
         signatures can be checked before they are sent",
        looked.join(", ")
    )))
}
