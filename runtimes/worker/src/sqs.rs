//! Amazon SQS: receive, delete, hide and make visible. Knows nothing about the content of a message.

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

use crate::log;

/// Timeout of a call, beyond the time that a receive waits. Without it a receive could hang for ever.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum number of entries in one batch call.
const MAX_BATCH: usize = 10;
/// Maximum number of calls for the same entries.
const MAX_ATTEMPTS: u32 = 3;
/// Delay before the second call; it grows by itself with each attempt.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// An SQS queue.
pub struct Sqs {
    client: Client,
    url: String,
    max_messages: i32,
    wait_time: i32,
    visibility_timeout: i32,
}

/// A message with the receipt that acknowledges it.
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) receipt: String,
}

/// Why a call failed, fit for the log: the service's error code or the chain of causes, never the signed request.
pub(crate) struct SqsError(pub(crate) String);

impl Sqs {
    /// The queue at `url`. Calls nothing.
    #[must_use]
    pub async fn new(aws: &AwsSettings, queue: &QueueSettings, url: &str) -> Self {
        let timeout = CALL_TIMEOUT + Duration::from_secs(u64::try_from(queue.wait_time).unwrap_or(0));
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CALL_TIMEOUT)
            .operation_timeout(timeout)
            .operation_attempt_timeout(timeout);
        let shared = aws.load(url, aws.sqs_endpoint.as_deref()).await;
        let config = aws_sdk_sqs::config::Builder::from(&shared)
            .timeout_config(timeouts.build())
            // Receives back off in their loop, and batch calls are retried for the entries that failed.
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

    pub(crate) async fn receive(&self) -> Result<Vec<Received>, SqsError> {
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
            .map_err(|error| describe(&error))?;
        // A message without an id or a receipt cannot be acknowledged: it returns.
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(received).collect())
    }

    /// Deletes messages. One that could not be deleted returns and is found to be recorded.
    pub(crate) async fn delete(&self, receipts: &[&str]) {
        self.each_batch(Call::Delete, receipts).await;
    }

    /// Hides messages for `seconds` from now; 0 makes them visible. An expired receipt is not fatal: another consumer
    /// has the message by now, and it cannot be recorded twice.
    pub(crate) async fn hide(&self, receipts: &[&str], seconds: i32) {
        self.each_batch(Call::Hide(seconds), receipts).await;
    }

    /// Calls for ten receipts at a time, and retries the entries that failed.
    async fn each_batch(&self, call: Call, receipts: &[&str]) {
        let name = call.name();
        for batch in receipts.chunks(MAX_BATCH) {
            let mut left: Vec<&str> = batch.to_vec();
            for attempt in 1..=MAX_ATTEMPTS {
                match self.call(call, &left).await {
                    Ok(failed) => left = retryable(name, &left, &failed),
                    Err(SqsError(error)) => {
                        log!(warn, call = name, count = left.len(), attempt, error, "audit_queue_call_failed");
                    }
                }
                if left.is_empty() {
                    break;
                }
                tokio::time::sleep(RETRY_DELAY * attempt).await;
            }
            if !left.is_empty() {
                log!(warn, call = name, count = left.len(), "audit_queue_entries_left");
            }
        }
    }

    /// One call for up to ten receipts; returns the entries that failed.
    async fn call(&self, call: Call, receipts: &[&str]) -> Result<Vec<BatchResultErrorEntry>, SqsError> {
        let entries = receipts.iter().enumerate().map(|(index, receipt)| (index.to_string(), *receipt));
        match call {
            Call::Delete => {
                let entries = entries.filter_map(|(id, receipt)| {
                    DeleteMessageBatchRequestEntry::builder().id(id).receipt_handle(receipt).build().ok()
                });
                let call = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries.collect()));
                let answer = call.customize().config_override(short()).send().await;
                answer.map(|answer| answer.failed).map_err(|error| describe(&error))
            }
            Call::Hide(seconds) => {
                let entries = entries.filter_map(|(id, receipt)| {
                    let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id).receipt_handle(receipt);
                    entry.visibility_timeout(seconds).build().ok()
                });
                let call = self.client.change_message_visibility_batch().queue_url(&self.url);
                let call = call.set_entries(Some(entries.collect())).customize().config_override(short());
                call.send().await.map(|answer| answer.failed).map_err(|error| describe(&error))
            }
        }
    }
}

/// A batch call.
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
    let timeouts =
        TimeoutConfig::builder().operation_timeout(CALL_TIMEOUT).operation_attempt_timeout(CALL_TIMEOUT).build();
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

/// The receipts of a batch call whose entries failed and may be retried. A batch call succeeds also when all its
/// entries fail.
fn retryable<'a>(call: &str, receipts: &[&'a str], failed: &[BatchResultErrorEntry]) -> Vec<&'a str> {
    let mut left = Vec::new();
    for entry in failed {
        let code = entry.code();
        // The receipt has expired or is invalid: a retry would fail again.
        let over = entry.sender_fault();
        log!(warn, call, code, over, "audit_queue_entry_failed");
        if !over {
            left.extend(entry.id().parse::<usize>().ok().and_then(|index| receipts.get(index)));
        }
    }
    left
}

fn describe<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> SqsError {
    let Some(service_error) = error.as_service_error() else {
        return SqsError(chain(error));
    };
    // The sentence of the error may quote the signed request.
    SqsError(service_error.code().unwrap_or("no code").to_owned())
}
