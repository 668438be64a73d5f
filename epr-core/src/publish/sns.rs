//! Amazon SNS.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sns::Client;
use aws_sdk_sns::config::retry::RetryConfig;
use aws_sdk_sns::config::timeout::TimeoutConfig;
use aws_sdk_sns::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};

use super::aws_error::describe;
use super::{Message, Outage, PublishOutcome, Publisher};
use crate::error::chain;
use crate::settings::AwsSettings;

/// The deadline of one call, from connecting to the last byte. The relay retries, because it counts attempts.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// A topic.
pub struct Sns {
    client: Client,
    topic_arn: String,
}

impl Sns {
    /// The topic `topic_arn`; nothing is called yet.
    #[must_use]
    pub async fn new(aws: &AwsSettings, topic_arn: &str) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CALL_TIMEOUT)
            .operation_timeout(CALL_TIMEOUT)
            .operation_attempt_timeout(CALL_TIMEOUT);
        let shared = aws.load(topic_arn, aws.sns_endpoint.as_deref()).await;
        let config = aws_sdk_sns::config::Builder::from(&shared)
            .timeout_config(timeouts.build())
            .retry_config(RetryConfig::disabled())
            .build();
        Self { client: Client::from_conf(config), topic_arn: topic_arn.to_owned() }
    }

    /// The number of confirmed subscriptions of the topic. Publishes nothing.
    ///
    /// # Errors
    /// The topic cannot be reached, or the credentials may not read its attributes.
    pub async fn subscriptions(&self) -> Result<u64, Outage> {
        let answer = self.client.get_topic_attributes().topic_arn(&self.topic_arn).send().await;
        let answer = answer.map_err(|error| outage(&error))?;
        let confirmed = answer.attributes().and_then(|attributes| attributes.get("SubscriptionsConfirmed"));
        match confirmed.and_then(|number| number.parse().ok()).unwrap_or(0) {
            // The number may lag behind, and not every implementation of SNS reports it.
            0 => Ok(self.listed().await.unwrap_or(0)),
            number => Ok(number),
        }
    }

    /// The number of confirmed subscriptions among the first hundred of the list.
    async fn listed(&self) -> Option<u64> {
        let answer = self.client.list_subscriptions_by_topic().topic_arn(&self.topic_arn).send().await.ok()?;
        let arns = answer.subscriptions().iter().filter_map(|subscription| subscription.subscription_arn());
        u64::try_from(arns.filter(|arn| arn.starts_with("arn:")).count()).ok()
    }

    async fn one(&self, message: &Message) -> Result<PublishOutcome, Outage> {
        let mut call = self.client.publish().topic_arn(&self.topic_arn).message(&message.body);
        for (name, value) in attributes(message) {
            call = call.message_attributes(name, value);
        }
        match call.send().await {
            Ok(_) => Ok(PublishOutcome::Delivered),
            Err(error) => match about_the_message(&error) {
                Some(why) => Ok(PublishOutcome::Refused(why)),
                None => Err(outage(&error)),
            },
        }
    }

    async fn many(&self, messages: &[Message]) -> Result<Vec<PublishOutcome>, Outage> {
        let mut call = self.client.publish_batch().topic_arn(&self.topic_arn);
        for (at, message) in messages.iter().enumerate() {
            let mut entry = PublishBatchRequestEntry::builder().id(at.to_string()).message(&message.body);
            for (name, value) in attributes(message) {
                entry = entry.message_attributes(name, value);
            }
            call = call.publish_batch_request_entries(
                entry.build().map_err(|error| Outage { why: chain(&error), retryable: false })?,
            );
        }
        let answer = match call.send().await {
            Ok(answer) => answer,
            // One message makes the topic refuse the whole batch: publish them one by one to find it.
            Err(error) if about_the_message(&error).is_some() => return self.each(messages).await,
            Err(error) => return Err(outage(&error)),
        };
        // An entry that is in neither list was not accepted.
        let mut outcomes =
            vec![PublishOutcome::Failed("the topic's answer does not mention it".into()); messages.len()];
        let mut set = |id: Option<&str>, outcome: PublishOutcome| {
            if let Some(outcome_at) = id.and_then(|id| id.parse::<usize>().ok()).and_then(|at| outcomes.get_mut(at)) {
                *outcome_at = outcome;
            }
        };
        for done in answer.successful() {
            set(done.id(), PublishOutcome::Delivered);
        }
        for failed in answer.failed() {
            // The code decides, not `sender_fault`: the topic reports the throttling of its key as the sender's.
            let (code, message) = (failed.code(), failed.message().unwrap_or("no reason given"));
            let why = format!("{code}: {message}");
            set(
                Some(failed.id()),
                if condemns(code, message) { PublishOutcome::Refused(why) } else { PublishOutcome::Failed(why) },
            );
        }
        // When none was delivered and none refused, the answer says nothing about any message.
        match outcomes.iter().find(|outcome| !matches!(outcome, PublishOutcome::Failed(_))) {
            Some(_) => Ok(outcomes),
            None => {
                let first = outcomes.into_iter().find_map(|outcome| match outcome {
                    PublishOutcome::Failed(why) => Some(why),
                    _ => None,
                });
                Err(Outage { why: first.unwrap_or_default(), retryable: true })
            }
        }
    }

    async fn each(&self, messages: &[Message]) -> Result<Vec<PublishOutcome>, Outage> {
        let mut outcomes = Vec::with_capacity(messages.len());
        for message in messages {
            outcomes.push(self.one(message).await?);
        }
        Ok(outcomes)
    }
}

#[async_trait]
impl Publisher for Sns {
    async fn publish(&self, messages: &[Message]) -> Result<Vec<PublishOutcome>, Outage> {
        match messages {
            [only] => Ok(vec![self.one(only).await?]),
            several => self.many(several).await,
        }
    }
}

fn attributes(message: &Message) -> impl Iterator<Item = (&'static str, MessageAttributeValue)> {
    message.attributes().into_iter().filter_map(|(name, value)| {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
        value.ok().map(|value| (name, value))
    })
}

/// The reason, when the topic refuses the message itself. Every other error (the topic is missing or misspelt, access
/// is denied, throttling, errors of the service or the network) concerns all messages.
fn about_the_message<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<String> {
    let reported = error.as_service_error()?;
    let (code, message) = (reported.code()?, reported.message().unwrap_or("no reason given"));
    condemns(code, message).then(|| format!("{code}: {message}"))
}

/// Whether an error is about a message, and not about the topic that it is sent to.
fn condemns(code: &str, message: &str) -> bool {
    let codes = [
        "InvalidParameter",
        "InvalidParameterValue",
        "ParameterValueInvalid",
        "ValidationError",
        "BatchRequestTooLong",
        "InvalidBatchEntryId",
    ];
    let topic = ["TopicArn", "TargetArn", "MessageGroupId", "MessageDeduplicationId"];
    codes.contains(&code) && !topic.iter().any(|word| message.contains(word))
}

fn outage<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> Outage {
    let retryable = match error.as_service_error() {
        None => !matches!(error, SdkError::TimeoutError(_)),
        Some(_) => error.raw_response().is_some_and(|answer| answer.status().is_server_error()),
    };
    Outage { why: describe(error), retryable }
}
