//! Amazon SQS: receive, delete, hide and show again. Knows nothing about what is in a message.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageSystemAttributeName,
};
use epr_core::domain::Timestamp;
use epr_core::error::chain;
use epr_core::ingest::Message;
use epr_core::settings::{AwsSettings, QueueSettings};

use crate::say;

/// What a call may take beyond the time that a receive waits. Without such a limit a receive can hang for ever.
const CALL: Duration = Duration::from_secs(5);
/// Most entries in one batch call.
const BATCH: usize = 10;
/// Most calls for the same entries.
const ATTEMPTS: u32 = 3;

/// A queue.
pub struct Sqs {
    client: Client,
    url: String,
    max_messages: i32,
    wait_time: i32,
    visibility_timeout: i32,
}

/// A message with what is needed to acknowledge it.
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) receipt: String,
}

/// Why a call failed, fit for the log: the service's code and sentence or the chain of causes, never what was signed.
pub(crate) struct Fault(pub(crate) String);

impl Sqs {
    /// The queue at `url`; nothing is called yet.
    #[must_use]
    pub async fn new(aws: &AwsSettings, queue: &QueueSettings, url: &str) -> Self {
        let longest = CALL + Duration::from_secs(u64::try_from(queue.wait_time).unwrap_or(0));
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CALL)
            .operation_timeout(longest)
            .operation_attempt_timeout(longest);
        let shared = aws.load(aws.sqs_endpoint.as_deref()).await;
        let config = aws_sdk_sqs::config::Builder::from(&shared)
            .timeout_config(timeouts.build())
            // Receives back off in their loop, batch calls are repeated for what failed in them.
            .retry_config(RetryConfig::disabled())
            .build();
        Self {
            client: Client::from_conf(config),
            url: url.to_owned(),
            max_messages: queue.max_messages,
            wait_time: queue.wait_time,
            visibility_timeout: queue.visibility_timeout,
        }
    }

    pub(crate) async fn receive(&self) -> Result<Vec<Received>, Fault> {
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(self.max_messages)
            .wait_time_seconds(self.wait_time)
            .visibility_timeout(self.visibility_timeout)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId)
            .send()
            .await
            .map_err(|fault| explain(&fault))?;
        // What has no id or no receipt cannot be acknowledged: it comes again.
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(received).collect())
    }

    /// Deletes them. What could not be deleted comes again and is found to be recorded.
    pub(crate) async fn delete(&self, receipts: &[&str]) {
        for chunk in receipts.chunks(BATCH) {
            let mut left: Vec<&str> = chunk.to_vec();
            for attempt in 1..=ATTEMPTS {
                let entries = left.iter().enumerate().filter_map(|(at, receipt)| {
                    let entry = DeleteMessageBatchRequestEntry::builder().id(at.to_string());
                    entry.receipt_handle(*receipt).build().ok()
                });
                let call = self.client.delete_message_batch().queue_url(&self.url);
                match call.set_entries(Some(entries.collect())).send().await {
                    Ok(answer) => left = not_done("delete", &left, answer.failed()),
                    Err(fault) => {
                        let Fault(error) = explain(&fault);
                        say!(warn, call = "delete", count = left.len(), attempt, error, "audit_queue_call_failed");
                    }
                }
                if left.is_empty() {
                    break;
                }
            }
            if !left.is_empty() {
                say!(warn, count = left.len(), "audit_messages_not_deleted");
            }
        }
    }

    /// Hides them for `seconds` from now; 0 shows them again.
    pub(crate) async fn hide(&self, receipts: &[&str], seconds: i32) {
        for chunk in receipts.chunks(BATCH) {
            let entries = chunk.iter().enumerate().filter_map(|(at, receipt)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(at.to_string());
                entry.receipt_handle(*receipt).visibility_timeout(seconds).build().ok()
            });
            let call = self.client.change_message_visibility_batch().queue_url(&self.url);
            // An expired receipt is not fatal: the message is somebody else's by now, and recording it twice is not possible.
            match call.set_entries(Some(entries.collect())).send().await {
                Ok(answer) => drop(not_done("change_visibility", chunk, answer.failed())),
                Err(fault) => {
                    let Fault(error) = explain(&fault);
                    say!(warn, call = "change_visibility", count = chunk.len(), error, "audit_queue_call_failed");
                }
            }
        }
    }
}

fn received(message: aws_sdk_sqs::types::Message) -> Option<Received> {
    let attribute = |name| message.attributes.as_ref().and_then(|all| all.get(&name)).cloned();
    let sent_at = attribute(MessageSystemAttributeName::SentTimestamp)
        .and_then(|millis| millis.parse::<i64>().ok())
        .and_then(|millis| Timestamp::from_unix_micros(millis.saturating_mul(1000)).ok());
    let group = attribute(MessageSystemAttributeName::MessageGroupId);
    Some(Received {
        receipt: message.receipt_handle?,
        message: Message { message_id: message.message_id?, body: message.body.unwrap_or_default(), group, sent_at },
    })
}

/// Those entries of a batch call that were not done and may be tried again. A batch call succeeds also when none of its
/// entries did.
fn not_done<'a>(call: &str, receipts: &[&'a str], failed: &[BatchResultErrorEntry]) -> Vec<&'a str> {
    let mut left = Vec::new();
    for entry in failed {
        let code = entry.code();
        // Of its receipt the service says that it is over: nothing to try again.
        let over = entry.sender_fault();
        say!(warn, call, code, over, "audit_queue_entry_failed");
        if !over {
            left.extend(entry.id().parse::<usize>().ok().and_then(|at| receipts.get(at)));
        }
    }
    left
}

fn explain<E: ProvideErrorMetadata + std::error::Error + 'static>(fault: &SdkError<E>) -> Fault {
    let Some(told) = fault.as_service_error() else {
        return Fault(chain(fault));
    };
    // The sentence may quote what was signed.
    Fault(told.code().unwrap_or("no code").to_owned())
}
