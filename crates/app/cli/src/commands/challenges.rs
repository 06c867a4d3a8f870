//! `felhom challenges`.

use super::{Context, veto};
use crate::args::ChallengesCommand;
use crate::challenge::Carried;
use crate::escape::escaped;
use crate::exit::Failure;
use crate::time::{ago, seconds};
use crate::waiting::CheckedWaiting;
use felhom_model::Digest;
use felhom_protocol::hub_api::{AnswerView, ChallengeState, ChallengeView};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

pub(crate) async fn run(context: &Context, command: ChallengesCommand) -> Result<(), Failure> {
    match command {
        ChallengesCommand::List => list(context).await,
        ChallengesCommand::Show { id } => show(context, &id).await,
    }
}

/// The challenge that is meant: by its digest, the beginning of it, or the operation that waits.
pub(crate) async fn find(context: &Context, id: &str) -> Result<ChallengeView, Failure> {
    let view = if let Ok(digest) = id.parse::<Digest>() {
        context.hub.challenge(digest).await?
    } else {
        by_beginning(context.hub.challenges().await?, id)?
    };
    let asked = id.parse().unwrap_or(view.digest);
    if Digest::of(&view.signed.bytes) != view.digest || view.digest != asked {
        return Err(other_bytes(id));
    }
    Ok(view)
}

/// Digits of a digest that must be given at least.
const SHORTEST: usize = 6;

/// How often it is looked whether the box answered, and for how long.
const POLL: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(120);

/// A challenge for the same operation that lives long enough to be carried to a machine without network and back: the box is
/// asked for it, and the open one is void then.
pub(crate) async fn longer_lived(context: &Context, open: ChallengeView) -> Result<ChallengeView, Failure> {
    let digest = open.digest;
    let mut view = context.hub.renew_challenge(digest).await?;
    context.out.say("The box is asked for a challenge that lives 24 h …");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let last = view.renewals.last();
        match last.map(|renewal| (renewal.asked.accepted, renewal.challenge)) {
            Some((Some(true), Some(new))) => match context.hub.challenge(new).await {
                Ok(found) if Digest::of(&found.signed.bytes) == new => return Ok(found),
                Ok(_) => return Err(other_bytes(&new.to_string())),
                // The box told of it before it told it.
                Err(error) if error.status() == Some(404) => {}
                Err(error) => return Err(error.into()),
            },
            Some((Some(false), _)) => {
                let why = last.and_then(|renewal| renewal.asked.why.as_deref()).unwrap_or("no reason given");
                return Err(Failure::Refused(format!(
                    "the box gives no longer-lived challenge: {}",
                    escaped(why)
                )));
            }
            Some(_) | None => {}
        }
        if Instant::now() >= deadline {
            let text = "the box has not answered yet; the same command goes on where this one ended";
            return Err(Failure::Failed(text.to_owned()));
        }
        tokio::time::sleep(POLL).await;
        view = context.hub.challenge(digest).await?;
    }
}

fn other_bytes(id: &str) -> Failure {
    Failure::Unverified(format!("ALARM: the hub gave other bytes for the challenge {id}"))
}

