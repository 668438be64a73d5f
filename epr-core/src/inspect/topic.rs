//! The SNS topic that events go to.

use super::{AwsError, CREDENTIALS, Finding, State};
use crate::publish::sns::Sns;
use crate::settings::Settings;

const TOPIC: &str = "topic";

/// Whether the topic exists and has subscribers.
pub async fn topic(settings: &Settings) -> Finding {
    let Some(arn) = &settings.events.topic_arn else {
        return Finding::new(
            TOPIC,
            State::Unused,
            "EPR_DOCUMENT_VAULT_TOPIC_ARN is not set: events are stored but not published",
        );
    };
    match Sns::new(&settings.aws, arn).await.subscriptions().await {
        Ok(0) => Finding::new(TOPIC, State::Doubtful, format!("{arn} exists and has no subscriber"))
            .advise("subscribe the queue of the service that should receive events"),
        Ok(subscribers) => {
            Finding::new(TOPIC, State::Fine, format!("{arn} exists; confirmed subscribers: {subscribers}"))
        }
        Err(outage) => of_error(arn, &outage.why),
    }
}

fn of_error(arn: &str, why: &str) -> Finding {
    let seen = format!("{arn}: {why}");
    match AwsError::of(why) {
        AwsError::Denied => Finding::new(TOPIC, State::Doubtful, seen).advise(
            "it was reached; allow sns:GetTopicAttributes so that doctor sees more, and check that the role has \
             sns:Publish",
        ),
        AwsError::Credentials => Finding::new(TOPIC, State::Wrong, seen).advise(CREDENTIALS),
        AwsError::Missing => {
            Finding::new(TOPIC, State::Wrong, seen).advise("create the topic, or correct EPR_DOCUMENT_VAULT_TOPIC_ARN")
        }
        AwsError::Other => Finding::new(TOPIC, State::Wrong, seen).advise(
            "check the network and AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_SNS; events wait in the database meanwhile",
        ),
    }
}
