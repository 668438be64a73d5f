//! docs/SETTINGS.md and the settings: one table a section, made from the declarations from which the settings are read.

use std::path::Path;

use epr_core::settings::{SECTIONS, Settings, Source};

/// Variables whose values come from elsewhere: the operating system, the standards of traces, and the command `epr`.
const READ_ELSEWHERE: [&str; 3] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "EPR_ACTOR_ID", "EPR_API_TOKEN"];

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SETTINGS.md")).unwrap()
}

#[test]
fn the_page_has_the_table_of_every_section_and_no_other() {
    let page = page();
    let expected: Vec<String> =
        SECTIONS.iter().map(|section| format!("## {}\n\n{}", section.title, section.table())).collect();
    let missing: Vec<_> = expected.iter().filter(|table| !page.contains(table.as_str())).cloned().collect();
    assert!(missing.is_empty(), "docs/SETTINGS.md lacks these tables as they are here:\n\n{}", missing.join("\n"));
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, SECTIONS.iter().map(|section| section.variables.len()).sum::<usize>());
}

#[test]
fn every_declared_variable_is_read_and_every_read_variable_declared() {
    let jwt = [
        ("EPR_AUTH_MODE", "token,jwt"),
        ("EPR_API_TOKENS", "[]"),
        ("EPR_JWT_ISSUER", "issuer"),
        ("EPR_JWT_AUDIENCE", "epr"),
        ("EPR_JWT_JWKS_FILE", "keys.json"),
        ("EPR_CONSOLE", "on"),
        ("EPR_OIDC_ISSUER", "https://id.example.com"),
        ("EPR_OIDC_CLIENT_ID", "epr"),
        ("EPR_CONSOLE_ORIGIN", "https://epr.example.com"),
    ];
    let mut read = Vec::new();
    for older in [None, Some(("ENV", "test"))] {
        let (settings, described) = Settings::describe(&Source::of(jwt.into_iter().chain(older)));
        settings.unwrap();
        read.extend(described.into_iter().map(|variable| variable.name));
    }
    read.extend(READ_ELSEWHERE.map(str::to_owned));
    read.sort();
    read.dedup();
    let mut declared: Vec<_> =
        SECTIONS.iter().flat_map(|section| section.variables).map(|variable| variable.name).collect();
    declared.sort_unstable();
    assert_eq!(read, declared);
}
