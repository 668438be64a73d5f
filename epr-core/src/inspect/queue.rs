//! The SQS queue that audit events come from.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::QueueAttributeName as Attribute;

use super::{CREDENTIALS, Finding, Refusal, State};
use crate::error::chain;
use crate::settings::Settings;

const QUEUE: &str = "queue";
const CALL: Duration = Duration::from_secs(3);

/// Asks the queue about itself.
pub async fn queue(settings: &Settings) -> Finding {
    let aws = &settings.aws;
    let Some(url) = settings.queue.url.as_deref() else {
        return Finding::new(QUEUE, State::Unused, "EPR_AUDIT_SQS_URL is not set: only the audit worker needs it");
    };
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CALL).operation_timeout(CALL).operation_attempt_timeout(CALL);
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
            let seen = format!("{url} is there; about {waiting} waiting");
            if attribute(Attribute::RedrivePolicy).is_some() {
                Finding::new(QUEUE, State::Fine, format!("{seen}; with a dead-letter queue"))
            } else {
                Finding::new(QUEUE, State::Doubtful, format!("{seen}; without a redrive policy"))
                    .advise("give it a dead-letter queue: messages that are not valid come back for ever otherwise")
            }
        }
        Err(fault) => refused(url, &why(&fault)),
    }
}

/// The service's code and sentence, or the chain of causes; never the raw answer, which may hold what was signed.
fn why<E: ProvideErrorMetadata + std::error::Error + 'static>(fault: &SdkError<E>) -> String {
    match fault.as_service_error() {
        Some(told) => told.code().unwrap_or("no code").to_owned(),
        None => chain(fault),
    }
}

fn refused(url: &str, why: &str) -> Finding {
    let seen = format!("{url}: {why}");
    match Refusal::of(why) {
        Refusal::Denied => Finding::new(QUEUE, State::Doubtful, seen).advise(
            "it was reached; allow sqs:GetQueueAttributes to let doctor see more, and make sure of sqs:ReceiveMessage, \
             sqs:DeleteMessage and sqs:ChangeMessageVisibility",
        ),
        Refusal::Credentials => Finding::new(QUEUE, State::Wrong, seen).advise(CREDENTIALS),
        Refusal::Missing => Finding::new(QUEUE, State::Wrong, seen)
            .advise("make the queue, or correct EPR_AUDIT_SQS_URL; AWS_REGION counts where the URL names no region"),
        Refusal::Other => Finding::new(QUEUE, State::Wrong, seen)
            .advise("check the network and AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_SQS"),
    }
}
