//! Chooses the connection to the server of the shared tier by its URL.

#[cfg(feature = "redis")]
use super::redis::Redis;
use super::remote::{Remote, ServerUnavailable};
use super::server_url::is_rest_url;
#[cfg(feature = "upstash")]
use super::upstash::Upstash;
use crate::settings::SharedCache;

/// The connection that `at` describes; it is not open yet.
///
/// # Errors
/// The URL or the token is invalid, or this build has no client for it.
pub(super) fn connection(at: &SharedCache) -> Result<Box<dyn Remote>, ServerUnavailable> {
    if is_rest_url(&at.url) { rest(at) } else { tcp(at) }
}

#[cfg(feature = "upstash")]
fn rest(at: &SharedCache) -> Result<Box<dyn Remote>, ServerUnavailable> {
    Ok(Box::new(Upstash::new(&at.url, at.token.as_deref().unwrap_or_default(), &at.prefix)?))
}

#[cfg(not(feature = "upstash"))]
fn rest(_: &SharedCache) -> Result<Box<dyn Remote>, ServerUnavailable> {
    Err(missing("upstash"))
}

#[cfg(feature = "redis")]
fn tcp(at: &SharedCache) -> Result<Box<dyn Remote>, ServerUnavailable> {
    Ok(Box::new(Redis::new(&at.url)?))
}

#[cfg(not(feature = "redis"))]
fn tcp(_: &SharedCache) -> Result<Box<dyn Remote>, ServerUnavailable> {
    Err(missing("redis"))
}

#[cfg(not(all(feature = "redis", feature = "upstash")))]
fn missing(feature: &str) -> ServerUnavailable {
    ServerUnavailable(format!(
        "EPR_REDIS_URL needs the feature `{feature}` of epr-core, which this build does not have"
    ))
}
