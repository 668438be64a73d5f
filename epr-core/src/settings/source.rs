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
    warnings: Vec<String>,
    seen: Vec<Described>,
}

impl<'a> Reader<'a> {
    /// Reads `source`.
    #[must_use]
    pub fn new(source: &'a Source) -> Self {
        Self { source, faults: Vec::new(), warnings: Vec::new(), seen: Vec::new() }
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

    /// Reports a value that is used in another way than it is written. `sentence` tells no secret.
    pub fn warn(&mut self, sentence: String) {
        self.warnings.push(sentence);
    }

    /// Values that are used in another way than they are written.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
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
            "true" | "t" | "1" | "yes" | "y" | "on" => Some(true),
            "false" | "f" | "0" | "no" | "n" | "off" => Some(false),
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

    /// [`Reader::number`] for a variable of the older implementation, which had no upper bound: a larger number is the bound,
    /// with a warning.
    pub fn number_up_to(&mut self, name: &str, default: u64, min: u64, max: u64) -> u64 {
        let larger = self.source.get(name).is_some_and(|given| {
            given.bytes().all(|b| b.is_ascii_digit())
                && given.parse().is_ok_and(|number: u128| number > u128::from(max))
        });
        if !larger {
            return self.number(name, default, min, max);
        }
        self.note(name, plain);
        let given = plain(self.source.get(name).unwrap_or_default());
        self.warn(format!("{name} is `{given}`, which is more than {max}: {max} is used"));
        max
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
            ("EPR_DOCUMENT_VAULT_TOPIC_ARN", "arn:aws:sns:us-east-1:1:events.fifo"),
        ]);
        assert_eq!(told.len(), 6, "{told:#?}");
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

    /// What a variable became, and the warning.
    fn taken<T>(pairs: &[(&str, &str)], of: impl Fn(&Settings) -> T) -> (T, String) {
        let settings = Settings::from_source(&Source::of(pairs.iter().copied()));
        let settings = settings.unwrap_or_else(|fault| panic!("{pairs:?}: {fault}"));
        (of(&settings), settings.warnings.join("; "))
    }

    #[test]
    fn an_environment_of_any_name_is_taken() {
        use crate::settings::Environment::{Local, Production, Staging};
        let environment = |pairs: &[(&str, &str)]| taken(pairs, |settings| settings.service.environment);
        assert_eq!(environment(&[]), (Local, String::new()));
        assert_eq!(environment(&[("EPR_ENVIRONMENT", "Staging")]), (Staging, String::new()));
        assert_eq!(environment(&[("ENV", "staging")]), (Staging, String::new()));
        assert_eq!(environment(&[("ENV", "staging"), ("EPR_ENVIRONMENT", "production")]), (Production, String::new()));
        for (name, given) in [("EPR_ENVIRONMENT", "moon"), ("ENV", "dev"), ("EPR_ENVIRONMENT", "prod-eu 1")] {
            let expected = format!(
                "{name} is `{given}`, which is none of local, test, staging, production: treated like production"
            );
            assert_eq!(environment(&[(name, given)]), (Production, expected));
        }
    }

    #[test]
    fn a_shared_cache_that_could_not_work_is_left_out_with_a_warning() {
        const REST: (&str, &str) = ("EPR_REDIS_URL", "https://eu1-example.upstash.io");
        let shared = |pairs: &[(&str, &str)]| {
            taken(pairs, |settings| (settings.cache.shared.is_some(), settings.cache.ttl.as_secs()))
        };
        assert_eq!(shared(&[REST, ("EPR_REDIS_TOKEN", "t")]), ((true, 300), String::new()));
        let (left_out, warning) = shared(&[REST]);
        assert_eq!(left_out, (false, 300));
        assert!(warning.starts_with("EPR_REDIS_TOKEN is not set"), "{warning}");
        for url in [REST, ("EPR_REDIS_URL", "redis://cache:6379/0")] {
            let (left_out, warning) = shared(&[url, ("EPR_REDIS_TOKEN", "t"), ("EPR_REDIS_CACHE_TTL", "0")]);
            assert_eq!(left_out, (false, 300));
            assert!(warning.starts_with("EPR_REDIS_CACHE_TTL is 0"), "{warning}");
        }
        assert_eq!(shared(&[("EPR_REDIS_CACHE_TTL", "604800")]).0, (false, 86_400));
        assert_eq!(shared(&[("EPR_REDIS_CACHE_TTL", "0")]).0, (false, 300));
    }

    #[test]
    fn numbers_above_a_bound_that_did_not_exist_are_the_bound() {
        let attempts =
            |given: &str| taken(&[("EPR_EVENT_PUBLISH_ATTEMPTS", given)], |settings| settings.events.publish_attempts);
        assert_eq!(attempts("10"), (10, String::new()));
        for given in ["11", "1000", "99999999999999999999999"] {
            assert_eq!(
                attempts(given),
                (10, format!("EPR_EVENT_PUBLISH_ATTEMPTS is `{given}`, which is more than 10: 10 is used"))
            );
        }
    }

    #[test]
    fn spellings_of_the_older_implementation_are_taken() {
        for (given, expected) in
            [("t", true), ("Y", true), ("ON", true), ("yes", true), ("F", false), ("n", false), ("off", false)]
        {
            assert_eq!(
                taken(&[("EPR_SQL_ECHO", given)], |settings| settings.logging.sql_echo),
                (expected, String::new())
            );
        }
        for given in ["FATAL", "fatal", "CRITICAL"] {
            assert_eq!(
                taken(&[("EPR_LOG_LEVEL", given)], |settings| settings.logging.level).0,
                crate::settings::Level::Error
            );
        }
        let origins =
            |given: &str| taken(&[("EPR_CORS_ORIGINS", given)], |settings| settings.http.cors_origins.clone()).0;
        assert_eq!(
            origins(r#"["https://a.example", "http://localhost:3000/"]"#),
            ["https://a.example", "http://localhost:3000"]
        );
        assert_eq!(origins(r#"["*"]"#), ["*"]);
        assert_eq!(origins("[]"), [""; 0]);
    }

    #[test]
    fn what_cannot_be_meant_still_stops_the_start() {
        for (name, given) in [
            ("EPR_REDIS_CACHE_TTL", "-1"),
            ("EPR_REDIS_CACHE_TTL", "soon"),
            ("EPR_EVENT_PUBLISH_ATTEMPTS", "-1"),
            ("EPR_EVENT_PUBLISH_ATTEMPTS", "two"),
            ("EPR_REDIS_URL", "ftp://cache"),
            ("EPR_SQL_ECHO", "perhaps"),
            ("EPR_LOG_LEVEL", "20"),
            ("EPR_CORS_ORIGINS", r#"["https://a.example""#),
            ("EPR_CORS_ORIGINS", "[1]"),
            ("EPR_CORS_ORIGINS", "https://a.example/path"),
            ("EPR_AUDIT_SQS_MAX_MESSAGES", "11"),
        ] {
            assert_eq!(faults(&[(name, given)]).len(), 1, "{name}={given}");
        }
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
