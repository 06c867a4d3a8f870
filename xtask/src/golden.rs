//! `cargo xtask golden`: the archive that new guests are made from, and its signed release.
//!
//! Steps: build controller (and app) with cargo → lay out the tree, for containers over Debian's packages → write
//! `vzdump-lxc-1999-….tar.zst`, the same bytes for the same programs and packages → digest → for containers, a smoke test →
//! `release.json` → signature, with OpenSSH's own `ssh-keygen` where it is there.

mod archive;
mod debian;
mod entry;
mod process;
mod release;
mod smoke;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use crate::run;

pub(crate) use smoke::group;

/// Options of `golden`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask golden                          the real thing, tried out, into target/golden\n  cargo xtask golden --key release-key        signed by a key of yours; its public half lies beside it\n  cargo xtask golden --runtime process        for guests that are processes, as in the demo\n\nThe real thing needs mmdebstrap; to try it out, root and LXC."
)]
pub(crate) struct Args {
    /// Where archive, list of packages, release, signature and the key's public half go.
    #[arg(long, default_value = "target/golden")]
    out: PathBuf,
    /// How its guests run.
    #[arg(long, value_enum, default_value_t = Runtime::Lxc)]
    runtime: Runtime,
    /// Version of the release; it only ever grows. Default: the time, as YYYYMMDDhhmm in UTC.
    #[arg(long)]
    version: Option<u64>,
    /// The release key; an SSH key whose public half lies beside it, or the public half of one that an agent holds. Default: one
    /// that is made on the spot.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Debian's mirror.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Put the demo's app in.
    #[arg(long)]
    with_sample_app: bool,
    /// Do not try it out.
    #[arg(long)]
    no_smoke: bool,
}

impl Args {
    /// What a demo or a test wants.
    fn of_demo(out: &Path) -> Self {
        Self {
            out: out.to_path_buf(),
            runtime: Runtime::Lxc,
            version: None,
            key: None,
            mirror: None,
            with_sample_app: true,
            no_smoke: true,
        }
    }
}

/// How guests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Runtime {
    /// As containers: Debian with systemd and Docker.
    Lxc,
    /// As processes: controller, app and a shell.
    Process,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lxc => "lxc",
            Self::Process => "process",
        })
    }
}

/// The shell of this machine, for the guest's init: a guest runs only what it holds itself.
const SHELL: &str = "/bin/sh";
/// How programs are linked that run in another system than this one.
const STATIC: &str = "-C target-feature=+crt-static";
const TARGET: &str = "x86_64-unknown-linux-gnu";

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
    let out = root.join(&args.out);
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let now = jiff::Timestamp::now();
    let version = match args.version {
        Some(version) => version,
        None => now.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y%m%d%H%M").to_string().parse()?,
    };
    let signing = Signing { version, key: args.key.as_deref() };
    let golden = match args.runtime {
        Runtime::Process => {
            let programs = build_programs(root, Profile::Dev)?;
            build(&programs, &out, 0)?
        }
        Runtime::Lxc => {
            let programs = build_static(root, Profile::Release)?;
            let (golden, packages) = real(&programs, &out, (&archive::name(now), args), &signing)?;
            println!("{}", packages.display());
            if !args.no_smoke {
                smoke::test(root, &golden)?;
            }
            golden
        }
    };
    println!("{}  {} ({} bytes)", golden.sha256, golden.archive.display(), golden.bytes);
    for path in [&golden.release, &golden.signature, &golden.public_key] {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// How a release is signed.
struct Signing<'a> {
    version: u64,
    key: Option<&'a Path>,
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
    Ok(target_folder(root)?.join(folder))
}

/// Build what runs in containers, without a need for this machine's libraries, and say where it is.
pub(crate) fn build_static(root: &Path, profile: Profile) -> Result<PathBuf> {
    let mut args = vec![
        "build",
        "--locked",
        "--bins",
        "-p",
        "felhom-controller",
        "-p",
        "sample-app",
        "--target",
        TARGET,
    ];
    let folder = if profile == Profile::Release { "release" } else { "debug" };
    args.extend((profile == Profile::Release).then_some("--release"));
    run::check(run::cargo_command(root, &args).env("RUSTFLAGS", STATIC))?;
    Ok(target_folder(root)?.join(TARGET).join(folder))
}

fn target_folder(root: &Path) -> Result<PathBuf> {
    let metadata = run::output(&mut run::cargo_command(
        root,
        &["metadata", "--format-version", "1", "--no-deps", "--offline"],
    ))?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata)?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(target))
}

/// Make archive and release in `out` from the programs in `programs`, with so many MiB of ballast, for guests that are processes.
pub(crate) fn build(programs: &Path, out: &Path, ballast_mib: usize) -> Result<Golden> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let controller = stripped(&programs.join("felhom-controller"), out)?;
    let app = stripped(&programs.join("sample-app"), out)?;
    let path = out.join(archive::name(jiff::Timestamp::from_second(i64::try_from(archive::TIME)?)?));
    let mut entries = process::entries(&controller, &app, Path::new(SHELL));
    entries.extend(process::ballast(ballast_mib));
    let (sha256, bytes) = archive::write(&path, &entries)?;
    remove(&[&controller, &app])?;
    signed(out, (path, sha256, bytes), &["sample"], &Signing { version: 1, key: None })
}

/// Make the real archive and its release in `out`; also answers the list of packages.
fn real(
    programs: &Path,
    out: &Path,
    (name, args): (&str, &Args),
    signing: &Signing<'_>,
) -> Result<(Golden, PathBuf)> {
    let controller = stripped(&programs.join("felhom-controller"), out)?;
    let app = stripped(&programs.join("sample-app"), out)?;
    let contents = debian::Contents {
        controller: &controller,
        sample_app: args.with_sample_app.then_some(app.as_path()),
        mirror: args.mirror.as_deref(),
    };
    let path = out.join(name);
    let built = debian::build(&contents, &path)?;
    remove(&[&controller, &app])?;
    let apps: &[&str] = if args.with_sample_app { &["sample"] } else { &[] };
    Ok((signed(out, (path, built.sha256, built.bytes), apps, signing)?, built.packages))
}

/// The real archive with the demo's app, for a demo whose guests are containers.
pub(crate) fn build_for_demo(out: &Path, profile: Profile) -> Result<Golden> {
    let root = run::workspace_root()?;
    let programs = build_static(&root, profile)?;
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let now = jiff::Timestamp::now();
    let args = Args::of_demo(out);
    Ok(real(&programs, out, (&archive::name(now), &args), &Signing { version: 1, key: None })?.0)
}

fn signed(
    out: &Path,
    (archive, sha256, bytes): (PathBuf, String, u64),
    apps: &[&str],
    signing: &Signing<'_>,
) -> Result<Golden> {
    let name = archive.file_name().and_then(|name| name.to_str()).context("an archive has a name")?;
    let document = release::document(signing.version, name, &sha256, bytes, apps)?;
    let signed = release::write_and_sign(out, &document, signing.key)?;
    Ok(Golden {
        archive,
        sha256,
        bytes,
        release: signed.release,
        signature: signed.signature,
        public_key: signed.public_key,
    })
}

fn remove(files: &[&Path]) -> Result<()> {
    files.iter().try_for_each(|file| {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))
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
