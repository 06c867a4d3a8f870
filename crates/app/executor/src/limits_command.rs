//! `felhom-executor limits`: the box's own limits, what the operator wishes, and what is in force.

use std::process::ExitCode;

use felhom_gate::BoxLimits;
use felhom_model::desired::Tightening;
use felhom_protocol::executor::Observation;
use serde_json::json;

use crate::config::Config;
use crate::ops;

/// Options of `limits`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Show the limits in force: the box's own ones, and what the operator wishes to be stricter",
    after_help = "The operator can only make them stricter. Of a hub that is not to be trusted any more, local root has them \
                  ignored: `heed_wished_limits = false` in the configuration, and felhom-executor started again.\n\nExit codes: 0 \
                  shown; 1 the executor does not answer.\n\nExamples:\n  felhom-executor limits\n  felhom-executor limits --json"
)]
pub struct LimitsArgs {
    /// One line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn execute(config: &Config, args: &LimitsArgs) -> ExitCode {
    match wished(config).await {
        Ok(wish) => {
            let (own, force) = (config.limits(), config.limits_with(&wish));
            let rows = rows(&own, &wish, &force);
            if args.json {
                let values = |(name, own, wish, force): &Row| {
                    (*name, json!({ "own": own, "wished": wish, "in_force": force }))
                };
                println!("{}", json!(rows.iter().map(values).collect::<std::collections::BTreeMap<_, _>>()));
            } else {
                println!("{:<22}{:>16}{:>16}{:>16}", "", "own", "wished", "in force");
                for (name, own, wish, force) in rows {
                    let wish = wish.map_or_else(|| "-".to_owned(), |wish| wish.to_string());
                    println!("{name:<22}{own:>16}{wish:>16}{force:>16}");
                }
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("felhom-executor: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn wished(config: &Config) -> Result<Tightening, String> {
    let body = ops::get(&config.socket, "/v1/observation").await?;
    let seen: Observation =
        serde_json::from_str(&body).map_err(|e| format!("its answer cannot be read: {e}"))?;
    Ok(seen.wished_limits)
}

/// Name with unit, own, wished, in force.
type Row = (&'static str, u64, Option<u64>, u64);

fn rows(own: &BoxLimits, wish: &Tightening, force: &BoxLimits) -> [Row; 7] {
    let hours = |limits: &BoxLimits| limits.keep_spread.as_hours().unsigned_abs();
    let small = |n: Option<u32>| n.map(u64::from);
    [
        ("max_guests", own.max_guests.into(), small(wish.max_guests), force.max_guests.into()),
        ("reserve_bytes", own.reserve_bytes, wish.reserve_bytes, force.reserve_bytes),
        (
            "target_full_percent",
            own.target_full_percent.into(),
            wish.target_full_percent.map(u64::from),
            force.target_full_percent.into(),
        ),
        ("grace_s", own.grace_s, wish.grace_s, force.grace_s),
        (
            "signatures_per_day",
            own.signatures_per_day.into(),
            small(wish.signatures_per_day),
            force.signatures_per_day.into(),
        ),
        ("keep_backups", own.keep_backups.into(), small(wish.keep_backups), force.keep_backups.into()),
        ("keep_spread_h", hours(own), small(wish.keep_spread_h), hours(force)),
    ]
}
