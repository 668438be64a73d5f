//! Migration 0012 on a database that the schema before it has filled.

use std::path::Path;

use epr_core::store::postgres;
use epr_core::store::{Options, Store, sqlite};
use epr_testkit::database::{Database, DatabaseKind};
use rstest::rstest;
use sqlx::migrate::{Migration, MigrationType};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqlSafeStr as _, SqliteConnection};

use crate::support::id;

/// The migrations before 0012, as names and texts.
fn earlier(kind: DatabaseKind) -> Vec<(String, String)> {
    let folder = match kind {
        DatabaseKind::Sqlite => "../migrations/sqlite",
        DatabaseKind::Postgres => "../migrations/postgres",
    };
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let mut found: Vec<_> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_stem().is_some_and(|name| name.to_str().unwrap() < "0012"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    found.sort();
    found
}

/// A database of the schema before 0012, with two linked entities, a role, an assignment and an entry of the ledger.
async fn filled_before(kind: DatabaseKind) -> Database {
    let database = Database::create(kind).await;
    if let Some(file) = database.file() {
        std::fs::File::create(file).unwrap();
    }
    database
        .execute(
            "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
             installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, \
             checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)"
                .replace("BYTEA", if kind == DatabaseKind::Sqlite { "BLOB" } else { "BYTEA" })
                .as_str(),
        )
        .await
        .unwrap();
    for (name, sql) in earlier(kind) {
        // An index that is created concurrently must be a statement of its own.
        let statements: Vec<&str> = if sql.starts_with("-- no-transaction") {
            sql.split(";\n").filter(|one| one.lines().any(|line| !line.is_empty() && !line.starts_with("--"))).collect()
        } else {
            vec![&sql]
        };
        for statement in statements {
            database.execute(statement).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let (version, description) = name.split_once('_').unwrap();
        let of = |sql: String| {
            let sql = AssertSqlSafe(sql).into_sql_str();
            Migration::new(
                version.parse().unwrap(),
                description.replace('_', " ").into(),
                MigrationType::Simple,
                sql,
                false,
            )
        };
        let hex: Vec<_> = of(sql.clone()).checksum.iter().map(|byte| format!("{byte:02x}")).collect();
        let hex = hex.concat();
        let checksum = match kind {
            DatabaseKind::Sqlite => format!("x'{hex}'"),
            DatabaseKind::Postgres => format!("decode('{hex}', 'hex')"),
        };
        let (version, description) = (version.parse::<i64>().unwrap(), description.replace('_', " "));
        let row = format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES ({version}, '{description}', TRUE, {checksum}, 0)"
        );
        database.execute(&row).await.unwrap();
    }
    let at = "'2026-01-01T00:00:00.000000Z'";
    let rows = format!(
        "INSERT INTO entities (id, name, type, parent_id, created_at, updated_at) VALUES \
         ('{0}', 'Acme', 'issuer', NULL, {at}, {at}), ('{1}', 'Berlin', 'spv', '{0}', {at}, {at}); \
         INSERT INTO roles (id, name, scope_types, created_at, updated_at) \
         VALUES ('{2}', 'Reader', '[\"spv\"]', {at}, {at}); \
         INSERT INTO role_assignments (id, principal_id, role_id, entity_id, effective_at, created_at, updated_at) \
         VALUES ('{3}', '{4}', '{2}', '{1}', {at}, {at}, {at})",
        id(1),
        id(2),
        id(3),
        id(4),
        id(5)
    );
    database.execute(&rows).await.unwrap();
    database
}

/// The store of `database` as it is.
fn opened(database: &Database) -> std::sync::Arc<dyn Store> {
    match database.file() {
        Some(file) => std::sync::Arc::new(sqlite::open_file(&file, &Options::default()).unwrap()),
        None => std::sync::Arc::new(postgres::open(&database.url, &Options::default()).unwrap()),
    }
}

