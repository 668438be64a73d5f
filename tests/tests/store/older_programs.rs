//! Older programs that the newest schema admits: every statement that they run can be prepared on it.
//!
//! `tests/vectors/programs` has the statements of a program for each database, recorded by `scripts/record-program.sh`
//! while the store suite ran. A program is named by the newest migration that it knows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use epr_core::store::{SchemaState, oldest_admitted_program};
use epr_testkit::database::{Database, DatabaseKind};
use rstest::rstest;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/programs")
}

fn ending(kind: DatabaseKind) -> &'static str {
    if kind == DatabaseKind::Postgres { "-postgres.json" } else { "-sqlite.json" }
}

/// The recorded statements for this database, by program.
fn recorded(kind: DatabaseKind) -> BTreeMap<i64, Vec<String>> {
    let mut programs = BTreeMap::new();
    for file in fs::read_dir(folder()).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if let Some(program) = name.strip_suffix(ending(kind)) {
            let statements = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            programs.insert(program.parse().unwrap(), statements);
        }
    }
    programs
}

/// The statements that the database cannot prepare, each with the reason.
async fn unprepared(database: &Database, statements: &[String]) -> Vec<String> {
    let mut errors = Vec::new();
    let mut note = |statement: &str, error: Option<sqlx::Error>| {
        errors.extend(error.map(|error| format!("{error}: {statement}")));
    };
    match database.file() {
        Some(path) => {
            let mut conn = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
            for statement in statements {
                let explained = AssertSqlSafe(format!("EXPLAIN {statement}"));
                note(statement, sqlx::raw_sql(explained).execute(&mut conn).await.err());
            }
        }
        None => {
            let mut conn = PgConnection::connect(&database.url).await.unwrap();
            for statement in statements {
                let prepared = AssertSqlSafe(format!("PREPARE one AS {statement}"));
                note(statement, sqlx::raw_sql(prepared).execute(&mut conn).await.err());
                sqlx::raw_sql("DEALLOCATE ALL").execute(&mut conn).await.unwrap();
            }
        }
    }
    errors
}

/// Keeps what was recorded of this program, in the order of the texts, if `EPR_TEST_KEEP` names the record. A statement
/// that needs the types of its parameters cannot be prepared without them and is left out.
async fn keep_record(database: &Database, program: i64) {
    let Ok(record) = std::env::var("EPR_TEST_KEEP") else { return };
    let mut kept = Vec::new();
    let mut left_out = 0;
    for line in fs::read_to_string(record).unwrap().lines() {
        let statement: String = serde_json::from_str(line).unwrap();
        let begins = |word: &&str| statement.trim_start().starts_with(*word);
        if ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].iter().any(begins) {
            if unprepared(database, std::slice::from_ref(&statement)).await.is_empty() {
                kept.push(statement);
            } else {
                left_out += 1;
            }
        }
    }
    kept.sort();
    println!("{} statements, {left_out} left out", kept.len());
    let path = folder().join(format!("{program:04}{}", ending(database.kind)));
    fs::write(path, serde_json::to_string_pretty(&kept).unwrap() + "\n").unwrap();
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn every_statement_of_an_admitted_program_can_be_prepared_on_the_newest_schema(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    let SchemaState { known, .. } = database.store().await.schema().await.unwrap();
    keep_record(&database, known).await;
    let (programs, oldest) = (recorded(kind), oldest_admitted_program());
    assert!(
        oldest == known || programs.contains_key(&oldest),
        "the schema admits program {oldest}, of which no statements are recorded in tests/vectors/programs: run \
         scripts/record-program.sh in a checkout of that program"
    );
    for (program, statements) in programs.range(oldest..) {
        assert!(statements.len() > 200, "program {program} has only {} statements", statements.len());
        let errors = unprepared(&database, statements).await;
        assert!(errors.is_empty(), "statements of program {program}, which the schema admits: {errors:#?}");
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn a_schema_that_lacks_a_column_of_an_admitted_program_is_noticed(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    database.store().await;
    let (_, statements) = recorded(kind).pop_last().unwrap();
    database.execute("ALTER TABLE entities RENAME COLUMN attributes TO properties").await.unwrap();
    let errors = unprepared(&database, &statements).await;
    assert!(errors.iter().any(|error| error.contains("attributes")), "{errors:#?}");
}
