//! The registry in memory, from which checks are answered without the database.
//!
//! Owns a [`Snapshot`] of the registry at one position of the database, replaces it by the next one when the change
//! feed reports a change, and says for which questions it is current. INVARIANT: the promises are those of the cache:
//! never older than the news of a change, and when that is not sure, the database is asked. Must never decide.

mod audit;
mod changing;
mod current;
mod keeper;
mod metrics;
mod roles;
mod sharded_map;
mod snapshot;
mod words;

#[cfg(test)]
pub(crate) use self::current::Current;
pub use self::current::GraphState;
pub(crate) use self::current::{FactsOfAll, Graph};
pub(crate) use self::keeper::{GraphKeeper, measure};
