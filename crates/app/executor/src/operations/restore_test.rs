//! `restore_test` after its restore: probe (L2–L4), receipt, and the scratch guest's destruction.
//!
//! L1: the file's digest is the recorded one, and it unpacks. L2: the guest boots, and its controller answers this very
//! question as the right guest. L3: apps are up and their databases' integrity checks pass. L4: content equals the digests
//! that were recorded when the data was frozen. A receipt is written whatever the verdict; the first failed check ends the
//! levels.

use std::sync::Arc;
use std::time::Duration;

use felhom_gate::Stage;
use felhom_host::GuestCommand;
use felhom_journal::{Intent, StepClass, StepContext, StepError};
use felhom_model::backup::Level;
use felhom_model::operation::RestoreTest;
use felhom_model::{GuestUuid, Operation, Vmid};
use felhom_protocol::probe::{ProbeAnswer, ProbeRequest, Sample};
use felhom_protocol::receipt::{Receipt, SCHEMA, SignedReceipt, Verdict};
use felhom_signing::sshsig::{Namespace, sign};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::act::{Act, outcome};
use super::archive::{VERIFY, Verified};
use super::bootstrap::CONTROLLER;
use super::destroy::{Permit, destroy, end_of_dead};
use super::judge::{domain, judge_as, refused};
use super::power::{Powered, START, seen_by};
use super::restore::{RESTORE, Restored};
use super::running::start_again;
use crate::checks::{Evidence, judge_levels};
use crate::ledger::{ArchiveRow, ReceiptRow, RowState};
use crate::marks::from_journal;
use crate::services::Services;

const PROBE: &str = "probe";
const RECEIPT: &str = "write_receipt";

/// Outcome of `probe`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Probed {
    nonce: String,
    answer: Option<ProbeAnswer>,
    problem: Option<String>,
}

/// `probe`: asks the restored guest's controller.
pub(super) struct ProbeGuest {
    /// Services.
    pub s: Arc<Services>,
    /// What was asked for.
    pub test: RestoreTest,
}

impl Act for ProbeGuest {
    fn name(&self) -> &'static str {
        PROBE
    }

    async fn intent(&self, _: &StepContext) -> Result<Intent, StepError> {
        Intent::of(&json!({ "nonce": self.s.secret()? }))
    }

    /// Of a guest that the host took down nothing can be said; one that stops by itself is no good backup's.
    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let powered: Powered = cx.outcome(START)?;
        let restored: Restored = cx.outcome(RESTORE)?;
        if !powered.running || powered.seen_by == seen_by(&self.s) {
            return Ok(());
        }
        // If it does not run all the same, the answer that it does not give tells so.
        start_again(&self.s, cx, restored.vmid).await.map(drop)
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        let powered: Powered = cx.outcome(START)?;
        let restored: Restored = cx.outcome(RESTORE)?;
        if !powered.running || self.test.level == Level::L1 {
            return outcome(&Probed::default());
        }
        let intent: Value = cx.intent()?;
        let nonce = intent["nonce"].as_str().unwrap_or_default().to_owned();
        let request = ProbeRequest {
            nonce: nonce.clone(),
            wait_ms: u64::from(self.s.config.timeouts.probe_apps_s) * 1_000,
            samples: self.samples(&archive_row(&self.s, cx)?)?.into_iter().map(|s| s.id).collect(),
        };
        match ask(&self.s, restored.vmid, &request).await {
            Ok(answer) => outcome(&Probed { nonce, answer: Some(answer), problem: None }),
            Err(StepError::Failed(why)) => outcome(&Probed { nonce, answer: None, problem: Some(why) }),
            Err(e) => Err(e),
        }
    }
}

impl ProbeGuest {
    fn samples(&self, row: &ArchiveRow) -> Result<Vec<Sample>, StepError> {
        let said = self.s.ledger.freeze(row.detail.operation).map_err(StepError::failed)?;
        Ok(said.frozen.map(|(f, _)| f.samples).unwrap_or_default())
    }
}

