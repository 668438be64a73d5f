//! Chooses the connection to the server of the shared tier by its URL.

use super::redis::Redis;
use super::remote::{Remote, ServerUnavailable};
use super::upstash::{self, Upstash};
use crate::settings::SharedCache;

/// The connection that `at` describes; it is not open yet.
///
/// # Errors
/// The URL or the token is invalid.
pub(super) fn connection(at: &SharedCache) -> Result<Box<dyn Remote>, ServerUnavailable> {
    let token = at.token.as_deref().unwrap_or_default();
    Ok(if upstash::is_url(&at.url) {
        Box::new(Upstash::new(&at.url, token, &at.prefix)?)
    } else {
        Box::new(Redis::new(&at.url)?)
    })
}
