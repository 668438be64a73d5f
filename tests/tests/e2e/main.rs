//! End to end: the whole service on real databases, in this process and as real processes.

mod adoption;
mod architecture;
mod assignments;
mod cache;
mod cache_upstash;
mod check;
mod embedding;
mod entities;
mod events;
mod events_delivery;
mod events_topic;
mod hierarchy;
mod ingest;
mod input;
mod ledger;
mod ledger_commands;
mod ledger_store;
mod ledger_tampering;
mod process;
mod races;
mod roles;
mod worker;
