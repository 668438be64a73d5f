//! The test kit: real databases, real processes, and a client that speaks to them.
//!
//! No part is simulated. A missing server is a failure with a message, never a skip.

pub mod api;
pub mod aws;
pub mod browser;
pub mod certificate;
pub mod cgroup;
pub mod cli;
pub mod console;
pub mod database;
pub mod disk;
pub mod gateway;
mod instances;
pub mod issuer;
pub mod kms;
pub mod lambda;
pub mod ledger;
pub mod metrics;
pub mod nginx;
pub mod openid;
pub mod pgbouncer;
pub mod postgres_server;
pub mod process;
pub mod proxy;
pub mod queue;
pub mod redis;
pub mod s3_front;
pub mod seed;
pub mod statements;
pub mod stream;
pub mod tour;
pub mod upstash;
pub mod wait;
