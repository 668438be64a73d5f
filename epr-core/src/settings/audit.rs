//! What the ledger records besides mutations.

use super::source::{Reader, plain};

/// Which evaluated decisions are recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuditDecisions {
    /// Every answer, those from the cache as well.
    Every,
    /// Every decision that was evaluated.
    #[default]
    All,
    /// Denials only.
    Denied,
    /// None.
    Off,
}

/// Which accepted `POST /events` are recorded, beside being delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuditEvents {
    /// Those whose context names an actor and an entity: the platform's audit events.
    #[default]
    Context,
    /// Every one.
    All,
    /// None.
    Off,
}

/// `EPR_AUDIT_DECISIONS`, `EPR_AUDIT_EVENTS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditSettings {
    /// Which decisions are recorded.
    pub decisions: AuditDecisions,
    /// Which accepted `POST /events` are recorded.
    pub events: AuditEvents,
}

impl AuditSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let allowed = "every, evaluated, all, denied, off";
        let decisions = reader.value("EPR_AUDIT_DECISIONS", AuditDecisions::All, allowed, plain, |given| {
            match given.to_ascii_lowercase().as_str() {
                "every" => Some(AuditDecisions::Every),
                "evaluated" | "all" => Some(AuditDecisions::All),
                "denied" => Some(AuditDecisions::Denied),
                "off" => Some(AuditDecisions::Off),
                _ => None,
            }
        });
        let events = reader.value("EPR_AUDIT_EVENTS", AuditEvents::Context, "context, all, off", plain, |given| {
            match given.to_ascii_lowercase().as_str() {
                "context" => Some(AuditEvents::Context),
                "all" => Some(AuditEvents::All),
                "off" => Some(AuditEvents::Off),
                _ => None,
            }
        });
        Self { decisions, events }
    }
}
