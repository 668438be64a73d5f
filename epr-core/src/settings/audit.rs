//! Which decisions and events the ledger records, besides every change.

use std::str::FromStr;

use super::reader::Reader;
use super::variable::{Section, UnknownWord, Variable, find_word};

const DECISIONS_ALLOWED: &str = "every, evaluated, all, denied, off";
const EVENTS_ALLOWED: &str = "context, all, off";
const CONTEXT_ALLOWED: &str = "hash, values";
const REASON_ALLOWED: &str = "assignments";

const DECISIONS: Variable = Variable::text(
    "EPR_AUDIT_DECISIONS",
    "all",
    DECISIONS_ALLOWED,
    "Decisions that the ledger records: `every` answer, answers from the cache included; `all` evaluated decisions \
     (`evaluated` means the same); `denied` ones only; `off`, none.",
);
const EVENTS: Variable = Variable::text(
    "EPR_AUDIT_EVENTS",
    "context",
    EVENTS_ALLOWED,
    "Accepted `POST /events` that are also appended to the ledger: `context`, those whose context has `actor_id`, \
     `actor_type`, `entity_id` and `entity_type`; `all`; `off`, none.",
);
const CONTEXT: Variable = Variable::text(
    "EPR_AUDIT_CONTEXT",
    "hash",
    CONTEXT_ALLOWED,
    "What the entry of a decision that looked at conditions says about what the caller sent: `hash`, the SHA-256 of \
     the whole context; `values`, the values of the parameters that the conditions declare. With `values`, entries of \
     [AuthZEN](AUTHZEN.md#the-ledger) also have the names of unregistered resources and the stated properties of \
     actions and resources, which stay in the ledger for good; names of unregistered subjects and stated properties \
     of subjects are there only as hashes under a key.",
);

const REQUIRE_REASON: Variable = Variable::optional(
    "EPR_REQUIRE_REASON",
    REASON_ALLOWED,
    "Changes that are refused without a stated reason (header `EPR-Reason`, `--reason`): `assignments`, every grant \
     of a role; revocations need none.",
);

pub(super) const SECTION: Section =
    Section { title: "Ledger", variables: &[DECISIONS, EVENTS, CONTEXT, REQUIRE_REASON] };

/// Decisions that the ledger records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuditDecisions {
    /// Every answer, answers from the cache included.
    Every,
    /// Every evaluated decision.
    #[default]
    All,
    /// Denials only.
    Denied,
    /// None.
    Off,
}

impl FromStr for AuditDecisions {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let words = [
            ("every", Self::Every),
            ("evaluated", Self::All),
            ("all", Self::All),
            ("denied", Self::Denied),
            ("off", Self::Off),
        ];
        find_word(text, &words, DECISIONS_ALLOWED)
    }
}

/// Accepted `POST /events` that the ledger records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuditEvents {
    /// Events whose context names an actor and an entity: the platform's audit events.
    #[default]
    Context,
    /// Every event.
    All,
    /// None.
    Off,
}

impl FromStr for AuditEvents {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find_word(text, &[("context", Self::Context), ("all", Self::All), ("off", Self::Off)], EVENTS_ALLOWED)
    }
}

/// What the entries of decisions that looked at conditions say about what the caller sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuditContext {
    /// The SHA-256 of the canonical text of the whole context; of names and stated properties, hashes under a key.
    #[default]
    Hash,
    /// The values of the parameters that the conditions declare, names of resources, and stated properties of actions
    /// and resources.
    Values,
}

impl FromStr for AuditContext {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find_word(text, &[("hash", Self::Hash), ("values", Self::Values)], CONTEXT_ALLOWED)
    }
}

/// Changes that need a stated reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RequireReason {
    /// None.
    #[default]
    Never,
    /// Grants: every creation of an assignment.
    Assignments,
}

impl FromStr for RequireReason {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find_word(text, &[("assignments", Self::Assignments)], REASON_ALLOWED)
    }
}

/// The decisions and events that the ledger records besides changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditSettings {
    /// The decisions.
    pub decisions: AuditDecisions,
    /// The accepted `POST /events`.
    pub events: AuditEvents,
    /// The contexts of decisions.
    pub context: AuditContext,
    /// The changes that need a stated reason.
    pub require_reason: RequireReason,
}

impl AuditSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            decisions: reader.value(&DECISIONS, |given| given.parse().ok()).unwrap_or_default(),
            events: reader.value(&EVENTS, |given| given.parse().ok()).unwrap_or_default(),
            context: reader.value(&CONTEXT, |given| given.parse().ok()).unwrap_or_default(),
            require_reason: reader.value(&REQUIRE_REASON, |given| given.parse().ok()).unwrap_or_default(),
        }
    }
}
