//! Desired state, schema `felhom.desired/v1`: TOML for people, JSON on the wire.
//!
//! A person writes [`Spec`]; the hub puts it into a [`Document`] with generation and hash chain, signs those bytes, and the
//! box verifies, stores and obeys them. An absent field keeps what was kept last; an absent guest means nothing at all.

use felhom_model::desired::{
    BackupPolicy, DesiredGuest, DesiredPower, DesiredState, LimitError, RestoreTestPolicy, Tightening,
};
use felhom_model::{AppName, BoxId, Digest, Generation, GuestName, StorageId};
use serde::{Deserialize, Serialize};

/// The schema's name.
pub const SCHEMA: &str = "felhom.desired/v1";

/// What the operator writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Always [`SCHEMA`].
    #[cfg_attr(
        feature = "openapi",
        schema(pattern = r"^felhom\.desired/v1$", examples("felhom.desired/v1"))
    )]
    pub schema: String,
    /// Guests, each name once. In TOML `[[guest]]`.
    #[serde(default, rename = "guest")]
    pub guests: Vec<GuestSpec>,
    /// Limits of the box that should be stricter than its own; a looser one has no effect. In TOML `[limits]`.
    #[serde(default, skip_serializing_if = "nothing_wished")]
    pub limits: Tightening,
}

fn nothing_wished(limits: &Tightening) -> bool {
    *limits == Tightening::default()
}

/// One guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GuestSpec {
    /// DNS label, never reused on a box.
    pub name: GuestName,
    /// `running` (default), `stopped` or `retired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<GuestState>,
    /// SHA-256 of a golden archive that the box has imported; absent: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden: Option<Digest>,
    /// CPU cores; 2 for a new guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 256))]
    pub cores: Option<u16>,
    /// Memory in MiB; 2048 for a new guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 64, maximum = 4_194_304))]
    pub memory_mib: Option<u32>,
    /// Swap in MiB; 0 for a new guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 4_194_304))]
    pub swap_mib: Option<u32>,
    /// Size of the root disk in GiB, when it is made; 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 131_072))]
    pub disk_gib: Option<u32>,
    /// Apps that the golden archive already holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<Vec<AppName>>,
    /// `[guest.backup]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupSpec>,
    /// `[guest.restore_test]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_test: Option<RestoreTestSpec>,
}

/// How a guest should stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GuestState {
    /// Made if missing, and running.
    Running,
    /// Made if missing, and stopped.
    Stopped,
    /// To become a tombstone, behind the gate.
    Retired,
}

/// Backup policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BackupSpec {
    /// Cron expression, five fields, box's time zone.
    #[cfg_attr(feature = "openapi", schema(examples("30 2 * * *")))]
    pub schedule: String,
    /// A target that the box knows.
    pub target: StorageId,
}

/// Restore-test policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RestoreTestSpec {
    /// Cron expression, five fields, box's time zone.
    #[cfg_attr(feature = "openapi", schema(examples("0 4 * * 0")))]
    pub schedule: String,
}

/// The document that the hub signs (context [`felhom_signing::Context::DesiredState`]) and the box stores as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// For this box only.
    pub box_id: BoxId,
    /// Rises by one with each change.
    pub generation: Generation,
    /// Digest of the previous document's bytes; `None` for the first.
    pub prev_hash: Option<Digest>,
    /// What the operator wrote.
    pub spec: Spec,
}

/// Why a spec is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Another schema.
    #[error("schema `{0}` is not supported; this version reads `{SCHEMA}`")]
    Schema(String),
    /// A name twice.
    #[error("guest `{0}` is listed twice; each name may stand once")]
    Twice(GuestName),
    /// A wished limit that makes no sense.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A number outside its limits.
    #[error("guest `{guest}`: {field} = {value} is outside {limits}")]
    Range {
        /// The guest.
        guest: GuestName,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u32,
        /// What is allowed.
        limits: &'static str,
    },
}

impl Spec {
    /// Checks it and gives the domain's form.
    ///
    /// # Errors
    /// [`SpecError`]. Schedules are checked where they are evaluated, by the planner.
    pub fn to_model(&self) -> Result<DesiredState, SpecError> {
        if self.schema != SCHEMA {
            return Err(SpecError::Schema(self.schema.clone()));
        }
        let mut guests: Vec<DesiredGuest> = Vec::new();
        for guest in &self.guests {
            if guests.iter().any(|seen| seen.name == guest.name) {
                return Err(SpecError::Twice(guest.name.clone()));
            }
            guests.push(guest.to_model()?);
        }
        self.limits.check()?;
        Ok(DesiredState { guests, limits: self.limits })
    }
}

impl From<&DesiredState> for Spec {
    fn from(state: &DesiredState) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            guests: state.guests.iter().map(GuestSpec::from).collect(),
            limits: state.limits,
        }
    }
}

