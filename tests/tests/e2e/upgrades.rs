//! A newer schema under this program: after a release was rolled back, and while one is under way.

use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::{Process, epr};
use epr_testkit::tour::tour;
use rstest::rstest;

async fn ready(base: &str) -> u16 {
    reqwest::get(format!("{base}/readyz")).await.unwrap().status().as_u16()
}

/// A migration of a later version that expands the schema; it admits programs from `oldest` on.
async fn expand(database: &Database, version: i64, oldest: i64) {
    let sql = format!(
        "ALTER TABLE entities ADD COLUMN later_{version} text NOT NULL DEFAULT 'x'; \
         ALTER TABLE audit_logs ADD COLUMN later_{version} text; \
         CREATE TABLE later_{version} (id integer PRIMARY KEY, role_id text); \
         CREATE INDEX ix_later_{version} ON roles (name, later_{version}); \
         INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time, oldest_program) \
         SELECT {version}, 'later', TRUE, checksum, 0, {oldest} FROM _sqlx_migrations WHERE version = 1"
    );
    let added = format!("ALTER TABLE roles ADD COLUMN later_{version} integer NOT NULL DEFAULT 0; {sql}");
    database.execute(&added).await.unwrap();
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn a_program_runs_on_a_newer_schema_that_admits_it_and_refuses_one_that_does_not(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    let cli = Cli::on(&database.url);
    let missing = cli.run(&["migrate", "--status"]).await;
    assert!(missing.code == 1 && missing.out.contains("a rollback to an earlier one needs a restored"), "{missing:?}");
    cli.ok(&["migrate"]).await;
    let known = cli.json(&["migrate", "--status"]).await[0]["known"].as_i64().unwrap();
    let (running, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    tour(&base, 1).await;

    // The next version migrates while this process runs.
    expand(&database, 9001, known).await;
    assert_eq!(ready(&base).await, 200);
    tour(&base, 2).await;
    // It is rolled back: this program starts on its schema.
    for (n, migrate) in [(3, "true"), (4, "false")] {
        let environment = [("EPR_DATABASE_URL", database.url.as_str()), ("RUN_MIGRATIONS", migrate)];
        let (back, back_base) = Process::api(&environment).await;
        tour(&back_base, n).await;
        assert_eq!(back.terminate().await.0.code(), Some(0));
    }
    let sentence =
        format!("The schema is at version 9001, newer than this program's {known}. It admits programs from version");
    assert!(cli.ok(&["migrate"]).await.starts_with(&sentence));
    assert!(cli.ok(&["migrate", "--status"]).await.starts_with(&sentence));
    let (code, out, err) = epr(&database.url, &["audit", "verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, _) = epr(&database.url, &["doctor"]).await;
    assert!(code == 0 && out.contains("newer than this program's"), "{out}");

    // The version after that needs programs that know the one before.
    expand(&database, 9002, 9001).await;
    assert_eq!(ready(&base).await, 503, "a load balancer takes it out");
    assert_eq!(running.terminate().await.0.code(), Some(0));
    let refusal = "the schema admits only programs that know version 9001";
    for migrate in ["true", "false"] {
        let environment = [("EPR_DATABASE_URL", database.url.as_str()), ("RUN_MIGRATIONS", migrate), ("PORT", "0")];
        let (status, log) = Process::start("epr-api", &environment).wait_for_exit().await;
        assert_eq!(status.code(), Some(1));
        let error = log.last().unwrap()["extra"]["error"].as_str().unwrap().to_owned();
        assert!(error.contains(refusal) && error.contains("run a newer program"), "{error}");
    }
    for command in [&["migrate"][..], &["entities", "list"]] {
        let refused = cli.run(command).await;
        assert!(refused.code == 2 && refused.err.contains(refusal), "{refused:?}");
    }
    let status = cli.run(&["migrate", "--status"]).await;
    assert!(status.code == 1 && status.out.contains("It admits programs from version 9001 on."), "{status:?}");
}
