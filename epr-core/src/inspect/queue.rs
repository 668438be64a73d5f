//! The SQS queue that audit events come from.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::QueueAttributeName as Attribute;

use super::{AwsError, CREDENTIALS, Finding, State};
use crate::error::chain;
use crate::settings::Settings;

const QUEUE: &str = "queue";
/// Timeout of a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Whether the queue exists and has a dead-letter queue.
pub async fn queue(settings: &Settings) -> Finding {
    let aws = &settings.aws;
    let Some(url) = settings.queue.url.as_deref() else {
        return Finding::new(QUEUE, State::Unused, "EPR_AUDIT_SQS_URL is not set: only the audit worker needs it");
    };
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CALL_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .operation_attempt_timeout(CALL_TIMEOUT);
    let shared = aws.load(url, aws.sqs_endpoint.as_deref()).await;
    let config = aws_sdk_sqs::config::Builder::from(&shared)
        .timeout_config(timeouts.build())
        .retry_config(RetryConfig::disabled())
        .build();
    let wanted = [Attribute::ApproximateNumberOfMessages, Attribute::RedrivePolicy];
    let call = Client::from_conf(config).get_queue_attributes().queue_url(url);
    match call.set_attribute_names(Some(wanted.to_vec())).send().await {
        Ok(answer) => {
            let attribute = |name| answer.attributes().and_then(|attributes| attributes.get(&name));
            let waiting = attribute(Attribute::ApproximateNumberOfMessages).map_or("?", String::as_str);
            let seen = format!("{url} exists; about {waiting} waiting");
            if attribute(Attribute::RedrivePolicy).is_some() {
                Finding::new(QUEUE, State::Fine, format!("{seen}; with a dead-letter queue"))
            } else {
                Finding::new(QUEUE, State::Doubtful, format!("{seen}; without a redrive policy"))
                    .advise("configure a dead-letter queue: without one, invalid messages return for ever")
            }
        }
        Err(error) => of_error(url, &describe(&error)),
    }
}

/// The service's error code, or the chain of causes. Never the raw answer, which may hold the signed request.
fn describe<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> String {
    match error.as_service_error() {
        Some(service_error) => service_error.code().unwrap_or("no code").to_owned(),
        None => chain(error),
    }
}

fn of_error(url: &str, why: &str) -> Finding {
    let seen = format!("{url}: {why}");
    match AwsError::of(why) {
        AwsError::Denied => Finding::new(QUEUE, State::Doubtful, seen).advise(
            "it was reached; allow sqs:GetQueueAttributes so that doctor sees more, and check that the role has \
             sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility",
        ),
        AwsError::Credentials => Finding::new(QUEUE, State::Wrong, seen).advise(CREDENTIALS),
        AwsError::Missing => Finding::new(QUEUE, State::Wrong, seen)
            .advise("create the queue, or correct EPR_AUDIT_SQS_URL; AWS_REGION is used where the URL names no region"),
        AwsError::Other => Finding::new(QUEUE, State::Wrong, seen)
            .advise("check the network and AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_SQS"),
    }
}
