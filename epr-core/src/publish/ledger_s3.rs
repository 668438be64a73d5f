//! A bucket of S3 as the place where the ledger is published.
//!
//! S3 itself refuses to overwrite a file that must not change (`If-None-Match: *`), and with Object Lock also to delete
//! it. Must never write such a file without the retention that the settings ask for.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::get_object_lock_configuration::GetObjectLockConfigurationError;
use aws_sdk_s3::operation::put_object::PutObjectError;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ChecksumAlgorithm, ObjectLockEnabled, ObjectLockMode};
use tokio::sync::OnceCell;
use tracing::{info, warn};

use super::aws_error::describe;
use super::ledger_target::{LedgerTarget, Put, TargetError};
use crate::clock::{Clock as _, SystemClock};
use crate::settings::AwsSettings;

/// The deadline of one attempt of a call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// The deadline of a call with its retries.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The slowest upload that is waited for, in bytes for each further second of a deadline: files of archives are larger
/// than tiles.
const UPLOAD_BYTES_A_SECOND: usize = 256 << 10;
/// Attempts of a call, the first one included.
const MAX_ATTEMPTS: u32 = 3;
/// Writes of one file while another process writes it too: S3 refuses both until one of them is complete.
const MAX_CONFLICTS: usize = 5;

/// How long S3 refuses to delete an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    mode: RetentionMode,
    /// The number of days from the moment at which the object is written.
    days: u16,
}

/// Who can shorten a retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RetentionMode {
    /// No caller.
    Compliance,
    /// Callers with the right `s3:BypassGovernanceRetention`.
    Governance,
}

impl Retention {
    /// The values in words.
    pub const ALLOWED: &'static str = "compliance:DAYS or governance:DAYS, 1 to 36500 days";

    /// Reads a value, for example `compliance:3650`.
    #[must_use]
    pub fn parse(given: &str) -> Option<Self> {
        let (mode, days) = given.split_once(':')?;
        let mode = match mode.to_ascii_lowercase().as_str() {
            "compliance" => RetentionMode::Compliance,
            "governance" => RetentionMode::Governance,
            _ => return None,
        };
        days.parse().ok().filter(|days| (1..=36_500).contains(days)).map(|days| Self { mode, days })
    }

    /// Puts the retention on an object that is about to be written.
    fn apply(self, call: PutObjectFluentBuilder) -> PutObjectFluentBuilder {
        let mode = match self.mode {
            RetentionMode::Compliance => ObjectLockMode::Compliance,
            RetentionMode::Governance => ObjectLockMode::Governance,
        };
        let now = SystemClock.now().unix_micros() / 1_000_000;
        let until = DateTime::from_secs(now + i64::from(self.days) * 86_400);
        call.object_lock_mode(mode).object_lock_retain_until_date(until)
    }
}

/// A bucket, and the beginning of every key in it.
pub struct LedgerBucket {
    aws: AwsSettings,
    bucket: String,
    prefix: String,
    /// The retention of the settings.
    configured: Option<Retention>,
    client: OnceCell<Client>,
    /// The retention with which objects are written, once the configuration of the bucket has been read.
    retention: OnceCell<Option<Retention>>,
}

