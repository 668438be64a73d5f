//! The cache that processes share.

use super::{Finding, State};
use crate::engine::cache::probe;
use crate::settings::Settings;
use crate::store::url::masked;

const CACHE: &str = "cache";

/// Whether the shared cache answers, and in time.
pub async fn cache(settings: &Settings) -> Finding {
    if !settings.cache.enabled {
        return Finding::new(CACHE, State::Unused, "EPR_DECISION_CACHE is off: every check is evaluated");
    }
    let Some(shared) = &settings.cache.shared else {
        return Finding::new(CACHE, State::Unused, "EPR_REDIS_URL is not set: each process caches for itself");
    };
    let url = masked(&shared.url);
    match probe(shared).await {
        Ok((kind, took)) => {
            let seen = format!("{url} ({kind}) answers in {} ms", took.as_millis());
            if took > shared.timeout {
                Finding::new(CACHE, State::Doubtful, seen).advise(
                    "checks wait for EPR_REDIS_TIMEOUT_MS at most and then do without the cache: raise it, or \
                         move the cache closer",
                )
            } else {
                Finding::new(CACHE, State::Fine, seen)
            }
        }
        Err(error) => Finding::new(CACHE, State::Wrong, format!("{url}: {error}")).advise(
            "check that it runs, EPR_REDIS_URL, EPR_REDIS_TOKEN and the network; until then every check is evaluated",
        ),
    }
}
