//! The errors of use cases, with the kind and the stable reason of each.

use rr_contract::model::invalid::Invalid;
use rr_contract::wire::management::Document;

use crate::authz::Least;
use crate::kind::Kind;
use crate::store::{NotAdmitted, Obstacle, StoreError};
use crate::word;

/// How many ids an error names.
const NAMED: usize = 10;

/// Stable names for programs, in `ErrorInfo.reason` and as `code` of problem+json.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    NotFound,
    NameTaken,
    Invalid,
    InUse,
    NotSealedToRegion,
    NotSealedForTarget,
    BlindOnly,
    Unauthenticated,
    RoleMissing,
    BootstrapOnly,
    GrantTooWide,
    VersionConflict,
    Changed,
    Stale,
    LastOwner,
    NotShared,
    CallNotAllowed,
    NotRestorable,
    FeaturesMissing,
    MassRemoval,
    TwoValuesLive,
    RegionDiverged,
    NotDiverged,
    NotHeld,
    TooManyTests,
    Unavailable,
    Internal,
}

impl Reason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::NameTaken => "NAME_TAKEN",
            Self::Invalid => "INVALID",
            Self::InUse => "IN_USE",
            Self::NotSealedToRegion => "NOT_SEALED_TO_REGION",
            Self::NotSealedForTarget => "NOT_SEALED_FOR_TARGET",
            Self::BlindOnly => "BLIND_ONLY",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::RoleMissing => "ROLE_MISSING",
            Self::BootstrapOnly => "BOOTSTRAP_ONLY",
            Self::GrantTooWide => "GRANT_TOO_WIDE",
            Self::VersionConflict => "VERSION_CONFLICT",
            Self::Changed => "CHANGED",
            Self::Stale => "STALE",
            Self::LastOwner => "LAST_OWNER",
            Self::NotShared => "NOT_SHARED",
            Self::CallNotAllowed => "CALL_NOT_ALLOWED",
            Self::NotRestorable => "NOT_RESTORABLE",
            Self::FeaturesMissing => "FEATURES_MISSING",
            Self::MassRemoval => "MASS_REMOVAL",
            Self::TwoValuesLive => "TWO_VALUES_LIVE",
            Self::RegionDiverged => "REGION_DIVERGED",
            Self::NotDiverged => "NOT_DIVERGED",
            Self::NotHeld => "NOT_HELD",
            Self::TooManyTests => "TOO_MANY_TESTS",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }
}

