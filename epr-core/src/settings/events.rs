//! Where events go, and how hard it is tried.

use std::time::Duration;

use super::source::Reader;
use crate::domain::topic_text::TopicText;

/// `EPR_DOCUMENT_VAULT_TOPIC_ARN`, `EPR_DOCUMENT_EVENT_SOURCE`, `EPR_EVENT_…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSettings {
    /// The topic; nobody is told when `None`.
    pub topic_arn: Option<String>,
    /// The `source` of EPR's own events.
    pub source: String,
    /// Attempts inside the request, 0 to 10; the relay goes on after that.
    pub publish_attempts: u32,
    /// Verdicts after which an event is given up, 1 to 1000.
    pub max_attempts: i32,
    /// Whether this process relays what is still pending.
    pub relay: bool,
    /// How often the relay looks without being woken, 50 ms to 10 min.
    pub poll: Duration,
    /// How long a claimed event is left to who claimed it, 10 s to 10 min.
    pub lease: Duration,
}

impl Default for EventSettings {
    fn default() -> Self {
        Self {
            topic_arn: None,
            source: "entity_permissions_core".into(),
            publish_attempts: 2,
            max_attempts: 20,
            relay: true,
            poll: Duration::from_secs(5),
            lease: Duration::from_secs(45),
        }
    }
}

impl EventSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let source = reader.value(
            "EPR_DOCUMENT_EVENT_SOURCE",
            default.source.clone(),
            "3 to 128 characters that a topic carries",
            super::source::plain,
            |given| TopicText::new(given).ok().map(TopicText::into_string),
        );
        Self {
            topic_arn: reader.value(
                "EPR_DOCUMENT_VAULT_TOPIC_ARN",
                None,
                "the ARN of a standard SNS topic, such as arn:aws:sns:eu-central-1:123456789012:documents",
                super::source::plain,
                |given| is_topic(given).then(|| Some(given.to_owned())),
            ),
            source,
            publish_attempts: u32::try_from(reader.number_up_to("EPR_EVENT_PUBLISH_ATTEMPTS", 2, 0, 10)).unwrap_or(2),
            max_attempts: i32::try_from(reader.number("EPR_EVENT_MAX_ATTEMPTS", 20, 1, 1000)).unwrap_or(20),
            relay: reader.flag("EPR_EVENT_RELAY", true),
            poll: Duration::from_millis(reader.number("EPR_EVENT_POLL_MS", 5000, 50, 600_000)),
            lease: Duration::from_secs(reader.number("EPR_EVENT_LEASE", 45, 10, 600)),
        }
    }
}

/// `arn:partition:sns:region:account:name`, and not a FIFO topic, which would want a group with every message.
fn is_topic(arn: &str) -> bool {
    match arn.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", partition, "sns", region, account, name] => {
            [partition, region, account, name].iter().all(|part| !part.is_empty())
                && name.strip_suffix(".fifo").is_none()
        }
        _ => false,
    }
}
