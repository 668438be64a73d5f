//! Chooses the connection to the server of the shared tier by its URL.

use url::Url;

#[cfg(feature = "redis")]
use super::redis::{self, Redis};
use super::remote::{Remote, ServerUnavailable};
#[cfg(feature = "upstash")]
use super::upstash::Upstash;
use crate::settings::SharedCache;

/// Whether `url` is the URL of a REST interface: `https`, or `http` on this machine, where no one can intercept it.
pub(crate) fn is_rest_url(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        url.has_host() && (url.scheme() == "https" || (url.scheme() == "http" && here)) && url.query().is_none()
    })
}

/// Whether `url` is a valid Redis URL.
pub(crate) fn is_redis_url(url: &str) -> bool {
    let named = url.starts_with("redis://") || url.starts_with("rediss://");
    #[cfg(feature = "redis")]
    let named = named && redis::is_readable(url);
    named
}

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