/// A precondition that does not hold: its subject, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Precondition {
    /// As `proxies/px_…`.
    pub(crate) subject: String,
    pub(crate) text: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    #[error("{noun} {name:?} was not found")]
    NotFound { noun: &'static str, name: String },
    /// For operators: others are told that there is none.
    #[error("organization {name:?} is deleted: `rrctl org undelete {id}` brings it back within 30 days")]
    Deleted { name: String, id: String },
    #[error("{noun} {name:?} already exists: choose another name, or change the one that exists")]
    AlreadyThere { noun: &'static str, name: String },
    /// Of a credential: its secret was sealed to the id, so that none is used a second time.
    #[error("credential id {0} was used before, and an id is not used again: seal the secret to a new id")]
    IdSpent(String),
    #[error("{0}")]
    Invalid(Invalid),
    #[error("{text}")]
    Refused { reason: Reason, text: String, preconditions: Vec<Precondition> },
    #[error("the request has no token: send `authorization: Bearer rr_token_…`")]
    Unauthenticated,
    /// One text for all of these, so that a guess learns nothing.
    #[error("the token is not valid: it is unknown, used up, revoked or expired")]
    BadToken,
    #[error("this call needs {}", needs(.0))]
    Role(Least),
    #[error(
        "the bootstrap token only creates one token: create it with `rrctl token create`, then use the new token"
    )]
    BootstrapOnly,
    #[error("{0}")]
    GrantTooWide(String),
    #[error("{noun} {name:?} changed since it was read: its etag is {current}, not {given}; read it again")]
    Stale {
        noun: &'static str,
        name: String,
        given: String,
        current: String,
        /// As it is now.
        value: Box<Document>,
    },
    #[error(
        "{noun} {name:?} is not shared in the organization: only its creator, an admin or an owner may change or use it"
    )]
    NotShared { noun: &'static str, name: String },
    #[error("this token does not allow {0}")]
    Call(&'static str),
    #[error("{text}")]
    Conflict { reason: Reason, text: String },
    #[error("{0}")]
    TooManyTests(String),
    #[error("{0}")]
    NotAdmitted(Box<NotAdmitted>),
    #[error("the database did not complete the call")]
    Store(#[source] StoreError),
    /// A database error that an operator has to act on, in its own words.
    #[error(transparent)]
    Database(StoreError),
}

impl ServiceError {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } | Self::Deleted { .. } => Kind::NotFound,
            Self::AlreadyThere { .. } | Self::IdSpent(_) => Kind::AlreadyThere,
            Self::Invalid(_) => Kind::Invalid,
            Self::Refused { .. } | Self::NotAdmitted(_) => Kind::Refused,
            Self::Unauthenticated | Self::BadToken => Kind::Unauthenticated,
            Self::Role(_)
            | Self::BootstrapOnly
            | Self::GrantTooWide(_)
            | Self::NotShared { .. }
            | Self::Call(_) => Kind::Forbidden,
            Self::Conflict { .. } | Self::Stale { .. } => Kind::Conflict,
            Self::TooManyTests(_) => Kind::Limited,
            Self::Store(error) | Self::Database(error) => error.kind(),
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::NotFound { .. } | Self::Deleted { .. } => Reason::NotFound,
            Self::AlreadyThere { .. } | Self::IdSpent(_) => Reason::NameTaken,
            Self::Invalid(_) => Reason::Invalid,
            Self::Refused { reason, .. } | Self::Conflict { reason, .. } => *reason,
            Self::Unauthenticated | Self::BadToken => Reason::Unauthenticated,
            Self::Role(_) => Reason::RoleMissing,
            Self::BootstrapOnly => Reason::BootstrapOnly,
            Self::GrantTooWide(_) => Reason::GrantTooWide,
            Self::NotShared { .. } => Reason::NotShared,
            Self::Call(_) => Reason::CallNotAllowed,
            Self::Stale { .. } => Reason::Stale,
            Self::TooManyTests(_) => Reason::TooManyTests,
            Self::NotAdmitted(refusal) => match refusal.obstacle {
                Obstacle::Features { .. } => Reason::FeaturesMissing,
                Obstacle::MassRemoval { .. } => Reason::MassRemoval,
                Obstacle::Diverged { .. } => Reason::RegionDiverged,
            },
            Self::Store(error) | Self::Database(error) => match error.kind() {
                Kind::AlreadyThere => Reason::NameTaken,
                Kind::Conflict => Reason::Changed,
                Kind::Invalid => Reason::Invalid,
                Kind::Unavailable => Reason::Unavailable,
                _ => Reason::Internal,
            },
        }
    }

    /// A name that several resources have; `what` they are, in the plural.
    pub(crate) fn ambiguous(field: &str, what: &str, ids: &[&str]) -> Self {
        let shown = ids.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        let more = ids.len().saturating_sub(NAMED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        Self::field(field, format!("is the name of {} {what}: {shown}{more}; give the id of one", ids.len()))
    }

    /// One field at fault.
    pub(crate) fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid(Invalid::field(field, reason))
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotAdmitted(refusal) => Self::NotAdmitted(refusal),
            error @ (StoreError::Broken(_) | StoreError::NoRoom { .. } | StoreError::ClockAhead(_)) => {
                Self::Database(error)
            }
            error @ (StoreError::RecordStoreClosed(_) | StoreError::NoRecordStore(_)) => {
                Self::Database(error)
            }
            error @ StoreError::RecordStore { .. } if error.kind() == Kind::Unavailable => {
                Self::Database(error)
            }
            other => Self::Store(other),
        }
    }
}

impl From<Invalid> for ServiceError {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

fn needs(least: &Least) -> String {
    match least {
        Least::Anybody | Least::AnybodyOrBootstrap => "a token".to_owned(),
        Least::Operator => "the role operator".to_owned(),
        Least::InRegion => {
            "the role region-operator of a region, admin in the organization that a region is dedicated to, or operator"
                .to_owned()
        }
        Least::InOrg(role) => format!("the role {} or higher in the organization", word::role(*role)),
        Least::InOrgOrOperator(role) => {
            format!("the role {} or higher in the organization, or operator", word::role(*role))
        }
    }
}
