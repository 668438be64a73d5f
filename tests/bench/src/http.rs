//! Questions over HTTP, on connections that are kept open.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, header};
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rand::rngs::StdRng;
use tokio::net::TcpStream;

use crate::load::{CONNECTIONS, Caller, Measurement, any, at_once, popular};
use crate::world::Asked;

/// Questions as requests.
#[derive(Clone)]
pub(crate) struct Script {
    path: &'static str,
    /// Bodies, and what the answer must hold.
    asked: Arc<Vec<(Bytes, &'static [u8])>>,
    /// Whether some are asked more often than others.
    popular: bool,
}

impl Script {
    /// Checks whose answers must be right.
    pub(crate) fn checks(asked: &[Asked]) -> Self {
        let right = |asked: &Asked| if asked.expected { &b"true"[..] } else { b"false" };
        Self::authorize(asked.iter().map(|asked| (asked.body().into(), right(asked))).collect())
    }

    /// Bodies of checks, and what each answer must hold.
    pub(crate) fn authorize(asked: Vec<(Bytes, &'static [u8])>) -> Self {
        Self::of("/api/v1/authorize", asked)
    }

    /// Bodies for one path, and what each answer must hold.
    pub(crate) fn of(path: &'static str, asked: Vec<(Bytes, &'static [u8])>) -> Self {
        Self { path, asked: Arc::new(asked), popular: true }
    }

    /// Checks whose answers are not compared.
    pub(crate) fn any_answer(&self) -> Self {
        let asked = self.asked.iter().map(|(body, _)| (body.clone(), &b"authorized"[..])).collect();
        Self { asked: Arc::new(asked), ..*self }
    }

    /// Asks these questions with equal frequency.
    pub(crate) fn even(&self) -> Self {
        Self { popular: false, ..self.clone() }
    }

    /// Sends each question once over all connections; returns the number of errors.
    pub(crate) async fn once(&self, address: &str) -> u64 {
        let tasks: Vec<_> = (0..CONNECTIONS)
            .map(|n| {
                let (script, address) = (self.clone(), address.to_owned());
                tokio::spawn(async move {
                    let mut connection = Connection::to(&address).await;
                    let mut errors = 0;
                    for (body, right) in script.asked.iter().skip(n).step_by(CONNECTIONS) {
                        errors += u64::from(!connection.ask(script.path, body, right).await);
                    }
                    errors
                })
            })
            .collect();
        let mut errors = 0;
        for task in tasks {
            errors += task.await.expect("a connection");
        }
        errors
    }

    /// Sends questions for `span`, each connection by itself.
    pub(crate) async fn run(&self, address: &str, span: std::time::Duration) -> Measurement {
        let mut callers = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            callers.push(Asking { script: self.clone(), connection: Connection::to(address).await });
        }
        at_once(callers, span).await
    }
}

/// One connection that asks what the script says.
struct Asking {
    script: Script,
    connection: Connection,
}

impl Caller for Asking {
    async fn ask(&mut self, rng: &mut StdRng) -> bool {
        let pick = if self.script.popular { popular } else { any };
        let (body, right) = pick(&self.script.asked, rng);
        self.connection.ask(self.script.path, body, right).await
    }
}

/// One connection, kept open.
pub(crate) struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    pub(crate) async fn to(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a server");
        stream.set_nodelay(true).expect("no delay");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("a connection");
        tokio::spawn(connection);
        Self(sender)
    }

    /// Whether the answer is a 200 that holds `right`.
    async fn ask(&mut self, path: &str, body: &Bytes, right: &[u8]) -> bool {
        let (status, answer) = self.send(Method::POST, path, body.clone()).await;
        status == StatusCode::OK && answer.windows(right.len()).any(|part| part == right)
    }

    /// Sends one request and reads its answer.
    pub(crate) async fn send(&mut self, method: Method, path: &str, body: Bytes) -> (StatusCode, Bytes) {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "bench");
        let request =
            request.header(header::CONTENT_TYPE, "application/json").body(Full::new(body)).expect("a request");
        self.0.ready().await.expect("an open connection");
        let answer = self.0.send_request(request).await.expect("an answer");
        let status = answer.status();
        (status, answer.into_body().collect().await.expect("a body").to_bytes())
    }

    /// Opens a page with a cookie; records the time from `begun` to the head of the response, which arrives with the
    /// first bytes of the page.
    pub(crate) async fn first_byte(
        &mut self,
        path: &str,
        cookie: &str,
        begun: Instant,
        times: &mut Histogram<u64>,
    ) -> StatusCode {
        let request = Request::builder().uri(path).header(header::HOST, "bench").header(header::COOKIE, cookie);
        let request = request.body(Full::new(Bytes::new())).expect("a request");
        self.0.ready().await.expect("an open connection");
        let answer = self.0.send_request(request).await.expect("an answer");
        times.saturating_record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        let status = answer.status();
        answer.into_body().collect().await.expect("a body");
        status
    }
}
