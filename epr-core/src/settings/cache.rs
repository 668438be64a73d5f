//! The cache of decisions: in this process, and shared with others.

use std::fmt;
use std::time::Duration;

use super::reader::Reader;
use super::source::Source;
use super::variable::{Section, Variable};
use crate::engine::cache::{is_redis_url, is_rest_url};
use crate::store::url::masked;

const DEFAULT_TTL_SECONDS: u64 = 300;

const ENABLED: Variable =
    Variable::flag("EPR_DECISION_CACHE", true, "Whether decisions of checks are cached: see [CACHE.md](CACHE.md).");
const MEMORY: Variable =
    Variable::number("EPR_DECISION_CACHE_MB", 64, &(1..=65_536), "Memory for decisions in each process, in MiB.");
const URL: Variable = Variable::optional(
    "EPR_REDIS_URL",
    "redis://user:password@host:port/0, rediss://… with TLS, or https://… of Upstash (http:// only on this machine)",
    "The cache that processes share. Not set: each process caches for itself.",
)
.masked();
const TOKEN: Variable = Variable::optional(
    "EPR_REDIS_TOKEN",
    "visible ASCII characters",
    "Upstash's token. Without it an `https://…` cache is not used, with a warning.",
)
.secret();
const PREFIX: Variable = Variable::text(
    "EPR_REDIS_CACHE_PREFIX",
    "epr",
    "1 to 64 letters, digits and any of : _ . -",
    "Prefix of every key in the shared cache.",
);
const TTL: Variable = Variable::number(
    "EPR_REDIS_CACHE_TTL",
    DEFAULT_TTL_SECONDS,
    &(0..=86_400),
    "Lifetime of a cached decision in both tiers, in seconds. 0: no shared cache, and 300 s in the process. A larger \
     number is read as 86400, with a warning.",
);
const TIMEOUT: Variable = Variable::number(
    "EPR_REDIS_TIMEOUT_MS",
    100,
    &(10..=5000),
    "Timeout of a call to the shared cache, in milliseconds. After it the cache is treated as unavailable.",
);

pub(super) const SECTION: Section =
    Section { title: "Decision cache", variables: &[ENABLED, MEMORY, URL, TOKEN, PREFIX, TTL, TIMEOUT] };

/// The cache of decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Whether decisions are cached.
    pub enabled: bool,
    /// Memory for decisions in this process, 1 to 65536 MiB.
    pub memory_mib: u64,
    /// Lifetime of a cached decision, 1 s to 1 day.
    pub ttl: Duration,
    /// The cache that processes share.
    pub shared: Option<SharedCache>,
}

/// A Redis server that processes share.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedCache {
    /// `redis://`, `rediss://`, or `https://` for Upstash.
    pub url: String,
    /// Upstash's token.
    pub token: Option<String>,
    /// Prefix of every key.
    pub prefix: String,
    /// Timeout of a call, 10 to 5000 ms.
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
        Self::read(&mut Reader::new(&Source::default()))
    }
}

impl CacheSettings {
    /// No cache: every check is evaluated.
    #[must_use]
    pub fn off() -> Self {
        Self { enabled: false, ..Self::default() }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let url = read_url(reader);
        let prefix = reader.value(&PREFIX, |given| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '.' | '-');
            (given.len() <= 64 && given.chars().all(allowed)).then(|| given.to_owned())
        });
        let (ttl, url) = read_ttl(reader, url);
        let timeout = Duration::from_millis(reader.number(&TIMEOUT));
        Self {
            enabled: reader.flag(&ENABLED),
            memory_mib: reader.number(&MEMORY),
            ttl,
            shared: url.map(|(url, token)| SharedCache { url, token, prefix: prefix.unwrap_or_default(), timeout }),
        }
    }
}

/// The shared cache and its token.
fn read_url(reader: &mut Reader<'_>) -> Option<(String, Option<String>)> {
    let is_url = |given: &str| is_redis_url(given) || is_rest_url(given);
    let url = reader.value(&URL, |given| is_url(given).then(|| given.to_owned()));
    let is_token = |given: &str| given.chars().all(|c| c.is_ascii_graphic());
    let token = reader.value(&TOKEN, |given| is_token(given).then(|| given.to_owned()));
    let url = url?;
    // The older implementation ran without its cache then.
    if token.is_none() && is_rest_url(&url) {
        reader.warn(format!(
            "{} is not set, and {} is one of Upstash, which needs it: decisions are kept in this process only",
            TOKEN.name, URL.name
        ));
        return None;
    }
    Some((url, token))
}

/// The lifetime of decisions, and the shared cache, which a lifetime of 0 turns off.
fn read_ttl<T>(reader: &mut Reader<'_>, shared: Option<T>) -> (Duration, Option<T>) {
    match reader.capped_number(&TTL) {
        0 => {
            reader.warn(format!(
                "{} is 0: there is no shared cache, and decisions are kept in this process for {DEFAULT_TTL_SECONDS} s",
                TTL.name
            ));
            (Duration::from_secs(DEFAULT_TTL_SECONDS), None)
        }
        seconds => (Duration::from_secs(seconds), shared),
    }
}
