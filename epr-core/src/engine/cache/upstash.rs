//! Upstash's REST interface: Redis commands as JSON over HTTPS.
//!
//! The store behind it is eventually consistent. An answer carries a token, and a request that sends it back is answered
//! by a server that knows at least what the one before knew. Must never log the bearer token.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use tokio::time::timeout;

use super::remote::{Answer, Away, Command, Remote, Reply};

/// The header that carries the token.
const SYNC_TOKEN: &str = "upstash-sync-token";
/// How long the first call may take.
const CONNECT: Duration = Duration::from_secs(2);
/// The longest wait before the second attempt of a call.
const RETRY: Duration = Duration::from_millis(20);
/// Most bytes of an answer; real ones have a few hundred.
const MOST_BYTES: usize = 1 << 20;

/// Whether `url` is an address of a REST interface: `https`, or `http` on this machine, where nobody reads along.
pub(crate) fn is_url(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        url.has_host() && (url.scheme() == "https" || (url.scheme() == "http" && here)) && url.query().is_none()
    })
}

pub(super) struct Upstash {
    client: Client,
    base: Url,
    bearer: HeaderValue,
    prefix: String,
    sync: Mutex<Sync>,
    /// Binding calls one after the other: of two tokens nobody can tell which one is newer.
    binding: tokio::sync::Mutex<()>,
}

/// The token to send, and how many there were before it.
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

/// Why an attempt failed, and whether another one may do better.
struct Failed {
    why: Away,
    again: bool,
}

impl fmt::Debug for Upstash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Upstash").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Upstash {
    pub(super) fn new(url: &str, token: &str, prefix: &str) -> Result<Self, Away> {
        let base = Url::parse(url).map_err(|_| Away("EPR_REDIS_URL is not understood".into()))?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| Away("EPR_REDIS_TOKEN holds characters that no header can".into()))?;
        bearer.set_sensitive(true);
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|fault| Away(crate::error::chain(&fault.without_url())))?;
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

    /// A single command goes to the base address, several go to `/pipeline`.
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
            |fault: reqwest::Error| Failed { why: Away(crate::error::chain(&fault.without_url())), again: true };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let token = response.headers().get(SYNC_TOKEN).cloned();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&part);
            if body.len() > MOST_BYTES {
                return Err(Failed { why: Away("the answer is too long".into()), again: false });
            }
        }
        let items = items(status, &body, commands.len())?;
        if let Some(token) = token {
            let mut sync = self.sync();
            // One that was sent before the token that is held now came in may be older than it.
            if binding || sync.generation == sent_with.generation {
                *sync = Sync { token: Some(token), generation: sync.generation + 1 };
            }
        }
        Ok(Answer { server: "upstash".into(), replies: items.into_iter().map(reply).collect() })
    }

    /// What reads, deletes, or writes what it wrote before can be repeated. What makes an epoch cannot: it may have been made
    /// and renewed in between, and would be brought back.
    async fn attempts(&self, commands: &[Command], binding: bool) -> Result<Answer, Away> {
        match self.attempt(commands, binding).await {
            Err(Failed { again: true, .. }) if !commands.iter().flatten().any(|word| word == "NX") => {}
            outcome => return outcome.map_err(|failed| failed.why),
        }
        tokio::time::sleep(RETRY.mul_f64(rand::random())).await;
        self.attempt(commands, binding).await.map_err(|failed| failed.why)
    }
}

fn items(status: StatusCode, body: &[u8], expected: usize) -> Result<Vec<Item>, Failed> {
    let failed = |why: String, again| Failed { why: Away(why), again };
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(failed(format!("answered {status}"), true));
    }
    let unreadable = |_| failed(format!("answered {status} with a body that is not its own"), false);
    let items = if expected == 1 || !body.starts_with(b"[") {
        vec![serde_json::from_slice::<Item>(body).map_err(unreadable)?]
    } else {
        serde_json::from_slice::<Vec<Item>>(body).map_err(unreadable)?
    };
    match items.as_slice() {
        // A pipeline that was refused as a whole, a wrong token, a quota that is used up.
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

    /// A write of its own: the token that comes back stands for everything that was written before it.
    async fn connect(&self) -> Result<(), Away> {
        let mark = vec!["SET".into(), format!("{}:mark", self.prefix), "1".into(), "EX".into(), "60".into()];
        let answer = self.call(&[mark], true, CONNECT).await?;
        match answer.replies.as_slice() {
            // Full: it still reads and deletes. Without the mark the next renewal brings the token.
            [Reply::Done | Reply::Refused(_)] => Ok(()),
            _ => Err(Away("the answer to SET is not one".into())),
        }
    }

    async fn call(&self, commands: &[Command], binding: bool, limit: Duration) -> Result<Answer, Away> {
        let call = async {
            if binding {
                let _alone = self.binding.lock().await;
                self.attempts(commands, true).await
            } else {
                self.attempts(commands, false).await
            }
        };
        timeout(limit, call).await.map_err(|_| Away("no answer in time".into()))?
    }
}
