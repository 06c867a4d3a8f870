//! A hub in other hands. It has the hub's key, so what it says verifies, and it heard all that was ever said, with people's genuine
//! signatures. It says it again, altered: to guests that vanish or shrink, jobs of any kind about anything, consents for other
//! challenges, other times; now and then it is only noise.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use felhom_model::{Digest, JobId, MessageId, OperationKind};
use felhom_protocol::SignedBytes;
use felhom_rig::Random;
use felhom_signing::{Context, Key, Signed};
use serde_json::{Value, json};

/// Words that it remembers, at most.
const WORDS: usize = 2_000;
/// Jobs of a flood.
const FLOOD: usize = 300;
/// Times that no clock of the run has.
const TIMES: [&str; 4] =
    ["1970-01-01T00:00:00Z", "2016-01-01T00:00:00Z", "2036-01-01T00:00:00Z", "9999-12-30T22:00:00Z"];

/// What it says.
#[derive(Debug, Clone, Copy)]
enum Lie {
    Desired,
    Jobs,
    Flood,
    Consents,
    Anything,
    Flipped,
    Time,
}

/// The hub in other hands.
#[derive(Debug)]
pub(crate) struct Liar {
    key: Key,
    random: Random,
    /// Desired states that were said, by their digests, and the one that the box holds.
    said: BTreeMap<Digest, Vec<u8>>,
    held: Option<Digest>,
    jobs: Vec<Value>,
    messages: Vec<Value>,
    guests: Vec<Value>,
    words: Vec<String>,
}

impl Liar {
    /// One with the key of the hub whose state is there.
    pub(crate) fn new(hub_dir: &Path, seed: u64) -> Self {
        let seed_of_key = fs::read_to_string(hub_dir.join("hub.key")).unwrap();
        let key = STANDARD.decode(seed_of_key.trim()).unwrap();
        Self {
            key: Key::from_seed(&key.try_into().unwrap()),
            random: Random::of(seed, "a hub in other hands"),
            said: BTreeMap::new(),
            held: None,
            jobs: Vec::new(),
            messages: Vec::new(),
            guests: Vec::new(),
            words: Vec::new(),
        }
    }

    /// Listens to a request of the box.
    pub(crate) fn hear_request(&mut self, body: &[u8]) {
        let Ok(request) = serde_json::from_slice::<Value>(body) else { return };
        self.held = request["document_digest"].as_str().and_then(|text| text.parse().ok());
        for guest in request["report"]["guests"].as_array().into_iter().flatten() {
            for key in ["name", "uuid"] {
                if !guest[key].is_null() && !self.guests.contains(&guest[key]) {
                    self.guests.push(guest[key].clone());
                }
            }
        }
        self.remember(&request);
    }

    /// Listens to an answer of the hub.
    pub(crate) fn hear_answer(&mut self, body: &[u8]) {
        let Ok(answer) = serde_json::from_slice::<Value>(body) else { return };
        if let Ok(signed) = serde_json::from_value::<SignedBytes>(answer["desired_state"].clone()) {
            self.said.insert(Digest::of(&signed.bytes), signed.bytes);
        }
        for (key, all) in [("jobs", &mut self.jobs), ("messages", &mut self.messages)] {
            all.extend(answer[key].as_array().into_iter().flatten().cloned());
        }
        self.remember(&answer);
    }

    fn remember(&mut self, value: &Value) {
        match value {
            Value::Array(all) => all.iter().for_each(|one| self.remember(one)),
            Value::Object(all) => all.values().for_each(|one| self.remember(one)),
            Value::String(text) if self.words.len() < WORDS && !self.words.contains(text) => {
                self.words.push(text.clone());
            }
            _ => {}
        }
    }

    /// What it says in the place of an answer, and its signature.
    pub(crate) fn says(&mut self, honest: &[u8]) -> (Vec<u8>, String) {
        let mut answer: Value = serde_json::from_slice(honest).unwrap_or_else(|_| json!({}));
        let lie = self.random.weighted(&[
            (6, Lie::Desired),
            (16, Lie::Jobs),
            (1, Lie::Flood),
            (4, Lie::Consents),
            (2, Lie::Anything),
            (1, Lie::Flipped),
            (1, Lie::Time),
        ]);
        match lie {
            Lie::Desired => answer["desired_state"] = self.desired(&mut answer["generation"]),
            Lie::Jobs => answer["jobs"] = (0..=self.random.below(5)).map(|_| self.job()).collect(),
            Lie::Flood => answer["jobs"] = (0..FLOOD).map(|_| self.job()).collect(),
            Lie::Consents => {
                answer["messages"] = (0..=self.random.below(3)).map(|_| self.message()).collect()
            }
            Lie::Anything => self.alter(&mut answer),
            Lie::Time => answer["time"] = json!(TIMES[self.random.place(TIMES.len())]),
            Lie::Flipped => {}
        }
        let mut body = serde_json::to_vec(&answer).unwrap();
        let signature = self.key.sign(Context::SyncAnswer, &body).to_string();
        if matches!(lie, Lie::Flipped) {
            let at = self.random.place(body.len());
            body[at] ^= 1 << self.random.below(8);
        }
        (body, signature)
    }

