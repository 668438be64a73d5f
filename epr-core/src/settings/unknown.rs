//! Variables whose names begin like EPR's and that EPR does not read: a misspelt one leaves a default in force.
//!
//! Must never show a value: a misspelt variable may hold a secret.

use std::fmt;

use super::sections::SECTIONS;
use super::shown::plain;
use super::source::Source;
use crate::domain::input::nearest::nearest;

const PREFIX: &str = "EPR_";

/// Prefixes of variables that scripts and tests of this project read.
const SCRIPT_PREFIXES: [&str; 6] =
    ["EPR_TEST_", "EPR_BENCH_", "EPR_SCHEMATHESIS_", "EPR_BUILD_", "EPR_CACHE", "EPR_APT_UPDATED"];

/// A variable that EPR does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownVariable {
    /// The name of the variable.
    pub name: String,
    /// The most similar name that EPR reads, if one is similar.
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

/// The variables in `source` whose names begin like EPR's and that no section declares.
pub(super) fn unknown(source: &Source) -> Vec<UnknownVariable> {
    let declared = SECTIONS.iter().flat_map(|section| section.variables).map(|variable| variable.name);
    let known: Vec<&str> = declared.filter_map(|name| name.strip_prefix(PREFIX)).collect();
    let set =
        source.names().filter(|name| name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX)));
    set.filter(|name| !SCRIPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !is_service_link(name))
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

/// Whether Kubernetes sets this variable for a Service whose name begins with `epr`: `EPR_SERVICE_HOST`,
/// `EPR_API_PORT_8080_TCP_ADDR`.
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

    fn sentences(pairs: &[(&str, &str)]) -> Vec<String> {
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
                sentences(&[(given, "hunter2"), ("EPR_LOG_JSON", "true"), ("HOST", "0.0.0.0"), ("PATH", "/bin")]);
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
        assert_eq!(sentences(&others), Vec::<String>::new());
    }

    #[test]
    fn a_setting_that_fails_names_them_too() {
        let source = Source::of([("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS_FIEL", "tokens.json")]);
        let errors = Settings::from_source(&source).unwrap_err().0;
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[1].ends_with("did you mean EPR_API_TOKENS_FILE?"), "{errors:?}");
    }
}
