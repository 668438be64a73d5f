//! An HTTP server in front of moto's S3, which records every request and refuses those that a test names: moto neither
//! checks what credentials may do nor fails.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};

/// A request that it received.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// The path and the query.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The status of the answer.
    pub status: StatusCode,
}

/// Requests to refuse: `Some` with the status and S3's error code.
type Rule = Box<dyn Fn(&Method, &str, &HeaderMap) -> Option<(u16, &'static str)> + Send + Sync>;

/// The server; ends with the test's runtime.
pub struct Front {
    /// Its URL.
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    moto: String,
    client: reqwest::Client,
    seen: Mutex<Vec<Seen>>,
    rule: Mutex<Rule>,
}

impl Front {
    /// Starts a server in front of the one at `moto`.
    pub async fn start(moto: &str) -> Self {
        let rule: Rule = Box::new(|_, _, _| None);
        let (moto, client) = (moto.to_owned(), reqwest::Client::new());
        let shared = Arc::new(Shared { moto, client, seen: Mutex::default(), rule: Mutex::new(rule) });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let router = Router::new().fallback(forward).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// Refuses the requests for which `rule` returns a status and a code of S3, by method, path with query, and
    /// headers.
    pub fn refuse(
        &self,
        rule: impl Fn(&Method, &str, &HeaderMap) -> Option<(u16, &'static str)> + Send + Sync + 'static,
    ) {
        *self.shared.rule.lock().expect("no panic") = Box::new(rule);
    }

    /// The requests since the last call, in their order.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.seen.lock().expect("no panic"))
    }
}

async fn forward(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let refused = shared.rule.lock().expect("no panic")(&method, &target, &headers);
    let answer = match refused {
        Some((status, code)) => {
            let body = format!("<Error><Code>{code}</Code><Message>refused by the test</Message></Error>");
            (StatusCode::from_u16(status).expect("a status"), body).into_response()
        }
        None => {
            let mut request = shared.client.request(method.clone(), format!("{}{target}", shared.moto));
            for (name, value) in headers.iter().filter(|(name, _)| !matches!(name.as_str(), "host" | "content-length"))
            {
                request = request.header(name, value);
            }
            let answer = request.body(body).send().await.expect("moto answers");
            let (status, mut headers) = (answer.status(), answer.headers().clone());
            for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
                headers.remove(name);
            }
            (status, headers, answer.bytes().await.expect("a whole body")).into_response()
        }
    };
    shared.seen.lock().expect("no panic").push(Seen { method, target, headers, status: answer.status() });
    answer
}
