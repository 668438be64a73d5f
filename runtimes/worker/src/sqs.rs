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
use epr_core::error::chain;
use epr_core::ingest::{Message, sent_at};
use epr_core::settings::{AwsSettings, QueueSettings};

use crate::say;

/// What a call may take beyond the time that a receive waits. Without such a limit a receive can hang for ever.
const CALL: Duration = Duration::from_secs(4);
/// Most entries in one batch call.
const BATCH: usize = 10;
/// Most calls for the same entries.
const ATTEMPTS: u32 = 3;
/// The pause before the second; the next one is longer.
const PAUSE: Duration = Duration::from_millis(200);

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
        let shared = aws.load(url, aws.sqs_endpoint.as_deref()).await;
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
        self.each_batch(Call::Delete, receipts).await;
    }

    /// Hides them for `seconds` from now; 0 shows them again. An expired receipt is not fatal: the message is somebody
    /// else's by now, and it cannot be recorded twice.
    pub(crate) async fn hide(&self, receipts: &[&str], seconds: i32) {
        self.each_batch(Call::Hide(seconds), receipts).await;
    }

    /// Calls for ten receipts at a time, and again for those that were not done.
    async fn each_batch(&self, call: Call, receipts: &[&str]) {
        let name = call.name();
        for batch in receipts.chunks(BATCH) {
            let mut left: Vec<&str> = batch.to_vec();
            for attempt in 1..=ATTEMPTS {
                match self.call(call, &left).await {
                    Ok(failed) => left = not_done(name, &left, &failed),
                    Err(Fault(error)) => {
                        say!(warn, call = name, count = left.len(), attempt, error, "audit_queue_call_failed");
                    }
                }
                if left.is_empty() {
                    break;
                }
                tokio::time::sleep(PAUSE * attempt).await;
            }
            if !left.is_empty() {
                say!(warn, call = name, count = left.len(), "audit_queue_entries_left");
            }
        }
    }

    /// One call for up to ten receipts; those that failed.
    async fn call(&self, call: Call, receipts: &[&str]) -> Result<Vec<BatchResultErrorEntry>, Fault> {
        let places = receipts.iter().enumerate().map(|(at, receipt)| (at.to_string(), *receipt));
        match call {
            Call::Delete => {
                let entries = places.filter_map(|(place, receipt)| {
                    DeleteMessageBatchRequestEntry::builder().id(place).receipt_handle(receipt).build().ok()
                });
                let call = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries.collect()));
                let answer = call.customize().config_override(short()).send().await;
                answer.map(|answer| answer.failed).map_err(|fault| explain(&fault))
            }
            Call::Hide(seconds) => {
                let entries = places.filter_map(|(place, receipt)| {
                    let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(place).receipt_handle(receipt);
                    entry.visibility_timeout(seconds).build().ok()
                });
                let call = self.client.change_message_visibility_batch().queue_url(&self.url);
                let call = call.set_entries(Some(entries.collect())).customize().config_override(short());
                call.send().await.map(|answer| answer.failed).map_err(|fault| explain(&fault))
            }
        }
    }
}

/// What is done with messages in batches.
#[derive(Clone, Copy)]
enum Call {
    Delete,
    Hide(i32),
}

impl Call {
    fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Hide(_) => "change_visibility",
        }
    }
}

/// The settings of a call that does not wait for messages.
fn short() -> aws_sdk_sqs::config::Builder {
    let timeouts = TimeoutConfig::builder().operation_timeout(CALL).operation_attempt_timeout(CALL).build();
    aws_sdk_sqs::config::Builder::new().timeout_config(timeouts)
}

fn received(message: aws_sdk_sqs::types::Message) -> Option<Received> {
    let attribute = |name| message.attributes.as_ref().and_then(|all| all.get(&name)).cloned();
    let sent_at = attribute(MessageSystemAttributeName::SentTimestamp).and_then(|millis| sent_at(&millis));
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
