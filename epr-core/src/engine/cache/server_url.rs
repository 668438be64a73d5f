//! The URLs that a server of the shared tier can have. Pure.

use url::Url;

#[cfg(feature = "redis")]
use super::redis;

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
