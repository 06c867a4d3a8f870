//! The steps of an import.

use std::path::{Path, PathBuf};

use felhom_host::{FileDigest, Host, Placed, digest_file, place_archive};
use felhom_model::observed::Golden;
use felhom_model::{Digest, Volid};
use felhom_protocol::release::Artefact;
use felhom_pve::Node;
use felhom_signing::sshsig::SshPublicKey;
use jiff::Zoned;

use super::archive::{check_config, config_text};
use super::error::GoldenError;
use super::release::SignedRelease;
use crate::config::Config;
use crate::golden_record::{self, GoldenRecord};

/// The files that were given.
#[derive(Debug, Clone)]
pub struct ImportFiles {
    /// The archive.
    pub archive: PathBuf,
    /// The release document.
    pub release: PathBuf,
    /// Its signature.
    pub signature: PathBuf,
}

/// What is on the box now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Where the archive lies.
    pub volid: Volid,
    /// What gate and planner know of it.
    pub golden: Golden,
    /// Whether it was brought in just now; else it was here.
    pub new: bool,
}

/// Imports an archive. `now` names it, in the box's local time.
///
/// # Errors
/// [`GoldenError`]: a refusal by name, or what failed.
pub async fn import(
    config: &Config,
    host: &Host,
    node: &Node,
    files: &ImportFiles,
    now: &Zoned,
) -> Result<Imported, GoldenError> {
    let signed = SignedRelease::read(&files.release, &files.signature, &release_keys(config)?)?;
    let here = golden_record::imported(config);
    check_version(&signed, here.first().map(|newest| newest.golden.release))?;
    let read = digest_file(&files.archive, |_| ()).await?;
    let artefact = named(&signed, &files.archive, read)?;
    let text = off_the_runtime(&files.archive, config_text).await?;
    check_config(&files.archive, &text)?;
    check_storage(config, node).await?;

    let known = here.into_iter().find(|imported| imported.golden.digest == read.digest);
    let volid = match &known {
        Some(imported) => imported.volid.clone(),
        None => new_volid(config, now)?,
    };
    let record = GoldenRecord {
        volid: volid.clone(),
        digest: read.digest,
        release: signed.document.clone(),
        signature: signed.signature.clone(),
    };
    golden_record::keep(config, &record)?;
    let placed = place(host, &files.archive, &volid, read.digest).await?;
    read_back(node, &placed, &volid, &text).await?;
    Ok(Imported {
        volid,
        golden: Golden {
            digest: read.digest,
            release: signed.release.version,
            apps: artefact.apps,
            bytes: read.bytes,
        },
        new: matches!(placed, Placed::New(_)),
    })
}

fn release_keys(config: &Config) -> Result<Vec<SshPublicKey>, GoldenError> {
    let parse = |line: &String| {
        let wrong = |e: felhom_signing::SignatureError| GoldenError::Config {
            key: "release_keys",
            why: e.to_string(),
        };
        SshPublicKey::from_openssh(line).map_err(wrong)
    };
    config.release_keys.iter().map(parse).collect()
}

fn check_version(signed: &SignedRelease, newest: Option<u64>) -> Result<(), GoldenError> {
    match newest {
        Some(here) if signed.release.version < here => {
            Err(GoldenError::Older { offered: signed.release.version, here })
        }
        Some(_) | None => Ok(()),
    }
}

fn named(signed: &SignedRelease, path: &Path, read: FileDigest) -> Result<Artefact, GoldenError> {
    signed.golden(read.digest, read.bytes).cloned().ok_or_else(|| GoldenError::NotNamed {
        path: path.to_owned(),
        seen: read.digest,
        release: signed.release.version,
        named: signed.named(),
    })
}

async fn check_storage(config: &Config, node: &Node) -> Result<(), GoldenError> {
    let id = &config.storages.golden;
    let wrong = |why: &str| GoldenError::Storage { storage: id.to_string(), why: why.to_owned() };
    let status = node.storage(id).status().await?;
    if !status.active || !status.enabled {
        return Err(wrong("it is not active; is its disk mounted?"));
    }
    if !status.allows("backup") {
        return Err(wrong(
            "backups are not among its contents; add `backup` or name another in `storages.golden`",
        ));
    }
    Ok(())
}

fn new_volid(config: &Config, now: &Zoned) -> Result<Volid, GoldenError> {
    let name = format!("vzdump-lxc-{}-{}.tar.zst", config.golden_vmid, now.strftime("%Y_%m_%d-%H_%M_%S"));
    let text = format!("{}:backup/{name}", config.storages.golden);
    text.parse().map_err(|e: felhom_model::id::IdError| GoldenError::Config {
        key: "golden_vmid",
        why: e.to_string(),
    })
}

async fn place(host: &Host, source: &Path, volid: &Volid, digest: Digest) -> Result<Placed, GoldenError> {
    let target = host.volume_path(volid).await?;
    let parts = target.parent().zip(target.file_name().and_then(|name| name.to_str()));
    let Some((dump_dir, name)) = parts else {
        let why = format!("`pvesm path` says {volid} lies at {}, which is no file", target.display());
        return Err(GoldenError::Storage { storage: volid.storage().to_owned(), why });
    };
    Ok(place_archive(source, dump_dir, name, digest).await?)
}

/// What was checked is what lies there, and Proxmox sees it.
async fn read_back(node: &Node, placed: &Placed, volid: &Volid, text: &str) -> Result<(), GoldenError> {
    let not_so = |why: String| GoldenError::NotSo { volid: volid.to_string(), why };
    let there = off_the_runtime(placed.path(), config_text).await?;
    if there != text {
        return Err(not_so(
            "the configuration in it is another one; the file was changed meanwhile".to_owned(),
        ));
    }
    node.extract_config(volid).await.map_err(|e| not_so(format!("Proxmox cannot read it: {e}")))?;
    Ok(())
}

async fn off_the_runtime<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> Result<T, GoldenError> + Send + 'static,
) -> Result<T, GoldenError> {
    let path = path.to_owned();
    let shown = path.clone();
    let joined = tokio::task::spawn_blocking(move || work(&path)).await;
    joined.map_err(|e| GoldenError::Read { path: shown, source: std::io::Error::other(e) })?
}
