//! What an invocation asks for: a request of API Gateway or a function URL as an HTTP request, or upkeep.
//!
//! Must never resolve or decode anything in a path: what the router and the guard see is what the gateway passed on,
//! without the stage.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use epr_api::Origin;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

/// The stage of an HTTP API that is not in its paths; a function URL has it too.
const DEFAULT_STAGE: &str = "$default";
/// What API Gateway may have decoded in a path, and cannot be in one. `%` stays: it begins what is still encoded.
const NOT_IN_PATHS: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'`').add(b'{').add(b'}');
/// What cannot be in a query.
const NOT_IN_QUERIES: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// A request in the payload format 2.0, as far as it is needed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatewayRequest {
    #[serde(default)]
    raw_path: String,
    #[serde(default)]
    raw_query_string: String,
    #[serde(default)]
    cookies: Vec<String>,
    /// Each with all its values, which the gateway joins by commas.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
    request_context: RequestContext,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    stage: Option<String>,
    request_id: Option<String>,
    http: HttpContext,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpContext {
    method: String,
    source_ip: Option<String>,
}

/// The event of an invocation.
pub(crate) enum Event {
    /// A request.
    Http(Box<(Request<Bytes>, Origin)>),
    /// The schedule: what a process that runs all the time does in the background.
    Upkeep,
    /// What a caller sent is no HTTP request.
    Refused(BadRequest),
}

/// The event is of a kind that the function does not handle.
#[derive(Debug, thiserror::Error)]
#[error(
    "the event is neither a request of API Gateway (HTTP API, payload format 2.0) or of a function URL, nor a \
     scheduled event"
)]
pub struct UnknownEvent;

