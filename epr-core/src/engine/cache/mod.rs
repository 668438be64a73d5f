//! The decision cache: a tier in this process, and one that processes share behind it. `docs/CACHE.md` says what it
//! guarantees in each failure.

mod connect;
mod decision_cache;
mod entry;
mod feed_follower;
mod memory;
pub(crate) mod metrics;
mod pending;
mod probe;
mod redis;
pub(crate) mod remote;
pub(crate) mod shared;
mod tiers;
mod upstash;
mod versions;

pub(crate) use self::decision_cache::{Cache, Lookup, Ticket};
pub(crate) use self::memory::Basis;
pub(crate) use self::metrics::CacheTier;
pub(crate) use self::probe::probe;
pub(crate) use self::redis::is_url as is_redis_url;
pub use self::tiers::TierState;
pub(crate) use self::upstash::is_url as is_rest_url;
