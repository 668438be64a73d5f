//! Taking over tables with more rows than one page, with lines about the progress.

use std::fmt::Write as _;

use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::epr;
use rstest::rstest;

const AT: &str = "'2024-05-06 07:08:09.500000'";
const ROLE: &str = "33333333-0000-4000-8000-000000000003";
const PRINCIPAL: &str = "44444444-0000-4000-8000-000000000004";

/// Older tables with `count` assignments of as many principals, and the same global assignment `doubles` times more at
/// the end.
async fn older(kind: DatabaseKind, count: u32, doubles: u32) -> Database {
    let database = Database::create(kind).await;
    if let Some(file) = database.file() {
        std::fs::write(file, "").unwrap();
    }
    let (id, time) = match kind {
        DatabaseKind::Postgres => ("uuid", "timestamp"),
        DatabaseKind::Sqlite => ("CHAR(36)", "DATETIME"),
    };
    let mut sql = format!(
        "CREATE TABLE entities (id {id} PRIMARY KEY, name VARCHAR(255) NOT NULL, type VARCHAR(16) NOT NULL, \
           status VARCHAR(16) NOT NULL, parent_id {id}, attributes JSON, created_at {time} NOT NULL, \
           updated_at {time} NOT NULL); \
         CREATE TABLE roles (id {id} PRIMARY KEY, name VARCHAR(120), description VARCHAR(512), scope_types JSON, \
           is_system BOOLEAN, created_at {time} NOT NULL, updated_at {time} NOT NULL); \
         CREATE TABLE role_assignments (id {id} PRIMARY KEY, principal_id {id} NOT NULL, \
         principal_type VARCHAR(64) NOT NULL, \
           role_id {id} NOT NULL, entity_id {id}, effective_at {time} NOT NULL, expires_at {time}, \
           created_at {time} NOT NULL, \
           updated_at {time} NOT NULL); \
         INSERT INTO roles VALUES ('{ROLE}', 'Reader', NULL, '[]', FALSE, {AT}, {AT}); \
         INSERT INTO role_assignments VALUES "
    );
    for n in 0..count + doubles {
        let principal = if n < count - 1 { format!("00000000-0000-4000-8000-{n:012x}") } else { PRINCIPAL.to_owned() };
        let comma = if n == 0 { "" } else { ", " };
        let id = format!("00000000-0000-4000-9000-{n:012x}");
        let _ = write!(sql, "{comma}('{id}', '{principal}', 'user', '{ROLE}', NULL, {AT}, NULL, {AT}, {AT})");
    }
    database.execute(&sql).await.unwrap();
    database
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn assignments_are_copied_in_pages(#[case] kind: DatabaseKind) {
    let database = older(kind, 2_345, 3).await;
    let (code, out, err) = epr(&database.url, &["migrate"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains("role_assignments: 2348 of 2348 rows copied\n"), "{err}");
    assert_eq!(
        database.number("SELECT COUNT(*) FROM role_assignments").await,
        2_345,
        "the global one stood four times"
    );
    assert_eq!(database.number("SELECT COUNT(*) FROM cache_renewals").await, 0, "nothing was cached");
    // The triggers are on again.
    database.execute("DELETE FROM role_assignments").await.unwrap();
    assert!(database.number("SELECT COUNT(*) FROM cache_renewals").await > 256);
}

/// A double with another window changes decisions, wherever its page is: nothing is taken over.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn a_double_that_differs_is_refused(#[case] kind: DatabaseKind) {
    let database = older(kind, 2_345, 1).await;
    let last = "00000000-0000-4000-9000-000000000929";
    database
        .execute(&format!("UPDATE role_assignments SET expires_at = '2030-01-01' WHERE id = '{last}'"))
        .await
        .unwrap();
    let (code, _, failed) = epr(&database.url, &["migrate"]).await;
    assert!(code == 2 && failed.contains(&format!("assignment {last}: ")), "{failed}");
    assert_eq!(database.number("SELECT COUNT(*) FROM role_assignments").await, 2_346, "nothing was changed");
}
