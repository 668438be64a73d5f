//! The queue that audit events come from, and how the worker reads it.

use std::time::Duration;

use super::source::Reader;

/// `EPR_AUDIT_SQS_…`, `EPR_AUDIT_HEALTH_PORT`, `EPR_AUDIT_STALL_AFTER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// The queue; the worker does not run without one.
    pub url: Option<String>,
    /// Messages in one receive, 1 to 10.
    pub max_messages: i32,
    /// How long a receive waits for messages, 0 to 20 whole seconds.
    pub wait_time: i32,
    /// For how many seconds received messages are hidden from others, 0 to 43200; renewed while work on them lasts.
    pub visibility_timeout: i32,
    /// Receives in flight at a time, 1 to 64.
    pub concurrency: usize,
    /// The port on the loopback address that answers whether the worker is well; none when `None`.
    pub health_port: Option<u16>,
    /// After how long without a step a receive loop counts as stalled.
    pub stall_after: Duration,
}

impl QueueSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let small = |reader: &mut Reader<'_>, name: &str, default: u64, min: u64, max: u64| {
            i32::try_from(reader.number(name, default, min, max)).unwrap_or(i32::MAX)
        };
        let url = reader.value(
            "EPR_AUDIT_SQS_URL",
            None,
            "the queue's URL, https://sqs.<region>.amazonaws.com/<account>/<name>",
            super::source::plain,
            |given| given.starts_with("http").then(|| Some(given.to_owned())),
        );
        let port = reader.number("EPR_AUDIT_HEALTH_PORT", 8081, 0, u16::MAX.into());
        Self {
            url,
            max_messages: small(reader, "EPR_AUDIT_SQS_MAX_MESSAGES", 5, 1, 10),
            wait_time: small(reader, "EPR_AUDIT_SQS_WAIT_TIME", 20, 0, 20),
            visibility_timeout: small(reader, "EPR_AUDIT_SQS_VISIBILITY_TIMEOUT", 60, 0, 43_200),
            concurrency: usize::try_from(reader.number("EPR_AUDIT_SQS_CONCURRENCY", 1, 1, 64)).unwrap_or(1),
            health_port: u16::try_from(port).ok().filter(|port| *port != 0),
            stall_after: Duration::from_secs(reader.number("EPR_AUDIT_STALL_AFTER", 90, 1, 3600)),
        }
    }
}
