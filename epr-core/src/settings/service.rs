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

/// `EPR_ENVIRONMENT` (older name `ENV`), `EPR_SERVICE_NAME`, `EPR_DEFAULT_PERMISSIONS`.
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
            environment: read_environment(reader),
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

/// Any name is taken, as the older implementation took it. INVARIANT: an unknown one is production, where least is permitted.
fn read_environment(reader: &mut Reader<'_>) -> Environment {
    let name = if reader.given("EPR_ENVIRONMENT") || !reader.given("ENV") { "EPR_ENVIRONMENT" } else { "ENV" };
    let given = reader.text(name, "local");
    match given.to_ascii_lowercase().as_str() {
        "local" => Environment::Local,
        "test" => Environment::Test,
        "staging" => Environment::Staging,
        "production" => Environment::Production,
        _ => {
            let given = plain(&given);
            reader.warn(format!(
                "{name} is `{given}`, which is none of local, test, staging, production: treated like production"
            ));
            Environment::Production
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
