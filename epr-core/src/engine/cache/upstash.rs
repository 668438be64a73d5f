//! Upstash's REST interface: Redis commands as JSON over HTTPS.
//!
//! The store behind it is eventually consistent. A response carries a sync token, and a server that answers a request
//! with that token has at least the state of the server that issued it. Must never log the bearer token.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use super::remote::{Answer, Command, Remote, Reply, ServerUnavailable};
use crate::clock::SystemRandom;
use crate::engine::backoff::{Backoff, Jitter};
use crate::error::chain;

/// The header that carries the sync token.
const SYNC_TOKEN: &str = "upstash-sync-token";
/// The deadline of the first call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The delay before the second attempt of a call.
const RETRY: Backoff = Backoff::constant(Duration::from_millis(20), Jitter::Full);
/// The largest response; real ones have a few hundred bytes.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

pub(super) struct Upstash {
    client: Client,
    base: Url,
    bearer: HeaderValue,
    prefix: String,
    sync: Mutex<Sync>,
    /// Held by a binding call: of the tokens of two concurrent calls, the newer one would be unknown.
    binding: tokio::sync::Mutex<()>,
}

/// The token to send, and the number of earlier tokens.
#[derive(Debug, Clone, Default)]
struct Sync {
    token: Option<HeaderValue>,
    generation: u64,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    result: serde_json::Value,
    error: Option<String>,
}

/// A failed attempt, and whether another one may succeed.
struct Failed {
    why: ServerUnavailable,
    retryable: bool,
}

impl fmt::Debug for Upstash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Upstash").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Upstash {
    pub(super) fn new(url: &str, token: &str, prefix: &str) -> Result<Self, ServerUnavailable> {
        let base = Url::parse(url).map_err(|_| ServerUnavailable("EPR_REDIS_URL is not a valid URL".into()))?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| ServerUnavailable("EPR_REDIS_TOKEN contains characters that no header can have".into()))?;
        bearer.set_sensitive(true);
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| ServerUnavailable(chain(&error.without_url())))?;
        Ok(Self {
            client,
            base,
            bearer,
            prefix: prefix.into(),
            sync: Mutex::default(),
            binding: tokio::sync::Mutex::default(),
        })
    }

    fn sync(&self) -> MutexGuard<'_, Sync> {
        self.sync.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one attempt. A single command goes to the base URL, several go to `/pipeline`.
    async fn attempt(&self, commands: &[Command], binding: bool) -> Result<Answer, Failed> {
        let sent_with = self.sync().clone();
        let request = match commands {
            [command] => self.client.post(self.base.clone()).json(command),
            commands => {
                let mut pipeline = self.base.clone();
                pipeline.set_path(&format!("{}/pipeline", self.base.path().trim_end_matches('/')));
                self.client.post(pipeline).json(commands)
            }
        };
        let mut request = request.header(AUTHORIZATION, self.bearer.clone());
        if let Some(token) = sent_with.token {
            request = request.header(SYNC_TOKEN, token);
        }
        let unreachable =
            |error: reqwest::Error| Failed { why: ServerUnavailable(chain(&error.without_url())), retryable: true };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let token = response.headers().get(SYNC_TOKEN).cloned();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&part);
            if body.len() > MAX_RESPONSE_BYTES {
                return Err(Failed { why: ServerUnavailable("the response is too long".into()), retryable: false });
            }
        }
        let items = items(status, &body, commands.len())?;
        if let Some(token) = token {
            let mut sync = self.sync();
            // A response to a request that was sent before the present token arrived may be older than that token.
            if binding || sync.generation == sent_with.generation {
                *sync = Sync { token: Some(token), generation: sync.generation + 1 };
            }
        }
        Ok(Answer { server: "upstash".into(), replies: items.into_iter().map(reply).collect() })
    }

    /// Retries once. Commands that read, delete, or write the same value again can be repeated. The creation of an
    /// epoch cannot: it may have been created and renewed in between, and would come back.
    async fn attempts(&self, commands: &[Command], binding: bool) -> Result<Answer, ServerUnavailable> {
        match self.attempt(commands, binding).await {
            Err(Failed { retryable: true, .. }) if !commands.iter().flatten().any(|word| word == "NX") => {}
            outcome => return outcome.map_err(|failed| failed.why),
        }
        tokio::time::sleep(RETRY.delay(1, &SystemRandom)).await;
        self.attempt(commands, binding).await.map_err(|failed| failed.why)
    }
}

fn items(status: StatusCode, body: &[u8], expected: usize) -> Result<Vec<Item>, Failed> {
    let failed = |why: String, retryable| Failed { why: ServerUnavailable(why), retryable };
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(failed(format!("answered {status}"), true));
    }
    let unreadable = |_| failed(format!("answered {status} with an unknown body"), false);
    let items = if expected == 1 || !body.starts_with(b"[") {
        vec![serde_json::from_slice::<Item>(body).map_err(unreadable)?]
    } else {
        serde_json::from_slice::<Vec<Item>>(body).map_err(unreadable)?
    };
    match items.as_slice() {
        // The whole pipeline was refused: a wrong token, or an exhausted quota.
        [Item { error: Some(error), .. }] if expected != 1 || status != StatusCode::BAD_REQUEST || quota(error) => {
            Err(failed(error.chars().take(200).collect(), false))
        }
        items if items.len() != expected => {
            Err(failed(format!("{} answers to {expected} commands", items.len()), false))
        }
        _ => Ok(items),
    }
}

fn quota(error: &str) -> bool {
    error.starts_with("ERR max ") && error.contains("limit exceeded")
}

fn reply(item: Item) -> Reply {
    use serde_json::Value;
    match (item.error, item.result) {
        (Some(error), _) => Reply::Refused(error.chars().take(200).collect()),
        (None, Value::Array(values)) => Reply::Values(
            values.into_iter().map(|value| if let Value::String(text) = value { Some(text) } else { None }).collect(),
        ),
        _ => Reply::Done,
    }
}

#[async_trait]
impl Remote for Upstash {
    fn name(&self) -> &'static str {
        "upstash"
    }

    /// Writes a mark: the sync token of the response covers everything that was written before it.
    async fn connect(&self) -> Result<(), ServerUnavailable> {
        let mark = vec!["SET".into(), format!("{}:mark", self.prefix), "1".into(), "EX".into(), "60".into()];
        let answer = self.call(&[mark], true, CONNECT_TIMEOUT).await?;
        match answer.replies.as_slice() {
            // A full server still reads and deletes. Without the mark, the next renewal returns a token.
            [Reply::Done | Reply::Refused(_)] => Ok(()),
            _ => Err(ServerUnavailable("the reply to SET is invalid".into())),
        }
    }

    async fn call(&self, commands: &[Command], binding: bool, timeout: Duration) -> Result<Answer, ServerUnavailable> {
        let call = async {
            if binding {
                let _alone = self.binding.lock().await;
                self.attempts(commands, true).await
            } else {
                self.attempts(commands, false).await
            }
        };
        tokio::time::timeout(timeout, call).await.map_err(|_| ServerUnavailable("no response in time".into()))?
    }
}
