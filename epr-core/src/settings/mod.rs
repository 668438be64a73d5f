//! Settings, from the environment and a `.env` file, read once at start.
//!
//! One file a section. A value that does not parse is a fault, never a default; every fault is reported, not only
//! the first. Values with which the older implementation ran are taken, with a warning where they mean something else here.
//! Secrets do not print.

mod audit;
mod auth;
mod aws;
mod cache;
mod database;
mod dot_env;
mod events;
mod http;
mod limits;
mod logging;
mod queue;
mod service;
mod source;
mod unknown;

pub use audit::{AuditDecisions, AuditEvents, AuditSettings};
pub use auth::{AuthSettings, JwksPlace, JwtSettings, OpenPath, TokenSettings};
pub use aws::AwsSettings;
pub use cache::{CacheSettings, SharedCache};
pub use database::DatabaseSettings;
pub use events::EventSettings;
pub use http::{HttpSettings, UnknownMembers};
pub use limits::Limits;
pub use logging::{Level, LoggingSettings};
pub use queue::QueueSettings;
pub use service::{Environment, ServiceSettings, default_permissions};
pub use source::{Described, Origin, Reader, SettingsError, Source};
pub use unknown::UnknownVariable;

/// Everything the environment says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who this is.
    pub service: ServiceSettings,
    /// Where the data is.
    pub database: DatabaseSettings,
    /// What is logged, and how.
    pub logging: LoggingSettings,
    /// What the ledger records.
    pub audit: AuditSettings,
    /// Where events go.
    pub events: EventSettings,
    /// Where audit events come from.
    pub queue: QueueSettings,
    /// Where decisions are cached.
    pub cache: CacheSettings,
    /// How AWS is reached.
    pub aws: AwsSettings,
    /// How the API is reached.
    pub http: HttpSettings,
    /// Who may call it.
    pub auth: AuthSettings,
    /// Variables that are named like EPR's and are none.
    pub unknown_variables: Vec<UnknownVariable>,
    /// Values that are used in another way than they are written, a sentence each.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Reads the process environment, and beneath it the file `.env` in the working folder.
    ///
    /// # Errors
    /// Every variable that does not parse.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::from_source(&Source::from_env()?)
    }

    /// For programs that answer no checks: they need not hear of every change.
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

    /// Reads `source`, and says of every variable where its value comes from, also when some do not parse.
    pub fn describe(source: &Source) -> (Result<Self, SettingsError>, Vec<Described>) {
        let mut reader = Reader::new(source);
        let service = ServiceSettings::read(&mut reader);
        let mut settings = Self {
            auth: AuthSettings::read(&mut reader, service.environment),
            service,
            database: DatabaseSettings::read(&mut reader),
            logging: LoggingSettings::read(&mut reader),
            audit: AuditSettings::read(&mut reader),
            events: EventSettings::read(&mut reader),
            queue: QueueSettings::read(&mut reader),
            cache: CacheSettings::read(&mut reader),
            aws: AwsSettings::read(&mut reader),
            http: HttpSettings::read(&mut reader),
            unknown_variables: Vec::new(),
            warnings: Vec::new(),
        };
        settings.warnings = reader.warnings().to_vec();
        let seen = reader.seen().to_vec();
        let unknown_variables = unknown::unknown(source, &seen);
        let settings = match reader.finish(settings) {
            Ok(settings) => Ok(Self { unknown_variables, ..settings }),
            // One of them may be what is missing.
            Err(SettingsError(faults)) => Err(SettingsError(
                faults.into_iter().chain(unknown_variables.iter().map(ToString::to_string)).collect(),
            )),
        };
        (settings, seen)
    }

    /// Logs a warning for each variable that is named like EPR's and is none.
    pub fn warn_of_unknown_variables(&self) {
        for UnknownVariable { name, nearest } in &self.unknown_variables {
            tracing::warn!(variable = name, nearest, "unknown_variable_ignored");
        }
    }
}
