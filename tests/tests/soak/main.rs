//! Load and crashes: many clients against real processes, for minutes.

mod cache;
mod checkpoints;
mod ingest;
mod ingest_outage;
mod kill;
mod load;
mod memory;
mod outbox;
mod silence;
