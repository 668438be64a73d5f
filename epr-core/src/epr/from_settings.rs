//! Builds the service that the settings describe, from what this build of the library contains.

use std::sync::Arc;

use super::Epr;
use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use crate::publish::Publisher;
#[cfg(feature = "postgres")]
use crate::settings::ReplicaSettings;
use crate::settings::Settings;
use crate::store::Store;
use crate::store::url::DatabaseUrl;

impl Epr {
    /// Builds the service that `settings` describe. It connects to the database when it first needs to.
    ///
    /// # Errors
    /// The folder of a database file cannot be created, or a setting needs a feature that this build does not have.
    pub async fn from_settings(settings: &Settings) -> Result<Self> {
        Self::from_settings_at(settings, Arc::new(SystemClock)).await
    }

    /// [`Epr::from_settings`] with the caller's clock.
    ///
    /// # Errors
    /// Those of [`Epr::from_settings`].
    pub async fn from_settings_at(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self> {
        for setting in &settings.warnings {
            tracing::warn!(setting, "setting_adjusted");
        }
        let mut builder = Self::builder_on(open(settings)?)
            .clock(clock)
            .default_permissions(settings.service.default_permissions.clone())
            .entity_types(settings.service.entity_types.clone())
            .audit_decisions(settings.audit.decisions)
            .audit_events(settings.audit.events)
            .audit_context(settings.audit.context)
            .require_reason(settings.audit.require_reason)
            .events(settings.events.clone())
            .cache(settings.cache.clone());
        #[cfg(feature = "proofs")]
        if let Some(signing) = &settings.signing {
            builder = builder.signing(signing.clone());
        }
        #[cfg(feature = "publish")]
        if let Some(place) = &settings.publish_ledger_to {
            builder = builder.publication(place.open(&settings.aws, settings.ledger_retention));
        }
        #[cfg(feature = "publish")]
        if let Some(place) = &settings.ledger_archive {
            builder = builder.archive(place.open(&settings.aws, settings.ledger_retention));
        }
        #[cfg(all(feature = "proofs", not(feature = "publish")))]
        if let Some(place) = &settings.publish_ledger_to {
            builder = builder.publication(place.open());
        }
        #[cfg(all(feature = "proofs", not(feature = "publish")))]
        if let Some(place) = &settings.ledger_archive {
            builder = builder.archive(place.open());
        }
        #[cfg(feature = "publish")]
        if let Some((witnesses, quorum)) = settings.ledger_witnesses.clone() {
            builder = builder.witnesses(witnesses, quorum);
        }
        if let Some(topic) = &settings.events.topic_arn {
            builder = builder.publisher(publisher(settings, topic).await?);
        }
        Ok(builder.build())
    }
}

#[cfg(feature = "sns")]
async fn publisher(settings: &Settings, topic: &str) -> Result<Arc<dyn Publisher>> {
    Ok(Arc::new(crate::publish::sns::Sns::new(&settings.aws, topic).await))
}

#[cfg(not(feature = "sns"))]
async fn publisher(_: &Settings, _: &str) -> Result<Arc<dyn Publisher>> {
    Err(missing("EPR_DOCUMENT_VAULT_TOPIC_ARN", "sns"))
}

fn open(settings: &Settings) -> Result<Arc<dyn Store>> {
    let database = &settings.database;
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    let options = crate::store::Options {
        pool_size: database.pool_size,
        acquire_timeout: database.acquire_timeout,
        echo: settings.logging.sql_echo,
        pooler: database.pooler,
    };
    match &database.url {
        #[cfg(feature = "sqlite")]
        DatabaseUrl::SqliteMemory => Ok(Arc::new(crate::store::sqlite::open_memory(&options))),
        #[cfg(feature = "sqlite")]
        DatabaseUrl::SqliteFile(path) => Ok(Arc::new(crate::store::sqlite::open_file(path, &options)?)),
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(url) => {
            let replica = database
                .replica
                .clone()
                .map(|ReplicaSettings { url, max_lag }| crate::store::postgres::ReplicaOptions { url, max_lag });
            Ok(Arc::new(crate::store::postgres::open_with_replica(url, &options, replica.as_ref())?))
        }
        #[cfg(not(feature = "sqlite"))]
        DatabaseUrl::SqliteMemory | DatabaseUrl::SqliteFile(_) => Err(missing("EPR_DATABASE_URL", "sqlite")),
        #[cfg(not(feature = "postgres"))]
        DatabaseUrl::Postgres(_) => Err(missing("EPR_DATABASE_URL", "postgres")),
    }
}

#[cfg(not(all(feature = "postgres", feature = "sqlite", feature = "sns")))]
fn missing(variable: &str, feature: &str) -> crate::Error {
    crate::Error::from(crate::store::StoreError::Connection(
        format!("{variable} needs the feature `{feature}` of epr-core, which this build does not have").into(),
    ))
}
