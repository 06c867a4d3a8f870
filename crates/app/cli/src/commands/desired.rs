//! `felhom desired`.

use super::Context;
use crate::args::DesiredCommand;
use crate::exit::Failure;
use crate::time::ago;
use felhom_protocol::desired::Spec;
use felhom_protocol::hub_api::{PlanPreview, SetDesired};
use std::io::Read as _;
use std::path::Path;

pub(crate) async fn run(context: &Context, command: DesiredCommand) -> Result<(), Failure> {
    match command {
        DesiredCommand::Show { name } => show(context, &name).await,
        DesiredCommand::Set { name, file, dry_run: true, .. } | DesiredCommand::Plan { name, file } => {
            let preview = context.hub.plan(&name, &read(&file)?).await?;
            print_plan(context, &preview);
            context.out.result(&preview)
        }
        DesiredCommand::Set { name, file, message, if_generation, dry_run: false } => {
            let if_generation = DesiredCommand::generation(if_generation);
            let request = SetDesired { spec: read(&file)?, if_generation, message };
            let set = context.hub.set_desired(&name, &request).await?;
            let guests = set.spec.guests.len();
            context.out.say(format!("{name}: generation {} is set, {guests} guest(s).", set.generation));
            context.out.result(&set)
        }
        DesiredCommand::History { name } => history(context, &name).await,
    }
}

/// Reads and checks a file, before anything is sent.
fn read(file: &Path) -> Result<Spec, Failure> {
    let shown = file.display();
    let mut text = String::new();
    let result = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|read| text = read)
    };
    result.map_err(|e| Failure::Failed(format!("cannot read {shown}: {e}")))?;
    let spec: Spec = toml::from_str(&text).map_err(|e| Failure::Failed(format!("{shown}: {e}")))?;
    spec.to_model().map_err(|e| Failure::Failed(format!("{shown}: {e}")))?;
    Ok(spec)
}

async fn show(context: &Context, name: &str) -> Result<(), Failure> {
    let desired = context.hub.desired(name).await?;
    let text = toml::to_string(&desired.spec).map_err(|e| Failure::Failed(e.to_string()))?;
    context.out.say(format!(
        "# {name}, generation {}, set {} by {}{}",
        desired.generation,
        ago(desired.time, context.now),
        desired.author,
        if desired.message.is_empty() { String::new() } else { format!(": {}", desired.message) }
    ));
    context.out.say(text.trim_end());
    context.out.result(&desired)
}

async fn history(context: &Context, name: &str) -> Result<(), Failure> {
    let history = context.hub.desired_history(name).await?;
    let rows = history.iter().map(|version| {
        let guests: Vec<&str> = version.spec.guests.iter().map(|guest| guest.name.as_str()).collect();
        vec![
            version.generation.to_string(),
            ago(version.time, context.now),
            version.author.clone(),
            guests.join(", "),
            version.message.clone(),
        ]
    });
    let head = ["generation", "set", "by", "guests", "message"];
    context.out.table(&head, rows.collect(), "No desired state yet. Set one: felhom desired set BOX FILE");
    context.out.result(&history)
}

fn print_plan(context: &Context, preview: &PlanPreview) {
    let out = context.out;
    match preview.based_on {
        Some(time) => out.say(format!("Plan, by what the box reported {}:", ago(time, context.now))),
        None => out.say("The box has not reported yet; the plan assumes that it is empty."),
    }
    let rows = preview.operations.iter();
    let rows = rows.map(|op| vec![op.kind.clone(), op.guest.clone(), op.reason.clone()]);
    out.table(&["operation", "guest", "why"], rows.collect(), "Nothing to do.");
    for note in &preview.notes {
        out.say(format!("note: {note}"));
    }
}
