//! A bucket of S3 as the place where the ledger is published.
//!
//! Three requests (`GET`, `PUT`, `PUT` with `If-None-Match`) do not justify the SDK of S3, which takes longer to
//! compile than everything else of AWS together: they are signed here (Signature Version 4), with the credentials of
//! the SDK's chain. Must never log a credential. Retention is the bucket's default one (Object Lock), which S3 applies
//! to every object; the checksum that it requires then is always sent.

use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, Response, StatusCode};
use ring::hmac;
use sha2::{Digest as _, Sha256};
use time::macros::format_description;

use super::ledger_target::{LedgerTarget, Put, TargetError};
use crate::clock::{Clock as _, SystemClock};
use crate::domain::Timestamp;
use crate::ledger::canonical::hex;
use crate::settings::{AwsCredentials, AwsSettings};

/// The deadline of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A bucket, and the beginning of every key in it.
pub struct LedgerBucket {
    client: Client,
    aws: AwsSettings,
    /// `https://s3.eu-central-1.amazonaws.com`
    endpoint: String,
    bucket: String,
    prefix: String,
}

impl LedgerBucket {
    /// The bucket; nothing is called yet.
    #[must_use]
    pub fn new(aws: &AwsSettings, bucket: &str, prefix: &str) -> Self {
        let region = &aws.region;
        let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
        let own = || format!("https://s3.{region}.amazonaws.com{suffix}");
        let endpoint = aws.s3_endpoint.clone().unwrap_or_else(own);
        // Only an invalid setting of this call could fail.
        let client = Client::builder().timeout(CALL_TIMEOUT).build().unwrap_or_default();
        Self {
            client,
            aws: aws.clone(),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        content: &[u8],
        conditions: &[(&'static str, &str)],
    ) -> Result<Response, TargetError> {
        let prefix = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let object = format!("/{}/{prefix}{path}", self.bucket);
        let name = format!("s3:/{object}");
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
            TargetError::new(format!("{method} {name} failed"), cause)
        };
        let credentials = self.aws.credentials().await.map_err(&failed)?;
        let digest = Sha256::digest(content);
        let mut headers: Vec<(&str, String)> = vec![
            ("host", host(&self.endpoint).to_owned()),
            ("x-amz-content-sha256", hex(&digest)),
            ("x-amz-date", timestamp(SystemClock.now())),
        ];
        if method == Method::PUT {
            headers.push(("x-amz-checksum-sha256", STANDARD.encode(digest)));
        }
        if let Some(token) = &credentials.session {
            headers.push(("x-amz-security-token", token.clone()));
        }
        headers.sort();
        let encoded = encode_path(&object);
        let authorization = authorization(&credentials, &self.aws.region, method.as_str(), &encoded, &headers);
        let mut request = self.client.request(method.clone(), format!("{}{encoded}", self.endpoint));
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            request = request.header(*name, value);
        }
        for (name, value) in conditions {
            request = request.header(*name, *value);
        }
        request = request.header("authorization", authorization);
        if method == Method::PUT {
            request = request.body(content.to_vec());
        }
        request.send().await.map_err(|error| failed(error.into()))
    }

    async fn unexpected<T>(path: &str, response: Response) -> Result<T, TargetError> {
        let status = response.status();
        let body = response.text().await.unwrap_or_default();
        // S3 answers with a short XML, whose code says what is wrong.
        let code =
            body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("", |(code, _)| code);
        Err(TargetError::new(format!("S3 refuses {path}"), format!("status {} {code}", status.as_u16())))
    }
}

#[async_trait]
impl LedgerTarget for LedgerBucket {
    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, TargetError> {
        let response = self.call(Method::GET, path, &[], &[]).await?;
        match response.status() {
            StatusCode::OK => {
                let body = response.bytes().await;
                body.map(|body| Some(body.to_vec())).map_err(|error| TargetError::new(path, error))
            }
            StatusCode::NOT_FOUND => Ok(None),
            _ => Self::unexpected(path, response).await,
        }
    }

    async fn put_new(&self, path: &str, content: &[u8]) -> Result<Put, TargetError> {
        let response = self.call(Method::PUT, path, content, &[("if-none-match", "*")]).await?;
        match response.status() {
            StatusCode::OK => Ok(Put::Written),
            StatusCode::PRECONDITION_FAILED => Ok(Put::Exists),
            _ => Self::unexpected(path, response).await,
        }
    }

    async fn replace(&self, path: &str, content: &[u8]) -> Result<(), TargetError> {
        let response = self.call(Method::PUT, path, content, &[]).await?;
        match response.status() {
            StatusCode::OK => Ok(()),
            _ => Self::unexpected(path, response).await,
        }
    }
}

/// Host and port of an endpoint.
fn host(endpoint: &str) -> &str {
    endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest).split('/').next().unwrap_or_default()
}

/// `20261129T194500Z`
fn timestamp(now: Timestamp) -> String {
    now.into_inner().format(format_description!("[year][month][day]T[hour][minute][second]Z")).unwrap_or_default()
}

/// Every byte but unreserved characters and slashes as `%XX`.
fn encode_path(path: &str) -> String {
    path.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// The value of the header `authorization` (Signature Version 4). `headers` are sorted, in lower case, and have
/// `x-amz-date` and `x-amz-content-sha256`.
fn authorization(
    credentials: &AwsCredentials,
    region: &str,
    method: &str,
    path: &str,
    headers: &[(&str, String)],
) -> String {
    let value = |name: &str| headers.iter().find(|(each, _)| *each == name).map_or("", |(_, value)| value.as_str());
    let (date, payload) = (value("x-amz-date"), value("x-amz-content-sha256"));
    let day = date.get(..8).unwrap_or_default();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines = headers.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join("\n");
    let canonical = format!("{method}\n{path}\n\n{lines}\n\n{names}\n{payload}");
    let scope = format!("{day}/{region}/s3/aws4_request");
    let signed = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let first = format!("AWS4{}", credentials.secret).into_bytes();
    let key = [day, region, "s3", "aws4_request"].into_iter().fold(first, |key, part| mac(&key, part));
    let signature = hex(&mac(&key, &signed));
    format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", credentials.id)
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of AWS's documentation ("GET Object", Signature Version 4 with the header `Range`).
    #[test]
    fn a_request_is_signed_as_aws_documents_it() {
        let credentials = AwsCredentials {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            session: None,
        };
        let headers = [
            ("host", "examplebucket.s3.amazonaws.com".to_owned()),
            ("range", "bytes=0-9".to_owned()),
            ("x-amz-content-sha256", hex(&Sha256::digest([]))),
            ("x-amz-date", "20130524T000000Z".to_owned()),
        ];
        let value = authorization(&credentials, "us-east-1", "GET", "/test.txt", &headers);
        let expected = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert!(value.ends_with(&format!("Signature={expected}")), "{value}");
    }

    #[test]
    fn parts_of_a_request_are_written_as_s3_expects_them() {
        assert_eq!(host("https://s3.eu-central-1.amazonaws.com"), "s3.eu-central-1.amazonaws.com");
        assert_eq!(host("http://127.0.0.1:5000/"), "127.0.0.1:5000");
        assert_eq!(encode_path("/b/a b/tile/0/000.p/1+ü"), "/b/a%20b/tile/0/000.p/1%2B%C3%BC");
    }
}
