//! The engines: long-lived parts under the use cases, which group, cache, deliver and measure on their behalf.
//!
//! Must never know a use case or the facade.

pub(crate) mod cache;
pub(crate) mod clock_offset;
pub(crate) mod contention;
pub(crate) mod fact_reader;
pub(crate) mod ledger_writer;
