//! `felhom backup`.

use super::{Context, job};
use crate::args::BackupCommand;
use crate::exit::Failure;
use crate::time::{ago, bytes, millis};
use felhom_model::backup::Consistency;
use felhom_protocol::status::Archive;
use serde_json::json;

pub(crate) async fn run(context: &Context, command: BackupCommand) -> Result<(), Failure> {
    match command {
        BackupCommand::Run(args) => {
            let params = json!({ "guest": args.guest });
            job::run_and_wait(context, &args.name, "backup_guest", params, args.no_wait).await
        }
        BackupCommand::List { name } => list(context, &name).await,
    }
}

async fn list(context: &Context, name: &str) -> Result<(), Failure> {
    let report = context.hub.show_box(name).await?.report;
    let mut archives = report.map(|report| report.archives).unwrap_or_default();
    archives.sort_by_key(|archive| std::cmp::Reverse(archive.taken_at));
    let row = |archive: &Archive| {
        let proven = archive.proven_level.map_or("not proven".to_owned(), |level| {
            let when = archive.proven_at.map_or_else(String::new, |at| format!(", {}", ago(at, context.now)));
            format!("{level}{when}")
        });
        let missing = if archive.present { "" } else { "MISSING " };
        vec![
            archive.guest_name.as_ref().map_or_else(|| archive.guest.to_string(), ToString::to_string),
            ago(archive.taken_at, context.now),
            bytes(archive.bytes),
            match archive.consistency {
                Consistency::Quiesced => "quiesced".to_owned(),
                Consistency::CrashConsistent => "crash consistent".to_owned(),
            },
            archive.downtime_ms.map_or_else(|| "–".to_owned(), millis),
            proven,
            format!("{missing}{}", archive.volid),
        ]
    };
    let head = ["guest", "taken", "size", "consistency", "downtime", "proven", "archive"];
    let empty = "No backups yet. Make one: felhom backup run BOX GUEST";
    context.out.table(&head, archives.iter().map(row).collect(), empty);
    if !archives.is_empty() {
        context.out.say(
            "Archives on a storage of the box are not encrypted: whoever holds that disk can read them.",
        );
    }
    context.out.result(&archives)
}
