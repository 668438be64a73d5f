//! Where settings come from, and how a fault in one is told.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::dot_env;
use crate::store::url::masked;

/// Names and values. A name whose value is empty counts as not set.
#[derive(Clone, Default)]
pub struct Source(BTreeMap<String, (String, Origin)>);

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The process environment.
    Environment,
    /// The file `.env`.
    DotEnv,
}

/// One variable that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Where its value comes from.
    pub origin: Origin,
    /// The value, secrets masked; `None` when it has its default.
    pub value: Option<String>,
}

impl Source {
    /// The process environment, and beneath it the file `.env` in the working folder.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub fn from_env() -> Result<Self, SettingsError> {
        let mut values: BTreeMap<_, _> = match std::fs::read_to_string(".env") {
            Ok(text) => dot_env::read(&text)
                .map_err(|line| dot_env_fault(&format!("line {line} is not of the form NAME=value")))?
                .into_iter()
                .map(|(name, value)| (name, (value, Origin::DotEnv)))
                .collect(),
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(fault) => return Err(dot_env_fault(&fault.to_string())),
        };
        let mut faults = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) if !value.is_empty() => {
                    values.insert(name, (value, Origin::Environment));
                }
                Err(_) if name.starts_with("EPR_") || matches!(name.as_str(), "HOST" | "PORT" | "RUN_MIGRATIONS") => {
                    faults.push(format!("{name} is not valid UTF-8; allowed: text"));
                }
                // An empty value counts as not set; a name that is not ours is not our business.
                Ok(_) | Err(_) => {}
            }
        }
        if !faults.is_empty() {
            return Err(SettingsError(faults));
        }
        Ok(Self(values))
    }

    /// Exactly these.
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), (value.to_owned(), Origin::Environment));
        Self(pairs.into_iter().map(owned).collect())
    }

    /// The value of `name`, if it is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(value, _)| value.trim()).filter(|value| !value.is_empty())
    }

    /// Every name with a value.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(|name| self.get(name).is_some())
    }

    fn describe(&self, name: &str, show: impl Fn(&str) -> String) -> Described {
        let set = self.get(name).zip(self.0.get(name));
        let origin = set.map_or(Origin::Default, |(_, (_, origin))| *origin);
        Described { name: name.to_owned(), origin, value: set.map(|(value, _)| veiled(name, value, show)) }
    }
}

fn dot_env_fault(why: &str) -> SettingsError {
    // The line itself may hold a secret and is not shown.
    SettingsError(vec![format!("the file .env in the working folder cannot be used: {why}")])
}

/// Variables that do not parse: one sentence each, fit for a terminal, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError(pub Vec<String>);

impl std::fmt::Display for SettingsError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0.join("\n"))
    }
}

/// A value as it may be shown. What `show` masks is masked; beside that, values of names that sound like a secret, and
/// whatever a URL holds before its host.
fn veiled(name: &str, value: &str, show: impl Fn(&str) -> String) -> String {
    const SECRETIVE: [&str; 6] = ["SECRET", "TOKEN", "PASSWORD", "KEY", "CREDENTIAL", "HEADERS"];
    if SECRETIVE.iter().any(|word| name.contains(word)) {
        return "***".to_owned();
    }
    let shown = show(value);
    if shown.contains("://") && shown.contains('@') { masked(&shown) } else { shown }
}

/// Reads variables and collects what is wrong with them.
pub struct Reader<'a> {
    source: &'a Source,
    faults: Vec<String>,
    seen: Vec<Described>,
}

impl<'a> Reader<'a> {
    /// Reads `source`.
    #[must_use]
    pub fn new(source: &'a Source) -> Self {
        Self { source, faults: Vec::new(), seen: Vec::new() }
    }

    /// The value of `name` by `parse`, or `default` when it is not set. A value that `parse` refuses is a fault and
    /// is told as `show` shows it.
    pub fn value<T>(
        &mut self,
        name: &str,
        default: T,
        allowed: &str,
        show: impl Fn(&str) -> String,
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        self.note(name, &show);
        let Some(given) = self.source.get(name) else {
            return default;
        };
        parse(given).unwrap_or_else(|| {
            self.faults.push(format!("{name} is `{}`; allowed: {allowed}", show(given)));
            default
        })
    }

    /// [`Reader::value`] where the error of `parse` is a sentence that says what is wrong and shows no value.
    pub fn checked<T>(
        &mut self,
        name: &str,
        default: T,
        show: impl Fn(&str) -> String,
        parse: impl Fn(&str, &Source) -> Result<T, String>,
    ) -> T {
        self.note(name, &show);
        let Some(given) = self.source.get(name) else {
            return default;
        };
        parse(given, self.source).unwrap_or_else(|why| {
            self.faults.push(format!("{name} is `{}`: {why}", show(given)));
            default
        })
    }

    /// Whether `name` is set.
    #[must_use]
    pub fn given(&self, name: &str) -> bool {
        self.source.get(name).is_some()
    }

    /// Reports what is wrong with several variables together. `sentence` tells no secret.
    pub fn fault(&mut self, sentence: String) {
        self.faults.push(sentence);
    }

