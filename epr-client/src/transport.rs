//! Sends a call and returns its answer, repeated by the [`RetryPolicy`](crate::RetryPolicy).
//!
//! Owns the connections, the token and the limit of an answer's size. Must know no endpoint.

use std::sync::Arc;
use std::time::Duration;

use epr_core::domain::{Invalid, Json};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};

use crate::base_url::BaseUrl;
use crate::error::{Error, ProtocolError};
use crate::retry::{Repeat, RetryPolicy};
use crate::token::TokenProvider;

/// The largest answer that is read. A page of a list ends at 2 MiB with the row that exceeds it.
const MAX_ANSWER_BYTES: usize = 64 << 20;

pub(crate) struct Transport {
    pub(crate) http: reqwest::Client,
    pub(crate) base: BaseUrl,
    pub(crate) token: Option<Arc<dyn TokenProvider>>,
    pub(crate) retries: RetryPolicy,
    /// From the start of an attempt to the last byte of its answer.
    pub(crate) timeout: Duration,
}

/// One call of an endpoint.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) body: Option<Json>,
    pub(crate) repeat: Repeat,
}

/// A complete answer of any status.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Json, Error> {
        Json::parse(&self.body).map_err(|error| ProtocolError::Body { reason: error.to_string() }.into())
    }

    /// The body as `read` understands it.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Json) -> Result<T, Invalid>) -> Result<T, Error> {
        read(&self.json()?).map_err(|invalid| unreadable(&invalid))
    }

    /// The error that this answer describes.
    pub(crate) fn error(&self) -> Error {
        Error::from_answer(self.status, &self.headers, &self.body)
    }
}

/// A body whose members are not those of the interface.
pub(crate) fn unreadable(invalid: &Invalid) -> Error {
    let first = invalid.0.first().map(|error| format!("{}: {}", error.path(), error.msg));
    ProtocolError::Body { reason: first.unwrap_or_else(|| invalid.to_string()) }.into()
}

impl Transport {
    /// Sends `request` until it succeeds, or its error is final.
    pub(crate) async fn send(&self, request: &Request, headers: &HeaderMap) -> Result<Answer, Error> {
        let mut attempt = 1;
        loop {
            let outcome = self.attempt(request, headers).await;
            let error = match outcome {
                Ok(answer) if answer.status.is_success() => return Ok(answer),
                Ok(answer) => answer.error(),
                Err(error) => error,
            };
            let Some(wait) = self.retries.wait(attempt, request.repeat, &error) else {
                return Err(error);
            };
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// Sends `request` once; an answer of any status is returned.
    pub(crate) async fn attempt(&self, request: &Request, headers: &HeaderMap) -> Result<Answer, Error> {
        let mut sent = self.http.request(request.method.clone(), request.url.clone()).headers(headers.clone());
        if let Some(provider) = &self.token {
            let token = provider.token().await.map_err(Error::Token)?;
            let value = bearer(&token).ok_or_else(|| Error::Token("a header cannot carry the token".into()))?;
            sent = sent.header(AUTHORIZATION, value);
        }
        if let Some(body) = &request.body {
            sent = sent.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let mut response = sent.send().await.map_err(Error::transport)?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(Error::transport)? {
            if body.len() + part.len() > MAX_ANSWER_BYTES {
                let reason = format!("it has more than {MAX_ANSWER_BYTES} bytes");
                return Err(ProtocolError::Body { reason }.into());
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer { status, headers, body })
    }
}

/// The header's value for `token`; `None` when no header can carry it.
pub(crate) fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim())).ok()?;
    value.set_sensitive(true);
    Some(value)
}
