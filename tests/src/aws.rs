//! A topic with a queue subscribed to it, on the test run's moto server.

use aws_config::{BehaviorVersion, Region};
use aws_sdk_sns::config::Credentials;
use serde_json::Value;

/// A topic, and a queue that receives every message published to it.
pub struct Topic {
    sns: aws_sdk_sns::Client,
    sqs: aws_sdk_sqs::Client,
    name: String,
    /// The topic's ARN.
    pub arn: String,
    queue_url: String,
    queue_arn: String,
}

/// The URL of the moto server of the test run.
#[must_use]
pub fn endpoint() -> String {
    std::env::var("EPR_TEST_AWS_URL").unwrap_or_else(|_| {
        panic!(
            "these tests need SNS and SQS: run scripts/test.sh, which starts them, or \
             `python3 scripts/moto_server.py -p 5000` \
             (pip install 'moto[server]') and set EPR_TEST_AWS_URL=http://127.0.0.1:5000"
        )
    })
}

/// Clients of its SNS and SQS in `us-east-1`.
pub(crate) async fn clients() -> (aws_sdk_sns::Client, aws_sdk_sqs::Client) {
    clients_in("us-east-1").await
}

/// Clients of its SNS and SQS in `region`: moto separates regions as AWS does.
pub async fn clients_in(region: &'static str) -> (aws_sdk_sns::Client, aws_sdk_sqs::Client) {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region))
        .endpoint_url(endpoint())
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .load()
        .await;
    (aws_sdk_sns::Client::new(&config), aws_sdk_sqs::Client::new(&config))
}

/// A client of its S3.
pub async fn s3() -> aws_sdk_s3::Client {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint())
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .load()
        .await;
    let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true);
    aws_sdk_s3::Client::from_conf(config.build())
}

/// The environment with which a process reaches the services of AWS at `endpoint`.
#[must_use]
pub fn environment(endpoint: &str) -> [(&'static str, &str); 4] {
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ]
}

/// A message received from the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The body that was published.
    pub body: Value,
    /// The attributes, as SNS puts them into its envelope.
    pub attributes: Value,
}

impl Topic {
    /// Creates a topic with a subscribed queue.
    pub async fn create() -> Self {
        let (sns, sqs) = clients().await;
        let name = format!("epr-{:016x}", rand::random::<u64>());
        let queue = sqs.create_queue().queue_name(&name).send().await.expect("a queue");
        let queue_url = queue.queue_url().expect("its URL").to_owned();
        let queue_arn = format!("arn:aws:sqs:us-east-1:123456789012:{name}");
        let mut topic = Self { sns, sqs, name, arn: String::new(), queue_url, queue_arn };
        topic.create_topic().await;
        topic
    }

    /// The URL of the subscribed queue, which has no redrive policy.
    #[must_use]
    pub fn queue_url(&self) -> &str {
        &self.queue_url
    }

    /// Creates another queue whose dead-letter queue is the subscribed one; returns its URL.
    pub async fn queue_with_redrive(&self) -> String {
        let policy = format!(r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":"3"}}"#, self.queue_arn);
        let queue = self.sqs.create_queue().queue_name(format!("{}-in", self.name));
        let queue = queue.attributes(aws_sdk_sqs::types::QueueAttributeName::RedrivePolicy, policy).send().await;
        queue.expect("a queue").queue_url().expect("its URL").to_owned()
    }

    /// Deletes the topic; the queue stays.
    pub async fn delete_topic(&self) {
        self.sns.delete_topic().topic_arn(&self.arn).send().await.expect("no topic");
    }

    /// Creates the topic, again after a deletion, with the queue subscribed.
    pub async fn create_topic(&mut self) {
        let topic = self.sns.create_topic().name(&self.name).send().await.expect("a topic");
        topic.topic_arn().expect("its ARN").clone_into(&mut self.arn);
        self.sns
            .subscribe()
            .topic_arn(&self.arn)
            .protocol("sqs")
            .endpoint(&self.queue_arn)
            .send()
            .await
            .expect("a subscription");
    }

    /// The messages in the queue that were not drained before, in their order.
    pub async fn drain(&self) -> Vec<Received> {
        let mut all = Vec::new();
        loop {
            let got = self.sqs.receive_message().queue_url(&self.queue_url).max_number_of_messages(10);
            // Hidden rather than deleted: one call less for each message.
            let got = got.visibility_timeout(43_200).send().await;
            let messages = got.expect("a receive").messages.unwrap_or_default();
            if messages.is_empty() {
                return all;
            }
            for message in messages {
                let envelope: Value = serde_json::from_str(message.body().expect("a body")).expect("an envelope");
                assert_eq!(envelope["Type"], "Notification");
                let body = serde_json::from_str(envelope["Message"].as_str().expect("a message")).expect("JSON");
                all.push(Received { body, attributes: envelope["MessageAttributes"].clone() });
            }
        }
    }
}
