//! `felhom-controller`: commands only translate: parse, call, print. The library's documentation says what there is.

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use felhom_controller::{
    config::Config, customer::notices, engine::launch, identity, paths::Paths, probe, quiesce::lease, read,
    serve,
};
use std::{io::Read as _, net::Ipv4Addr, path::PathBuf, process::ExitCode};

/// Runs a guest's apps, makes them stand still for backups, and shows how they are.
#[derive(Parser)]
#[command(name = "felhom-controller", version, about)]
#[command(
    after_help = "Examples:\n  felhom-controller serve\n  echo '{\"nonce\":\"1\"}' | felhom-controller probe\n  felhom-controller read --digest sample/data/notes.db"
)]
struct Cli {
    #[command(flatten)]
    options: Options,
    /// Print the effective configuration and end.
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Options {
    /// Configuration file; default ROOT/etc/felhom/controller.toml, if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The guest's `/` (FELHOM_CONTROLLER_ROOT).
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The guest's loopback address (FELHOM_CONTROLLER_LO).
    #[arg(long, global = true, value_name = "ADDRESS")]
    lo: Option<Ipv4Addr>,
    /// File with the guest's network address, empty while the link is down (FELHOM_CONTROLLER_NET0_FILE).
    #[arg(long, global = true, value_name = "FILE")]
    net0_file: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run until SIGTERM: apps, backups, page.
    Serve,
    /// Print the guest's public key in base64; the key is made at the first call.
    PublicKey,
    /// Answer a question about this guest: JSON on standard input, one line of JSON on standard output.
    Probe {
        /// The answer is always JSON; this says so.
        #[arg(long)]
        json: bool,
    },
    /// Print a file of an app's volume.
    #[command(after_help = "Examples:\n  felhom-controller read sample/data/files/a.jpg > a.jpg\n  \
                            felhom-controller read --digest sample/data/notes.db\n  \
                            felhom-controller read --rows sample/data/notes.db")]
    Read {
        /// APP/VOLUME/PATH, or the absolute path below /var/lib/felhom/volumes.
        path: String,
        /// Print size and SHA-256 as one line of JSON instead of the bytes.
        #[arg(long, conflicts_with = "rows")]
        digest: bool,
        /// Print all rows of an SQLite database as one line of JSON instead of the bytes.
        #[arg(long)]
        rows: bool,
    },
    /// Print what the customer answered to notices, signed (used by the box).
    Answers,
    /// Print what the box keeps here of itself (used by the box).
    Watermark,
    /// Print the version.
    Version,
    /// Become a service (used by the controller itself).
    #[command(hide = true)]
    Launch { file: PathBuf },
    /// Thaw after a time (used by the controller itself).
    #[command(hide = true)]
    Lease {
        #[arg(long)]
        hold: bool,
        marker: PathBuf,
        expired: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("felhom-controller: {}", told(&e));
            let locked = e
                .downcast_ref::<launch::LaunchError>()
                .is_some_and(|e| matches!(e, launch::LaunchError::Locked(_)));
            if locked { ExitCode::from(75) } else { ExitCode::FAILURE }
        }
    }
}

/// The error and its causes, each said once: many of ours repeat their cause in their own text.
fn told(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(cause.trim()) { text } else { format!("{text}: {cause}") }
    })
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let mut config = Config::load(cli.options.config.as_deref(), |name| std::env::var(name).ok())?;
    config.root = cli.options.root.unwrap_or(config.root);
    config.lo = cli.options.lo.unwrap_or(config.lo);
    config.net0_file = cli.options.net0_file.or(config.net0_file);
    let config = config.check()?;
    if cli.check_config {
        print!("{}", toml::to_string(&config)?);
        return Ok(());
    }
    let paths = Paths::new(&config.root);
    match cli.command.context("no command; `felhom-controller --help` lists them")? {
        Command::Serve => {
            tracing_subscriber::fmt()
                .with_env_filter(
                    tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
                )
                .with_writer(std::io::stderr)
                .with_ansi(false)
                .init();
            // Only fails when one is installed already.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            Ok(runtime(4)?.block_on(serve::serve(config))?)
        }
        Command::PublicKey => {
            println!("{}", identity::guest_key(&paths)?.public());
            Ok(())
        }
        Command::Probe { json: _ } => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("reading the request from standard input")?;
            let request =
                if text.trim().is_empty() { Ok(Default::default()) } else { serde_json::from_str(&text) };
            let request = request.context("the request on standard input is not what a probe is asked")?;
            let answer = runtime(1)?.block_on(probe::answer(&paths, request))?;
            println!("{}", serde_json::to_string(&answer)?);
            Ok(())
        }
        Command::Read { path, digest, rows } => {
            let id = read::parse(&path)?;
            match (digest, rows) {
                (true, _) => println!("{}", read::digest(&paths, &id)?),
                (_, true) => println!("{}", read::rows(&paths, &id)?),
                _ => read::bytes(&paths, &id, &mut std::io::stdout().lock())?,
            }
            Ok(())
        }
        Command::Answers => Ok(notices::print_answers(&paths, &mut std::io::stdout().lock())?),
        Command::Watermark => match std::fs::File::open(paths.watermark()) {
            Ok(mut file) => Ok(std::io::copy(&mut file, &mut std::io::stdout().lock()).map(drop)?),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e).with_context(|| format!("reading {}", paths.watermark().display())),
        },
        Command::Version => {
            println!("felhom-controller {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Command::Launch { file } => match launch::become_service(&file)? {},
        Command::Lease { hold: true, marker, expired } => {
            Ok(runtime(1)?.block_on(lease::hold(marker, expired))?)
        }
        Command::Lease { hold: false, marker, expired } => {
            Ok(lease::detach(&std::env::current_exe()?, &marker, &expired)?)
        }
    }
}

fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}
