//! Messages of a real run, and what can be made of them.

use std::collections::BTreeSet;

use felhom_model::{BoxId, Digest, GuestUuid, OperationId, OperationKind, Volid};
use felhom_protocol::SignedBytes;
use felhom_protocol::local_api::{Frozen, Thawed};
use felhom_signing::{Context, Key, Signed};
use serde_json::{Map, Value, json};

use super::scene::Scene;
use crate::bench::{guest_key, heartbeat};
use crate::people::{challenge, confirmation};
use crate::random::Random;

/// A message as it goes to the socket.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

impl Message {
    fn json(method: &'static str, path: String, body: &Value) -> Self {
        Self { method, path, body: serde_json::to_vec(body).unwrap() }
    }

    /// The kind that it asks for, if it asks for an operation.
    pub(crate) fn asks_for(&self) -> Option<String> {
        if self.path != "/v1/operations" || self.method != "POST" {
            return None;
        }
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body["kind"].as_str()?.to_owned())
    }
}

/// Everything that was said, and every name that occurred.
pub(crate) struct Corpus {
    said: Vec<Message>,
    /// Guests of the run, and others that were heard of.
    real: Vec<GuestUuid>,
    guests: Vec<GuestUuid>,
    stands: OperationId,
    scratch: Option<GuestUuid>,
    archives: Vec<Volid>,
    operations: BTreeSet<OperationId>,
    digests: BTreeSet<Digest>,
    documents: Vec<Value>,
    asked: u64,
}

impl Corpus {
    /// Records what honest people and guests said on this box, with their real signatures, and what they said of other things.
    pub(crate) async fn of(scene: &Scene) -> Self {
        let bench = &scene.bench;
        let mut corpus = Self {
            said: Vec::new(),
            real: scene.guests().to_vec(),
            guests: Vec::new(),
            stands: scene.stands,
            scratch: None,
            archives: Vec::new(),
            operations: BTreeSet::new(),
            digests: BTreeSet::new(),
            documents: Vec::new(),
            asked: 0,
        };
        corpus.guests.push("00000000-0000-4000-8000-000000000000".parse().unwrap());
        let seen = bench.client.observation().await.unwrap();
        corpus.archives = seen.archives.iter().map(|archive| archive.volid.clone()).collect();
        corpus.archives.push("elsewhere:backup/vzdump-lxc-2000-2026_01_01-00_00_00.tar.zst".parse().unwrap());
        corpus.operations = bench.client.operations(None).await.unwrap().iter().map(|op| op.id).collect();
        corpus.meet(scene).await;
        corpus.spent(scene).await;
        corpus.half(scene).await;
        corpus.of_guests(scene).await;
        let next = scene.people.next_file(2, &["anna", "carla"]);
        corpus.documents.push(scene.people.rotation(2, &next, &["anna"]));
        let skipped = scene.people.next_file(3, &["carla"]);
        corpus.documents.push(scene.people.rotation(3, &skipped, &["anna", "bela", "carla"]));
        corpus
    }

    /// The scratch guest that is there now.
    pub(crate) async fn meet(&mut self, scene: &Scene) {
        let seen = scene.bench.client.observation().await.unwrap();
        self.scratch =
            seen.guests.iter().find(|guest| guest.purpose == "scratch").and_then(|guest| guest.uuid);
    }

    /// Signatures that were used: by a retirement that was vetoed.
    async fn spent(&mut self, scene: &Scene) {
        let bench = &scene.bench;
        let op = bench.ask("spent", "retire_guest", json!({ "guest": scene.office })).await;
        let (shown, asked) = challenge(bench, op.id).await;
        let signature = scene.people.sign("anna", &shown.signed.bytes);
        let confirmed = confirmation(&shown, &asked, scene.office);
        let veto = scene.people.veto("bela", op.id);
        bench.client.veto(op.id, &veto).await.unwrap();
        self.learn(&json!({ "operation": op.id, "digest": shown.digest }));
        let challenge = format!("/v1/challenges/{}", shown.digest);
        self.say("POST", format!("{challenge}/answers"), &json!({ "signature": signature }));
        self.say("POST", format!("{challenge}/confirmations"), &serde_json::to_value(confirmed).unwrap());
        self.say("POST", format!("{challenge}/renew"), &json!({}));
        self.say("POST", format!("/v1/operations/{}/veto", op.id), &serde_json::to_value(veto).unwrap());
    }

