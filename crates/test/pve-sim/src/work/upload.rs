//! `imgcopy`: what was uploaded gets to its place (rec 824–830).

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::destroyed;
use crate::error::ApiError;
use crate::task::worker::Worker;

/// The order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Upload {
    /// The uploaded file, as a path of the node.
    pub(crate) temporary: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Where it goes.
    pub(crate) target: PathBuf,
    /// The same as a path of the node.
    pub(crate) shown: String,
    /// Algorithm and expected value.
    pub(crate) checksum: Option<(String, String)>,
}

/// The task. A file of the same name is replaced; the uploaded one goes away in any case.
pub(crate) fn run(worker: &mut Worker, job: &Upload) -> Result<(), ApiError> {
    let source = worker.host.dir.root().join(job.temporary.trim_start_matches('/'));
    worker.say(format!("starting file import from: {}", job.temporary));
    let done = worker.phase("begun").and_then(|()| copy(worker, job, &source));
    let _ = fs::remove_file(&source);
    if done.is_ok() {
        worker.say("finished file import successfully");
    }
    done
}

fn copy(worker: &mut Worker, job: &Upload, source: &PathBuf) -> Result<(), ApiError> {
    if let Some((algorithm, expected)) = &job.checksum {
        let got = sum(algorithm, source)?;
        if !got.eq_ignore_ascii_case(expected) {
            worker.say("calculating checksum...");
            return Err(ApiError::die(format!("checksum mismatch: got '{got}' != expect '{expected}'")));
        }
        worker.say("calculating checksum...OK, checksum verified");
    }
    worker.say(format!("target node: {}", worker.host.node));
    worker.say(format!("target file: {}", job.shown));
    worker.say(format!("file size is: {}", job.size));
    worker.say(format!("command: cp -- {} {}", job.temporary, job.shown));
    let folder = job.target.parent().unwrap_or(&job.target);
    destroyed::note_file(&worker.host, &job.target)?;
    fs::create_dir_all(folder).and_then(|()| fs::copy(source, &job.target)).map_err(|error| {
        let _ = fs::remove_file(&job.target);
        ApiError::die(format!("import failed: {error}"))
    })?;
    Ok(())
}

fn sum(algorithm: &str, path: &PathBuf) -> Result<String, ApiError> {
    fn of<D: Digest + io::Write>(path: &PathBuf) -> io::Result<String> {
        let mut digest = D::new();
        io::copy(&mut fs::File::open(path)?, &mut digest)?;
        Ok(hex::encode(digest.finalize()))
    }
    match algorithm {
        "sha224" => Ok(of::<Sha224>(path)?),
        "sha256" => Ok(of::<Sha256>(path)?),
        "sha384" => Ok(of::<Sha384>(path)?),
        "sha512" => Ok(of::<Sha512>(path)?),
        other => {
            Err(ApiError::die(format!("checksum algorithm '{other}' is not implemented by this simulator")))
        }
    }
}
