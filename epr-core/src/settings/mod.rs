//! Settings, from the environment and a `.env` file, read once at start.
//!
//! One file a section. A value that does not parse is a fault, never a default; every fault is reported, not only
//! the first. Secrets do not print.

mod audit;
mod aws;
mod cache;
mod database;
mod dot_env;
mod events;
mod http;
mod logging;
mod queue;
mod service;
mod source;

pub use audit::{AuditDecisions, AuditSettings};
pub use aws::AwsSettings;
pub use cache::{CacheSettings, SharedCache};
pub use database::DatabaseSettings;
pub use events::EventSettings;
pub use http::HttpSettings;
pub use logging::{Level, LoggingSettings};
pub use queue::QueueSettings;
pub use service::{Environment, ServiceSettings, default_permissions};
pub use source::{Reader, SettingsError, Source};

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
        let mut reader = Reader::new(source);
        let settings = Self {
            service: ServiceSettings::read(&mut reader),
            database: DatabaseSettings::read(&mut reader),
            logging: LoggingSettings::read(&mut reader),
            audit: AuditSettings::read(&mut reader),
            events: EventSettings::read(&mut reader),
            queue: QueueSettings::read(&mut reader),
            cache: CacheSettings::read(&mut reader),
            aws: AwsSettings::read(&mut reader),
            http: HttpSettings::read(&mut reader),
        };
        reader.finish(settings)
    }
}
