//! The command line of `golden`: parse, call, print.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use felhom_clock::Clock;
use felhom_pve::{Auth, Endpoint, Node, NodeName, Pve};
use jiff::tz::TimeZone;
use serde_json::json;

use super::{GoldenError, ImportFiles, Imported, import};
use crate::config::Config;
use crate::keys::read_secret;
use crate::rights::Rights;

/// Options of `golden`.
#[derive(Debug, clap::Args)]
#[command(about = "Golden archives, which new guests are made from")]
pub struct GoldenArgs {
    #[command(subcommand)]
    command: GoldenCommand,
}

#[derive(Debug, clap::Subcommand)]
enum GoldenCommand {
    /// Bring an archive of a signed release onto this box; any other file is refused by the name of the reason.
    #[command(
        after_help = "Exit codes: 0 imported, or here already; 1 failed; 2 configuration; 3 refused, by name; 4 \
                            the host cannot be reached.\n\nExamples:\n  felhom-executor golden import \
                            /mnt/usb/vzdump-lxc-1999-2026_01_01-00_00_00.tar.zst\n  felhom-executor golden import a.tar.zst \
                            --release release.json --signature release.json.sig"
    )]
    Import(ImportArgs),
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// The archive.
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    /// The release document; `release.json` beside the archive if not given.
    #[arg(long, value_name = "FILE")]
    release: Option<PathBuf>,
    /// Its signature; the document's name with `.sig` if not given.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// One line of JSON on standard output; people's text goes to standard error.
    #[arg(long)]
    json: bool,
}

impl ImportArgs {
    fn files(&self) -> ImportFiles {
        let beside = || self.archive.parent().unwrap_or(Path::new("")).join("release.json");
        let release = self.release.clone().unwrap_or_else(beside);
        let signature = self.signature.clone().unwrap_or_else(|| {
            let mut name = release.clone().into_os_string();
            name.push(".sig");
            name.into()
        });
        ImportFiles { archive: self.archive.clone(), release, signature }
    }
}

/// Runs the command.
pub async fn execute(config: &Config, args: &GoldenArgs) -> ExitCode {
    let GoldenCommand::Import(args) = &args.command;
    match attempt(config, &args.files()).await {
        Ok(imported) => {
            print(&imported, args.json);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let refused = error.reason().map(|name| format!("refused ({name}): ")).unwrap_or_default();
            let text = match Rights::of(config) {
                Ok(rights) => rights.explained(error.to_string()),
                Err(_) => error.to_string(),
            };
            eprintln!("golden import: {refused}{text}");
            if args.json {
                println!("{}", json!({ "ok": false, "reason": error.reason(), "error": text }));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

async fn attempt(config: &Config, files: &ImportFiles) -> Result<Imported, GoldenError> {
    let host = config.host(&config.state_dir);
    import(config, &host, &node(config)?, files, &Clock::of_machine().now().to_zoned(TimeZone::system()))
        .await
}

fn node(config: &Config) -> Result<Node, GoldenError> {
    fn wrong(key: &'static str) -> impl Fn(String) -> GoldenError {
        move |why| GoldenError::Config { key, why }
    }
    let pve = &config.pve;
    let fingerprint = pve
        .fingerprint
        .parse()
        .map_err(|e: felhom_pve::InvalidId| wrong("pve.fingerprint")(e.to_string()))?;
    let id = pve.token_id.parse().map_err(|e: felhom_pve::InvalidId| wrong("pve.token_id")(e.to_string()))?;
    let secret = read_secret("token secret", &pve.token_file)
        .map_err(|e| wrong("pve.token_file")(format!("{e}; `felhom-executor setup` writes it")))?;
    let client = Pve::new(Endpoint::new(&pve.url, fingerprint)?, Auth::Token { id, secret })?;
    let name = NodeName::new(&pve.node).map_err(|e| wrong("pve.node")(e.to_string()))?;
    Ok(client.node(&name))
}

fn print(imported: &Imported, json: bool) {
    let word = if imported.new { "imported" } else { "unchanged" };
    let golden = &imported.golden;
    let apps: Vec<_> = golden.apps.iter().map(|app| app.as_str()).collect();
    let text = format!(
        "{word}  {} (release {}, {} bytes, apps: {})\n           {}",
        imported.volid,
        golden.release,
        golden.bytes,
        apps.join(", "),
        golden.digest
    );
    if json {
        eprintln!("{text}");
        let golden = json!({
            "outcome": word, "volid": imported.volid, "digest": golden.digest, "release": golden.release,
            "bytes": golden.bytes, "apps": apps,
        });
        println!("{}", json!({ "ok": true, "golden": golden }));
    } else {
        println!("{text}");
    }
}
