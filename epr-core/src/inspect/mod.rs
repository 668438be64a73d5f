//! Looking at what the service depends on, for `epr doctor`: can it be used, and if not, what is to be done?
//!
//! Changes nothing anywhere: publishes nothing, receives nothing, makes no file. Never tells a secret.

mod authentication;
mod cache;
mod clock;
mod database;
mod hierarchy;
mod queue;
mod topic;

use serde::Serialize;

pub use authentication::authentication;
pub use cache::cache;
pub use database::database;
pub use queue::queue;
pub use topic::topic;

/// How a dependency stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It can be used.
    Fine,
    /// It can be used, as far as can be told, but something about it deserves a look.
    Doubtful,
    /// It cannot be used.
    Wrong,
    /// It is not configured, and the service does without.
    Unused,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: one word.
    pub what: &'static str,
    /// How it stands.
    pub state: State,
    /// What was seen.
    pub seen: String,
    /// What to do about it, if anything.
    pub advice: Option<String>,
}

impl Finding {
    /// A finding without advice.
    #[must_use]
    pub fn new(what: &'static str, state: State, seen: impl Into<String>) -> Self {
        Self { what, state, seen: seen.into(), advice: None }
    }

    /// The same with advice.
    #[must_use]
    pub fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

/// What AWS answered, as far as advice depends on it.
enum Refusal {
    /// Who asks is not allowed to look.
    Denied,
    /// Who asks is not known.
    Credentials,
    /// It does not exist.
    Missing,
    /// Nothing was reached, or something else is wrong.
    Other,
}

impl Refusal {
    /// By the service's code or, when there is none, the chain of causes.
    fn of(why: &str) -> Self {
        let holds = |words: &[&str]| words.iter().any(|word| why.contains(word));
        if holds(&["AccessDenied", "AuthorizationError", "not authorized"]) {
            Self::Denied
        } else if holds(&[
            "InvalidClientTokenId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "UnrecognizedClient",
            "InvalidAccessKeyId",
            "no providers in chain",
            "credentials",
        ]) {
            Self::Credentials
        } else if holds(&["NotFound", "NonExistentQueue", "QueueDoesNotExist"]) {
            Self::Missing
        } else {
            Self::Other
        }
    }
}

const CREDENTIALS: &str = "give working AWS credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the role of the \
task; where the URL or ARN names no region, AWS_REGION must be that of the resource";