impl From<&DesiredGuest> for GuestSpec {
    fn from(guest: &DesiredGuest) -> Self {
        Self {
            name: guest.name.clone(),
            state: guest.power.map(|power| match power {
                DesiredPower::Running => GuestState::Running,
                DesiredPower::Stopped => GuestState::Stopped,
                DesiredPower::Retired => GuestState::Retired,
            }),
            golden: guest.golden,
            cores: guest.cores,
            memory_mib: guest.memory_mib,
            swap_mib: guest.swap_mib,
            disk_gib: guest.disk_gib,
            apps: guest.apps.clone(),
            backup: guest
                .backup
                .as_ref()
                .map(|b| BackupSpec { schedule: b.schedule.clone(), target: b.target.clone() }),
            restore_test: guest
                .restore_test
                .as_ref()
                .map(|t| RestoreTestSpec { schedule: t.schedule.clone() }),
        }
    }
}

impl GuestSpec {
    fn to_model(&self) -> Result<DesiredGuest, SpecError> {
        let check = |field, value: Option<u32>, low: u32, high: u32, limits| match value {
            Some(value) if !(low..=high).contains(&value) => {
                Err(SpecError::Range { guest: self.name.clone(), field, value, limits })
            }
            Some(_) | None => Ok(()),
        };
        check("cores", self.cores.map(u32::from), 1, 256, "1 to 256")?;
        check("memory_mib", self.memory_mib, 64, 4_194_304, "64 to 4194304 MiB")?;
        check("swap_mib", self.swap_mib, 0, 4_194_304, "0 to 4194304 MiB")?;
        check("disk_gib", self.disk_gib, 1, 131_072, "1 to 131072 GiB")?;
        Ok(DesiredGuest {
            name: self.name.clone(),
            power: self.state.map(|state| match state {
                GuestState::Running => DesiredPower::Running,
                GuestState::Stopped => DesiredPower::Stopped,
                GuestState::Retired => DesiredPower::Retired,
            }),
            golden: self.golden,
            cores: self.cores,
            memory_mib: self.memory_mib,
            swap_mib: self.swap_mib,
            disk_gib: self.disk_gib,
            apps: self.apps.clone(),
            backup: self
                .backup
                .as_ref()
                .map(|b| BackupPolicy { schedule: b.schedule.clone(), target: b.target.clone() }),
            restore_test: self
                .restore_test
                .as_ref()
                .map(|t| RestoreTestPolicy { schedule: t.schedule.clone() }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"
        schema = "felhom.desired/v1"
        [[guest]]
        name = "family"
        apps = ["sample"]
        [guest.backup]
        schedule = "30 2 * * *"
        target = "local"
        [guest.restore_test]
        schedule = "0 4 * * 0"
        [limits]
        grace_s = 1209600
        keep_spread_h = 336
    "#;

    #[test]
    fn what_a_person_writes_is_read() {
        let spec: Spec = toml::from_str(EXAMPLE).unwrap();
        let state = spec.to_model().unwrap();
        assert_eq!(state.guests[0].memory_mib, None, "what was not said stays unsaid");
        assert_eq!(state.guests[0].limits().memory_mib, 2048);
        assert_eq!(state.guests[0].power(), DesiredPower::Running);
        assert_eq!((state.limits.grace_s, state.limits.max_guests), (Some(1_209_600), None));
        assert_eq!(Spec::from(&state), spec);
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
    }

    #[test]
    fn mistakes_are_named() {
        let typo = EXAMPLE.replace("apps =", "appps =");
        assert!(toml::from_str::<Spec>(&typo).unwrap_err().to_string().contains("appps"));
        let name = EXAMPLE.replace("family", "Family!");
        assert!(toml::from_str::<Spec>(&name).unwrap_err().to_string().contains("Family!"));
        let twice = format!("{EXAMPLE}\n[[guest]]\nname = \"family\"\n");
        let error = toml::from_str::<Spec>(&twice).unwrap().to_model().unwrap_err();
        assert!(error.to_string().contains("listed twice"));
        let small = EXAMPLE.replace("name =", "memory_mib = 3\nname =");
        let error = toml::from_str::<Spec>(&small).unwrap().to_model().unwrap_err();
        assert!(error.to_string().contains("memory_mib = 3"));
        for (wish, named) in [
            ("target_full_percent = 49", "target_full_percent = 49 is outside 50 to 100"),
            ("signatures_per_day = 0", "signatures_per_day = 0 is outside 1"),
            ("reserve_bytes = 17592186044417", "reserve_bytes = 17592186044417"),
            ("target_full_percent = 101", "target_full_percent = 101"),
            ("keep_spread_h = 87601", "keep_spread_h = 87601"),
            ("grace_s = 31536001", "grace_s = 31536001"),
        ] {
            let text = format!("schema = \"{SCHEMA}\"\n[limits]\n{wish}\n");
            let error = toml::from_str::<Spec>(&text).unwrap().to_model().unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let unknown = format!("schema = \"{SCHEMA}\"\n[limits]\nmin_grace_s = 1\n");
        assert!(toml::from_str::<Spec>(&unknown).unwrap_err().to_string().contains("min_grace_s"));
    }
}
