//! `cargo xtask golden`: the archive that new guests are made from, for guests that are processes, and its signed release.
//!
//! Steps: build controller and app with cargo → lay out the tree → write `vzdump-lxc-1999-….tar.zst`, the same bytes for
//! the same programs → digest → `release.json` → signature by a key made on the spot, with OpenSSH's own `ssh-keygen` where
//! it is there.

mod archive;
mod release;
mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use crate::run;

/// Options of `golden`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask golden                 into target/golden\n  cargo xtask golden --out /tmp/g    into another folder"
)]
pub(crate) struct Args {
    /// Where archive, release, signature and the key's public half go.
    #[arg(long, default_value = "target/golden")]
    out: PathBuf,
}

/// The shell of this machine, for the guest's init: a guest runs only what it holds itself.
const SHELL: &str = "/bin/sh";

/// What was made; all files in one folder.
pub(crate) struct Golden {
    /// The archive.
    pub(crate) archive: PathBuf,
    /// Its SHA-256, 64 hexadecimal digits.
    pub(crate) sha256: String,
    /// Its size in bytes.
    pub(crate) bytes: u64,
    /// The release document.
    pub(crate) release: PathBuf,
    /// Its signature (SSHSIG, armored).
    pub(crate) signature: PathBuf,
    /// The release key's public half, in OpenSSH's form.
    pub(crate) public_key: PathBuf,
}

/// The command.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    let programs = build_programs(root, Profile::Dev)?;
    let golden = build(&programs, &root.join(&args.out), 0)?;
    println!("{}  {} ({} bytes)", golden.sha256, golden.archive.display(), golden.bytes);
    for path in [&golden.release, &golden.signature, &golden.public_key] {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// How programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// To try them out.
    Dev,
    /// Together with the tests: tests switch on features, so that programs built without them are built anew.
    Tests,
    /// As they are shipped.
    Release,
}

/// Build all programs and say where they are. All of them at once, as the tests do: a part of the workspace would be built
/// with other features, and so once more.
pub(crate) fn build_programs(root: &Path, profile: Profile) -> Result<PathBuf> {
    let mut args = vec!["build", "--locked", "--workspace", "--bins"];
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Tests => {
            args.push("--tests");
            "debug"
        }
        Profile::Release => {
            args.push("--release");
            "release"
        }
    };
    run::check(&mut run::cargo_command(root, &args))?;
    let metadata = run::output(&mut run::cargo_command(
        root,
        &["metadata", "--format-version", "1", "--no-deps", "--offline"],
    ))?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata)?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(Path::new(target).join(folder))
}

/// Make archive and release in `out` from the programs in `programs`, with so many MiB of ballast.
pub(crate) fn build(programs: &Path, out: &Path, ballast_mib: usize) -> Result<Golden> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let controller = stripped(&programs.join("felhom-controller"), out)?;
    let app = stripped(&programs.join("sample-app"), out)?;
    let path = out.join(archive::NAME);
    let mut entries = tree::entries(&controller, &app, Path::new(SHELL));
    entries.extend(tree::ballast(ballast_mib));
    let (sha256, bytes) = archive::write(&path, &entries)?;
    for temporary in [&controller, &app] {
        fs::remove_file(temporary).with_context(|| format!("cannot remove {}", temporary.display()))?;
    }
    let document = release::document(1, archive::NAME, &sha256, bytes, &["sample"])?;
    let signed = release::write_and_sign(out, &document)?;
    Ok(Golden {
        archive: path,
        sha256,
        bytes,
        release: signed.release,
        signature: signed.signature,
        public_key: signed.public_key,
    })
}

/// A copy of the program without debugging information, where `strip` is there; else a plain copy.
fn stripped(program: &Path, out: &Path) -> Result<PathBuf> {
    let name = program.file_name().context("a program has a name")?;
    let copy = out.join(name).with_extension("stripped");
    if run::find_program("strip").is_some() {
        run::output(Command::new("strip").arg("-o").arg(&copy).arg(program))?;
    } else {
        fs::copy(program, &copy)
            .with_context(|| format!("cannot copy {} to {}", program.display(), copy.display()))?;
    }
    Ok(copy)
}
