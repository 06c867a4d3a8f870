//! One recording against one fresh simulator, line by line.
//!
//! Before each line every task that is not held has ended. A task that the recording shows running is held at its `begin` until
//! the last line that shows so was answered, unless its stage file says where to hold it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    acts,
    compare::{self, Difference, Rules, Side},
    ids::{self, Ids},
    node::{ApiEntry, Node, NodeFile},
    plan::{self, Plan},
    recording::{Exchange, Line, What},
    rename::Rename,
    shell,
    stage::{Fault, Stage},
    wire,
};
use crate::run;

/// A line that takes longer is worth a look.
const SLOW: Duration = Duration::from_secs(2);

/// How a line ended.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    /// Not replayed, or not compared; why.
    Out(String),
    /// As recorded.
    Matched,
    /// Not.
    Differs(Vec<Difference>),
}

/// What a replay needs.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    /// The simulator's program.
    pub(crate) program: &'a Path,
    /// The recording.
    pub(crate) lines: &'a [Line],
    /// Its plan.
    pub(crate) plan: &'a Plan,
    /// Its stage files.
    pub(crate) stage: &'a Stage,
    /// Its node.
    pub(crate) node: &'a NodeFile,
    /// What is compared loosely.
    pub(crate) rules: &'a Rules,
    /// The last line to replay.
    pub(crate) until: usize,
    /// Say which lines took long.
    pub(crate) verbose: bool,
}

/// Replays; a verdict a line.
///
/// # Errors
/// The simulator cannot be set up.
pub(crate) fn replay(job: &Job, rename: Rename) -> Result<Vec<Verdict>> {
    let node = Node::start(job.program, job.node, &rename)?;
    let mut replay = Replay {
        job,
        rename,
        node,
        ids: Ids::default(),
        secrets: BTreeMap::new(),
        old_secrets: BTreeMap::new(),
        ours: BTreeMap::new(),
        pending: Vec::new(),
        held: Vec::new(),
        archives: BTreeSet::new(),
        dumped: 0,
        scanned: 0.0,
        logs: BTreeMap::new(),
    };
    replay.set_up().context("setting the node up")?;
    let lines = job.lines.iter().take_while(|line| line.number <= job.until);
    Ok(lines.map(|line| replay.line(line)).collect())
}

#[derive(Debug)]
struct Held {
    line: usize,
    at: String,
    id: String,
    until: usize,
    free: bool,
}

pub(super) struct Replay<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) rename: Rename,
    pub(super) node: Node,
    pub(super) ids: Ids,
    /// Recorded token → our secret.
    pub(super) secrets: BTreeMap<String, String>,
    /// What it was before.
    pub(super) old_secrets: BTreeMap<String, String>,
    /// Line → our task.
    pub(super) ours: BTreeMap<usize, String>,
    pending: Vec<(usize, String)>,
    held: Vec<Held>,
    archives: BTreeSet<String>,
    /// Second of the simulator's clock in which a vzdump was last seen to end.
    dumped: u64,
    scanned: f64,
    /// Path of a log → its lines that are the recorded node's own.
    logs: BTreeMap<String, u64>,
}

