//! Who this is, and what exists from the start.

use super::source::{Reader, plain};
use crate::domain::role::Action;

/// Where the service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// A developer's machine.
    Local,
    /// Automated tests.
    Test,
    /// Before production.
    Staging,
    /// For real.
    Production,
}

/// `EPR_ENVIRONMENT`, `EPR_SERVICE_NAME`, `EPR_DEFAULT_PERMISSIONS`.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Where the service runs.
    pub environment: Environment,
    /// The name in log lines.
    pub name: String,
    /// Actions that exist from the start.
    pub default_permissions: Vec<Action>,
}

/// The contract's baseline actions.
#[must_use]
pub fn default_permissions() -> Vec<Action> {
    ["document:upload", "document:verify", "document:download", "document:archive"]
        .into_iter()
        .filter_map(|action| Action::new(action).ok())
        .collect()
}

impl ServiceSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            environment: reader.value(
                "EPR_ENVIRONMENT",
                Environment::Local,
                "local, test, staging, production",
                plain,
                |given| match given.to_ascii_lowercase().as_str() {
                    "local" => Some(Environment::Local),
                    "test" => Some(Environment::Test),
                    "staging" => Some(Environment::Staging),
                    "production" => Some(Environment::Production),
                    _ => None,
                },
            ),
            name: reader.text("EPR_SERVICE_NAME", "omen-epr"),
            default_permissions: reader.value(
                "EPR_DEFAULT_PERMISSIONS",
                default_permissions(),
                "actions of 3 to 255 characters, comma-separated or as a JSON list",
                plain,
                read_permissions,
            ),
        }
    }
}

fn read_permissions(given: &str) -> Option<Vec<Action>> {
    let words: Vec<String> = if given.starts_with('[') {
        serde_json::from_str(given).ok()?
    } else {
        given.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    words.into_iter().map(|word| Action::new(word).ok()).collect()
}
