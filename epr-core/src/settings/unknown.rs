//! Variables that are named like EPR's and are none, which leave a default in force where another value was meant.
//!
//! Owns the comparison with the known names. Must never show a value: a misspelt variable may hold a secret.

use std::fmt;

use super::auth::{OF_JWT, OF_TOKENS};
use super::source::{Described, Source, plain};
use crate::domain::input::nearest::nearest;

const PREFIX: &str = "EPR_";

/// Variables that only the command `epr` reads.
const OF_COMMAND: [&str; 2] = ["EPR_ACTOR_ID", "EPR_API_TOKEN"];

/// Beginnings of variables that scripts and tests of this project read.
const OF_SCRIPTS: [&str; 6] =
    ["EPR_TEST_", "EPR_BENCH_", "EPR_SCHEMATHESIS_", "EPR_BUILD_", "EPR_CACHE", "EPR_APT_UPDATED"];

/// A variable that EPR does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownVariable {
    /// Its name.
    pub name: String,
    /// The known name that it resembles most, if it resembles one.
    pub nearest: Option<String>,
}

impl fmt::Display for UnknownVariable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} is not a variable of EPR and has no effect", plain(&self.name))?;
        match &self.nearest {
            Some(nearest) => write!(out, "; did you mean {nearest}?"),
            None => Ok(()),
        }
    }
}

/// Those in `source` that are neither in `seen`, which are all that the sections of the settings read, nor read elsewhere.
pub(super) fn unknown(source: &Source, seen: &[Described]) -> Vec<UnknownVariable> {
    let read = seen.iter().map(|variable| variable.name.as_str());
    let known: Vec<&str> =
        read.chain(OF_TOKENS).chain(OF_JWT).chain(OF_COMMAND).filter_map(|name| name.strip_prefix(PREFIX)).collect();
    let set =
        source.names().filter(|name| name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX)));
    set.filter(|name| !OF_SCRIPTS.iter().any(|beginning| name.starts_with(beginning)) && !is_service_link(name))
        .filter_map(|name| {
            let rest = name.get(PREFIX.len()..)?;
            if name.starts_with(PREFIX) && known.contains(&rest) {
                return None;
            }
            let nearest = nearest(rest, &known).map(|known| format!("{PREFIX}{known}"));
            Some(UnknownVariable { name: name.to_owned(), nearest })
        })
        .collect()
}

/// Whether Kubernetes made it for a Service whose name begins with `epr`: `EPR_SERVICE_HOST`, `EPR_API_PORT_8080_TCP_ADDR`.
fn is_service_link(name: &str) -> bool {
    let numbered = |rest: &str| rest.is_empty() || rest.starts_with('_');
    name.ends_with("_SERVICE_HOST")
        || name.split_once("_SERVICE_PORT").is_some_and(|(_, rest)| numbered(rest))
        || name == "EPR_PORT"
        || name.split_once("_PORT_").is_some_and(|(_, rest)| rest.contains("_TCP") || rest.contains("_UDP"))
}

#[cfg(test)]
mod tests {
    use crate::settings::{Settings, Source};

    fn told(pairs: &[(&str, &str)]) -> Vec<String> {
        let settings = Settings::from_source(&Source::of(pairs.iter().copied())).unwrap();
        settings.unknown_variables.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_misspelt_variable_is_named_with_the_one_that_was_meant() {
        for (given, meant) in [
            ("EPR_LOG_LEVL", Some("EPR_LOG_LEVEL")),
            ("EPR_DATABASE_UR", Some("EPR_DATABASE_URL")),
            ("EPR_AUTHMODE", Some("EPR_AUTH_MODE")),
            ("EPR_AUTH_MODES", Some("EPR_AUTH_MODE")),
            ("EPR_JWT_AUDIENC", Some("EPR_JWT_AUDIENCE")),
            ("EPR_API_TOKENS_FIEL", Some("EPR_API_TOKENS_FILE")),
            ("epr_log_level", Some("EPR_LOG_LEVEL")),
            ("EPR_REDIS_TTL", None),
            ("EPR_", None),
            ("EPR_SOMETHING_ELSE", None),
        ] {
            let sentences =
                told(&[(given, "hunter2"), ("EPR_LOG_JSON", "true"), ("HOST", "0.0.0.0"), ("PATH", "/bin")]);
            assert_eq!(sentences.len(), 1, "{given}: {sentences:?}");
            assert!(sentences[0].starts_with(&format!("{given} is not a variable of EPR")), "{sentences:?}");
            assert!(!sentences[0].contains("hunter2"), "{sentences:?}");
            if let Some(meant) = meant {
                assert!(sentences[0].ends_with(&format!("did you mean {meant}?")), "{sentences:?}");
            }
        }
    }

    #[test]
    fn known_variables_and_those_of_others_are_left_alone() {
        let others = [
            ("EPR_ACTOR_ID", "x"),
            ("EPR_API_TOKEN", "x"),
            ("EPR_TEST_SEED", "1"),
            ("EPR_LOG_LEVL", ""),
            ("EPR_SERVICE_HOST", "10.0.0.1"),
            ("EPR_SERVICE_PORT", "80"),
            ("EPR_SERVICE_PORT_HTTP", "80"),
            ("EPR_PORT", "tcp://10.0.0.1:80"),
            ("EPR_API_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ];
        assert_eq!(told(&others), Vec::<String>::new());
    }

    #[test]
    fn a_setting_that_fails_names_them_too() {
        let source = Source::of([("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS_FIEL", "tokens.json")]);
        let faults = Settings::from_source(&source).unwrap_err().0;
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[1].ends_with("did you mean EPR_API_TOKENS_FILE?"), "{faults:?}");
    }
}
