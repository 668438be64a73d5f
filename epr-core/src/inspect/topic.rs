//! The SNS topic that events go to.

use super::{CREDENTIALS, Finding, Refusal, State};
use crate::publish::sns::Sns;
use crate::settings::Settings;

const TOPIC: &str = "topic";

/// Asks the topic about itself.
pub async fn topic(settings: &Settings) -> Finding {
    let Some(arn) = &settings.events.topic_arn else {
        return Finding::new(
            TOPIC,
            State::Unused,
            "EPR_DOCUMENT_VAULT_TOPIC_ARN is not set: nobody is told of changes",
        );
    };
    match Sns::new(&settings.aws, arn).await.subscriptions().await {
        Ok(0) => Finding::new(TOPIC, State::Doubtful, format!("{arn} is there and has no subscriber"))
            .advise("subscribe the queue of the service that should hear of changes"),
        Ok(subscribers) => {
            Finding::new(TOPIC, State::Fine, format!("{arn} is there; confirmed subscribers: {subscribers}"))
        }
        Err(outage) => refused(arn, &outage.why),
    }
}

fn refused(arn: &str, why: &str) -> Finding {
    let seen = format!("{arn}: {why}");
    match Refusal::of(why) {
        Refusal::Denied => Finding::new(TOPIC, State::Doubtful, seen).advise(
            "it was reached; allow sns:GetTopicAttributes to let doctor see more, and make sure of sns:Publish",
        ),
        Refusal::Credentials => Finding::new(TOPIC, State::Wrong, seen).advise(CREDENTIALS),
        Refusal::Missing => {
            Finding::new(TOPIC, State::Wrong, seen).advise("make the topic, or correct EPR_DOCUMENT_VAULT_TOPIC_ARN")
        }
        Refusal::Other => Finding::new(TOPIC, State::Wrong, seen).advise(
            "check the network and AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_SNS; events wait in the database meanwhile",
        ),
    }
}
