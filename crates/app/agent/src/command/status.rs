//! `status`: how the box stands, from the agent's database and the executor; works while the agent is down.

use crate::config::Config;
use crate::hub_link::LAST_SYNC;
use crate::identity;
use crate::store::Store;
use felhom_client::executor::ExecutorClient;
use felhom_protocol::status::{Condition, ConditionStatus};
use serde_json::{Value, json};

/// Prints it.
///
/// # Errors
/// If the agent's own files cannot be read; a silent executor is part of the status.
pub(crate) async fn run(config: &Config, as_json: bool) -> anyhow::Result<()> {
    let enrolment = identity::enrolment(config)?;
    let database = config.state("agent.sqlite");
    let store = if database.exists() { Some(Store::open(&database)?) } else { None };
    let (mut conditions, mut jobs, mut generation, mut last_sync) = (Vec::new(), Vec::new(), None, None);
    if let Some(store) = &store {
        conditions = store.conditions()?;
        jobs = store.jobs()?.into_iter().map(|kept| kept.report).collect();
        generation = store.held()?.map(|held| held.generation);
        last_sync = store.meta(LAST_SYNC)?;
    }
    let observation = match ExecutorClient::new(&config.executor_socket) {
        Ok(client) => client.observation().await,
        Err(error) => Err(error),
    };
    let (guests, executor) = match &observation {
        Ok(seen) => (json!(seen.guests), json!({ "answers": true, "error": seen.error })),
        Err(error) => (Value::Null, json!({ "answers": false, "error": error.to_string() })),
    };
    let whole = json!({
        "box": enrolment.as_ref().map(|e| json!({ "id": e.box_id, "name": e.name, "epoch": e.epoch, "hub": e.hub_url })),
        "generation": generation,
        "last_sync": last_sync,
        "executor": executor,
        "conditions": conditions,
        "jobs": jobs,
        "guests": guests,
    });
    let text = for_people(&whole, &conditions);
    if as_json {
        eprint!("{text}");
        println!("{whole}");
    } else {
        print!("{text}");
    }
    Ok(())
}

fn for_people(whole: &Value, conditions: &[Condition]) -> String {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines = Vec::new();
    match &whole["box"] {
        Value::Null => lines.push("not enrolled; `felhom-agent enroll TICKET` does it".to_owned()),
        known => lines.push(format!(
            "box {} ({}) at {}",
            word(&known["name"]),
            word(&known["id"]),
            word(&known["hub"])
        )),
    }
    if !whole["last_sync"].is_null() {
        lines.push(format!("last sync {}", word(&whole["last_sync"])));
    }
    if !whole["generation"].is_null() {
        lines.push(format!("desired state generation {}", whole["generation"]));
    }
    if whole["executor"]["answers"] == false {
        lines.push(format!("executor: {}", word(&whole["executor"]["error"])));
    }
    for guest in whole["guests"].as_array().into_iter().flatten() {
        let name = guest["name"].as_str().map_or_else(String::new, |name| format!("{name}, "));
        let vmid = &guest["vmid"];
        lines.push(format!(
            "guest {name}VMID {vmid}: {}, {}",
            word(&guest["purpose"]),
            word(&guest["power"])
        ));
    }
    for condition in conditions {
        let mark = match condition.status {
            ConditionStatus::True => "ok ",
            ConditionStatus::False => "NOT",
            ConditionStatus::Unknown => " ? ",
        };
        lines.push(format!("{mark} {} {}: {}", condition.kind, condition.reason, condition.message));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}
