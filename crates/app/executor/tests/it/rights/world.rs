//! A box whose guests only pretend to run, with a tenant and its backup, and root at the host who takes rights away.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use felhom_model::{GuestUuid, OperationState, Vmid};
use felhom_protocol::executor::OperationRequest;
use felhom_protocol::status::Operation;
use felhom_pve::{Auth, Endpoint, Grant, Grantee, Node, NodeName, Polling, Pve, RoleId, RunState, Upid};
use serde_json::{Value, json};

use crate::bench::{Bench, CONFIG, golden_of, guest_key};
use crate::sim::{PASSWORD, Sim, simulator};

const LIMITS: &str = "max_guests = 99\nreserve_bytes = 0\ntimeouts.guest_answers_s = 5\n";

/// One privilege where `setup` grants it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Right {
    pub(super) role: String,
    pub(super) path: String,
    pub(super) privilege: String,
}

/// The box.
pub(super) struct World {
    pub(super) bench: Bench,
    pub(super) root: Pve,
    pub(super) tenant: GuestUuid,
    pub(super) vmid: Vmid,
    asked: AtomicU32,
}

/// `pct` answers for guests that do not run; `pvesm` is the host's own until the file `broken` is there.
fn tools(sim: &Sim) {
    let pushed = sim.path("pushed");
    fs::create_dir_all(&pushed).unwrap();
    let pct = format!(
        "PATH=/usr/bin:/bin\ncase \"$1 $5\" in\n\
         'exec public-key') echo '{key}' ;;\n\
         'exec probe') nonce=$(sed -n 's/.*\"nonce\":\"\\([0-9a-f]*\\)\".*/\\1/p')\n\
         printf '{{\"nonce\":\"%s\",\"guest\":\"%s\",\"version\":\"1\",\"apps\":[{{\"app\":\"sample\",\"state\":\"running\",\
         \"healthy\":true,\"databases\":[]}}],\"samples\":[]}}\\n' \"$nonce\" \"$(cat {identity})\" ;;\n\
         push*) cp \"$3\" \"{pushed}/$2-$(basename \"$4\")\" ;;\n\
         *) exit 2 ;;\nesac\n",
        key = guest_key().public(),
        identity = sim.path("identity").display(),
        pushed = pushed.display(),
    );
    let pvesm = format!(
        "[ -e {broken} ] && {{ echo 'no such volume' >&2; exit 1; }}\nexec {simulator:?} pvesm --state {state:?} \"$@\"\n",
        broken = sim.path("broken").display(),
        simulator = simulator(),
        state = sim.path("pve"),
    );
    fs::write(sim.path("pct.sh"), pct).unwrap();
    fs::write(sim.path("pvesm.sh"), pvesm).unwrap();
    let line = |line: &str| match line.split_once(" = ") {
        Some((name @ ("pct" | "pvesm"), _)) => {
            format!("{name} = [\"/bin/sh\", {:?}]", sim.path(&format!("{name}.sh")))
        }
        _ => line.to_owned(),
    };
    let path = sim.path("executor.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.lines().map(line).collect::<Vec<_>>().join("\n")).unwrap();
}

impl World {
    pub(super) async fn start() -> Self {
        let bench = Bench::pretending(LIMITS, golden_of(CONFIG, b"a program"), tools).await;
        let endpoint = Endpoint::new(&bench.sim.url, bench.sim.fingerprint.parse().unwrap()).unwrap();
        let root = Pve::login(endpoint, &"root@pam".parse().unwrap(), &PASSWORD.into()).await.unwrap();
        root.create_role(&"Less".parse().unwrap(), &BTreeSet::from(["VM.Audit".to_owned()])).await.unwrap();
        let tenant = bench.tenant("family").await;
        fs::write(bench.sim.path("identity"), tenant.to_string()).unwrap();
        let vmid = bench.guest(tenant).await.vmid;
        let world = Self { bench, root, tenant, vmid, asked: AtomicU32::new(0) };
        world
            .run("backup_guest", json!({ "guest": tenant, "target": "local", "quiesced": false }))
            .await
            .unwrap();
        world
    }

    /// The executor's own token, for what its client offers and no operation asks for yet.
    pub(super) fn token(&self) -> Pve {
        let sim = &self.bench.sim;
        let endpoint = Endpoint::new(&sim.url, sim.fingerprint.parse().unwrap()).unwrap();
        let secret = fs::read_to_string(sim.path("token")).unwrap().trim().to_owned();
        let id = "felhom@pve!executor".parse().unwrap();
        Pve::new(endpoint, Auth::Token { id, secret: secret.into() }).unwrap()
    }

    pub(super) fn node(&self, pve: &Pve) -> Node {
        pve.node(&NodeName::new("pve").unwrap())
    }

    /// What the token may do now, one privilege at one place each.
    pub(super) async fn rights(&self) -> Vec<Right> {
        let (roles, acl) = (self.root.roles().await.unwrap(), self.root.acl().await.unwrap());
        let of_token = acl.into_iter().filter(|entry| entry.ugid == "felhom@pve!executor");
        let all = of_token.flat_map(|entry| {
            let privileges = roles[&entry.roleid].clone().into_iter();
            privileges.map(move |privilege| Right {
                role: entry.roleid.clone(),
                path: entry.path.clone(),
                privilege,
            })
        });
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    async fn set_entry(&self, path: &str, role: &RoleId, give: bool) {
        let who = [
            Grantee::User("felhom@pve".parse().unwrap()),
            Grantee::Token("felhom@pve!executor".parse().unwrap()),
        ];
        for grantee in who {
            let grant = Grant { path: path.to_owned(), role: role.clone(), grantee, propagate: false };
            if give { self.root.grant(&grant).await } else { self.root.revoke(&grant).await }.unwrap();
        }
    }

    /// Takes one privilege away at one place.
    pub(super) async fn take(&self, right: &Right) {
        let role: RoleId = right.role.parse().unwrap();
        let mut rest = self.root.roles().await.unwrap()[&right.role].clone();
        rest.remove(&right.privilege);
        if !rest.is_empty() {
            let less: RoleId = "Less".parse().unwrap();
            self.root.set_role(&less, &rest).await.unwrap();
            self.set_entry(&right.path, &less, true).await;
        }
        self.set_entry(&right.path, &role, false).await;
    }

    /// Gives it back.
    pub(super) async fn give(&self, right: &Right) {
        self.set_entry(&right.path, &right.role.parse().unwrap(), true).await;
        self.set_entry(&right.path, &"Less".parse().unwrap(), false).await;
    }

    /// Asks for an operation.
    pub(super) async fn ask(&self, kind: &str, params: Value) -> Result<Operation, String> {
        let request = OperationRequest {
            request_id: format!("rights-{}", self.asked.fetch_add(1, Ordering::Relaxed)),
            kind: kind.to_owned(),
            params,
            reason: "test".to_owned(),
            asked_by: "local".to_owned(),
        };
        self.bench.client.request(&request).await.map_err(|e| e.to_string())
    }

    /// Asks for an operation and waits for its end, whatever it is.
    pub(super) async fn end(&self, kind: &str, params: Value) -> Result<Operation, String> {
        let op = self.ask(kind, params).await?;
        Ok(self.bench.end(op.id).await)
    }

    /// An operation that has to be done; else why not.
    pub(super) async fn run(&self, kind: &str, params: Value) -> Result<Operation, String> {
        let op = self.end(kind, params).await?;
        match op.state {
            OperationState::Done => Ok(op),
            _ => Err(why(&op)),
        }
    }

    pub(super) fn faults(&self, rules: &Value) {
        self.bench.sim.faults(rules);
    }

    pub(super) async fn wait(&self, upid: &Upid) -> felhom_pve::ExitStatus {
        self.root.task(upid).wait(Polling::default()).await.unwrap()
    }

    /// Root brings the tenant into a state.
    pub(super) async fn tenant_is(&self, running: bool) {
        let guest = self.node(&self.root).guest(self.vmid);
        if (guest.status().await.unwrap().state() == RunState::Running) == running {
            return;
        }
        let upid = if running { guest.start().await } else { guest.stop().await }.unwrap();
        assert!(self.wait(&upid).await.is_success());
    }

    /// Root removes a guest that was made.
    pub(super) async fn remove(&self, vmid: Vmid) {
        let guest = self.node(&self.root).guest(vmid);
        let upid = guest.stop().await.unwrap();
        self.wait(&upid).await;
        let upid = guest.destroy(true).await.unwrap();
        assert!(self.wait(&upid).await.is_success());
    }

    /// Archives of tenants that lie on the backup storage.
    pub(super) fn archives(&self) -> Vec<PathBuf> {
        let dump = fs::read_dir(self.bench.sim.path("pve/var/lib/vz/dump")).unwrap();
        let tenants = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("vzdump-lxc-2") && name.ends_with(".tar.zst")
        };
        dump.map(|entry| entry.unwrap().path()).filter(tenants).collect()
    }
}

/// What an operation says of its end.
pub(super) fn why(op: &Operation) -> String {
    op.reason.clone().unwrap_or_else(|| format!("{:?}: {}", op.state, op.verdict))
}
