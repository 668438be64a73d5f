//! Amazon SNS.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sns::Client;
use aws_sdk_sns::config::retry::RetryConfig;
use aws_sdk_sns::config::timeout::TimeoutConfig;
use aws_sdk_sns::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};

use super::{Message, Outage, Publisher, Verdict};
use crate::error::chain;
use crate::settings::AwsSettings;

/// One call, from connecting to the last byte. Retrying is the relay's, which knows what an attempt is.
const CALL: Duration = Duration::from_secs(3);

/// A topic.
pub struct Sns {
    client: Client,
    topic_arn: String,
}

impl Sns {
    /// The topic `topic_arn`; nothing is called yet.
    #[must_use]
    pub async fn new(aws: &AwsSettings, topic_arn: &str) -> Self {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CALL).operation_timeout(CALL).operation_attempt_timeout(CALL);
        let shared = aws.load(topic_arn, aws.sns_endpoint.as_deref()).await;
        let config = aws_sdk_sns::config::Builder::from(&shared)
            .timeout_config(timeouts.build())
            .retry_config(RetryConfig::disabled())
            .build();
        Self { client: Client::from_conf(config), topic_arn: topic_arn.to_owned() }
    }

    /// How many confirmed subscribers the topic has; publishes nothing.
    ///
    /// # Errors
    /// The topic cannot be reached, or may not be looked at by who asks.
    pub async fn subscriptions(&self) -> Result<u64, Outage> {
        let answer = self.client.get_topic_attributes().topic_arn(&self.topic_arn).send().await;
        let answer = answer.map_err(|fault| outage(&fault))?;
        let confirmed = answer.attributes().and_then(|attributes| attributes.get("SubscriptionsConfirmed"));
        match confirmed.and_then(|number| number.parse().ok()).unwrap_or(0) {
            // The number may lag behind, and not everything that speaks SNS counts.
            0 => Ok(self.listed().await.unwrap_or(0)),
            number => Ok(number),
        }
    }

    /// Confirmed subscribers by the list of them, of which the first hundred are enough.
    async fn listed(&self) -> Option<u64> {
        let answer = self.client.list_subscriptions_by_topic().topic_arn(&self.topic_arn).send().await.ok()?;
        let arns = answer.subscriptions().iter().filter_map(|subscription| subscription.subscription_arn());
        u64::try_from(arns.filter(|arn| arn.starts_with("arn:")).count()).ok()
    }

    async fn one(&self, message: &Message) -> Result<Verdict, Outage> {
        let mut call = self.client.publish().topic_arn(&self.topic_arn).message(&message.body);
        for (name, value) in attributes(message) {
            call = call.message_attributes(name, value);
        }
        match call.send().await {
            Ok(_) => Ok(Verdict::Delivered),
            Err(fault) => match about_the_message(&fault) {
                Some(why) => Ok(Verdict::Refused(why)),
                None => Err(outage(&fault)),
            },
        }
    }

    async fn many(&self, messages: &[Message]) -> Result<Vec<Verdict>, Outage> {
        let mut call = self.client.publish_batch().topic_arn(&self.topic_arn);
        for (at, message) in messages.iter().enumerate() {
            let mut entry = PublishBatchRequestEntry::builder().id(at.to_string()).message(&message.body);
            for (name, value) in attributes(message) {
                entry = entry.message_attributes(name, value);
            }
            call = call.publish_batch_request_entries(
                entry.build().map_err(|fault| Outage { why: chain(&fault), again: false })?,
            );
        }
        let answer = match call.send().await {
            Ok(answer) => answer,
            // Something about one of them condemns the whole batch: find out which, one by one.
            Err(fault) if about_the_message(&fault).is_some() => return self.each(messages).await,
            Err(fault) => return Err(outage(&fault)),
        };
        // An entry that is in neither list was not taken.
        let mut verdicts = vec![Verdict::Failed("the topic did not mention it".into()); messages.len()];
        let mut judge = |id: Option<&str>, verdict: Verdict| {
            if let Some(place) = id.and_then(|id| id.parse::<usize>().ok()).and_then(|at| verdicts.get_mut(at)) {
                *place = verdict;
            }
        };
        for done in answer.successful() {
            judge(done.id(), Verdict::Delivered);
        }
        for failed in answer.failed() {
            // Whose fault it is is told by the code: a topic whose key is throttled calls that the sender's.
            let (code, message) = (failed.code(), failed.message().unwrap_or("no reason given"));
            let why = format!("{code}: {message}");
            judge(
                Some(failed.id()),
                if condemns(code, message) { Verdict::Refused(why) } else { Verdict::Failed(why) },
            );
        }
        // When none got through and none is at fault, nothing was learnt about any of them.
        match verdicts.iter().find(|verdict| !matches!(verdict, Verdict::Failed(_))) {
            Some(_) => Ok(verdicts),
            None => {
                let first = verdicts.into_iter().find_map(|verdict| match verdict {
                    Verdict::Failed(why) => Some(why),
                    _ => None,
                });
                Err(Outage { why: first.unwrap_or_default(), again: true })
            }
        }
    }

    async fn each(&self, messages: &[Message]) -> Result<Vec<Verdict>, Outage> {
        let mut verdicts = Vec::with_capacity(messages.len());
        for message in messages {
            verdicts.push(self.one(message).await?);
        }
        Ok(verdicts)
    }
}

#[async_trait]
impl Publisher for Sns {
    async fn publish(&self, messages: &[Message]) -> Result<Vec<Verdict>, Outage> {
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

/// The reason, when the service says that a message itself is at fault. Everything else (the topic is gone or misspelt,
/// access is denied, throttling, faults of the service or the network) concerns them all.
fn about_the_message<E: ProvideErrorMetadata>(fault: &SdkError<E>) -> Option<String> {
    let told = fault.as_service_error()?;
    let (code, message) = (told.code()?, told.message().unwrap_or("no reason given"));
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

/// What is told of an outage: the service's code and sentence, or the chain of causes; never the raw answer, which may
/// hold what was signed.
fn outage<E: ProvideErrorMetadata + std::error::Error + 'static>(fault: &SdkError<E>) -> Outage {
    let Some(told) = fault.as_service_error() else {
        let again = !matches!(fault, SdkError::TimeoutError(_));
        return Outage { why: chain(fault), again };
    };
    let code = told.code().unwrap_or("no code");
    // Sentences about signatures and tokens quote them.
    let secretive = ["Signature", "Token", "Credential", "Auth", "Access"].iter().any(|word| code.contains(word));
    let why = match told.message() {
        Some(message) if !secretive => format!("{code}: {message}"),
        _ => code.to_owned(),
    };
    Outage { why, again: fault.raw_response().is_some_and(|answer| answer.status().is_server_error()) }
}
