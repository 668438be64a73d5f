//! The cache of decisions: in this process, and shared with others.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::reader::Reader;
use super::source::Source;
use super::variable::{Section, UnknownWord, Variable, find_word};
use crate::engine::cache::{is_redis_url, is_rest_url};
use crate::store::url::masked;

const DEFAULT_TTL_SECONDS: u64 = 300;
const DEFAULT_GRAPH_MIB: u64 = 256;
const GRAPH_ALLOWED: &str = "auto, on, off";

const ENABLED: Variable =
    Variable::flag("EPR_DECISION_CACHE", true, "Whether decisions of checks are cached: see [CACHE.md](CACHE.md).");
const MEMORY: Variable =
    Variable::number("EPR_DECISION_CACHE_MB", 64, &(1..=65_536), "Memory for decisions in each process, in MiB.");
const GRAPH: Variable = Variable::text(
    "EPR_GRAPH",
    "auto",
    GRAPH_ALLOWED,
    "Whether the registry is kept in the memory of each process, so that checks are evaluated without the database: \
     see [CACHE.md](CACHE.md#the-registry-in-memory). `auto`: if `EPR_DECISION_CACHE` is true and the registry fits in \
     `EPR_GRAPH_MB`; `on`: whatever its size is; `off`.",
);
const GRAPH_MEMORY: Variable = Variable::number(
    "EPR_GRAPH_MB",
    DEFAULT_GRAPH_MIB,
    &(1..=1_048_576),
    "Memory for the registry in each process with `EPR_GRAPH=auto`, in MiB. A larger registry is not kept in memory.",
);
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

pub(super) const SECTION: Section = Section {
    title: "Decision cache",
    variables: &[ENABLED, MEMORY, GRAPH, GRAPH_MEMORY, URL, TOKEN, PREFIX, TTL, TIMEOUT],
};

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
    /// The registry in the memory of this process.
    pub graph: GraphSettings,
}

/// Whether the registry is kept in the memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphSettings {
    /// It is not.
    Off,
    /// It is while it needs no more than this memory, in MiB.
    UpTo(u64),
    /// It is, whatever its size is.
    Always,
}

impl GraphSettings {
    /// The most memory, in bytes; `None` when the registry is not kept in memory.
    pub(crate) fn max_bytes(self) -> Option<usize> {
        match self {
            Self::Off => None,
            Self::UpTo(mib) => Some(usize::try_from(mib << 20).unwrap_or(usize::MAX)),
            Self::Always => Some(usize::MAX),
        }
    }
}

/// The words of `EPR_GRAPH`.
#[derive(Clone, Copy)]
enum GraphMode {
    Auto,
    On,
    Off,
}

impl FromStr for GraphMode {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find_word(text, &[("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)], GRAPH_ALLOWED)
    }
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
    /// No cache: every check is evaluated from the database.
    #[must_use]
    pub fn off() -> Self {
        Self { enabled: false, graph: GraphSettings::Off, ..Self::default() }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let url = read_url(reader);
        let prefix = reader.value(&PREFIX, |given| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '.' | '-');
            (given.len() <= 64 && given.chars().all(allowed)).then(|| given.to_owned())
        });
        let (ttl, url) = read_ttl(reader, url);
        let timeout = Duration::from_millis(reader.number(&TIMEOUT));
        let enabled = reader.flag(&ENABLED);
        let mode = reader.value(&GRAPH, |given| given.parse().ok());
        let graph_mib = reader.number(&GRAPH_MEMORY);
        Self {
            enabled,
            graph: match mode {
                Some(GraphMode::On) => GraphSettings::Always,
                Some(GraphMode::Auto) if enabled => GraphSettings::UpTo(graph_mib),
                Some(GraphMode::Auto | GraphMode::Off) | None => GraphSettings::Off,
            },
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