impl Replay<'_> {
    fn set_up(&mut self) -> Result<()> {
        for ApiEntry { method, path, form } in &self.job.node.api {
            let (path, form) = (self.rename.path(path), self.rename.form(&encode_form(form)));
            let (status, json) = self.node.root(method, &path, &form)?;
            if !status.starts_with("200") {
                anyhow::bail!("{method} {path} {form}: {status} {json}");
            }
            self.keep_secret(&self.clean(&json.to_string()), None);
            if let Some(upid) = json["data"].as_str().filter(|data| data.starts_with("UPID:")) {
                self.node.wait(upid, Duration::from_secs(30))?;
            }
        }
        if let Some(script) = &self.job.node.script {
            let printed = shell::run(&self.node, &self.rename.template(script))?;
            if !printed.trim().is_empty() {
                anyhow::bail!("the script of node.toml printed: {printed}");
            }
        }
        self.archives = self.archives_now();
        Ok(())
    }

    fn line(&mut self, line: &Line) -> Verdict {
        let n = line.number;
        let started = std::time::Instant::now();
        let result = self.before(n).and_then(|()| self.body(line));
        let result = result.and_then(|verdict| self.after(n).map(|()| verdict));
        if started.elapsed() > SLOW && self.job.verbose {
            eprintln!("line {n} took {:.1} s", started.elapsed().as_secs_f64());
        }
        result.unwrap_or_else(|error| {
            if let Some(reason) = self.job.stage.out.get(&n) {
                return Verdict::Out(reason.clone());
            }
            let got = format!("{error:#}");
            Verdict::Differs(vec![Difference { at: "replay".into(), expected: String::new(), got }])
        })
    }

    fn body(&mut self, line: &Line) -> Result<Verdict> {
        let n = line.number;
        if let Some(reason) = self.job.stage.out.get(&n).filter(|_| !self.job.stage.sent.contains(&n)) {
            return Ok(Verdict::Out(reason.clone()));
        }
        let differences = match &line.what {
            What::Http(exchange) => self.http(n, exchange)?,
            What::Raw { request, response } => self.raw(n, request, response)?,
            What::Shell { line, output } => match self.shell(n, line, output)? {
                Ok(differences) => differences,
                Err(reason) => return Ok(Verdict::Out(reason)),
            },
        };
        Ok(match self.job.stage.out.get(&n) {
            Some(reason) => Verdict::Out(reason.clone()),
            None if differences.is_empty() => Verdict::Matched,
            None => Verdict::Differs(differences),
        })
    }

    fn before(&mut self, n: usize) -> Result<()> {
        let held: Vec<usize> = self.held.iter().map(|held| held.line).collect();
        let (stay, end): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|(line, _)| held.contains(line));
        self.pending = stay;
        for (line, upid) in end {
            self.node.wait(&upid, Duration::from_secs(20))?;
            if upid.contains(":vzdump:") {
                self.dumped = now() + self.node.clock;
            }
            let _ = line;
        }
        self.learn_archives(n);
        for act in self.job.stage.acts.iter().filter(|act| act.at == n && !act.after) {
            self.act(act).with_context(|| format!("[[do]] at = {n}"))?;
        }
        Ok(())
    }

    fn after(&mut self, n: usize) -> Result<()> {
        let (over, stay): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.held).into_iter().partition(|held| held.until <= n);
        self.held = stay;
        for held in over {
            self.node.unfault(&held.at, Some(&self.rename.id(&held.id)))?;
            if held.free {
                self.pending.retain(|(line, _)| *line != held.line);
            }
        }
        for act in self.job.stage.acts.iter().filter(|act| act.at == n && act.after) {
            self.act(act).with_context(|| format!("[[do]] at = {n}, after"))?;
        }
        Ok(())
    }

    /// A task that the recording shows running is held, so that it does run then.
    pub(super) fn hold(&mut self, n: usize) -> Result<()> {
        let Some(task) = self.job.plan.started_by.get(&n).and_then(|upid| self.job.plan.tasks.get(upid))
        else {
            return Ok(());
        };
        let staged = self.job.stage.holds.get(&n);
        let place = staged.map_or("begin", |hold| hold.at.as_str());
        let until = staged.and_then(|hold| hold.until).or(task.last_running);
        let Some(until) = until else { return Ok(()) };
        if place == "none" {
            let wait = staged.is_some_and(|hold| hold.until.is_some());
            let (at, id) = (place.to_owned(), task.id.clone());
            self.held.extend(wait.then_some(Held { line: n, at, id, until, free: false }));
            return Ok(());
        }
        let at = if place.contains('.') { place.to_owned() } else { format!("{}.{place}", task.kind) };
        let id = staged.and_then(|hold| hold.id.clone()).unwrap_or_else(|| task.id.clone());
        self.node.fault(
            &Fault { at: at.clone(), id: Some(id.clone()), method: None, path: None, act: "hold".into() },
            &self.rename,
        )?;
        self.node.forget_held(&at, &self.rename.id(&id));
        self.held.push(Held { line: n, at, id, until, free: staged.is_some_and(|hold| hold.free) });
        Ok(())
    }

    /// Until the task of a line has got to where it is held; not if another one of the same guest is held, which it may wait for.
    fn wait_held(&self, n: usize, upid: &str) {
        let Some(held) = self.held.iter().find(|held| held.line == n && held.at != "none") else { return };
        if self.held.iter().any(|other| other.line != n && other.id == held.id) {
            return;
        }
        let id = self.rename.id(&held.id);
        for _ in 0..400 {
            if self.node.is_held(&held.at, &id) || !acts::runs(upid) {
                return;
            }
            run::pause(Duration::from_millis(5));
        }
    }

    /// Keeps the task that a line's answer names.
    pub(super) fn begun(&mut self, n: usize, answer: &str) {
        let upid = serde_json::from_str::<Value>(answer).ok().and_then(|json| {
            json["data"].as_str().filter(|data| data.starts_with("UPID:")).map(str::to_owned)
        });
        match upid {
            Some(upid) => {
                self.wait_held(n, &upid);
                self.ours.insert(n, upid.clone());
                self.pending.push((n, upid));
            }
            None => self.held.iter_mut().filter(|held| held.line == n).for_each(|held| held.until = 0),
        }
    }

    fn http(&mut self, n: usize, exchange: &Exchange) -> Result<Vec<Difference>> {
        self.other_second(n)?;
        self.hold(n)?;
        if shows_the_last_round(exchange) {
            self.node.round()?;
        }
        let request = self.request(n, exchange);
        let answer = self.ask(exchange, &request)?;
        let body = self.clean(&answer.body);
        self.learn(exchange, &body);
        self.keep_secret(&body, exchange.json.as_ref());
        if self.job.plan.started_by.contains_key(&n) || exchange.method != "GET" {
            self.begun(n, &answer.body);
        } else {
            self.begun(n, "");
        }
        let mut loose = self.job.stage.loose.get(&n).cloned().unwrap_or_default();
        if !self.rename.is_plain() && exchange.bare_path().ends_with("/cluster/nextid") {
            // The lowest free number is another one where the guests have other numbers.
            loose.push("data".to_owned());
        }
        let header = |headers: &[(String, String)]| wire::header(headers, "content-type").map(str::to_owned);
        let recorded = Side {
            status: self.ids.blank_unknown(&exchange.status),
            content_type: header(&exchange.answer_headers),
            body: self.ids.blank_unknown(&exchange.answer),
            artefacts: self.artefacts(exchange),
        };
        let ours = Side {
            status: self.ids.blank_unknown(&self.ids.incoming(&self.clean(&answer.status))),
            content_type: header(&answer.headers),
            body: self.ids.blank_unknown(&self.ids.incoming(&body)),
            artefacts: 0,
        };
        Ok(compare::answers(self.job.rules, exchange.bare_path(), &loose, &recorded, &ours))
    }

    /// Lines of a log that are the recorded node's own; a page of it is known by the whole that was read before.
    fn artefacts(&mut self, exchange: &Exchange) -> u64 {
        let Some(json) = exchange.json.as_ref().filter(|_| exchange.bare_path().ends_with("/log")) else {
            return 0;
        };
        let seen = self.logs.entry(exchange.bare_path().to_owned()).or_default();
        *seen = (*seen).max(self.job.rules.artefacts(json));
        *seen
    }

    /// Asks until a task that the recording shows as ended has ended.
    fn ask(&self, exchange: &Exchange, request: &[u8]) -> Result<wire::Answer> {
        let ended = exchange.json.as_ref().is_some_and(|json| json["data"]["status"] == "stopped")
            && exchange.bare_path().contains("/tasks/UPID");
        for _ in 0..200 {
            let answer = self.node.wire.call(request)?;
            if !ended || !answer.body.contains("\"status\":\"running\"") || !self.held.is_empty() {
                return Ok(answer);
            }
            run::pause(Duration::from_millis(20));
        }
        self.node.wire.call(request)
    }

    fn shell(&mut self, n: usize, line: &str, output: &str) -> Result<Result<Vec<Difference>, String>> {
        let staged = self.job.stage.runs.get(&n);
        let script = match staged.and_then(|run| run.command.as_ref()) {
            Some(command) => self.rename.template(&self.rename.shell(&self.ids.outgoing(command))),
            None if staged.is_some() || shell::runs_as_it_is(line) => {
                self.rename.shell(&self.ids.outgoing(line))
            }
            None if self.job.stage.acts.iter().any(|act| act.at == n) => {
                return Ok(Err("done by the stage".to_owned()));
            }
            None => return Ok(Err("no stage step".to_owned())),
        };
        let printed = shell::run(&self.node, &script)?;
        if staged.is_some_and(|run| !run.compare) {
            return Ok(Err("done by the stage".to_owned()));
        }
        let printed = self.clean(&printed);
        self.ids.learn_from(output, &printed);
        let recorded = self.ids.blank_unknown(output);
        let ours = self.ids.blank_unknown(&self.ids.incoming(&printed));
        Ok(Ok(compare::outputs(self.job.rules, &recorded, &ours)))
    }

    /// The simulator's text without its state directory, with the recorded names.
    pub(super) fn clean(&self, text: &str) -> String {
        let state = self.node.state().display().to_string();
        self.rename.back(&text.replace(&state, ""))
    }

    fn learn(&mut self, exchange: &Exchange, ours: &str) {
        let Ok(ours_json) = serde_json::from_str::<Value>(ours) else { return };
        let Some(recorded) = &exchange.json else { return };
        self.ids.learn_from(&recorded.to_string(), &ours_json.to_string());
        if let (Some(recorded), Some(ours)) =
            (recorded["data"]["digest"].as_str(), ours_json["data"]["digest"].as_str())
        {
            self.ids.learn(recorded, ours);
        }
    }

    fn keep_secret(&mut self, ours: &str, recorded: Option<&Value>) {
        let Ok(json) = serde_json::from_str::<Value>(ours) else { return };
        if let (Some(token), Some(secret)) =
            (json["data"]["full-tokenid"].as_str(), json["data"]["value"].as_str())
        {
            if let Some(old) = self.secrets.insert(token.to_owned(), secret.to_owned()) {
                self.old_secrets.insert(token.to_owned(), old);
            }
            if let Some(recorded) = recorded.and_then(|json| json["data"]["value"].as_str()) {
                self.ids.learn(recorded, secret);
            }
        }
    }

    /// Two archives of a guest have two names only if their seconds differ, as they did in the recording.
    /// Their clock is moved on instead of waiting for it.
    fn other_second(&mut self, n: usize) -> Result<()> {
        let started = self.job.plan.started_by.get(&n).and_then(|upid| self.job.plan.tasks.get(upid));
        let ours = now() + self.node.clock;
        if started.is_some_and(|task| task.kind == "vzdump") && ours <= self.dumped {
            self.node.clock += self.dumped + 1 - ours;
            self.node.write_faults()?;
        }
        Ok(())
    }

    fn archives_now(&self) -> BTreeSet<String> {
        let state = self.node.state();
        let mut folders = vec![state.join("var/lib/vz/dump")];
        for parent in ["mnt", "srv"] {
            let entries = fs::read_dir(state.join(parent)).into_iter().flatten().flatten();
            folders.extend(entries.map(|entry| entry.path().join("dump")));
        }
        let names = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        let mut found = BTreeSet::new();
        for name in names {
            let name = name.file_name().to_string_lossy().into_owned();
            let first = ids::find(&name).into_iter().find(|f| f.kind == ids::Kind::Archive);
            found.extend(first.map(|f| self.rename.back(&name[f.start..f.end])));
        }
        found
    }

    /// Whether a recorded archive stands for none of ours; a name without suffix does if an archive of that name does.
    fn is_free(&self, recorded: &str) -> bool {
        let whole = |name: &&String| name.len() > recorded.len() && name.starts_with(recorded);
        let mut whole = self.job.plan.archives.iter().map(|(_, name, _)| name).filter(whole).peekable();
        match whole.peek() {
            Some(_) => whole.any(|name| self.ids.ours(name).is_none()),
            None => self.ids.ours(recorded).is_none(),
        }
    }

    /// New archives of ours stand for those that the recording made at this time.
    fn learn_archives(&mut self, n: usize) {
        let from =
            std::mem::replace(&mut self.scanned, self.job.plan.times.get(n - 1).copied().unwrap_or_default());
        let now = self.archives_now();
        let new: Vec<String> = now.difference(&self.archives).cloned().collect();
        for ours in &new {
            let Some(vmid) = plan::archive_vmid(ours).filter(|_| !self.ids.is_ours(ours)) else { continue };
            let from = self.job.plan.last_dump(vmid, n).unwrap_or(from);
            let to = self.job.plan.next_dump(vmid, n).unwrap_or(f64::MAX).min(self.scanned + 120.0);
            let (_, suffix) = ids::split_archive(ours);
            let fits = |(id, name, time): &&(u32, String, f64)| {
                *id == vmid
                    && ids::split_archive(name).1 == suffix
                    && *time >= from
                    && *time <= to
                    && self.is_free(name)
            };
            if let Some((_, recorded, _)) = self.job.plan.archives.iter().find(fits) {
                self.ids.learn(&recorded.clone(), ours);
            }
        }
        self.archives = now;
    }
}

/// Whether a call's answer depends on when the node last looked at its guests and tasks.
fn shows_the_last_round(exchange: &Exchange) -> bool {
    let path = exchange.bare_path().trim_start_matches("/api2/json");
    let lists = ["/cluster/resources", "/cluster/tasks", "/pools"].iter().any(|list| path.starts_with(list));
    exchange.method == "GET" && (lists || path.ends_with("/tasks"))
}

/// `=` and `;` inside values.
pub(super) fn encode_form(form: &str) -> String {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((key, value)) => format!("{key}={}", value.replace('=', "%3D").replace(';', "%3B")),
        None => pair.to_owned(),
    };
    form.split('&').map(pair).collect::<Vec<_>>().join("&")
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

pub(super) fn next_second(after: u64) {
    while now() <= after {
        run::pause(Duration::from_millis(10));
    }
}