    /// A reclaim that one of two operators signed; and a cutover and a retirement that wait for theirs.
    async fn half(&mut self, scene: &Scene) {
        let bench = &scene.bench;
        let reclaim = bench.ask("half", "reclaim_guest", json!({ "guest": scene.attic })).await;
        let (shown, _) = challenge(bench, reclaim.id).await;
        let signature = scene.people.sign("anna", &shown.signed.bytes);
        bench.client.answer(shown.digest, &signature).await.unwrap();
        let path = format!("/v1/challenges/{}/answers", shown.digest);
        self.say("POST", path.clone(), &json!({ "signature": signature }));
        scene.people.make("mallory");
        let mallory = scene.people.sign("mallory", &shown.signed.bytes);
        self.say("POST", path.clone(), &json!({ "signature": mallory }));
        let other = scene.people.sign("bela", b"another document");
        self.say("POST", path, &json!({ "signature": other }));
        self.learn(&json!({ "operation": reclaim.id, "digest": shown.digest }));
        let cutover = json!({ "guest": scene.family, "copy": scene.copy });
        for (kind, params) in [("cutover_guest", cutover), ("retire_guest", json!({ "guest": scene.family }))]
        {
            let op = bench.ask(kind, kind, params).await;
            let (shown, _) = challenge(bench, op.id).await;
            self.learn(&json!({ "operation": op.id, "digest": shown.digest }));
            self.say(
                "POST",
                format!("/v1/challenges/{}/answers", shown.digest),
                &json!({ "signature": signature }),
            );
        }
    }

    /// What guests sign, and what an agent says of itself.
    async fn of_guests(&mut self, scene: &Scene) {
        let bench = &scene.bench;
        let vmid = bench.guest(scene.family).await.vmid;
        let bootstrap =
            serde_json::from_slice(&bench.cat(vmid, "/run/felhom/bootstrap.json").unwrap()).unwrap();
        for key in [guest_key(), Key::from_seed(&[77; 32])] {
            let signed = SignedBytes::from(heartbeat(&bootstrap, &key));
            self.say("POST", "/v1/heartbeats".to_owned(), &json!(signed));
            let backup = *self.operations.first().unwrap();
            let frozen = Frozen {
                id: backup,
                guest: scene.family,
                apps: Vec::new(),
                samples: Vec::new(),
                lease_ms: 1,
            };
            let bytes = serde_json::to_vec(&frozen).unwrap();
            let signed = SignedBytes::from(Signed::new(&key, Context::Frozen, bytes));
            self.say("POST", format!("/v1/backups/{backup}/frozen"), &json!(signed));
            let thawed = Thawed { downtime_ms: u64::MAX, apps: Vec::new(), held: true };
            self.say("POST", format!("/v1/backups/{backup}/thawed"), &json!(thawed));
        }
        let other = BoxId::from_random([4; 16]);
        let loose = json!({ "max_guests": 99, "grace_s": 0, "keep_backups": 0, "keep_spread_h": 0 });
        self.say("PUT", "/v1/limits".to_owned(), &loose);
        self.say("PUT", "/v1/box".to_owned(), &json!({ "box_id": other }));
        self.say("GET", "/v1/audit?after=18446744073709551615".to_owned(), &Value::Null);
        self.say("GET", format!("/v1/operations?after={}", OperationId::from_parts(0, 0)), &Value::Null);
        self.say("DELETE", "/v1/operations".to_owned(), &Value::Null);
    }

    fn say(&mut self, method: &'static str, path: String, body: &Value) {
        self.said.push(Message::json(method, path, body));
    }