impl LedgerBucket {
    /// The bucket; nothing is called yet. `retention` is used if the bucket has Object Lock without a default
    /// retention.
    #[must_use]
    pub fn new(aws: &AwsSettings, bucket: &str, prefix: &str, retention: Option<Retention>) -> Self {
        Self {
            aws: aws.clone(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            configured: retention,
            client: OnceCell::new(),
            retention: OnceCell::new(),
        }
    }

    async fn client(&self) -> &Client {
        let open = async || {
            let shared = self.aws.load("s3", self.aws.s3_endpoint.as_deref()).await;
            let config = aws_sdk_s3::config::Builder::from(&shared)
                .timeout_config(timeouts(0))
                .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
                // Another server than AWS's own has no name for each bucket.
                .force_path_style(self.aws.s3_endpoint.is_some())
                .build();
            Client::from_conf(config)
        };
        self.client.get_or_init(open).await
    }

    fn key(&self, path: &str) -> String {
        if self.prefix.is_empty() { path.to_owned() } else { format!("{}/{path}", self.prefix) }
    }

    fn refused(&self, path: &str, why: String) -> TargetError {
        TargetError::new(format!("s3://{}/{}", self.bucket, self.key(path)), why)
    }

    /// The retention with which objects are written. The bucket's configuration is read once.
    async fn retention(&self) -> Result<Option<Retention>, TargetError> {
        self.retention.get_or_try_init(|| self.read_retention()).await.copied()
    }

    async fn read_retention(&self) -> Result<Option<Retention>, TargetError> {
        let (bucket, configured) = (&self.bucket, self.configured);
        let answer = self.client().await.get_object_lock_configuration().bucket(bucket).send().await;
        let lock = match answer {
            Ok(answer) => answer.object_lock_configuration,
            Err(error) if has_no_lock(&error) => None,
            Err(error) if status(&error) == Some(403) => {
                let hint = "the credentials lack s3:GetBucketObjectLockConfiguration";
                warn!(bucket, hint, "ledger_object_lock_unknown");
                return Ok(configured);
            }
            Err(error) => return Err(TargetError::new(format!("s3://{bucket}"), describe(&error))),
        };
        let lock = lock.filter(|lock| lock.object_lock_enabled() == Some(&ObjectLockEnabled::Enabled));
        let Some(lock) = lock else {
            return match configured {
                None => Ok(None),
                Some(_) => Err(TargetError::new(
                    format!("s3://{bucket}"),
                    "the bucket has no Object Lock, which EPR_LEDGER_PUBLISH_RETENTION needs",
                )),
            };
        };
        let default = lock.rule().and_then(|rule| rule.default_retention()).filter(|default| default.mode().is_some());
        match (default, configured) {
            (Some(_), _) => {
                info!(bucket, source = "bucket", "ledger_objects_retained");
                Ok(None)
            }
            (None, Some(Retention { days, .. })) => {
                info!(bucket, source = "EPR_LEDGER_PUBLISH_RETENTION", days, "ledger_objects_retained");
                Ok(configured)
            }
            (None, None) => {
                let hint = "set a default retention on the bucket, or EPR_LEDGER_PUBLISH_RETENTION";
                warn!(bucket, hint, "ledger_objects_not_retained");
                Ok(None)
            }
        }
    }

    async fn put(&self, path: &str, content: &[u8]) -> PutObjectFluentBuilder {
        let (content_type, caching) = headers(path);
        let call = self.client().await.put_object().bucket(&self.bucket).key(self.key(path));
        call.body(content.to_vec().into())
            .content_type(content_type)
            .cache_control(caching)
            // Object Lock requires a checksum.
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
    }

    /// Sends `bytes` bytes, with a deadline that fits them.
    async fn send(call: PutObjectFluentBuilder, bytes: usize) -> Result<(), SdkError<PutObjectError>> {
        let deadline = aws_sdk_s3::config::Config::builder().timeout_config(timeouts(bytes));
        call.customize().config_override(deadline).send().await.map(|_| ())
    }
}

/// The deadlines of a call that sends `bytes` bytes.
fn timeouts(bytes: usize) -> TimeoutConfig {
    let upload = Duration::from_secs(u64::try_from(bytes / UPLOAD_BYTES_A_SECOND).unwrap_or(0));
    TimeoutConfig::builder()
        .connect_timeout(ATTEMPT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT + upload)
        .operation_timeout(CALL_TIMEOUT + upload * MAX_ATTEMPTS)
        .build()
}

/// The headers with which a file is served from the bucket: those of `/api/v1/ledger`, and of archives by their names.
fn headers(path: &str) -> (&'static str, &'static str) {
    let content_type = match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("gz") => "application/gzip",
        Some("json") => "application/json",
        _ if path.contains("/tile/") || path.ends_with("/tiles") => "application/octet-stream",
        _ => "text/plain; charset=utf-8",
    };
    let caching = if path.contains("/archive/") {
        // An archive has the texts of entries: no cache between may keep them.
        "private, no-store"
    } else if path.ends_with("/checkpoint") {
        "max-age=5"
    } else {
        "max-age=31536000, immutable"
    };
    (content_type, caching)
}

