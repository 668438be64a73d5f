//! Checks as calls of gRPC, on connections that are kept open: what a client of Cerbos sends, without its overhead.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Request as HttpRequest, header};
use h2::client::SendRequest;
use prost::Message;
use rand::rngs::StdRng;
use tokio::net::TcpStream;

use super::cerbos::{Form, Request};
use crate::load::{CONNECTIONS, Caller, Measurement, any, at_once};

const METHOD: &str = "/cerbos.svc.v1.CerbosService/CheckResources";
/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// cerbos.effect.v1.Effect
const ALLOW: i32 = 1;

/// Questions as calls, each asked as often as any other.
pub(super) struct GrpcScript {
    address: String,
    /// Messages with their prefixes, and what is right.
    asked: Arc<Vec<(Bytes, bool)>>,
}

impl GrpcScript {
    pub(super) fn new(address: &str, asked: Vec<(Bytes, bool)>) -> Self {
        Self { address: address.to_owned(), asked: asked.into() }
    }

    /// Sends each question once; returns the number of errors.
    pub(super) async fn once(&self) -> u64 {
        let mut asking = self.connect().await;
        let mut errors = 0;
        for (message, right) in &*self.asked {
            errors += u64::from(asking.check(message.clone()).await != Some(*right));
        }
        errors
    }

    /// Sends questions for `span`, each connection by itself.
    pub(super) async fn run(&self, span: Duration) -> Measurement {
        let mut callers = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            callers.push(self.connect().await);
        }
        at_once(callers, span).await
    }

    async fn connect(&self) -> Asking {
        let stream = TcpStream::connect(&self.address).await.expect("a server");
        stream.set_nodelay(true).expect("no delay");
        let (sender, connection) = h2::client::handshake(stream).await.expect("a connection");
        tokio::spawn(connection);
        let uri = format!("http://{}{METHOD}", self.address);
        let request = HttpRequest::builder().method(Method::POST).uri(uri).header(header::TE, "trailers");
        let request = request.header(header::CONTENT_TYPE, "application/grpc").body(()).expect("a request");
        Asking { sender, request, asked: Arc::clone(&self.asked) }
    }
}

/// One connection.
struct Asking {
    sender: SendRequest<Bytes>,
    request: HttpRequest<()>,
    asked: Arc<Vec<(Bytes, bool)>>,
}

impl Asking {
    /// Whether the action is allowed; nothing without a regular answer.
    async fn check(&mut self, message: Bytes) -> Option<bool> {
        self.sender = self.sender.clone().ready().await.ok()?;
        let (response, mut body) = self.sender.send_request(self.request.clone(), false).ok()?;
        body.send_data(message, true).ok()?;
        let mut body = response.await.ok()?.into_body();
        let mut answer = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.ok()?;
            body.flow_control().release_capacity(data.len()).ok()?;
            answer.extend_from_slice(&data);
        }
        let trailers: HeaderMap = body.trailers().await.ok()??;
        if trailers.get("grpc-status")? != "0" {
            return None;
        }
        let response = Response::decode(answer.get(PREFIX_BYTES..)?).ok()?;
        let [result] = &*response.results else { return None };
        result.actions.values().next().map(|effect| *effect == ALLOW)
    }
}

impl Caller for Asking {
    async fn ask(&mut self, rng: &mut StdRng) -> bool {
        let (message, right) = any(&self.asked, rng).clone();
        self.check(message).await == Some(right)
    }
}

/// The message of a question, with its prefix.
pub(super) fn encode(request: &Request<'_>) -> Bytes {
    let text = |text: &str| Value { kind: Some(Kind::Text(text.to_owned())) };
    let list =
        |all: &[String]| Value { kind: Some(Kind::List(List { values: all.iter().map(|one| text(one)).collect() })) };
    let attributes = request.form == Form::Assignments;
    let held = request.held.iter().filter(|_| attributes).map(|(role, entities)| (role.clone(), list(entities)));
    let path = attributes.then(|| ("path".to_owned(), list(&request.path)));
    let message = CheckResources {
        principal: Some(Principal { id: request.principal.clone(), roles: request.roles(), attr: held.collect() }),
        resources: vec![Entry {
            actions: vec![request.action.to_owned()],
            resource: Some(Resource {
                kind: request.form.kind().to_owned(),
                id: request.resource.clone(),
                attr: path.into_iter().collect(),
            }),
        }],
    };
    let length = u32::try_from(message.encoded_len()).expect("a small message");
    let mut bytes = vec![0];
    bytes.extend(length.to_be_bytes());
    message.encode(&mut bytes).expect("a growing buffer");
    bytes.into()
}

// The messages of Cerbos, with the fields that are used here.

#[derive(Message)]
struct CheckResources {
    #[prost(message, optional, tag = "3")]
    principal: Option<Principal>,
    #[prost(message, repeated, tag = "4")]
    resources: Vec<Entry>,
}

#[derive(Message)]
struct Principal {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, repeated, tag = "3")]
    roles: Vec<String>,
    #[prost(map = "string, message", tag = "4")]
    attr: HashMap<String, Value>,
}

#[derive(Message)]
struct Entry {
    #[prost(string, repeated, tag = "1")]
    actions: Vec<String>,
    #[prost(message, optional, tag = "2")]
    resource: Option<Resource>,
}

#[derive(Message)]
struct Resource {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(map = "string, message", tag = "4")]
    attr: HashMap<String, Value>,
}

/// google.protobuf.Value
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(oneof = "Kind", tags = "3, 6")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(message, tag = "6")]
    List(List),
}

#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Message)]
struct Response {
    #[prost(message, repeated, tag = "2")]
    results: Vec<ResultEntry>,
}

#[derive(Message)]
struct ResultEntry {
    #[prost(map = "string, int32", tag = "2")]
    actions: HashMap<String, i32>,
}
