//! The queue of audit messages on the moto server of the test run: a topic, the subscribed queue, and its dead-letter
//! queue.

use std::time::Duration;

use aws_sdk_sns::types::PublishBatchRequestEntry;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, QueueAttributeName, SendMessageBatchRequestEntry};

use crate::aws::clients;
use crate::wait;

/// Maximum of entries in one batch call of SNS and SQS.
const BATCH: usize = 10;

/// A queue, the topic that feeds it, and its dead-letter queue.
pub struct AuditQueue {
    sns: aws_sdk_sns::Client,
    sqs: aws_sdk_sqs::Client,
    topic_arn: String,
    /// The queue's URL.
    pub url: String,
    dead_url: String,
}

/// The form of a message in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageForm {
    /// Published to the topic, which wraps the body in an envelope.
    Enveloped,
    /// Sent to the queue as it is.
    Raw,
}

impl AuditQueue {
    /// Creates the queues. A message that was received `max_receives` times goes to the dead-letter queue.
    pub async fn create(max_receives: u32) -> Self {
        let (sns, sqs) = clients().await;
        let name = format!("epr-audit-{:016x}", rand::random::<u64>());
        let arn = |name: &str| format!("arn:aws:sqs:us-east-1:123456789012:{name}");
        let dead = format!("{name}-dead");
        let dead_url = sqs.create_queue().queue_name(&dead).send().await.expect("a queue").queue_url.expect("its URL");
        let redrive = format!(r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":"{max_receives}"}}"#, arn(&dead));
        let queue = sqs.create_queue().queue_name(&name).attributes(QueueAttributeName::RedrivePolicy, redrive);
        let url = queue.send().await.expect("a queue").queue_url.expect("its URL");
        let topic_arn = sns.create_topic().name(&name).send().await.expect("a topic").topic_arn.expect("its ARN");
        let subscription = sns.subscribe().topic_arn(&topic_arn).protocol("sqs").endpoint(arn(&name));
        subscription.send().await.expect("a subscription");
        Self { sns, sqs, topic_arn, url, dead_url }
    }

    /// Sends these bodies to the queue, all in one form.
    pub async fn put(&self, way: MessageForm, bodies: &[String]) {
        for chunk in bodies.chunks(BATCH) {
            match way {
                MessageForm::Enveloped => {
                    let entries = chunk.iter().enumerate().map(|(at, body)| {
                        PublishBatchRequestEntry::builder().id(at.to_string()).message(body).build().expect("an entry")
                    });
                    let call = self.sns.publish_batch().topic_arn(&self.topic_arn);
                    let answer = call.set_publish_batch_request_entries(Some(entries.collect())).send().await;
                    assert!(answer.expect("published").failed().is_empty());
                }
                MessageForm::Raw => {
                    let entries = chunk.iter().enumerate().map(|(at, body)| {
                        let entry = SendMessageBatchRequestEntry::builder().id(at.to_string());
                        entry.message_body(body).build().expect("an entry")
                    });
                    let call = self.sqs.send_message_batch().queue_url(&self.url);
                    let answer = call.set_entries(Some(entries.collect())).send().await;
                    assert!(answer.expect("sent").failed().is_empty());
                }
            }
        }
    }

    /// Receives up to ten messages, hidden for `seconds`.
    pub async fn receive(&self, seconds: i32) -> Vec<Message> {
        let call = self.sqs.receive_message().queue_url(&self.url).max_number_of_messages(10);
        let call = call.visibility_timeout(seconds).message_system_attribute_names("All".into());
        call.send().await.expect("a receive").messages.unwrap_or_default()
    }

    /// Deletes up to ten messages by their receipt handles.
    pub async fn delete(&self, receipts: &[&str]) {
        let entries = receipts.iter().enumerate().map(|(at, receipt)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(at.to_string());
            entry.receipt_handle(*receipt).build().expect("an entry")
        });
        let call = self.sqs.delete_message_batch().queue_url(&self.url).set_entries(Some(entries.collect()));
        assert!(call.send().await.expect("deleted").failed().is_empty());
    }

    /// The number of messages in the queue, visible or not.
    pub async fn depth(&self) -> usize {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        self.count(&self.url, &names).await
    }

    /// Waits until at most 20 messages are visible. The time moto takes for a message grows with the queue's depth.
    pub async fn until_shallow(&self) {
        let names = [QueueAttributeName::ApproximateNumberOfMessages];
        let every = Duration::from_millis(20);
        wait::until_value("a shallow queue", every, || self.count(&self.url, &names), |seen| *seen <= 20).await;
    }

    async fn count(&self, url: &str, names: &[QueueAttributeName]) -> usize {
        let call = self.sqs.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec()));
        let answer = call.send().await.expect("attributes");
        let all = answer.attributes.expect("attributes");
        names.iter().map(|name| all[name].parse::<usize>().expect("a count")).sum()
    }

    /// Waits until the queue is empty.
    pub async fn until_empty(&self) {
        wait::until_value("an empty queue", Duration::from_millis(200), || self.depth(), |seen| *seen == 0).await;
    }

    /// The bodies in the dead-letter queue; they are received and hidden.
    pub async fn take_dead_letters(&self) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let call = self.sqs.receive_message().queue_url(&self.dead_url).max_number_of_messages(10);
            let got = call.visibility_timeout(43_200).send().await.expect("a receive").messages.unwrap_or_default();
            if got.is_empty() {
                return bodies;
            }
            bodies.extend(got.into_iter().filter_map(|message| message.body));
        }
    }
}