/// Whether a bucket has no Object Lock, or the server does not know it.
fn has_no_lock(error: &SdkError<GetObjectLockConfigurationError>) -> bool {
    let code = error.as_service_error().and_then(|error| error.code());
    matches!(code, Some("ObjectLockConfigurationNotFoundError" | "NotImplemented"))
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

#[async_trait]
impl LedgerTarget for LedgerBucket {
    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, TargetError> {
        self.read_at_most(path, u64::MAX).await
    }

    async fn read_at_most(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TargetError> {
        let call = self.client().await.get_object().bucket(&self.bucket).key(self.key(path));
        let mut body = match call.send().await {
            Ok(object) => object.body,
            // Also 404, but not the same: a bucket that does not exist.
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => return Ok(None),
            Err(error) => return Err(self.refused(path, describe(&error))),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut content = Vec::new();
        while content.len() < limit {
            let Some(part) = body.next().await else { break };
            let part = part.map_err(|error| self.refused(path, crate::error::chain(&error)))?;
            content.extend_from_slice(&part);
        }
        content.truncate(limit);
        Ok(Some(content))
    }

    async fn put_new(&self, path: &str, content: &[u8]) -> Result<Put, TargetError> {
        let retention = self.retention().await?;
        for _ in 0..MAX_CONFLICTS {
            let call = self.put(path, content).await.if_none_match("*");
            let call = match retention {
                Some(retention) => retention.apply(call),
                None => call,
            };
            match Self::send(call, content.len()).await {
                Ok(()) => return Ok(Put::Written),
                Err(error) => match status(&error) {
                    Some(412) => return Ok(Put::Exists),
                    Some(409) => {}
                    _ => return Err(self.refused(path, describe(&error))),
                },
            }
        }
        Err(self.refused(path, "other processes write it at the same time".to_owned()))
    }

    async fn replace(&self, path: &str, content: &[u8]) -> Result<(), TargetError> {
        let call = self.put(path, content).await;
        Self::send(call, content.len()).await.map_err(|error| self.refused(path, describe(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_has_a_mode_and_days() {
        for (given, mode, days) in
            [("compliance:3650", RetentionMode::Compliance, 3650), ("Governance:1", RetentionMode::Governance, 1)]
        {
            assert_eq!(Retention::parse(given), Some(Retention { mode, days }));
        }
        for given in ["", "compliance", "compliance:", "compliance:0", "compliance:36501", "governance:1d", "none:1"] {
            assert_eq!(Retention::parse(given), None, "{given}");
        }
    }

    #[test]
    fn files_are_served_as_the_api_serves_them() {
        assert_eq!(headers("0198/checkpoint"), ("text/plain; charset=utf-8", "max-age=5"));
        assert_eq!(headers("0198/checkpoints/07"), ("text/plain; charset=utf-8", "max-age=31536000, immutable"));
        for (path, content_type) in [
            ("0198/tile/0/000", "application/octet-stream"),
            ("0198/tile/entries/000.p/12", "application/octet-stream"),
        ] {
            assert_eq!(headers(path), (content_type, "max-age=31536000, immutable"), "{path}");
        }
        // The texts of entries are for no cache.
        for (path, content_type) in [
            ("0198/archive/format.json", "application/json"),
            ("0198/archive/0000000000000000001/tiles", "application/octet-stream"),
            ("0198/archive/0000000000000000001/entries-0000000000000000001.jsonl.gz", "application/gzip"),
            ("0198/archive/0000000000000000001/manifest.json", "application/json"),
        ] {
            assert_eq!(headers(path), (content_type, "private, no-store"), "{path}");
        }
    }
}
