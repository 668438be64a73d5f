//! The sections of the settings, which declare every variable.

use super::variable::Section;
use super::{audit, auth, aws, cache, database, elsewhere, events, http, logging, queue, service};

/// Every variable that EPR reads, in the order of docs/SETTINGS.md.
pub const SECTIONS: &[Section] = &[
    service::SECTION,
    database::SECTION,
    http::SECTION,
    auth::SECTION,
    cache::SECTION,
    audit::SECTION,
    events::SECTION,
    queue::SECTION,
    aws::SECTION,
    logging::SECTION,
    elsewhere::TRACES,
    elsewhere::COMMAND,
];
