//! The sections of the settings, which declare every variable.

#[cfg(feature = "jwt")]
use super::auth;
#[cfg(feature = "proofs")]
use super::ledger;
use super::variable::Section;
use super::{audit, aws, cache, database, elsewhere, events, http, logging, queue, service};

/// Every variable that EPR reads, in the order of docs/SETTINGS.md.
pub const SECTIONS: &[Section] = &[
    service::SECTION,
    database::SECTION,
    http::SECTION,
    #[cfg(feature = "jwt")]
    auth::SECTION,
    cache::SECTION,
    audit::SECTION,
    #[cfg(feature = "proofs")]
    ledger::SECTION,
    events::SECTION,
    queue::SECTION,
    aws::SECTION,
    logging::SECTION,
    elsewhere::TRACES,
    elsewhere::COMMAND,
];
