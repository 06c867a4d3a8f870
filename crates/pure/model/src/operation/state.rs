//! Where an operation stands.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Recorded, not yet judged or begun.
    Pending,
    /// The gate said no; final.
    Refused,
    /// Waits for signatures of operators or the customer.
    PendingAuthorization,
    /// Nobody signed in time; final.
    Expired,
    /// Authorized, in its period of grace.
    Waiting,
    /// The customer or an operator stopped it in the grace; final.
    Vetoed,
    /// Its steps run.
    Running,
    /// Verified and over; final.
    Done,
    /// A step failed; what was made is being taken back.
    RollingBack,
    /// Everything that it made is gone; final.
    RolledBack,
    /// Neither forward nor back without a person; the reason says what is offered.
    NeedsOperator,
}

impl OperationState {
    /// The name on wire and screens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Refused => "refused",
            Self::PendingAuthorization => "pending_authorization",
            Self::Expired => "expired",
            Self::Waiting => "waiting",
            Self::Vetoed => "vetoed",
            Self::Running => "running",
            Self::Done => "done",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::NeedsOperator => "needs_operator",
        }
    }

    /// Whether nothing follows any more.
    pub fn is_final(self) -> bool {
        match self {
            Self::Refused | Self::Expired | Self::Vetoed | Self::Done | Self::RolledBack => true,
            Self::Pending
            | Self::PendingAuthorization
            | Self::Waiting
            | Self::Running
            | Self::RollingBack
            | Self::NeedsOperator => false,
        }
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
