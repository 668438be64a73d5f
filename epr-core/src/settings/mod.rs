//! Settings, from the environment and a `.env` file, read once at start.
//!
//! One file a section, which declares its variables: docs/SETTINGS.md has a table for each. A value that does not parse
//! is an error, never a default. Values with which the older implementation ran are accepted, with a warning where they
//! mean something else here. Secrets are never shown.

mod audit;
#[cfg(feature = "jwt")]
mod auth;
mod authzen;
mod aws;
mod cache;
mod database;
mod dot_env;
mod elsewhere;
mod error;
mod events;
mod http;
#[cfg(feature = "proofs")]
mod ledger;
mod limits;
mod logging;
#[cfg(feature = "jwt")]
mod oidc;
mod queue;
mod reader;
mod sections;
mod service;
mod shown;
mod source;
#[cfg(test)]
mod tests;
mod unknown;
mod variable;

pub use audit::{AuditContext, AuditDecisions, AuditEvents, AuditSettings, RequireReason};
#[cfg(feature = "jwt")]
pub use auth::{AuthSettings, JwtSettings, KeySource, OpenPath, TokenSettings};
pub use authzen::PdpId;
pub use aws::AwsSettings;
pub use cache::{CacheSettings, GraphSettings, SharedCache};
pub use database::{DatabaseSettings, ReplicaSettings};
pub use error::SettingsError;
pub use events::EventSettings;
pub use http::{HttpSettings, UnknownMembers};
pub use limits::Limits;
pub use logging::{Level, LoggingSettings};
#[cfg(feature = "jwt")]
pub use oidc::{CALLBACK_PATH, OidcSettings};
pub use queue::QueueSettings;
pub use sections::SECTIONS;
pub use service::{Environment, ServiceSettings, default_permissions};
pub use source::{Described, Origin, Source};
pub use unknown::UnknownVariable;
pub use variable::{Section, UnknownWord, Values, Variable};

use reader::Reader;

/// All settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The service itself.
    pub service: ServiceSettings,
    /// The database.
    pub database: DatabaseSettings,
    /// Log lines.
    pub logging: LoggingSettings,
    /// The decisions and events that the ledger records besides changes.
    pub audit: AuditSettings,
    /// How checkpoints of the ledger are signed, if they are.
    #[cfg(feature = "proofs")]
    pub signing: Option<crate::signing::LedgerSigning>,
    /// Where the ledger is published, if it is.
    #[cfg(feature = "proofs")]
    pub publish_ledger_to: Option<crate::publish::ledger_place::LedgerPlace>,
    /// The archive that has the entries which were dropped from the database.
    #[cfg(feature = "proofs")]
    pub ledger_archive: Option<crate::publish::ledger_place::LedgerPlace>,
    /// Entries may be dropped when a checkpoint of at least this many days covers them; `None`: none ever.
    #[cfg(feature = "proofs")]
    pub ledger_retention_days: Option<u32>,
    /// How long objects are retained in a bucket that has Object Lock without a default retention.
    #[cfg(feature = "publish")]
    pub ledger_retention: Option<crate::publish::ledger_s3::Retention>,
    /// The witnesses of the ledger, and how many of them must have cosigned what is published.
    #[cfg(feature = "publish")]
    pub ledger_witnesses: Option<(Vec<crate::publish::witness::Witness>, usize)>,
    /// Events and their delivery.
    pub events: EventSettings,
    /// The queue of audit events.
    pub queue: QueueSettings,
    /// The cache of decisions.
    pub cache: CacheSettings,
    /// The region, endpoints and keys of calls to AWS.
    pub aws: AwsSettings,
    /// The HTTP interface.
    pub http: HttpSettings,
    /// The credentials that the API accepts.
    #[cfg(feature = "jwt")]
    pub auth: AuthSettings,
    /// Variables whose names begin like EPR's and that EPR does not read.
    pub unknown_variables: Vec<UnknownVariable>,
    /// Values that are used in another way than they are written, a sentence each.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Reads the process environment and the file `.env` in the working folder. The environment wins.
    ///
    /// # Errors
    /// Every variable that does not parse.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::from_source(&Source::from_env()?)
    }

    /// Returns these settings without the cache, for programs that answer no checks and do not follow the change feed.
    #[must_use]
    pub fn without_cache(self) -> Self {
        Self { cache: CacheSettings::off(), ..self }
    }

    /// Reads `source`.
    ///
    /// # Errors
    /// Every variable that does not parse.
    pub fn from_source(source: &Source) -> Result<Self, SettingsError> {
        Self::describe(source).0
    }

    /// Reads `source`, and describes every variable that was read, also when some do not parse.
    pub fn describe(source: &Source) -> (Result<Self, SettingsError>, Vec<Described>) {
        let mut reader = Reader::new(source);
        let service = ServiceSettings::read(&mut reader);
        let aws = AwsSettings::read(&mut reader);
        let environment = service.environment;
        let mut settings = Self {
            #[cfg(feature = "jwt")]
            auth: AuthSettings::read(&mut reader, environment),
            service,
            database: DatabaseSettings::read(&mut reader),
            logging: LoggingSettings::read(&mut reader),
            audit: AuditSettings::read(&mut reader),
            #[cfg(feature = "proofs")]
            signing: ledger::read(&mut reader, &aws),
            #[cfg(feature = "proofs")]
            publish_ledger_to: ledger::read_place(&mut reader),
            #[cfg(feature = "proofs")]
            ledger_archive: ledger::read_archive(&mut reader),
            #[cfg(feature = "proofs")]
            ledger_retention_days: ledger::read_retention_days(&mut reader),
            #[cfg(feature = "publish")]
            ledger_retention: ledger::read_retention(&mut reader),
            #[cfg(feature = "publish")]
            ledger_witnesses: ledger::read_witnesses(&mut reader),
            events: EventSettings::read(&mut reader),
            queue: QueueSettings::read(&mut reader),
            cache: CacheSettings::read(&mut reader),
            aws,
            http: HttpSettings::read(&mut reader, environment),
            unknown_variables: unknown::unknown(source),
            warnings: Vec::new(),
        };
        #[cfg(feature = "jwt")]
        if settings.auth.oidc.is_some() && !settings.http.console {
            reader.error("EPR_OIDC_ISSUER is set, but the console is off: set EPR_CONSOLE to on".to_owned());
        }
        let (described, warnings) = reader.notes();
        settings.warnings = warnings;
        let unknown: Vec<String> = settings.unknown_variables.iter().map(ToString::to_string).collect();
        // A misspelt variable may be the one that is missing.
        let settings = reader
            .finish(settings)
            .map_err(|SettingsError(errors)| SettingsError(errors.into_iter().chain(unknown).collect()));
        (settings, described)
    }

    /// Logs a warning for each unknown variable.
    pub fn warn_of_unknown_variables(&self) {
        for UnknownVariable { name, nearest } in &self.unknown_variables {
            tracing::warn!(variable = name, nearest, "unknown_variable_ignored");
        }
    }
}
