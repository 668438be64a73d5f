//! The errors of a call, by what its caller does about them.
//!
//! Owns the mapping from an answer of the service to an [`Error`]. Must never hold a token: errors are logged.

use std::fmt;
use std::time::Duration;

use epr_core::domain::{Json, JsonObject};
use reqwest::StatusCode;
use reqwest::header::{self, HeaderMap};

use crate::retry;

/// An error from code outside this crate.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The service refuses the input (400): correct it. `fields` is empty when the input is well formed but does not
    /// fit the registry.
    #[error("{message}")]
    Invalid {
        /// All failures in one sentence.
        message: String,
        /// Every failing field.
        fields: Vec<FieldError>,
    },
    /// The credential is missing, unknown or expired (401).
    #[error("{message}")]
    Unauthorized {
        /// The sentence of the service.
        message: String,
    },
    /// The credential does not have the scope that the call requires (403).
    #[error("{message}")]
    Forbidden {
        /// The sentence of the service.
        message: String,
    },
    /// The object does not exist (404).
    #[error("{message}")]
    NotFound {
        /// The sentence of the service.
        message: String,
    },
    /// The name is already in use (409).
    #[error("{message}")]
    Conflict {
        /// The sentence of the service.
        message: String,
    },
    /// The body is larger than the service accepts (413).
    #[error("{message}")]
    TooLarge {
        /// The sentence of the service, with its limit.
        message: String,
    },
    /// The service cannot answer at the moment (503 or 429). After a change its outcome is unknown: read before
    /// repeating.
    #[error("{message}")]
    Unavailable {
        /// 503 or 429.
        status: u16,
        /// The sentence of the service.
        message: String,
        /// When to try again, if the service says so.
        retry_after: Option<Duration>,
    },
    /// The service failed (any other 5xx): its log has the details under the request id.
    #[error("{message}")]
    Internal {
        /// The status.
        status: u16,
        /// The sentence of the service.
        message: String,
        /// The id to look for in the log of the service.
        request_id: Option<String>,
    },
    /// No answer arrived.
    #[error("{kind}")]
    Transport {
        /// The progress of the call.
        kind: TransportKind,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// An answer arrived that no EPR service gives: check the base URL.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The token provider failed; the call was not sent.
    #[error("no token for the call")]
    Token(#[source] BoxError),
}

impl Error {
    /// Whether the same call can succeed later without being changed.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        // 502 and 504 are a proxy's, about a service that it cannot reach.
        matches!(self, Self::Unavailable { .. } | Self::Transport { .. } | Self::Internal { status: 502 | 504, .. })
    }

    /// Wraps an error of the HTTP library.
    pub(crate) fn transport(error: reqwest::Error) -> Self {
        let kind = if error.is_connect() {
            TransportKind::Connect
        } else if error.is_timeout() {
            TransportKind::Timeout
        } else {
            TransportKind::Interrupted
        };
        // The outer text repeats the URL; the causes say what happened.
        Self::Transport { kind, source: Box::new(error.without_url()) }
    }

    /// The error that an answer without success describes.
    pub(crate) fn from_answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let detail = Detail::read(body);
        let message = detail.as_ref().map_or_else(|| status.to_string(), Detail::sentence);
        match status {
            StatusCode::BAD_REQUEST => {
                Self::Invalid { message, fields: detail.map(Detail::into_fields).unwrap_or_default() }
            }
            StatusCode::UNAUTHORIZED => Self::Unauthorized { message },
            StatusCode::FORBIDDEN => Self::Forbidden { message },
            StatusCode::NOT_FOUND if detail.is_none() || message == UNKNOWN_PATH => ProtocolError::UnknownPath.into(),
            StatusCode::NOT_FOUND => Self::NotFound { message },
            StatusCode::CONFLICT => Self::Conflict { message },
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge { message },
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Self::Unavailable { status: status.as_u16(), message, retry_after: retry::retry_after(headers) }
            }
            _ if status.is_server_error() => {
                Self::Internal { status: status.as_u16(), message, request_id: text_of(headers, "x-request-id") }
            }
            _ if status.is_redirection() => {
                ProtocolError::Redirect { location: text_of(headers, header::LOCATION.as_str()) }.into()
            }
            _ => ProtocolError::Status { status: status.as_u16(), message }.into(),
        }
    }
}

/// The sentence of the service about a path that it does not have.
const UNKNOWN_PATH: &str = "Not Found";

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// The progress of a call that got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// There was no connection: the call was not sent.
    Connect,
    /// No answer within the timeout: the outcome of the call is unknown.
    Timeout,
    /// The connection ended before the answer was complete: the outcome of the call is unknown.
    Interrupted,
}

impl fmt::Display for TransportKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Connect => "the service cannot be reached",
            Self::Timeout => "the service did not answer in time",
            Self::Interrupted => "the connection to the service ended",
        })
    }
}

