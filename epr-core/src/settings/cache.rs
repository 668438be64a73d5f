//! Where decisions are cached.

use std::fmt;
use std::time::Duration;

use super::source::Reader;
use crate::engine::cache::{is_redis_url, is_rest_url};
use crate::store::url::masked;

/// `EPR_DECISION_CACHE`, `EPR_DECISION_CACHE_MB`, `EPR_REDIS_…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Whether decisions are cached at all.
    pub enabled: bool,
    /// Memory for decisions in this process, 1 to 65536 MiB.
    pub memory_mib: u64,
    /// For how long a decision may be answered again, 1 s to 1 day.
    pub ttl: Duration,
    /// Where decisions are shared with other processes.
    pub shared: Option<SharedCache>,
}

/// A Redis.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedCache {
    /// `redis://`, `rediss://`, or `https://` for Upstash.
    pub url: String,
    /// Upstash's token.
    pub token: Option<String>,
    /// What every key begins with.
    pub prefix: String,
    /// How long a call may take before the server counts as away, 10 to 5000 ms.
    pub timeout: Duration,
}

impl fmt::Debug for SharedCache {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, token, prefix, timeout } = self;
        let token = token.as_ref().map(|_| "***");
        out.debug_struct("SharedCache")
            .field("url", &masked(url))
            .field("token", &token)
            .field("prefix", prefix)
            .field("timeout", timeout)
            .finish()
    }
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { enabled: true, memory_mib: 64, ttl: Duration::from_mins(5), shared: None }
    }
}

const DEFAULT_TTL_SECONDS: u64 = 300;

impl CacheSettings {
    /// Decides every time.
    #[must_use]
    pub fn off() -> Self {
        Self { enabled: false, ..Self::default() }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let url = reader.value(
            "EPR_REDIS_URL",
            None,
            "redis://user:password@host:port/0, rediss://… with TLS, or https://… of Upstash (http:// only on this machine)",
            masked,
            |given| (is_redis_url(given) || is_rest_url(given)).then(|| Some(given.to_owned())),
        );
        let token = reader.value(
            "EPR_REDIS_TOKEN",
            None,
            "visible ASCII characters",
            |_| "***".into(),
            |given| given.chars().all(|c| c.is_ascii_graphic()).then(|| Some(given.to_owned())),
        );
        // The older implementation ran without its cache then.
        let url = url.filter(|url: &String| {
            let usable = token.is_some() || !is_rest_url(url);
            if !usable {
                reader.warn(
                    "EPR_REDIS_TOKEN is not set, and EPR_REDIS_URL is one of Upstash, which needs it: decisions are kept in this process only"
                        .into(),
                );
            }
            usable
        });
        let prefix = reader.value(
            "EPR_REDIS_CACHE_PREFIX",
            "epr".to_owned(),
            "1 to 64 letters, digits and any of : _ . -",
            super::source::plain,
            |given| {
                let fits = given.len() <= 64
                    && given.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '.' | '-'));
                fits.then(|| given.to_owned())
            },
        );
        let (ttl, url) = match reader.number_up_to("EPR_REDIS_CACHE_TTL", DEFAULT_TTL_SECONDS, 0, 86_400) {
            0 => {
                reader.warn(format!(
                    "EPR_REDIS_CACHE_TTL is 0: there is no shared cache, and decisions are kept in this process for {DEFAULT_TTL_SECONDS} s"
                ));
                (DEFAULT_TTL_SECONDS, None)
            }
            seconds => (seconds, url),
        };
        let ttl = Duration::from_secs(ttl);
        let timeout = Duration::from_millis(reader.number("EPR_REDIS_TIMEOUT_MS", 100, 10, 5000));
        Self {
            enabled: reader.flag("EPR_DECISION_CACHE", true),
            memory_mib: reader.number("EPR_DECISION_CACHE_MB", 64, 1, 65_536),
            ttl,
            shared: url.map(|url| SharedCache { url, token, prefix, timeout }),
        }
    }
}
