//! The queue of audit events, and how the worker reads it.

use std::time::Duration;

use super::reader::Reader;
use super::variable::{Section, Variable};

const URL: Variable = Variable::optional(
    "EPR_AUDIT_SQS_URL",
    "the queue's URL, https://sqs.<region>.amazonaws.com/<account>/<name>",
    "The SQS queue of audit events. `epr-audit-worker` does not start without it.",
);
const MAX_MESSAGES: Variable =
    Variable::number("EPR_AUDIT_SQS_MAX_MESSAGES", 5, &(1..=10), "Maximum number of messages in one receive.");
const WAIT_TIME: Variable =
    Variable::number("EPR_AUDIT_SQS_WAIT_TIME", 20, &(0..=20), "Time that a receive waits for messages, in seconds.");
const VISIBILITY_TIMEOUT: Variable = Variable::number(
    "EPR_AUDIT_SQS_VISIBILITY_TIMEOUT",
    60,
    &(0..=43_200),
    "Time for which received messages are hidden from other consumers, in seconds. Renewed while they are processed.",
);
const CONCURRENCY: Variable = Variable::number(
    "EPR_AUDIT_SQS_CONCURRENCY",
    1,
    &(1..=64),
    "Number of receive loops. Their messages share commits.",
);
const HEALTH_PORT: Variable = Variable::number(
    "EPR_AUDIT_HEALTH_PORT",
    8081,
    &(0..=65_535),
    "Port on the loopback address at which the worker answers `epr-audit-worker --health`. 0: none.",
);
const STALL_AFTER: Variable = Variable::number(
    "EPR_AUDIT_STALL_AFTER",
    90,
    &(1..=3600),
    "Time without progress of a receive loop after which the worker is unhealthy, in seconds. Longer than the wait \
     time and the database's timeouts together.",
);

pub(super) const SECTION: Section = Section {
    title: "Ingestion of audit events",
    variables: &[URL, MAX_MESSAGES, WAIT_TIME, VISIBILITY_TIMEOUT, CONCURRENCY, HEALTH_PORT, STALL_AFTER],
};

/// The queue of audit events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// The queue; the worker does not run without one.
    pub url: Option<String>,
    /// Maximum number of messages in one receive, 1 to 10.
    pub max_messages: i32,
    /// Time that a receive waits for messages, 0 to 20 whole seconds.
    pub wait_time: i32,
    /// Time for which received messages are hidden from others, 0 to 43200 whole seconds. Renewed while they are
    /// processed.
    pub visibility_timeout: i32,
    /// Number of receive loops, 1 to 64.
    pub concurrency: usize,
    /// The port on the loopback address of the worker's health; none when `None`.
    pub health_port: Option<u16>,
    /// Time without progress after which a receive loop is stalled.
    pub stall_after: Duration,
}

impl QueueSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let url = reader.value(&URL, |given| given.starts_with("http").then(|| given.to_owned()));
        let port = reader.number(&HEALTH_PORT);
        let mut small = |variable: &Variable| i32::try_from(reader.number(variable)).unwrap_or(i32::MAX);
        let (max_messages, wait_time) = (small(&MAX_MESSAGES), small(&WAIT_TIME));
        let visibility_timeout = small(&VISIBILITY_TIMEOUT);
        Self {
            url,
            max_messages,
            wait_time,
            visibility_timeout,
            concurrency: usize::try_from(reader.number(&CONCURRENCY)).unwrap_or(usize::MAX),
            health_port: u16::try_from(port).ok().filter(|port| *port != 0),
            stall_after: Duration::from_secs(reader.number(&STALL_AFTER)),
        }
    }
}