    /// Ids and digests of an answer can be used against the box.
    pub(crate) fn learn(&mut self, body: &Value) {
        match body {
            Value::Array(all) => all.iter().for_each(|value| self.learn(value)),
            Value::Object(all) => all.values().for_each(|value| self.learn(value)),
            Value::String(text) => {
                self.operations.extend(text.parse::<OperationId>());
                self.digests.extend(text.parse::<Digest>());
                if let Ok(guest) = text.parse()
                    && !self.guests.contains(&guest)
                    && !self.real.contains(&guest)
                {
                    self.guests.push(guest);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The next message.
    pub(crate) fn next(&mut self, random: &mut Random) -> Message {
        let mut message = if random.below(4) == 0 {
            self.said[index(random, self.said.len())].clone()
        } else {
            self.request(random)
        };
        match random.below(5) {
            0 | 1 => message,
            2 => {
                message.path = self.other_path(&message.path, random);
                message
            }
            3 if random.below(4) == 0 => {
                let at = index(random, message.body.len());
                match random.below(3) {
                    0 => message.body.truncate(at),
                    1 => message.body[at] ^= 1 << random.below(8),
                    _ => message.body.insert(at, b'{'),
                }
                message
            }
            _ => {
                let mut body: Value = serde_json::from_slice(&message.body).unwrap();
                self.alter(&mut body, random);
                message.body = serde_json::to_vec(&body).unwrap();
                message
            }
        }
    }

    /// A request for any operation about anything, well-formed.
    fn request(&mut self, random: &mut Random) -> Message {
        let kind = OperationKind::ALL[index(random, OperationKind::ALL.len())];
        self.asked += 1;
        // Now and then a request that was made already, with other parameters.
        let key = if random.below(20) == 0 { random.below(self.asked) } else { self.asked };
        let by = ["desired_state", "schedule", "guest", "local", "job:01ARZ3NDEKTSV4RRFFQ69G5FAV"];
        let body = json!({
            "request_id": format!("hostile-{key}"),
            "kind": kind,
            "params": self.params(kind, random),
            "reason": "because",
            "asked_by": by[index(random, by.len())],
        });
        Message::json("POST", "/v1/operations".to_owned(), &body)
    }

    fn params(&self, kind: OperationKind, random: &mut Random) -> Value {
        use OperationKind as K;
        let guest = self.guest(random);
        let disk = "ata-WDC_WD40EFRX-68N32N0_WD-WCC7K0000000";
        match kind {
            K::ProvisionGuest => {
                let name = format!("guest-{}", random.below(1000));
                json!({ "name": name, "cores": 1, "memory_mib": 256, "swap_mib": 0, "disk_gib": 1, "apps": ["sample"] })
            }
            K::ConfigureGuest if random.below(3) == 0 => {
                json!({ "guest": guest, "disk_gib": 1_u64 << random.below(24) })
            }
            K::ConfigureGuest => {
                json!({ "guest": guest, "memory_mib": 16 << random.below(12), "cores": 1 + random.below(3) })
            }
            K::BackupGuest => {
                let target = ["local", "local", "local", "elsewhere", "tank"][index(random, 5)];
                json!({ "guest": guest, "target": target, "quiesced": random.below(8) == 0 })
            }
            K::RestoreGuest if random.below(2) == 0 => {
                json!({ "guest": guest, "archive": self.archive(random) })
            }
            K::RestoreTest if random.below(2) == 0 => {
                json!({ "guest": guest, "archive": self.archive(random), "level": "L1" })
            }
            // Of two guests a pair that fits is rare.
            K::CutoverGuest if random.below(2) == 0 => json!({ "guest": self.real[0], "copy": self.real[3] }),
            K::CutoverGuest => json!({ "guest": guest, "copy": self.guest(random) }),
            K::DestroyScratch if random.below(2) == 0 => json!({ "guest": self.scratch.unwrap_or(guest) }),
            K::PruneBackups => {
                let remove: Vec<Value> = (0..=random.below(3)).map(|_| self.archive(random)).collect();
                json!({ "guest": guest, "target": "local", "remove": remove })
            }
            K::AttachDisk | K::DetachDisk | K::DecommissionDisk => json!({ "disk": disk }),
            K::AssignDisk | K::FormatDisk => json!({ "disk": disk, "role": "user_data", "guest": guest }),
            K::ForgetKey => json!({ "guest": guest, "key": Digest::of(b"key") }),
            K::RotateOperators => self.documents[index(random, self.documents.len())].clone(),
            K::ResolveOperation => {
                let ways = ["retry", "roll_back", "accept"];
                let operation = if random.below(2) == 0 { self.stands } else { self.operation(random) };
                json!({ "operation": operation, "way": ways[index(random, ways.len())] })
            }
            K::ChangeTunnel => json!({}),
            K::UpdateHost => json!({ "version": random.below(9) }),
            K::UpdateController => json!({ "guest": guest, "version": random.below(9) }),
            K::DeployApp | K::UpdateApp => json!({ "guest": guest, "app": "sample" }),
            K::RestoreGuest
            | K::RestoreTest
            | K::StartGuest
            | K::StopGuest
            | K::RebootGuest
            | K::HealGuest
            | K::ReverseCutoverGuest
            | K::RetireGuest
            | K::ReclaimGuest
            | K::DiscardRestoredCopy
            | K::DestroyScratch
            | K::ClearStaleLock
            | K::ClearLeftovers
            | K::RotateBackupKey
            | K::ReplaceRecoveryCode
            | K::OpenSupportAccess
            | K::CollectDiagnostics => json!({ "guest": guest }),
        }
    }

    fn guest(&self, random: &mut Random) -> GuestUuid {
        // Those of the real run are what one would want to harm.
        let among = if random.below(5) == 0 { &self.guests } else { &self.real };
        among[index(random, among.len())]
    }

    fn archive(&self, random: &mut Random) -> Value {
        json!(self.archives[index(random, self.archives.len())])
    }

    fn operation(&self, random: &mut Random) -> OperationId {
        *self.operations.iter().nth(index(random, self.operations.len())).unwrap()
    }

    fn digest(&self, random: &mut Random) -> Digest {
        *self.digests.iter().nth(index(random, self.digests.len())).unwrap()
    }

    /// The same about another challenge or operation, or to another place.
    fn other_path(&self, path: &str, random: &mut Random) -> String {
        let parts = path.split('/').map(|part| {
            if part.parse::<Digest>().is_ok() {
                self.digest(random).to_string()
            } else if part.parse::<OperationId>().is_ok() {
                self.operation(random).to_string()
            } else if part == "v1" && random.below(30) == 0 {
                "v2".to_owned()
            } else {
                part.to_owned()
            }
        });
        parts.collect::<Vec<_>>().join("/")
    }

    /// Alters one value somewhere.
    fn alter(&self, value: &mut Value, random: &mut Random) {
        match value {
            Value::Object(all) if !all.is_empty() => self.alter_within(all, random),
            Value::Array(all) if !all.is_empty() => {
                let at = index(random, all.len());
                self.alter(&mut all[at], random);
            }
            Value::String(text) => *text = self.other_text(text, random),
            Value::Number(_) => {
                let numbers = [json!(0), json!(-1), json!(u64::MAX), json!(1.5), json!(1), json!("1")];
                *value = numbers[index(random, numbers.len())].clone();
            }
            Value::Bool(yes) => *yes = !*yes,
            Value::Null | Value::Object(_) | Value::Array(_) => *value = json!("something"),
        }
    }

    fn alter_within(&self, all: &mut Map<String, Value>, random: &mut Random) {
        let key = all.keys().nth(index(random, all.len())).cloned().unwrap();
        match random.below(10) {
            0 => {
                all.remove(&key);
            }
            1 => {
                all.insert("force".to_owned(), json!(true));
            }
            2 => {
                all.insert(key, json!({ "$ne": 1 }));
            }
            _ => self.alter(all.get_mut(&key).unwrap(), random),
        }
    }

    fn other_text(&self, text: &str, random: &mut Random) -> String {
        if text.parse::<GuestUuid>().is_ok() {
            return self.guest(random).to_string();
        }
        if text.parse::<OperationId>().is_ok() {
            return self.operation(random).to_string();
        }
        if text.parse::<Digest>().is_ok() {
            return self.digest(random).to_string();
        }
        if text.parse::<Volid>().is_ok() {
            let others =
                ["local:backup/../../../etc/passwd", "tank:2000/vm-2000-disk-0.raw", "local:backup/"];
            return others[index(random, others.len())].to_owned();
        }
        if text.parse::<OperationKind>().is_ok() {
            return OperationKind::ALL[index(random, OperationKind::ALL.len())].name().to_owned();
        }
        match random.below(4) {
            0 => String::new(),
            1 => "x".repeat(100_000),
            2 => format!("{text}\n../../\u{0}"),
            _ if text.is_ascii() && !text.is_empty() => flipped(text, random),
            _ => "ő".to_owned(),
        }
    }
}

/// One bit of one character is another.
fn flipped(text: &str, random: &mut Random) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let at = index(random, bytes.len());
    bytes[at] = (bytes[at] ^ (1 << random.below(6))) & 0x7f;
    String::from_utf8(bytes).unwrap()
}

fn index(random: &mut Random, length: usize) -> usize {
    usize::try_from(random.below(length.max(1) as u64)).unwrap()
}
