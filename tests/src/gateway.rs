//! API Gateway's HTTP API in front of the function: requests as events of payload format 2.0, and answers back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::lambda::Lambda;

/// A gateway with one route for everything.
pub struct Gateway {
    /// The URL of the stage.
    pub base: String,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Gateway {
    /// Starts the stage `stage` in front of `function`; `$default` has no name in the URL.
    pub async fn start(function: Arc<Lambda>, stage: &'static str) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let router = axum::Router::new().fallback(move |request: Request<Body>| {
            let function = Arc::clone(&function);
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 6 << 20).await.expect("a body");
                match function.invoke(&event(&Request::from_parts(head, body), stage)).await {
                    Some(answer) => response(&answer).map(Body::from),
                    None => {
                        let mut failed = Response::new(Body::from("{\"message\":\"Internal Server Error\"}"));
                        *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                        failed
                    }
                }
            }
        });
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") });
        let base = if stage == "$default" { format!("http://{address}") } else { format!("http://{address}/{stage}") };
        Self { base, server }
    }
}

/// The event of a request. The URL has the stage already, unless it is `$default`.
#[must_use]
pub fn event(request: &Request<Bytes>, stage: &str) -> Value {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut headers = Map::new();
    let mut cookies = Vec::new();
    for name in request.headers().keys() {
        let values = request.headers().get_all(name).iter();
        let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        if name == header::COOKIE {
            cookies = values.iter().flat_map(|value| value.split("; ")).map(str::to_owned).collect();
        } else {
            headers.insert(name.as_str().to_owned(), values.join(",").into());
        }
    }
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let is_text = request.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == "application/json");
    let text = String::from_utf8(request.body().to_vec()).ok().filter(|_| is_text);
    let (body, is_base64) = match text {
        Some(text) => (text, false),
        None => (STANDARD.encode(request.body()), true),
    };
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": headers,
        "isBase64Encoded": is_base64 && !request.body().is_empty(),
        "requestContext": {
            "accountId": "123456789012", "apiId": "api", "domainName": "api.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "api", "requestId": format!("gateway-{}", COUNT.fetch_add(1, Ordering::Relaxed)),
            "routeKey": "$default", "stage": stage, "time": "30/Nov/2026:12:00:00 +0000", "timeEpoch": 0,
            "http": {
                "method": request.method().as_str(), "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7",
                "userAgent": "test",
            },
        },
    });
    if !request.body().is_empty() {
        event["body"] = body.into();
    }
    if !cookies.is_empty() {
        event["cookies"] = cookies.into();
    }
    event
}

/// The response that an answer of the function describes.
#[must_use]
pub fn response(answer: &Value) -> Response<Bytes> {
    let body = answer["body"].as_str().unwrap_or_default();
    let body = if answer["isBase64Encoded"] == true { STANDARD.decode(body).expect("base64") } else { body.into() };
    let mut response = Response::new(Bytes::from(body));
    let status = answer["statusCode"].as_u64().expect("a status");
    *response.status_mut() = StatusCode::from_u16(status.try_into().expect("a status")).expect("a status");
    for (name, value) in answer["headers"].as_object().expect("headers") {
        let value = value.as_str().expect("one value");
        let name: HeaderName = name.parse().expect("a name");
        // The gateway measures the body itself.
        if name != header::CONTENT_LENGTH && name != header::CONNECTION {
            response.headers_mut().insert(name, HeaderValue::from_str(value).expect("a value"));
        }
    }
    for cookie in answer["cookies"].as_array().into_iter().flatten() {
        let cookie = HeaderValue::from_str(cookie.as_str().expect("text")).expect("a value");
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}
