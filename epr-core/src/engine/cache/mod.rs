//! The decision cache: a tier in this process, and one that processes share behind it. `docs/CACHE.md` says what it
//! guarantees in each failure.

mod connect;
mod decision_cache;
mod entry;
mod feed_follower;
mod memory;
pub(crate) mod metrics;
mod pending;
#[cfg(feature = "doctor")]
mod probe;
#[cfg(feature = "redis")]
mod redis;
pub(crate) mod remote;
mod server_url;
pub(crate) mod shared;
mod tiers;
#[cfg(feature = "upstash")]
mod upstash;
mod versions;

pub(crate) use self::decision_cache::{Cache, Hit, Lookup, Ticket};
pub(crate) use self::memory::{Answer, Basis};
pub(crate) use self::metrics::CacheTier;
#[cfg(feature = "doctor")]
pub(crate) use self::probe::probe;
pub(crate) use self::server_url::{is_redis_url, is_rest_url};
pub use self::tiers::TierState;
pub(crate) use self::tiers::Tiers;
