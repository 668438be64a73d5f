//! HTTP below the routes: sockets, connections, limits, authentication, and how input is read and answers are written.
//!
//! Must never name a route or hold a rule of the registry.

pub(crate) mod activity;
pub(crate) mod budget;
pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod console;
pub(crate) mod error;
pub(crate) mod event_stream;
pub(crate) mod extract;
pub(crate) mod guard;
pub(crate) mod http_metrics;
pub(crate) mod invocations;
pub(crate) mod listing;
pub(crate) mod middleware;
pub(crate) mod past;
pub(crate) mod path;
pub(crate) mod permit;
pub(crate) mod request_id;
pub(crate) mod respond;
pub(crate) mod serve;
pub(crate) mod transport;