/// Why the request of an event cannot be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadRequest {
    /// It has a part of another form.
    #[error("The event of the gateway has another form than payload format 2.0")]
    Form(#[from] serde_json::Error),
    /// The body is not base64, as the event says.
    #[error("The body of the event is not base64")]
    Body(#[from] base64::DecodeError),
    /// The path, the query, the method or a header cannot be in a request.
    #[error("The method, the path, the query or a header cannot be in an HTTP request")]
    Request(#[from] http::Error),
}

impl Event {
    /// Reads `event`, whose invocation has the id `invocation`.
    ///
    /// # Errors
    /// It is not an event that the function handles.
    pub(crate) fn read(event: Value, invocation: &str) -> Result<Self, UnknownEvent> {
        if event.pointer("/requestContext/http").is_some() {
            return Ok(match request(event, invocation) {
                Ok(read) => Self::Http(Box::new(read)),
                Err(problem) => Self::Refused(problem),
            });
        }
        let is_scheduled = event.get("detail-type").and_then(Value::as_str) == Some("Scheduled Event");
        if is_scheduled { Ok(Self::Upkeep) } else { Err(UnknownEvent) }
    }
}

fn request(event: Value, invocation: &str) -> Result<(Request<Bytes>, Origin), BadRequest> {
    let event: GatewayRequest = serde_json::from_value(event)?;
    let context = event.request_context;
    let mut target = path(&event.raw_path, context.stage.as_deref());
    if !event.raw_query_string.is_empty() {
        target.push('?');
        target.extend(utf8_percent_encode(&event.raw_query_string, NOT_IN_QUERIES));
    }
    let body = match event.body {
        None => Bytes::new(),
        Some(body) if event.is_base64_encoded => STANDARD.decode(body)?.into(),
        Some(body) => body.into(),
    };
    let mut request = Request::builder().method(context.http.method.as_str()).uri(target).body(body)?;
    *request.headers_mut() = headers(&event.headers)?;
    if !event.cookies.is_empty() {
        let cookies = HeaderValue::try_from(event.cookies.join("; ")).map_err(http::Error::from)?;
        request.headers_mut().insert(header::COOKIE, cookies);
    }
    let origin = Origin {
        peer: context.http.source_ip.and_then(|address| address.parse().ok()),
        request_id: context.request_id.unwrap_or_else(|| invocation.to_owned()),
    };
    Ok((request, origin))
}

fn headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, http::Error> {
    let mut headers = HeaderMap::with_capacity(given.len());
    for (name, value) in given {
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(headers)
}

/// The path of a request: that of the event, without the stage that API Gateway puts before it.
fn path(raw: &str, stage: Option<&str>) -> String {
    let stage = stage.filter(|stage| *stage != DEFAULT_STAGE);
    let below = stage.and_then(|stage| raw.strip_prefix('/')?.strip_prefix(stage));
    let path = below.filter(|path| path.is_empty() || path.starts_with('/')).unwrap_or(raw);
    if path.is_empty() { "/".to_owned() } else { utf8_percent_encode(path, NOT_IN_PATHS).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(changes: &Value) -> (Request<Bytes>, Origin) {
        let mut event = json!({
            "version": "2.0", "rawPath": "/", "rawQueryString": "", "headers": {}, "isBase64Encoded": false,
            "requestContext": {
                "stage": "$default", "requestId": "gateway-1",
                "http": {"method": "GET", "path": "/", "sourceIp": "192.0.2.7"},
            },
        });
        for (pointer, value) in changes.as_object().unwrap() {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            event.pointer_mut(parent).unwrap()[name] = value.clone();
        }
        match Event::read(event, "invocation-1").unwrap() {
            Event::Http(http) => *http,
            Event::Upkeep | Event::Refused(_) => panic!("no request"),
        }
    }

    fn target(raw: &str, stage: &str, query: &str) -> String {
        let event = json!({"/rawPath": raw, "/requestContext/stage": stage, "/rawQueryString": query});
        read(&event).0.uri().to_string()
    }

    #[test]
    fn the_path_is_that_of_the_caller_without_the_stage_and_nothing_is_resolved() {
        for (raw, stage, query, expected) in [
            ("/api/v1/roles", "$default", "", "/api/v1/roles"),
            ("/dev/api/v1/roles", "dev", "limit=1", "/api/v1/roles?limit=1"),
            ("/api/api/v1/roles", "api", "", "/api/v1/roles"),
            ("/development/x", "dev", "", "/development/x"),
            ("/dev", "dev", "", "/"),
            ("", "$default", "", "/"),
            ("//api//v1/roles/", "$default", "", "//api//v1/roles/"),
            ("/api/v1/x/../roles/%2e%2e/%2f", "$default", "", "/api/v1/x/../roles/%2e%2e/%2f"),
            // Decoded by the gateway.
            ("/caf\u{e9} a?b#c", "$default", "", "/caf%C3%A9%20a%3Fb%23c"),
            ("/a", "$default", "type=spv&type=agent&name=caf%C3%A9", "/a?type=spv&type=agent&name=caf%C3%A9"),
            ("/a", "$default", "x=\u{e9} <", "/a?x=%C3%A9%20%3C"),
        ] {
            assert_eq!(target(raw, stage, query), expected, "{raw} {stage} {query}");
        }
    }

    #[test]
    fn headers_cookies_the_body_and_the_origin_are_those_of_the_caller() {
        let (request, origin) = read(&json!({
            "/requestContext/http/method": "POST", "/body": "Y2Fmw6k=", "/isBase64Encoded": true,
            "/headers": {"content-type": "application/json", "accept": "a,b"}, "/cookies": ["a=1", "b=2"],
        }));
        assert_eq!((request.method().as_str(), request.body().as_ref()), ("POST", "caf\u{e9}".as_bytes()));
        let value = |name: &str| request.headers().get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!([value("content-type"), value("accept"), value("cookie")], ["application/json", "a,b", "a=1; b=2"]);
        assert_eq!((origin.peer, origin.request_id.as_str()), (Some([192, 0, 2, 7].into()), "gateway-1"));
        assert_eq!(read(&json!({"/requestContext/requestId": null})).1.request_id, "invocation-1");
        assert_eq!(read(&json!({"/body": "plain"})).0.body().as_ref(), b"plain");
    }

    #[test]
    fn other_events_are_named_and_a_schedule_is_upkeep() {
        let scheduled = json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
        assert!(matches!(Event::read(scheduled, "i"), Ok(Event::Upkeep)));
        for other in [json!({}), json!({"httpMethod": "GET", "path": "/"}), json!({"Records": []}), json!("x")] {
            assert!(matches!(Event::read(other.clone(), "i"), Err(UnknownEvent)), "{other}");
        }
    }

    #[test]
    fn what_cannot_be_a_request_is_refused() {
        let context = json!({"http": {"method": "GET"}});
        for bad in [
            json!({"requestContext": context, "body": "*", "isBase64Encoded": true}),
            json!({"requestContext": context, "headers": {"x-name": "\u{1}"}}),
            json!({"requestContext": context, "cookies": ["a=\n"]}),
            json!({"requestContext": context, "headers": []}),
            json!({"requestContext": {"http": {"method": "G T"}}}),
            json!({"requestContext": {"http": {}}}),
        ] {
            assert!(matches!(Event::read(bad.clone(), "i"), Ok(Event::Refused(_))), "{bad}");
        }
    }
}