/// The difference between an answer and the answers of an EPR service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The server redirects. Redirects are not followed, because the token must not reach another server.
    #[error("the server redirects to {}", .location.as_deref().unwrap_or("an unnamed location"))]
    Redirect {
        /// The target.
        location: Option<String>,
    },
    /// The server does not have the path: another service, or an older version of this one.
    #[error("the server does not have this path")]
    UnknownPath,
    /// A status that no call of the interface answers with.
    #[error("the server answered {status}: {message}")]
    Status {
        /// The status.
        status: u16,
        /// The sentence of the server.
        message: String,
    },
    /// The body is not what the interface describes.
    #[error("the body of the answer cannot be read: {reason}")]
    Body {
        /// The error in the body.
        reason: String,
    },
    /// A list continues on another server, which must not get the token.
    #[error("the list continues on another server")]
    ForeignLink,
}

/// One failing field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The path to the value: first `body`, `query`, `path` or `header`, then the names and positions, such as
    /// `["body", "permissions", "0"]`.
    pub location: Vec<String>,
    /// What is wrong, for a person.
    pub message: String,
    /// What is wrong, for a program: a stable word such as `missing`.
    pub kind: String,
}

impl FieldError {
    /// The path within its part of the request, such as `permissions.0`; of the whole part its name, such as `body`.
    #[must_use]
    pub fn path(&self) -> String {
        match self.location.split_first() {
            Some((_, within)) if !within.is_empty() => within.join("."),
            _ => self.location.concat(),
        }
    }

    fn read(members: &JsonObject) -> Option<Self> {
        let Json::List(steps) = members.get("loc")? else { return None };
        let location = steps.iter().map(|step| step.as_text().map_or_else(|| step.to_string(), str::to_owned));
        let text = |name| members.get(name).and_then(Json::as_text).map(str::to_owned);
        Some(Self { location: location.collect(), message: text("msg")?, kind: text("type").unwrap_or_default() })
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.path(), self.message)
    }
}

/// The `detail` of an error body.
enum Detail {
    Sentence(String),
    Fields(Vec<FieldError>),
}

impl Detail {
    fn read(body: &[u8]) -> Option<Self> {
        let body = Json::parse(body).ok()?;
        match body.as_object()?.get("detail")? {
            Json::Text(sentence) => Some(Self::Sentence(sentence.clone())),
            Json::List(errors) => {
                let fields = errors.iter().filter_map(|error| FieldError::read(error.as_object()?));
                Some(Self::Fields(fields.collect()))
            }
            _ => None,
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::Sentence(sentence) => sentence.clone(),
            Self::Fields(fields) => fields.iter().map(FieldError::to_string).collect::<Vec<_>>().join("; "),
        }
    }

    fn into_fields(self) -> Vec<FieldError> {
        match self {
            Self::Sentence(_) => Vec::new(),
            Self::Fields(fields) => fields,
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn error(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Error {
        let headers = headers
            .iter()
            .map(|&(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        Error::from_answer(StatusCode::from_u16(status).unwrap(), &headers.collect(), body.as_bytes())
    }

    #[test]
    fn every_failing_field_is_listed() {
        let body = r#"{"detail": [
            {"loc": ["body", "permissions", 0], "msg": "too short", "type": "string_too_short"},
            {"loc": ["body"], "msg": "Input should be a valid object", "type": "dict_type"}]}"#;
        let Error::Invalid { message, fields } = error(400, &[], body) else { panic!("no 400") };
        assert_eq!(message, "permissions.0: too short; body: Input should be a valid object");
        let first = FieldError {
            location: ["body", "permissions", "0"].map(str::to_owned).to_vec(),
            message: "too short".into(),
            kind: "string_too_short".into(),
        };
        assert_eq!(fields.first(), Some(&first));
        assert_eq!(fields.len(), 2);
    }

    #[test]
    fn each_status_becomes_its_error() {
        let sentence = r#"{"detail": "the sentence"}"#;
        for (status, expected) in [
            (400, "Invalid"),
            (401, "Unauthorized"),
            (403, "Forbidden"),
            (404, "NotFound"),
            (405, "Protocol"),
            (409, "Conflict"),
            (413, "TooLarge"),
            (429, "Unavailable"),
            (500, "Internal"),
            (502, "Internal"),
            (503, "Unavailable"),
        ] {
            let error = error(status, &[], sentence);
            assert!(format!("{error:?}").starts_with(expected), "{status}: {error:?}");
            assert!(error.to_string().ends_with("the sentence"), "{error}");
        }
    }

    #[test]
    fn headers_belong_to_the_error() {
        let busy = error(503, &[("retry-after", "3")], r#"{"detail": "busy"}"#);
        assert!(
            matches!(busy, Error::Unavailable { retry_after: Some(wait), .. } if wait == Duration::from_secs(3)),
            "{busy:?}"
        );
        let failed = error(500, &[("x-request-id", "r-1")], "");
        assert!(matches!(&failed, Error::Internal { request_id: Some(id), .. } if id == "r-1"), "{failed:?}");
        let moved = error(307, &[("location", "https://evil.test/")], "");
        assert_eq!(moved.to_string(), "the server redirects to https://evil.test/");
    }

    #[test]
    fn a_path_that_does_not_exist_is_no_missing_object() {
        for body in [r#"{"detail": "Not Found"}"#, "<html>", ""] {
            assert!(matches!(error(404, &[], body), Error::Protocol(ProtocolError::UnknownPath)), "{body}");
        }
    }
}