    /// A desired state that follows the one that the box holds, mostly.
    fn desired(&mut self, newest: &mut Value) -> Value {
        let held = self.held.and_then(|digest| Some((digest, self.said.get(&digest)?)));
        let Some((digest, bytes)) = held else { return Value::Null };
        let mut document: Value = serde_json::from_slice(bytes).unwrap();
        let generation = document["generation"].as_u64().unwrap_or_default();
        document["generation"] = json!(self.random.weighted(&[
            (12, generation + 1),
            (1, generation),
            (1, generation.saturating_sub(1)),
            (1, generation + 1_000),
            (1, u64::MAX),
        ]));
        document["prev_hash"] = json!(digest);
        let guests = document["spec"]["guest"].as_array_mut().unwrap();
        match self.random.below(6) {
            0 => guests.clear(),
            1 if !guests.is_empty() => drop(guests.swap_remove(self.random.place(guests.len()))),
            2 if !guests.is_empty() => {
                let n = self.random.place(guests.len());
                guests[n]["state"] = json!(["stopped", "retired", "running"][self.random.place(3)]);
            }
            3 if !guests.is_empty() => {
                let n = self.random.place(guests.len());
                let key = ["memory_mib", "disk_gib", "cores"][self.random.place(3)];
                guests[n][key] = json!(1_u64 << self.random.below(30));
            }
            4 => guests.push(json!({
                "name": format!("guest-{}", self.random.below(1000)), "state": "running",
                "cores": 1, "memory_mib": 256, "disk_gib": 1,
            })),
            _ => self.alter(&mut document),
        }
        *newest = document["generation"].clone();
        let bytes = serde_json::to_vec(&document).unwrap();
        self.said.insert(Digest::of(&bytes), bytes.clone());
        json!(SignedBytes::from(Signed::new(&self.key, Context::DesiredState, bytes)))
    }

    /// One that was said, altered, or one of its own.
    fn job(&mut self) -> Value {
        if !self.jobs.is_empty() && self.random.below(4) == 0 {
            let mut job = self.jobs[self.random.place(self.jobs.len())].clone();
            self.alter(&mut job);
            return job;
        }
        let kind = OperationKind::ALL[self.random.place(OperationKind::ALL.len())];
        let mut params = json!({ "guest": self.guest() });
        for (key, value) in [
            ("copy", self.guest()),
            ("target", json!(["local", "tank", "elsewhere"][self.random.place(3)])),
            ("archive", json!(self.word())),
            ("remove", json!([self.word(), self.word()])),
            ("operation", json!(self.word())),
            ("way", json!(["retry", "roll_back", "accept"][self.random.place(3)])),
            ("memory_mib", json!(1_u64 << self.random.below(30))),
            ("disk_gib", json!(1_u64 << self.random.below(20))),
            ("name", json!(format!("guest-{}", self.random.below(1000)))),
        ] {
            if self.takes(kind, key) {
                params[key] = value;
            }
        }
        let id = JobId::from_parts(
            1_700_000_000_000 + self.random.below(1 << 40),
            self.random.below(u64::MAX).into(),
        );
        let deadline = if self.random.below(10) == 0 { TIMES[0] } else { TIMES[3] };
        json!({"id": id, "kind": kind, "params": params, "deadline": deadline, "author": self.word()})
    }

    /// Parameters that a kind has, and now and then one that it has not.
    fn takes(&mut self, kind: OperationKind, key: &str) -> bool {
        use OperationKind as K;
        let has = match key {
            "copy" => kind == K::CutoverGuest,
            "target" => matches!(kind, K::BackupGuest | K::PruneBackups),
            "archive" => matches!(kind, K::RestoreGuest | K::RestoreTest) && self.random.below(2) == 0,
            "remove" => kind == K::PruneBackups,
            "operation" | "way" => kind == K::ResolveOperation,
            "memory_mib" | "disk_gib" => kind == K::ConfigureGuest && self.random.below(2) == 0,
            _ => false,
        };
        has || self.random.below(150) == 0
    }

    /// A consent of a person, for something else.
    fn message(&mut self) -> Value {
        if self.messages.is_empty() {
            return json!({"id": MessageId::from_parts(1, 1), "kind": "answer", "challenge": self.word(), "signature": self.word()});
        }
        let mut message = self.messages[self.random.place(self.messages.len())].clone();
        message["id"] = json!(MessageId::from_parts(1_700_000_000_000, self.random.below(u64::MAX).into()));
        if self.random.below(4) != 0 {
            let challenges: Vec<&String> =
                self.words.iter().filter(|word| word.parse::<Digest>().is_ok()).collect();
            message["challenge"] = json!(challenges[self.random.place(challenges.len())]);
        } else {
            self.alter(&mut message);
        }
        message
    }

    fn guest(&mut self) -> Value {
        if self.guests.is_empty() || self.random.below(8) == 0 {
            return json!(self.word());
        }
        self.guests[self.random.place(self.guests.len())].clone()
    }

    /// Something that was heard.
    fn word(&mut self) -> String {
        let at = self.random.place(self.words.len().max(1));
        self.words.get(at).cloned().unwrap_or_default()
    }

    /// Alters one value somewhere.
    fn alter(&mut self, value: &mut Value) {
        match value {
            Value::Object(all) if !all.is_empty() => {
                let key = all.keys().nth(self.random.place(all.len())).cloned().unwrap();
                match self.random.below(8) {
                    0 => drop(all.remove(&key)),
                    1 => drop(all.insert(key, json!({ "$ne": null }))),
                    _ => self.alter(all.get_mut(&key).unwrap()),
                }
            }
            Value::Array(all) if !all.is_empty() => {
                let at = self.random.place(all.len());
                self.alter(&mut all[at]);
            }
            Value::Number(_) => {
                *value = [json!(0), json!(-1), json!(u64::MAX), json!(1.5)][self.random.place(4)].clone()
            }
            Value::Bool(yes) => *yes = !*yes,
            _ => *value = json!(self.word()),
        }
    }
}
