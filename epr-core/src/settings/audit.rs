//! What the ledger records besides mutations.

use super::source::{Reader, plain};

/// Which evaluated decisions are recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuditDecisions {
    /// Every one.
    #[default]
    All,
    /// Denials only.
    Denied,
    /// None.
    Off,
}

/// `EPR_AUDIT_DECISIONS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditSettings {
    /// Which evaluated decisions are recorded.
    pub decisions: AuditDecisions,
}

impl AuditSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let decisions = reader.value("EPR_AUDIT_DECISIONS", AuditDecisions::All, "all, denied, off", plain, |given| {
            match given.to_ascii_lowercase().as_str() {
                "all" => Some(AuditDecisions::All),
                "denied" => Some(AuditDecisions::Denied),
                "off" => Some(AuditDecisions::Off),
                _ => None,
            }
        });
        Self { decisions }
    }
}