fn insert(n: u128, word: &str) -> String {
    format!(
        "INSERT INTO entities (id, name, type, created_at, updated_at) \
         VALUES ('{}', 'entity {n}', '{word}', '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z')",
        id(n)
    )
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn the_migration_widens_the_types_of_a_filled_database_and_keeps_everything_else(#[case] kind: DatabaseKind) {
    let database = filled_before(kind).await;
    let store = opened(&database);
    let objects = match kind {
        DatabaseKind::Sqlite => {
            "SELECT COUNT(*) FROM sqlite_schema WHERE tbl_name = 'entities' AND type IN ('index', 'trigger')"
        }
        DatabaseKind::Postgres => {
            "SELECT (SELECT COUNT(*) FROM pg_indexes WHERE tablename = 'entities') + \
             (SELECT COUNT(*) FROM pg_trigger WHERE tgrelid = 'entities'::regclass AND NOT tgisinternal)"
        }
    };
    let before = database.number(objects).await;
    assert!(store.schema().await.unwrap().applied == 11 && database.execute(&insert(10, "fund")).await.is_err());

    store.migrate().await.unwrap();
    assert_eq!(store.schema().await.unwrap().applied, store.schema().await.unwrap().known);
    assert!(database.number(objects).await > before, "the old ones, and the index of the external ids");
    let (acme, berlin) = (store.entity(id(1)).await.unwrap().unwrap(), store.entity(id(2)).await.unwrap().unwrap());
    assert_eq!((acme.name.as_str(), berlin.parent_id), ("Acme", Some(id(1))));
    for word in ["fund", "real_estate.spv-2", "issuer"] {
        let n = 20 + word.len() as u128;
        database.execute(&insert(n, word)).await.unwrap_or_else(|error| panic!("{word}: {error}"));
    }
    let long = format!("a{}", "b".repeat(64));
    for (n, word) in (40..).zip(["", "Fund", "1fund", "_x", "-x", ".x", "fünd", "fund!", "a b", "a]", "a^", &long]) {
        assert!(database.execute(&insert(n, word)).await.is_err(), "`{word}` is outside of the grammar");
    }
    let orphan = format!("UPDATE entities SET parent_id = '{}' WHERE id = '{}'", id(99), id(2));
    if kind == DatabaseKind::Postgres {
        assert!(database.execute(&orphan).await.is_err(), "foreign keys hold");
    } else {
        let sound = "SELECT (SELECT COUNT(*) FROM pragma_foreign_key_check) + \
                     (SELECT COUNT(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok')";
        assert_eq!(database.number(sound).await, 0);
    }
    let renewals = "SELECT COUNT(*) FROM cache_renewals";
    let seen = database.number(renewals).await;
    database.execute(&format!("UPDATE entities SET parent_id = NULL WHERE id = '{}'", id(2))).await.unwrap();
    assert!(database.number(renewals).await > seen, "the triggers still fire");
    store.close().await;
}

/// A process that was started before the migration, and has prepared its statements.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn connections_that_are_open_meanwhile_follow_the_new_rule(#[case] kind: DatabaseKind) {
    let database = filled_before(kind).await;
    let text = |sql: String| AssertSqlSafe(sql);
    match kind {
        DatabaseKind::Sqlite => {
            let url = format!("sqlite://{}", database.file().unwrap().display());
            let mut open = SqliteConnection::connect(&url).await.unwrap();
            assert!(open.execute(text(insert(10, "fund"))).await.is_err());
            opened(&database).migrate().await.unwrap();
            open.execute(text(insert(10, "fund"))).await.unwrap();
            assert!(open.execute(text(insert(11, "Fund"))).await.is_err());
        }
        DatabaseKind::Postgres => {
            let mut open = PgConnection::connect(&database.url).await.unwrap();
            assert!(open.execute(text(insert(10, "fund"))).await.is_err());
            opened(&database).migrate().await.unwrap();
            open.execute(text(insert(10, "fund"))).await.unwrap();
            assert!(open.execute(text(insert(11, "Fund"))).await.is_err());
        }
    }
}

/// The text of the table is replaced only where it is the one that this migration knows.
#[tokio::test]
async fn a_table_of_another_form_is_refused_and_stays_as_it_is() {
    let database = filled_before(DatabaseKind::Sqlite).await;
    let change = "PRAGMA writable_schema = ON; \
                  UPDATE sqlite_schema SET sql = replace(sql, '''other''))', '''other'', ''ship''))') \
                  WHERE name = 'entities'; PRAGMA writable_schema = RESET;";
    database.execute(change).await.unwrap();
    let error = opened(&database).migrate().await.unwrap_err();
    assert!(error.to_string().contains("migration 12"), "{error}");
    assert_eq!(database.number("SELECT COUNT(*) FROM _sqlx_migrations WHERE version > 11").await, 0);
    let columns = "SELECT COUNT(*) FROM pragma_table_info('entities') WHERE name = 'external_id'";
    assert_eq!(database.number(columns).await, 0, "the column that was added before is gone again");
    database.execute(&insert(10, "ship")).await.unwrap();
}
