//! Events: their topic, and how often delivery is attempted.

use std::time::Duration;

use super::reader::Reader;
use super::source::Source;
use super::variable::{Section, Variable};
use crate::domain::topic_text::TopicText;

const TOPIC_ARN: Variable = Variable::optional(
    "EPR_DOCUMENT_VAULT_TOPIC_ARN",
    "the ARN of a standard SNS topic, such as arn:aws:sns:eu-central-1:123456789012:documents",
    "The SNS topic that events are published to. Not set: events are stored but not published.",
);
const SOURCE: Variable = Variable::text(
    "EPR_DOCUMENT_EVENT_SOURCE",
    "entity_permissions_core",
    "3 to 128 characters that a topic carries",
    "The `source` of the events that EPR itself emits.",
);
const PUBLISH_ATTEMPTS: Variable = Variable::number(
    "EPR_EVENT_PUBLISH_ATTEMPTS",
    2,
    &(0..=10),
    "Attempts to publish an event within the request. The relay continues after them. A larger number is read as 10, \
     with a warning.",
);
const MAX_ATTEMPTS: Variable = Variable::number(
    "EPR_EVENT_MAX_ATTEMPTS",
    20,
    &(1..=1000),
    "Attempts after which an event is given up. Outages of the topic are not counted.",
);
const RELAY: Variable = Variable::flag("EPR_EVENT_RELAY", true, "Whether this process relays pending events.");
const POLL: Variable = Variable::number(
    "EPR_EVENT_POLL_MS",
    5000,
    &(50..=600_000),
    "Interval at which the relay looks for pending events without being woken, in milliseconds.",
);
const LEASE: Variable = Variable::number(
    "EPR_EVENT_LEASE",
    45,
    &(10..=600),
    "Lease on a claimed event in seconds. Below 40 a slow topic can receive duplicates.",
);

pub(super) const SECTION: Section =
    Section { title: "Events", variables: &[TOPIC_ARN, SOURCE, PUBLISH_ATTEMPTS, MAX_ATTEMPTS, RELAY, POLL, LEASE] };

/// Events: their topic and their delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSettings {
    /// The topic; without one, events are stored but not published.
    pub topic_arn: Option<String>,
    /// The `source` of the events that EPR itself emits.
    pub source: String,
    /// Attempts within the request, 0 to 10. The relay continues after them.
    pub publish_attempts: u32,
    /// Attempts after which an event is given up, 1 to 1000.
    pub max_attempts: i32,
    /// Whether this process relays pending events.
    pub relay: bool,
    /// Interval at which the relay looks for pending events without being woken, 50 ms to 10 min.
    pub poll: Duration,
    /// Lease on a claimed event, 10 s to 10 min.
    pub lease: Duration,
}

impl Default for EventSettings {
    fn default() -> Self {
        Self::read(&mut Reader::new(&Source::default()))
    }
}

impl EventSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let source = reader.value(&SOURCE, |given| TopicText::new(given).ok().map(TopicText::into_string));
        Self {
            topic_arn: reader.value(&TOPIC_ARN, |given| is_topic(given).then(|| given.to_owned())),
            source: source.unwrap_or_default(),
            publish_attempts: u32::try_from(reader.capped_number(&PUBLISH_ATTEMPTS)).unwrap_or(u32::MAX),
            max_attempts: i32::try_from(reader.number(&MAX_ATTEMPTS)).unwrap_or(i32::MAX),
            relay: reader.flag(&RELAY),
            poll: Duration::from_millis(reader.number(&POLL)),
            lease: Duration::from_secs(reader.number(&LEASE)),
        }
    }
}

/// `arn:partition:sns:region:account:name`, and not a FIFO topic, which requires a group with every message.
fn is_topic(arn: &str) -> bool {
    match arn.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", partition, "sns", region, account, name] => {
            [partition, region, account, name].iter().all(|part| !part.is_empty())
                && name.strip_suffix(".fifo").is_none()
        }
        _ => false,
    }
}