/// Asks until the controller answers: a guest needs a moment to boot.
async fn ask(s: &Services, vmid: Vmid, request: &ProbeRequest) -> Result<ProbeAnswer, StepError> {
    let boot = Duration::from_secs(u64::from(s.config.timeouts.guest_answers_s));
    let apps = Duration::from_millis(request.wait_ms) + Duration::from_secs(60);
    let body = serde_json::to_vec(request).map_err(StepError::failed)?;
    let command = GuestCommand::new(CONTROLLER, ["probe", "--json"])
        .with_stdin(body)
        .with_limit(16 << 20)
        .with_timeout(apps);
    let deadline = tokio::time::Instant::now() + boot;
    loop {
        let why = match s.host.exec(vmid, &command).await {
            Ok(output) if output.success() => {
                // People's text goes before the last line.
                let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
                let last = text.rsplit('\n').next().unwrap_or_default();
                match serde_json::from_str::<ProbeAnswer>(last) {
                    Ok(answer) => return Ok(answer),
                    Err(e) => format!("its answer cannot be read: {e}"),
                }
            }
            Ok(output) => format!("it ended with {:?}: {}", output.code, output.stderr_tail()),
            Err(e) => e.to_string(),
        };
        if tokio::time::Instant::now() >= deadline {
            return Err(StepError::Failed(format!("the controller of guest {vmid} did not answer: {why}")));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn archive_row(s: &Services, cx: &StepContext) -> Result<ArchiveRow, StepError> {
    let (_, chosen) = domain(&cx.operation()?)?;
    let rows = s.ledger.archives().map_err(StepError::failed)?;
    rows.into_iter()
        .find(|row| Some(&row.volid) == chosen.archive.as_ref())
        .ok_or_else(|| StepError::Failed("the archive is not in the ledger any more".to_owned()))
}

/// `write_receipt`: what was proved, signed by the box.
pub(super) struct WriteReceipt {
    /// Services.
    pub s: Arc<Services>,
    /// What was asked for.
    pub test: RestoreTest,
}

impl Act for WriteReceipt {
    fn name(&self) -> &'static str {
        RECEIPT
    }

    fn class(&self) -> StepClass {
        StepClass::Compensable
    }

    async fn intent(&self, cx: &StepContext) -> Result<Intent, StepError> {
        let receipt = self.receipt(cx)?;
        let document = serde_json::to_string(&receipt).map_err(StepError::failed)?;
        let signature =
            sign(&self.s.key, Namespace::Receipt, document.as_bytes()).map_err(StepError::failed)?;
        Intent::of(&SignedReceipt { document, signature })
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let signed: SignedReceipt = cx.intent()?;
        let receipt: Receipt = serde_json::from_str(&signed.document).map_err(StepError::failed)?;
        let passed = receipt.verdict == Verdict::Passed;
        let level = receipt.level.map(|level| (level, receipt.started));
        let row =
            ReceiptRow { operation: receipt.operation, guest: receipt.guest, volid: receipt.archive, signed };
        self.s.ledger.record_receipt(&row, passed, level)?;
        self.s.tell();
        Ok(())
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        let signed: SignedReceipt = cx.intent()?;
        let receipt: Receipt = serde_json::from_str(&signed.document).map_err(StepError::failed)?;
        let failed = receipt.checks.iter().find(|c| !c.passed);
        Ok(json!({
            "verdict": receipt.verdict,
            "level": receipt.level,
            "failed_check": failed.map(|c| format!("{} {}: {}", c.level, c.name, c.detail)),
            "archive": receipt.archive,
            "receipt": receipt.operation,
            "took_ms": receipt.took_ms,
        }))
    }
}

impl WriteReceipt {
    fn receipt(&self, cx: &StepContext) -> Result<Receipt, StepError> {
        let op = cx.operation()?;
        let row = archive_row(&self.s, cx)?;
        let said = self.s.ledger.freeze(row.detail.operation).map_err(StepError::failed)?;
        let (verified, restored): (Verified, Restored) = (cx.outcome(VERIFY)?, cx.outcome(RESTORE)?);
        let (powered, probed): (Powered, Probed) = (cx.outcome(START)?, cx.outcome(PROBE)?);
        let tenant = self.s.ledger.guest(self.test.guest).map_err(StepError::failed)?;
        let evidence = Evidence {
            asked: self.test.level,
            guest: self.test.guest,
            recorded_digest: row.detail.digest,
            seen_digest: verified.digest,
            restore_problem: restored.problem.or(verified.problem),
            start_problem: (!powered.running)
                .then(|| powered.problem.unwrap_or_else(|| "the guest does not run".to_owned())),
            nonce: probed.nonce,
            answer: probed.answer,
            probe_problem: probed.problem,
            expected_apps: tenant.map(|row| row.detail.apps).unwrap_or_default(),
            frozen: said.frozen.map(|(f, _)| f.samples),
        };
        let judged = judge_levels(&evidence);
        let now = self.s.now();
        let took = now.duration_since(op.new.created_at).as_millis();
        Ok(Receipt {
            schema: SCHEMA.to_owned(),
            box_id: self.s.box_id(),
            operation: from_journal(op.id()),
            guest: self.test.guest,
            archive: row.volid,
            archive_digest: row.detail.digest,
            taken_at: row.taken_at,
            asked_level: self.test.level,
            level: judged.level,
            verdict: if judged.passed { Verdict::Passed } else { Verdict::Failed },
            checks: judged.checks,
            not_tested: judged.not_tested,
            started: op.new.created_at,
            took_ms: u64::try_from(took).unwrap_or_default(),
            bytes: row.detail.bytes,
        })
    }
}

/// `destroy_scratch`: the scratch guest goes, by its own row of the gate.
pub(super) struct DestroyScratch {
    /// Services.
    pub s: Arc<Services>,
    /// Which; `None` is the one that this operation restored.
    pub guest: Option<GuestUuid>,
}

impl Act for DestroyScratch {
    fn name(&self) -> &'static str {
        "destroy_scratch"
    }

    /// Within a restore test nothing is lost with it, and the undo would destroy it, too.
    fn class(&self) -> StepClass {
        if self.guest.is_some() { StepClass::PointOfNoReturn } else { StepClass::Compensable }
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let op = cx.operation()?;
        let Some(uuid) = self.subject(cx)? else { return Ok(()) };
        let row = self.s.ledger.guest(uuid).map_err(StepError::failed)?;
        let Some(row) = row.filter(|row| matches!(row.state, RowState::Making | RowState::Present)) else {
            return Ok(());
        };
        end_of_dead(&self.s, cx, &row).await?;
        if super::undo::real(&self.s, row.vmid).await?.is_some() {
            let (_, chosen) = domain(&op)?;
            let operation = Operation::DestroyScratch(uuid);
            let verdict = judge_as(&self.s, &op, &operation, (&chosen, Stage::BeforeAct, None)).await?;
            let approved = verdict.map_err(|reason| refused(&reason))?;
            destroy(&self.s, cx, Permit::Scratch(approved, row.vmid)).await?;
        }
        Ok(self.s.ledger.change_guest(uuid, |row| row.state = RowState::Gone)?)
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        // The receipt is what a restore test is for.
        Ok(cx.outcome_if_any::<Value>(RECEIPT)?.unwrap_or_else(|| json!({ "destroyed": self.guest })))
    }
}

impl DestroyScratch {
    fn subject(&self, cx: &StepContext) -> Result<Option<GuestUuid>, StepError> {
        if self.guest.is_some() {
            return Ok(self.guest);
        }
        let restored: Restored = cx.outcome(RESTORE)?;
        Ok(Some(restored.guest))
    }
}
