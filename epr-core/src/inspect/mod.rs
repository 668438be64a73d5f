//! The dependencies of the service, for `epr doctor`: whether each can be used, and if not, what to do.
//!
//! Must never change anything (it publishes nothing, receives nothing, creates no file), and must never show a secret.

mod archive;
mod authentication;
mod cache;
mod cause;
mod clock;
mod conditions;
mod database;
mod graph;
mod hierarchy;
mod queue;
mod replica;
mod topic;

use serde::Serialize;

pub use authentication::authentication;
pub use cache::cache;
pub use database::database;
pub use queue::queue;
pub use topic::topic;

/// The state of a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It can be used.
    Fine,
    /// It can be used as far as is known, but something about it needs attention.
    Doubtful,
    /// It cannot be used.
    Wrong,
    /// It is not configured, and the service works without it.
    Unused,
}

/// The result of one inspection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The subject, one word.
    pub what: &'static str,
    /// The state of the subject.
    pub state: State,
    /// The observation.
    pub seen: String,
    /// The remedy, if one is needed.
    pub advice: Option<String>,
}

impl Finding {
    /// A finding without advice.
    #[must_use]
    pub fn new(what: &'static str, state: State, seen: impl Into<String>) -> Self {
        Self { what, state, seen: seen.into(), advice: None }
    }

    /// Adds advice to the finding.
    #[must_use]
    pub fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

/// The kind of an error of AWS, on which advice depends.
enum AwsError {
    /// The credentials lack a permission.
    Denied,
    /// The credentials are not valid, or there are none.
    Credentials,
    /// The resource does not exist.
    Missing,
    /// No answer, or another error.
    Other,
}

impl AwsError {
    /// The kind, by the service's error code or, without one, by the chain of causes.
    fn of(error: &str) -> Self {
        let has = |words: &[&str]| words.iter().any(|word| error.contains(word));
        if has(&["AccessDenied", "AuthorizationError", "not authorized"]) {
            Self::Denied
        } else if has(&[
            "InvalidClientTokenId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "UnrecognizedClient",
            "InvalidAccessKeyId",
            "no providers in chain",
            "credentials",
        ]) {
            Self::Credentials
        } else if has(&["NotFound", "NonExistentQueue", "QueueDoesNotExist"]) {
            Self::Missing
        } else {
            Self::Other
        }
    }
}

const CREDENTIALS: &str = "configure working AWS credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, \
     or the role of the task; where the URL or ARN names no region, AWS_REGION must be that of the resource";
