//! The settings as a whole: errors, masking, and values of the older implementation.

use super::*;

fn errors(pairs: &[(&str, &str)]) -> Vec<String> {
    Settings::from_source(&Source::of(pairs.iter().copied())).map_or_else(|error| error.0, |_| Vec::new())
}

#[test]
fn an_empty_value_is_not_set() {
    assert!(errors(&[("EPR_LOG_LEVEL", ""), ("PORT", "  "), ("EPR_DATABASE_URL", "")]).is_empty());
}

#[test]
fn every_error_is_reported_and_secrets_are_masked() {
    let reported = errors(&[
        ("EPR_LOG_LEVEL", "LOUD"),
        ("PORT", "70000"),
        ("RUN_MIGRATIONS", "maybe"),
        ("EPR_DATABASE_URL", "mysql://epr:hunter2@db/epr"),
        ("EPR_DEFAULT_PERMISSIONS", "ok:action,x"),
        ("EPR_DOCUMENT_VAULT_TOPIC_ARN", "arn:aws:sns:us-east-1:1:events.fifo"),
    ]);
    assert_eq!(reported.len(), 6, "{reported:#?}");
    let text = reported.join("\n");
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

/// A setting, and the warnings about it.
fn read<T>(pairs: &[(&str, &str)], of: impl Fn(&Settings) -> T) -> (T, String) {
    let settings = Settings::from_source(&Source::of(pairs.iter().copied()));
    let settings = settings.unwrap_or_else(|error| panic!("{pairs:?}: {error}"));
    (of(&settings), settings.warnings.join("; "))
}

#[test]
fn an_environment_of_any_name_is_taken() {
    use super::Environment::{Local, Production, Staging};
    let environment = |pairs: &[(&str, &str)]| read(pairs, |settings| settings.service.environment);
    assert_eq!(environment(&[]), (Local, String::new()));
    assert_eq!(environment(&[("EPR_ENVIRONMENT", "Staging")]), (Staging, String::new()));
    assert_eq!(environment(&[("ENV", "staging")]), (Staging, String::new()));
    assert_eq!(environment(&[("ENV", "staging"), ("EPR_ENVIRONMENT", "production")]), (Production, String::new()));
    for (name, given) in [("EPR_ENVIRONMENT", "moon"), ("ENV", "dev"), ("EPR_ENVIRONMENT", "prod-eu 1")] {
        let expected =
            format!("{name} is `{given}`, which is none of local, test, staging, production: treated like production");
        assert_eq!(environment(&[(name, given)]), (Production, expected));
    }
}

#[test]
fn a_shared_cache_that_could_not_work_is_left_out_with_a_warning() {
    const REST: (&str, &str) = ("EPR_REDIS_URL", "https://eu1-example.upstash.io");
    let shared = |pairs: &[(&str, &str)]| {
        read(pairs, |settings| (settings.cache.shared.is_some(), settings.cache.ttl.as_secs()))
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
        |given: &str| read(&[("EPR_EVENT_PUBLISH_ATTEMPTS", given)], |settings| settings.events.publish_attempts);
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
        assert_eq!(read(&[("EPR_SQL_ECHO", given)], |settings| settings.logging.sql_echo), (expected, String::new()));
    }
    for given in ["FATAL", "fatal", "CRITICAL"] {
        assert_eq!(read(&[("EPR_LOG_LEVEL", given)], |settings| settings.logging.level).0, super::Level::Error);
    }
    let origins = |given: &str| read(&[("EPR_CORS_ORIGINS", given)], |settings| settings.http.cors_origins.clone()).0;
    assert_eq!(
        origins(r#"["https://a.example", "http://localhost:3000/"]"#),
        ["https://a.example", "http://localhost:3000"]
    );
    assert_eq!(origins(r#"["*"]"#), ["*"]);
    assert_eq!(origins("[]"), [""; 0]);
}

#[test]
fn a_meaningless_value_stops_the_start() {
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
        assert_eq!(errors(&[(name, given)]).len(), 1, "{name}={given}");
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

#[test]
fn words_parse_in_any_case() {
    assert_eq!("DENIED".parse(), Ok(AuditDecisions::Denied));
    assert_eq!("context".parse(), Ok(AuditEvents::Context));
    assert_eq!("Warn".parse(), Ok(UnknownMembers::Warn));
    assert_eq!("info".parse(), Ok(Level::Info));
    let error = "loud".parse::<Level>().unwrap_err();
    assert_eq!(error.to_string(), "`loud` is not allowed; allowed: DEBUG, INFO, WARNING, ERROR, CRITICAL");
}

#[test]
fn every_name_is_declared_once_and_every_default_is_in_its_range() {
    let mut names = std::collections::BTreeSet::new();
    for variable in SECTIONS.iter().flat_map(|section| section.variables) {
        assert!(names.insert(variable.name), "{}", variable.name);
        if let Values::Number { default, min, max } = variable.values {
            assert!((min..=max).contains(&default), "{}", variable.name);
        }
    }
}
