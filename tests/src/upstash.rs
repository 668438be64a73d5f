//! Upstash's REST protocol over a real Redis server. A test compares it with Upstash's own client.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Router, body::Bytes};
use base64::Engine as _;
use redis::Value;
use redis::aio::MultiplexedConnection;
use serde_json::{Value as Json, json};

use crate::redis::RedisServer;

/// The token that it requires.
pub const TOKEN: &str = "rest-token-that-no-log-may-hold";
const SYNC_TOKEN: &str = "upstash-sync-token";

/// An HTTP front of a Redis server; ends with the test's runtime.
pub struct Front {
    /// The address that it listens on, as `host:port`.
    pub url: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    answers: AtomicU64,
    requests: Mutex<Vec<Request>>,
    /// The number of requests still to be answered 503.
    failing: AtomicU64,
    full: AtomicU64,
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The names of its commands.
    pub commands: Vec<String>,
    /// The sync token of the request.
    pub sync_token: Option<u64>,
}

#[derive(Clone)]
struct App {
    redis: MultiplexedConnection,
    seen: Arc<Seen>,
}

impl Front {
    /// Starts a front of `server`.
    pub async fn start(server: &RedisServer) -> Self {
        let client = redis::Client::open(server.url()).expect("a URL");
        let redis = client.get_multiplexed_async_connection().await.expect("a connection");
        let seen = Arc::<Seen>::default();
        let app = App { redis, seen: seen.clone() };
        let router = Router::new().route("/", post(single)).route("/pipeline", post(pipeline)).with_state(app);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    /// The requests received so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().expect("no panic").clone()
    }

    /// Answers the next `count` requests with 503.
    pub fn fail_next(&self, count: u64) {
        self.seen.failing.store(count, Ordering::SeqCst);
    }

    /// Sets whether the plan's quota is exhausted.
    pub fn quota_used_up(&self, used_up: bool) {
        self.seen.full.store(u64::from(used_up), Ordering::SeqCst);
    }
}

async fn single(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Response {
    answer(app, headers, &body, true).await
}

async fn pipeline(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Response {
    answer(app, headers, &body, false).await
}

fn words(command: &Json) -> Option<Vec<String>> {
    let word = |word: &Json| word.as_str().map_or_else(|| word.to_string(), str::to_owned);
    command.as_array().filter(|words| !words.is_empty()).map(|words| words.iter().map(word).collect())
}

async fn answer(mut app: App, headers: HeaderMap, body: &[u8], one: bool) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let refuse = |status: StatusCode, why: &str| (status, json!({"error": why}).to_string()).into_response();
    if header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return refuse(StatusCode::UNAUTHORIZED, "WRONGPASS invalid or missing auth token");
    }
    let seen = app.seen.clone();
    if seen.failing.load(Ordering::SeqCst) > 0 {
        seen.failing.fetch_sub(1, Ordering::SeqCst);
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "ERR busy");
    }
    if seen.full.load(Ordering::SeqCst) > 0 {
        return refuse(StatusCode::BAD_REQUEST, "ERR max requests limit exceeded. Limit: 10000, Usage: 10000.");
    }
    let commands = serde_json::from_slice::<Json>(body).ok().and_then(|body| {
        if one { words(&body).map(|command| vec![command]) } else { body.as_array()?.iter().map(words).collect() }
    });
    let Some(commands) = commands else {
        return refuse(StatusCode::BAD_REQUEST, "ERR failed to parse command");
    };
    seen.requests.lock().expect("no panic").push(Request {
        commands: commands.iter().map(|command| command[0].to_ascii_uppercase()).collect(),
        sync_token: header(SYNC_TOKEN).and_then(|token| token.strip_prefix("mark=")?.parse().ok()),
    });
    let encode = header("upstash-encoding") == Some("base64");
    let (mut results, mut failed) = (Vec::new(), false);
    for command in commands {
        let mut redis_command = redis::cmd(&command[0]);
        redis_command.arg(&command[1..]);
        results.push(match redis_command.query_async::<Value>(&mut app.redis).await {
            Ok(value) => json!({"result": json_of(value, encode)}),
            Err(error) => {
                failed = true;
                let code = error.code().unwrap_or("ERR").to_owned();
                json!({"error": format!("{code} {}", error.detail().unwrap_or_default())})
            }
        });
    }
    let status = if one && failed { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let body = if one { results.remove(0) } else { Json::Array(results) };
    let mark = seen.answers.fetch_add(1, Ordering::SeqCst) + 1;
    let mut response = (status, body.to_string()).into_response();
    let token = HeaderValue::from_str(&format!("mark={mark}")).expect("a header");
    response.headers_mut().insert(SYNC_TOKEN, token);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}

/// Texts are base64 if the client requests it, except `OK`.
fn json_of(value: Value, encode: bool) -> Json {
    let text = |bytes: &[u8]| {
        if encode {
            base64::engine::general_purpose::STANDARD.encode(bytes).into()
        } else {
            String::from_utf8_lossy(bytes).into_owned().into()
        }
    };
    match value {
        Value::Okay => "OK".into(),
        Value::Int(number) => number.into(),
        Value::BulkString(bytes) => text(&bytes),
        Value::SimpleString(word) => text(word.as_bytes()),
        Value::Array(values) => values.into_iter().map(|value| json_of(value, encode)).collect(),
        _ => Json::Null,
    }
}
