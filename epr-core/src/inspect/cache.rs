//! The Redis that shares decisions between processes.

use super::{Finding, State};
use crate::engine::cache::look;
use crate::settings::Settings;
use crate::store::url::masked;

const CACHE: &str = "cache";

/// Asks the server, if there is one.
pub async fn cache(settings: &Settings) -> Finding {
    if !settings.cache.enabled {
        return Finding::new(CACHE, State::Unused, "EPR_DECISION_CACHE is off: every check is evaluated");
    }
    let Some(shared) = &settings.cache.shared else {
        return Finding::new(CACHE, State::Unused, "EPR_REDIS_URL is not set: each process caches for itself");
    };
    let url = masked(&shared.url);
    match look(shared).await {
        Ok((kind, took)) => {
            let seen = format!("{url} ({kind}) answers in {} ms", took.as_millis());
            if took > shared.timeout {
                Finding::new(CACHE, State::Doubtful, seen)
                    .advise("checks wait for EPR_REDIS_TIMEOUT_MS at most and pass it over: raise that, or move closer")
            } else {
                Finding::new(CACHE, State::Fine, seen)
            }
        }
        Err(why) => Finding::new(CACHE, State::Wrong, format!("{url}: {why}")).advise(
            "check that it runs, EPR_REDIS_URL, EPR_REDIS_TOKEN and the network; meanwhile every check is evaluated anew",
        ),
    }
}
