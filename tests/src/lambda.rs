//! A Lambda function in the runtime of `cargo lambda watch`, and an event source that feeds that of the worker from a
//! queue, as the service does it: receive, invoke, delete what is not reported as failed.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::process::{Process, free_port};
use crate::queue::AuditQueue;
use crate::wait;

/// The runtime and the function in it; both are killed when dropped.
pub struct Lambda {
    /// The function's process, with its log.
    pub function: Process,
    /// Its invocations.
    pub invocations: Invocations,
    _runtime: Child,
}

/// The interface of the runtime for invocations.
#[derive(Clone)]
pub struct Invocations {
    url: String,
    client: reqwest::Client,
}

impl Lambda {
    /// Starts the runtime and the audit worker's function, which gets exactly `environment` and the variables of the
    /// runtime.
    pub async fn start(environment: &[(&str, &str)]) -> Self {
        Self::start_program("epr-audit-lambda", environment).await
    }

    /// [`Lambda::start`] with the function of this name.
    pub async fn start_program(name: &str, environment: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut runtime = Command::new("cargo-lambda")
            .args(["lambda", "watch", "--only-lambda-apis", "-A", "127.0.0.1", "-P", &port])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../runtimes/lambda"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("cargo-lambda: run scripts/test.sh, which installs it, or `pip install cargo-lambda`");
        let mut lines = BufReader::new(runtime.stdout.take().expect("its output")).lines();
        while let Some(line) = lines.next_line().await.expect("a line") {
            if line.contains("starting Runtime server") {
                break;
            }
        }
        // The pipe is read to its end, because the runtime blocks on a full one.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let api = format!("http://127.0.0.1:{port}/.rt");
        let mut all = vec![
            ("AWS_LAMBDA_RUNTIME_API", api.as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", "_"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ];
        all.extend_from_slice(environment);
        // Longer than a batch may take, outages included: an invocation that never ends is a failure.
        let client = reqwest::Client::builder().timeout(Duration::from_mins(3)).build().expect("a client");
        let connected = async || tokio::net::TcpStream::connect(format!("127.0.0.1:{port}")).await.is_ok();
        wait::until_value("the Lambda runtime", Duration::from_millis(20), connected, |up| *up).await;
        let function = Process::start(name, &all);
        let url = format!("http://127.0.0.1:{port}/2015-03-31/functions/_/invocations");
        Self { function, invocations: Invocations { url, client }, _runtime: runtime }
    }

    /// [`Invocations::invoke`].
    pub async fn invoke(&self, event: &Value) -> Option<Value> {
        self.invocations.invoke(event).await
    }

    /// Receives one batch from the queue, hidden for `hidden_seconds`, and invokes the function with it. Returns the
    /// number of messages and the number of failed ones.
    pub async fn feed(&self, queue: &AuditQueue, hidden_seconds: i32) -> (usize, usize) {
        let messages = queue.receive(hidden_seconds).await;
        if messages.is_empty() {
            return (0, 0);
        }
        let records: Vec<Value> = messages
            .iter()
            .map(|message| {
                let attributes: serde_json::Map<String, Value> = message
                    .attributes
                    .iter()
                    .flatten()
                    .map(|(name, value)| (name.as_str().to_owned(), value.as_str().into()))
                    .collect();
                json!({
                    "messageId": message.message_id, "receiptHandle": message.receipt_handle, "body": message.body,
                    "attributes": attributes, "messageAttributes": {}, "md5OfBody": message.md5_of_body,
                    "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:q",
                    "awsRegion": "us-east-1",
                })
            })
            .collect();
        let Some(answer) = self.invoke(&json!({ "Records": records })).await else {
            return (messages.len(), messages.len());
        };
        let failed: Vec<&str> = answer["batchItemFailures"]
            .as_array()
            .expect("a list of failures")
            .iter()
            .map(|item| item["itemIdentifier"].as_str().expect("an identifier"))
            .collect();
        let ids: Vec<&str> = messages.iter().filter_map(|message| message.message_id()).collect();
        // The service takes any other identifier for the failure of the whole batch.
        assert!(failed.iter().all(|id| ids.contains(id)), "{failed:?} are not of this batch");
        let passed = messages.iter().filter(|message| !failed.contains(&message.message_id().expect("an id")));
        let receipts: Vec<&str> = passed.map(|message| message.receipt_handle().expect("a receipt")).collect();
        if !receipts.is_empty() {
            queue.delete(&receipts).await;
        }
        (messages.len(), failed.len())
    }
}

impl Invocations {
    /// Invokes the function; returns its answer, or `None` when the invocation failed.
    pub async fn invoke(&self, event: &Value) -> Option<Value> {
        let answer = self.client.post(&self.url).json(event).send().await.expect("an answer");
        let failed = !answer.status().is_success();
        let body: Value = answer.json().await.expect("JSON");
        (!failed && body.get("errorMessage").is_none()).then_some(body)
    }
}