    /// Text as it stands.
    pub fn text(&mut self, name: &str, default: &str) -> String {
        self.note(name, plain);
        self.source.get(name).unwrap_or(default).to_owned()
    }

    fn note(&mut self, name: &str, show: impl Fn(&str) -> String) {
        if !self.seen.iter().any(|known| known.name == name) {
            self.seen.push(self.source.describe(name, show));
        }
    }

    /// Every variable that was looked at, in that order.
    #[must_use]
    pub fn seen(&self) -> &[Described] {
        &self.seen
    }

    /// A truth value.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        self.value(name, default, "true or false", plain, |given| match given.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        })
    }

    /// A whole number from `min` to `max`.
    pub fn number(&mut self, name: &str, default: u64, min: u64, max: u64) -> u64 {
        let allowed = format!("a whole number from {min} to {max}");
        self.value(name, default, &allowed, plain, |given| {
            given.parse().ok().filter(|number| (min..=max).contains(number))
        })
    }

    /// `settings`, unless there were faults.
    ///
    /// # Errors
    /// Every fault.
    pub fn finish<T>(self, settings: T) -> Result<T, SettingsError> {
        if self.faults.is_empty() { Ok(settings) } else { Err(SettingsError(self.faults)) }
    }
}

/// A value that is no secret, bounded in length and without control characters.
pub(super) fn plain(given: &str) -> String {
    let mut shown: String = given.chars().filter(|c| !c.is_control()).take(80).collect();
    if given.chars().count() > 80 {
        let _ = write!(shown, "…");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn faults(pairs: &[(&str, &str)]) -> Vec<String> {
        Settings::from_source(&Source::of(pairs.iter().copied())).map_or_else(|fault| fault.0, |_| Vec::new())
    }

    #[test]
    fn empty_counts_as_unset() {
        assert!(faults(&[("EPR_LOG_LEVEL", ""), ("PORT", "  "), ("EPR_DATABASE_URL", "")]).is_empty());
    }

    #[test]
    fn every_fault_is_told_and_secrets_are_masked() {
        let told = faults(&[
            ("EPR_LOG_LEVEL", "LOUD"),
            ("PORT", "70000"),
            ("RUN_MIGRATIONS", "maybe"),
            ("EPR_DATABASE_URL", "mysql://epr:hunter2@db/epr"),
            ("EPR_DEFAULT_PERMISSIONS", "ok:action,x"),
            ("EPR_ENVIRONMENT", "moon"),
            ("EPR_DOCUMENT_VAULT_TOPIC_ARN", "arn:aws:sns:us-east-1:1:events.fifo"),
        ]);
        assert_eq!(told.len(), 7, "{told:#?}");
        let text = told.join("\n");
        assert!(text.contains("EPR_LOG_LEVEL is `LOUD`; allowed: DEBUG, INFO, WARNING, ERROR, CRITICAL"), "{text}");
        assert!(text.contains("PORT is `70000`; allowed: a whole number from 0 to 65535"), "{text}");
        assert!(text.contains("mysql://epr:***@db/epr"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn secrets_do_not_print() {
        let list = format!(r#"[{{"name": "n", "sha256": "{}", "scopes": []}}]"#, "ab".repeat(32));
        let source = Source::of([
            ("EPR_DATABASE_URL", "postgresql://epr:hunter2@db/epr?sslrootcert=/ca.pem&password=hunter2"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
            ("AWS_SESSION_TOKEN", "hunter2"),
            ("EPR_AUTH_MODE", "token"),
            ("EPR_API_TOKENS", &list),
        ]);
        let shown = format!("{:#?}", Settings::from_source(&source).unwrap());
        assert!(!shown.contains("hunter2") && !shown.contains("abab"), "{shown}");
    }

    #[test]
    fn every_variable_is_described_with_its_origin_and_without_secrets() {
        let source = Source::of([
            ("EPR_DATABASE_URL", "postgresql://epr:hunter2@db/epr"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
            ("AWS_ENDPOINT_URL", "http://user:hunter2@localhost:5000"),
            ("EPR_LOG_LEVEL", "LOUD"),
        ]);
        let (settings, described) = Settings::describe(&source);
        assert!(settings.is_err(), "the description is there even so");
        let find = |name: &str| described.iter().find(|variable| variable.name == name).unwrap().clone();
        assert_eq!(find("EPR_DATABASE_URL").value.as_deref(), Some("postgresql://epr:***@db/epr"));
        assert_eq!(find("AWS_SECRET_ACCESS_KEY").value.as_deref(), Some("***"));
        assert_eq!((find("PORT").origin, find("PORT").value), (Origin::Default, None));
        assert_eq!(find("EPR_LOG_LEVEL").origin, Origin::Environment);
        assert!(!format!("{described:?}").contains("hunter2"));
    }

    #[test]
    fn permissions_come_as_a_list_or_as_json() {
        let read = |given: &str| {
            let source = Source::of([("EPR_DEFAULT_PERMISSIONS", given)]);
            let permissions = Settings::from_source(&source).unwrap().service.default_permissions;
            permissions.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(read("a:read, b:write"), ["a:read", "b:write"]);
        assert_eq!(read(r#"["a:read", "b:write"]"#), ["a:read", "b:write"]);
        assert_eq!(read("").len(), 4);
    }
}
