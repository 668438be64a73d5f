//! Where things may live: `sqlx` under `store/` only, `axum` in the API only, pure modules import no others.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::source_graph::SourceGraph;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Lines of code (no comments) under `folder` that hold `word`, outside of `allowed`.
fn uses(folder: &str, word: &str, allowed: &[&str]) -> Vec<String> {
    let mut files = Vec::new();
    rust_files(&root().join(folder), &mut files);
    let mut found = Vec::new();
    for file in files {
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        if allowed.iter().any(|place| name.starts_with(place)) {
            continue;
        }
        for (at, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            if !line.trim_start().starts_with("//") && line.contains(word) {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn sqlx_is_known_to_the_store_only() {
    for name in ["sqlx::", "sqlx_core::"] {
        assert_eq!(uses("epr-core/src", name, &["epr-core/src/store/"]), Vec::<String>::new());
        assert_eq!(uses("runtimes", name, &[]), Vec::<String>::new());
    }
}

#[test]
fn axum_is_known_to_the_api_and_the_console_only() {
    assert_eq!(uses("epr-core/src", "axum", &[]), Vec::<String>::new());
    assert_eq!(uses("runtimes", "axum::", &["runtimes/api/", "runtimes/console/"]), Vec::<String>::new());
}

#[test]
fn the_console_knows_use_cases_and_no_store() {
    for forbidden in ["epr_core::publish", "epr_core::signing", "epr_core::seal", "reqwest", "Store>", "dyn Store"] {
        assert_eq!(uses("runtimes/console", forbidden, &[]), Vec::<String>::new(), "uses {forbidden}");
    }
}

#[test]
fn aws_is_known_to_its_adapters_only() {
    let adapters = [
        "epr-core/src/inspect/queue.rs",
        "epr-core/src/publish/aws_error.rs",
        "epr-core/src/publish/ledger_s3.rs",
        "epr-core/src/publish/sns.rs",
        "epr-core/src/settings/aws.rs",
        "epr-core/src/signing/kms.rs",
        "runtimes/worker/src/sqs.rs",
    ];
    for place in ["epr-core/src", "runtimes"] {
        assert_eq!(uses(place, "aws_sdk_", &adapters), Vec::<String>::new());
    }
    assert_eq!(uses("epr-core/src", "lambda", &[]), Vec::<String>::new());
}

#[test]
fn a_route_gets_into_the_router_only_with_its_description() {
    for way in [".route(", ".route_service(", ".nest(", ".nest_service("] {
        assert_eq!(uses("runtimes/api/src", way, &[]), Vec::<String>::new());
    }
    // The pages of the console are no part of the interface that is described.
    assert_eq!(uses("runtimes/api/src", ".merge(", &["runtimes/api/src/http/console.rs"]), Vec::<String>::new());
    assert_eq!(uses("runtimes/api/src", ".routes(", &["runtimes/api/src/openapi/mod.rs"]), Vec::<String>::new());
}

#[test]
fn http_is_fetched_in_adapters_only() {
    let adapters = [
        "epr-core/src/authn/issuer_http.rs",
        "epr-core/src/engine/cache/",
        "epr-core/src/publish/ledger_s3.rs",
        "epr-core/src/publish/witness.rs",
    ];
    assert_eq!(uses("epr-core/src", "reqwest::", &adapters), Vec::<String>::new());
    let readers = ["algorithm.rs", "jwk.rs", "jwt.rs"].map(|file| format!("epr-core/src/authn/{file}"));
    let readers = readers.each_ref().map(String::as_str);
    assert_eq!(uses("epr-core/src", "jsonwebtoken::", &readers), Vec::<String>::new());
}

#[test]
fn readers_of_credentials_are_pure() {
    let not = ["authenticator.rs", "issuer_http.rs", "jwks.rs", "provider.rs"]
        .map(|file| format!("epr-core/src/authn/{file}"));
    let not = not.each_ref().map(String::as_str);
    for forbidden in ["crate::store", "crate::settings", "crate::epr", "tokio", "tracing", "reqwest", "std::fs"] {
        assert_eq!(uses("epr-core/src/authn", forbidden, &not), Vec::<String>::new(), "uses {forbidden}");
    }
}

#[test]
fn the_command_speaks_http_by_the_client_only() {
    for library in ["reqwest", "hyper"] {
        assert_eq!(uses("runtimes/cli", library, &[]), Vec::<String>::new());
    }
    let allowed = ["runtimes/cli/src/backend/api.rs", "runtimes/cli/src/connect.rs"];
    assert_eq!(uses("runtimes/cli", "epr_client", &allowed), Vec::<String>::new());
}

#[test]
fn the_client_knows_the_domain_and_no_server() {
    for forbidden in ["epr_core::store", "epr_core::Epr", "epr_core::settings", "epr_api", "axum"] {
        assert_eq!(uses("epr-client/src", forbidden, &[]), Vec::<String>::new(), "uses {forbidden}");
    }
}

#[test]
fn servers_of_caches_are_known_to_the_cache_only() {
    for client in ["redis::", "quick_cache::"] {
        assert_eq!(uses("epr-core/src", client, &["epr-core/src/engine/cache/"]), Vec::<String>::new());
    }
    assert_eq!(
        uses("epr-core/src/engine/cache", "redis::aio", &["epr-core/src/engine/cache/redis.rs"]),
        Vec::<String>::new()
    );
    assert_eq!(
        uses("epr-core/src/engine/cache", "reqwest::", &["epr-core/src/engine/cache/upstash.rs"]),
        Vec::<String>::new()
    );
}

#[test]
fn pure_modules_import_no_others() {
    for forbidden in
        ["crate::store", "crate::handlers", "crate::settings", "crate::epr", "crate::error", "tokio", "tracing"]
    {
        for pure in ["epr-core/src/domain", "epr-core/src/decision", "epr-core/src/ledger", "epr-core/src/history"] {
            assert_eq!(uses(pure, forbidden, &[]), Vec::<String>::new(), "{pure} uses {forbidden}");
        }
    }
    assert_eq!(uses("epr-core/src/domain", "crate::decision", &[]), Vec::<String>::new());
}

#[test]
fn no_engine_knows_the_facade() {
    for facade in ["crate::epr", "crate::Epr", "crate::handlers", "crate::ingest"] {
        assert_eq!(uses("epr-core/src/engine", facade, &[]), Vec::<String>::new());
    }
    let mut files = Vec::new();
    rust_files(&root().join("epr-core/src/engine"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let mut words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        assert!(!words.any(|word| word == "Epr"), "{} names the facade", file.display());
    }
}

/// `source_graph.rs` says what counts as a dependency.
#[test]
fn no_files_of_the_library_depend_on_each_other_in_a_circle() {
    let graph = SourceGraph::read(&root().join("epr-core/src"));
    assert!(graph.edges().values().map(BTreeSet::len).sum::<usize>() > 300, "the imports are not found any more");
    // The statements in `store/sql` are compiled inside each adapter, whose dialect they use, and the adapters use
    // them.
    let adapters = ["store/sql", "store/postgres"];
    assert_eq!(graph.circles(&adapters), Vec::<Vec<String>>::new());
}

#[test]
fn files_stay_readable() {
    let mut files = Vec::new();
    for folder in ["epr-client", "epr-core", "runtimes", "tests"] {
        rust_files(&root().join(folder), &mut files);
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//!"), "{} does not say what it owns", file.display());
        assert!(text.lines().count() <= 500, "{} is over 500 lines", file.display());
    }
}

/// The number of the last migration that was written before this rule. A released migration never changes.
const LAST_MIGRATION_WITH_LONG_LINES: u32 = 11;

#[test]
fn lines_of_code_and_sql_have_at_most_120_characters() {
    let mut files = Vec::new();
    for folder in [
        "epr-client",
        "epr-core",
        "epr-verify",
        "examples",
        "fuzz/src",
        "fuzz/fuzz_targets",
        "no-public-roots",
        "runtimes",
        "tests",
    ] {
        rust_files(&root().join(folder), &mut files);
    }
    for kind in ["postgres", "sqlite"] {
        for entry in fs::read_dir(root().join("migrations").join(kind)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let number: u32 = name.split('_').next().unwrap().parse().unwrap();
            if number > LAST_MIGRATION_WITH_LONG_LINES {
                files.push(entry.path());
            }
        }
    }
    let mut long = Vec::new();
    for file in files {
        for (at, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            if line.chars().count() > 120 {
                long.push(format!("{}:{}", file.strip_prefix(root()).unwrap().display(), at + 1));
            }
        }
    }
    assert_eq!(long, Vec::<String>::new());
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |kind: &str| {
        let mut names: Vec<_> = fs::read_dir(root().join("migrations").join(kind))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("postgres"), names("sqlite"));
}
