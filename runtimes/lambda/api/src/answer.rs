//! A response as the answer of an invocation: in one piece, as text or base64, within the bytes that Lambda returns.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Response, header};
use serde::Serialize;

/// The most bytes of a body in an answer. Lambda returns 6 MB, of which some are for the rest of it.
pub(crate) const MAX_BODY_BYTES: usize = (6 << 20) - (64 << 10);

/// A response in the payload format 2.0.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayResponse {
    status_code: u16,
    /// Each with one value: a list is joined by commas.
    headers: BTreeMap<String, String>,
    /// The values of `Set-Cookie`, in which a comma is no separator.
    cookies: Vec<String>,
    body: String,
    is_base64_encoded: bool,
}

/// The body does not fit into an answer, and has this many bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge(pub(crate) usize);

/// The answer with this response.
///
/// # Errors
/// The body has too many bytes.
pub(crate) fn answer(response: &Response<Bytes>) -> Result<GatewayResponse, TooLarge> {
    let (body, is_base64_encoded) = body(response.body())?;
    let headers = response.headers();
    let names = headers.keys().filter(|name| *name != header::SET_COOKIE);
    Ok(GatewayResponse {
        status_code: response.status().as_u16(),
        headers: names.map(|name| (name.to_string(), texts(headers, name).join(", "))).collect(),
        cookies: texts(headers, &header::SET_COOKIE),
        body,
        is_base64_encoded,
    })
}

fn texts(headers: &HeaderMap, name: &header::HeaderName) -> Vec<String> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

/// Text where it fits, which a person can read in a trace; else base64, which is never more than a third larger.
fn body(bytes: &Bytes) -> Result<(String, bool), TooLarge> {
    match std::str::from_utf8(bytes) {
        Ok(text) if escaped_length(bytes) <= MAX_BODY_BYTES => Ok((text.to_owned(), false)),
        _ if bytes.len().div_ceil(3) * 4 <= MAX_BODY_BYTES => Ok((STANDARD.encode(bytes), true)),
        _ => Err(TooLarge(bytes.len())),
    }
}

/// The bytes of a text in a JSON string.
fn escaped_length(text: &[u8]) -> usize {
    text.iter()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
            0..=31 => 6,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer with this body, and its bytes.
    fn answer_of(bytes: impl Into<Bytes>) -> Result<(GatewayResponse, usize), TooLarge> {
        let answer = answer(&Response::new(bytes.into()))?;
        let length = serde_json::to_vec(&answer).unwrap().len();
        Ok((answer, length))
    }

    #[test]
    fn an_answer_never_has_more_bytes_than_lambda_returns() {
        let limit = 6 << 20;
        for (text, is_text) in [("a", true), ("\"", false), ("\n", false), ("\u{1}", false), ("\u{e9}", true)] {
            // As much as base64 has room for.
            let bytes = text.repeat(MAX_BODY_BYTES / 4 * 3 / text.len());
            let (answer, length) = answer_of(bytes.clone()).unwrap();
            assert_eq!((!answer.is_base64_encoded, length <= limit), (is_text, true), "{text:?} {length}");
            let (small, _) = answer_of(text).unwrap();
            assert_eq!((small.body.as_str(), small.is_base64_encoded), (text, false));
        }
        assert!(answer_of("a".repeat(MAX_BODY_BYTES)).unwrap().1 <= limit);
        assert_eq!(answer_of("a".repeat(MAX_BODY_BYTES + 1)).unwrap_err(), TooLarge(MAX_BODY_BYTES + 1));
        let (bytes, _) = answer_of(vec![0xff, 0]).unwrap();
        assert_eq!((bytes.body.as_str(), bytes.is_base64_encoded), ("/wA=", true));
    }

    #[test]
    fn a_header_with_several_values_is_one_list_and_cookies_stay_apart() {
        let response = Response::builder()
            .header("vary", "origin")
            .header("vary", "accept")
            .header("set-cookie", "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT")
            .header("set-cookie", "b=2");
        let answer = answer(&response.body(Bytes::new()).unwrap()).unwrap();
        assert_eq!(answer.headers, [("vary".to_owned(), "origin, accept".to_owned())].into());
        assert_eq!(answer.cookies, ["a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"]);
    }
}
