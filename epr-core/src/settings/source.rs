//! Where the values of variables come from: the environment and the file `.env`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::dot_env;
use super::error::SettingsError;
use super::variable::Variable;
use crate::store::url::masked;

/// Names and values. A variable whose value is empty is not set.
#[derive(Clone, Default)]
pub struct Source(BTreeMap<String, (String, Origin)>);

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The variable is not set.
    Default,
    /// The process environment.
    Environment,
    /// The file `.env`.
    DotEnv,
}

/// A variable that was read, as `epr doctor` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Described {
    /// The name of the variable.
    pub name: String,
    /// Where its value comes from.
    pub origin: Origin,
    /// The value, secrets masked; `None` when the default is used.
    pub value: Option<String>,
}

impl Source {
    /// Reads the process environment and the file `.env` in the working folder. The environment wins.
    ///
    /// # Errors
    /// The file exists but cannot be read or has a line of another form, or a variable of EPR is not valid UTF-8.
    pub fn from_env() -> Result<Self, SettingsError> {
        let mut values: BTreeMap<_, _> = match std::fs::read_to_string(".env") {
            Ok(text) => dot_env::read(&text)
                .map_err(|line| dot_env_error(&format!("line {line} is not of the form NAME=value")))?
                .into_iter()
                .map(|(name, value)| (name, (value, Origin::DotEnv)))
                .collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(dot_env_error(&error.to_string())),
        };
        let mut errors = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) if !value.is_empty() => {
                    values.insert(name, (value, Origin::Environment));
                }
                Err(_) if name.starts_with("EPR_") || matches!(name.as_str(), "HOST" | "PORT" | "RUN_MIGRATIONS") => {
                    errors.push(format!("{name} is not valid UTF-8; allowed: text"));
                }
                // Empty, or a variable of another program.
                Ok(_) | Err(_) => {}
            }
        }
        if errors.is_empty() { Ok(Self(values)) } else { Err(SettingsError(errors)) }
    }

    /// Exactly these names and values, for tests and embedding programs.
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), (value.to_owned(), Origin::Environment));
        Self(pairs.into_iter().map(owned).collect())
    }

    /// The value of `name` without spaces around it; `None` when it is not set or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(value, _)| value.trim()).filter(|value| !value.is_empty())
    }

    /// The names of all variables that have a value.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(|name| self.get(name).is_some())
    }

    pub(super) fn describe(&self, variable: &Variable) -> Described {
        let set = self.get(variable.name).zip(self.0.get(variable.name));
        let origin = set.map_or(Origin::Default, |(_, (_, origin))| *origin);
        let value = set.map(|(value, _)| show(variable, value));
        Described { name: variable.name.to_owned(), origin, value }
    }
}

fn dot_env_error(why: &str) -> SettingsError {
    // The line may hold a secret and is not shown.
    SettingsError(vec![format!("the file .env in the working folder cannot be used: {why}")])
}

/// A value as `epr doctor` shows it: besides what the declaration masks, values of names that sound like a secret, and
/// the part of a URL before its host.
fn show(variable: &Variable, value: &str) -> String {
    const SECRETIVE: [&str; 6] = ["SECRET", "TOKEN", "PASSWORD", "KEY", "CREDENTIAL", "HEADERS"];
    if SECRETIVE.iter().any(|word| variable.name.contains(word)) {
        return "***".to_owned();
    }
    let shown = variable.show(value);
    if shown.contains("://") && shown.contains('@') { masked(&shown) } else { shown }
}
