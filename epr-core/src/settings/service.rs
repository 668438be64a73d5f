//! The service: its environment, its name, and the actions that exist from the start.

use super::reader::Reader;
use super::shown::plain;
use super::variable::{Section, Variable};
use crate::domain::role::Action;
use crate::domain::{EntityType, EntityTypes};

const ENVIRONMENT: Variable = Variable::text(
    "EPR_ENVIRONMENT",
    "local",
    "local, test, staging, production",
    "Where the service runs. Any other text is treated like `production`, with a warning.",
);
const ENVIRONMENT_BEFORE: Variable = Variable::optional(
    "ENV",
    "local, test, staging, production",
    "Older name of `EPR_ENVIRONMENT`, read where that is not set.",
);
const NAME: Variable = Variable::text("EPR_SERVICE_NAME", "omen-epr", "text", "The `service` of every log line.");
const DEFAULT_PERMISSIONS: Variable = Variable::text(
    "EPR_DEFAULT_PERMISSIONS",
    "document:upload, document:verify, document:download, document:archive",
    "actions of 3 to 255 characters, comma-separated or as a JSON list",
    "Actions that exist from the start.",
);

const ENTITY_TYPES: Variable = Variable::optional(
    "EPR_ENTITY_TYPES",
    "words of 1 to 64 characters, comma-separated: the first a to z, the others a to z, 0 to 9, `_`, `.` or `-`; not \
     `everywhere`, `principal` or `role`",
    "Entity types in addition to the built-in ones. A type that entities or roles use cannot be removed: the start \
     fails.",
);

pub(super) const SECTION: Section = Section {
    title: "Service",
    variables: &[ENVIRONMENT, ENVIRONMENT_BEFORE, NAME, DEFAULT_PERMISSIONS, ENTITY_TYPES],
};

/// Where the service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// A developer's machine.
    Local,
    /// Automated tests.
    Test,
    /// A rehearsal of production.
    Staging,
    /// Production.
    Production,
}

/// The service itself.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Where the service runs.
    pub environment: Environment,
    /// The name in log lines.
    pub name: String,
    /// Actions that exist from the start.
    pub default_permissions: Vec<Action>,
    /// The entity types that requests may name.
    pub entity_types: EntityTypes,
}

/// The contract's baseline actions.
#[must_use]
pub fn default_permissions() -> Vec<Action> {
    DEFAULT_PERMISSIONS.default().as_deref().and_then(parse_permissions).unwrap_or_default()
}

impl ServiceSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            environment: read_environment(reader),
            name: reader.text(&NAME),
            default_permissions: reader.value(&DEFAULT_PERMISSIONS, parse_permissions).unwrap_or_default(),
            entity_types: EntityTypes::with(reader.value(&ENTITY_TYPES, parse_types).unwrap_or_default()),
        }
    }
}

/// Any name is accepted, as the older implementation accepted it. INVARIANT: an unknown one is production, where least
/// is permitted.
fn read_environment(reader: &mut Reader<'_>) -> Environment {
    let older = reader.is_set(&ENVIRONMENT_BEFORE) && !reader.is_set(&ENVIRONMENT);
    let variable = if older { ENVIRONMENT_BEFORE } else { ENVIRONMENT };
    let given = reader.text(&variable);
    match given.to_ascii_lowercase().as_str() {
        "local" => Environment::Local,
        "test" => Environment::Test,
        "staging" => Environment::Staging,
        "production" => Environment::Production,
        _ => {
            let (name, given) = (variable.name, plain(&given));
            reader.warn(format!(
                "{name} is `{given}`, which is none of local, test, staging, production: treated like production"
            ));
            Environment::Production
        }
    }
}

fn parse_permissions(given: &str) -> Option<Vec<Action>> {
    let words: Vec<String> = if given.starts_with('[') {
        serde_json::from_str(given).ok()?
    } else {
        given.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    words.into_iter().map(|word| Action::new(word).ok()).collect()
}

/// Words that cannot be entity types: exports write `everywhere` for no entity, and ledger entries about roles and
/// principals have `role` and `principal` as their `entity_type`.
const RESERVED_TYPES: [&str; 3] = ["everywhere", "principal", "role"];

/// The types of a comma-separated list.
fn parse_types(given: &str) -> Option<Vec<EntityType>> {
    let words = given.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| EntityType::from_word(word).filter(|_| !RESERVED_TYPES.contains(&word))).collect()
}