fn by_beginning(challenges: Vec<ChallengeView>, id: &str) -> Result<ChallengeView, Failure> {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    if digits.len() < SHORTEST {
        return Err(Failure::Failed(format!("`{id}` is too short: give {SHORTEST} digits of the challenge")));
    }
    let mut found = challenges.into_iter().filter(|view| view.digest.hex().starts_with(digits));
    match (found.next(), found.next()) {
        (Some(view), None) => Ok(view),
        (None, _) => {
            Err(Failure::Failed(format!("the hub has no challenge `{id}`; see `felhom challenges list`")))
        }
        (Some(_), Some(_)) => {
            Err(Failure::Failed(format!("several challenges begin with `{id}`; give more digits")))
        }
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let (mut rows, mut result) = (Vec::new(), Vec::new());
    for view in context.hub.challenges().await? {
        let (state, short) = (state_word(view.state), view.digest.hex()[..12].to_owned());
        let (digest, name) = (view.digest, escaped(&view.box_name));
        let checked = Carried::from(view).check(&context.known);
        let (what, on, until) = match &checked {
            Ok(checked) => {
                let challenge = &checked.challenge;
                let until = ago(challenge.expires_at, context.now);
                (challenge.operation.kind.to_string(), checked.labels().join(", "), until)
            }
            Err(failure) => ("NOT VERIFIED".to_owned(), failure.to_string(), String::new()),
        };
        let problem = checked.as_ref().err().map(ToString::to_string);
        let challenge = checked.ok().map(|checked| checked.challenge);
        result.push(json!({
            "digest": digest, "box": name, "state": state, "verified": problem.is_none(), "problem": problem,
            "challenge": challenge,
        }));
        rows.push(vec![short, name, state.to_owned(), what, on, until]);
    }
    let head = ["id", "box", "state", "operation", "on", "good until"];
    context.out.table(&head, rows, "No challenges: nothing waits for a signature.");
    for view in veto::all_waiting(context).await? {
        let (id, name) = (view.operation.id, escaped(&view.box_name));
        let checked = CheckedWaiting::check(&view, id, &context.known);
        let problem = checked.as_ref().err().map(ToString::to_string);
        let what = match &checked {
            Ok(checked) => checked.says.act.kind.to_string(),
            Err(failure) => format!("NOT VERIFIED: {failure}"),
        };
        let left = view.operation.grace.as_ref().map_or(0, |grace| grace.left_s);
        context.out.say(format!(
            "In its grace, without a challenge: {what} at {name}, {} left. To stop it: felhom veto {id} --reason …",
            seconds(left)
        ));
        result.push(json!({
            "digest": null, "box": name, "state": "waiting", "verified": problem.is_none(), "problem": problem,
            "challenge": null, "operation": view.operation,
        }));
    }
    context.out.result(&result)
}

async fn show(context: &Context, id: &str) -> Result<(), Failure> {
    let view = find(context, id).await?;
    let told = told(&view);
    let (answers, state) = (view.answers.clone(), view.state);
    let checked = Carried::from(view).check(&context.known);
    let checked = checked.map_err(|failure| context.out.failed_result(told.clone(), failure))?;
    for line in checked.lines(context.now) {
        context.out.say(line);
    }
    context.out.say(format!("state:        {} (by the hub)", state_word(state)));
    for answer in &answers {
        context.out.say(format!("answer:       {}", answer_text(context, answer)));
    }
    let mut result = told;
    result["challenge"] = json!(checked.challenge);
    context.out.result(&result)
}

/// What the hub says of it, for programs.
pub(crate) fn told(view: &ChallengeView) -> Value {
    json!({ "digest": view.digest, "box": view.box_name, "state": view.state, "answers": view.answers })
}

/// The word for a state.
pub(crate) fn state_word(state: ChallengeState) -> &'static str {
    match state {
        ChallengeState::Open => "open",
        ChallengeState::Answered => "answered",
        ChallengeState::Accepted => "accepted",
        ChallengeState::Expired => "expired",
        ChallengeState::Void => "void",
        ChallengeState::BadSignature => "BAD SIGNATURE",
        ChallengeState::Unknown => "unknown",
    }
}

fn answer_text(context: &Context, answer: &AnswerView) -> String {
    let verdict = match (answer.accepted, &answer.why) {
        (None, _) => "not judged yet".to_owned(),
        (Some(true), _) => "accepted".to_owned(),
        (Some(false), Some(why)) => format!("refused: {}", escaped(why)),
        (Some(false), None) => "refused".to_owned(),
    };
    format!("{} by {}, {verdict}", ago(answer.at, context.now), escaped(&answer.by))
}
