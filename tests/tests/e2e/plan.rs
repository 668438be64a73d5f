//! The plans of a check: the databases look up what matters, however much else the principal holds and whatever
//! they expect to find.

use std::collections::HashSet;
use std::fmt::Write as _;

use epr_core::decision::Question;
use epr_core::store::{postgres, sqlite};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::seed;
use rand::Rng as _;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};
use uuid::Uuid;

const HEAVY: &str = "aaaaaaaa-0000-4000-8000-000000000001";
/// On the lowest entity of a chain: itself, two above it, and "everywhere".
const PLACES: f64 = 4.0;

/// Two thousand principals with one assignment each, and one with two thousand.
const WORLD: &str = "
    INSERT INTO roles (id, name) SELECT gen_random_uuid(), 'role ' || n FROM generate_series(1, 500) n;
    INSERT INTO roles (id, name) VALUES ('00000000-0000-0000-0000-0000000000aa', 'Reader');
    INSERT INTO permissions (action) SELECT 'a:' || n FROM generate_series(1, 500) n;
    INSERT INTO role_permissions
        SELECT '00000000-0000-0000-0000-0000000000aa', id FROM permissions WHERE action LIKE 'a:%';
    INSERT INTO entities (id, name, type)
        SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), 'e' || n, 'spv' FROM generate_series(1, 2000) n;
    UPDATE entities SET parent_id = '00000000-0000-0000-0000-000000000001' WHERE name = 'e2';
    UPDATE entities SET parent_id = '00000000-0000-0000-0000-000000000002' WHERE name = 'e3';
    INSERT INTO role_assignments (id, principal_id, role_id, entity_id)
        SELECT gen_random_uuid(), id, '00000000-0000-0000-0000-0000000000aa', id FROM entities;
    INSERT INTO role_assignments (id, principal_id, role_id, entity_id)
        SELECT gen_random_uuid(), 'aaaaaaaa-0000-4000-8000-000000000001', '00000000-0000-0000-0000-0000000000aa', id
        FROM entities;
    ANALYZE";

/// The number of rows of `table` that this node of a plan and those under it read.
pub(crate) fn looked_at(node: &Value, table: &str) -> f64 {
    let number = |name: &str| node[name].as_f64().unwrap_or(0.0);
    let removed = number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
    // A bitmap's rows are counted where they are fetched.
    let own =
        if node["Relation Name"] == table { (number("Actual Rows") + removed) * number("Actual Loops") } else { 0.0 };
    let below = node["Plans"].as_array().into_iter().flatten().map(|node| looked_at(node, table)).sum::<f64>();
    own + below
}

#[tokio::test]
async fn postgres_reads_relevant_rows_only() {
    let database = Database::create(DatabaseKind::Postgres).await;
    database.store().await.close().await;
    database.execute(WORLD).await.unwrap();
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    for prepare in [
        format!("PREPARE checked(uuid, uuid, text, text) AS {}", postgres::CHECK),
        format!("PREPARE checked_together(uuid[], uuid[], text[], text[]) AS {}", postgres::CHECKS),
    ] {
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut conn).await.unwrap();
    }
    let lowest = "00000000-0000-0000-0000-000000000003";
    let alone = format!("checked('{lowest}', '{HEAVY}', 'user', 'a:7')");
    let together = format!(
        "checked_together(array_fill(uuid '{lowest}', ARRAY[20]), array_fill(uuid '{HEAVY}', ARRAY[20]), \
         array_fill(text 'user', ARRAY[20]), array_fill(text 'a:7', ARRAY[20]))"
    );
    // The plan for this principal, and the one for all of them, which the server takes after a few checks.
    for mode in ["force_custom_plan", "force_generic_plan"] {
        sqlx::raw_sql(AssertSqlSafe(format!("SET plan_cache_mode = {mode}"))).execute(&mut conn).await.unwrap();
        for (call, questions) in [(&alone, 1.0), (&together, 20.0)] {
            let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {call}");
            let row = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_one(&mut conn).await.unwrap();
            let plan: Value = serde_json::from_str(row.try_get_unchecked(0).unwrap()).unwrap();
            let rows = |table: &str| looked_at(&plan[0]["Plan"], table) / questions;
            assert!(rows("role_assignments") >= 3.0, "{plan:#}");
            assert!(rows("role_assignments") <= PLACES, "{plan:#}");
            assert!(rows("entities") <= PLACES, "{plan:#}");
            assert!(rows("role_permissions") <= PLACES && rows("roles") <= PLACES, "{plan:#}");
        }
    }
}

#[tokio::test]
async fn sqlite_reads_relevant_rows_only() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    database.store().await.close().await;
    let url = format!("sqlite://{}", database.file().unwrap().display());
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    let steps = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sqlite::CHECK)))
        .bind("e")
        .bind("p")
        .bind("user")
        .bind("a:7")
        .fetch_all(&mut conn)
        .await
        .unwrap();
    let steps: Vec<String> = steps.iter().map(|step| step.get::<String, _>("detail")).collect();
    let of = |table: &'static str| steps.iter().filter(move |step| step.split(' ').nth(1) == Some(table));
    let probe = "uq_role_assignments (principal_id=? AND principal_type=? AND <expr>=?)";
    assert!(of("a").all(|step| step.contains(probe)), "{steps:#?}");
    assert!(of("rp").all(|step| step.contains("(role_id=? AND permission_id=?)")), "{steps:#?}");
    assert_eq!((of("a").count(), of("rp").count()), (1, 1), "{steps:#?}");
    // The walk reads its own results and no table.
    let walked: Vec<_> = steps.iter().filter(|step| step.starts_with("SCAN ")).collect();
    assert!(
        walked.iter().all(|step| [
            "SCAN l",
            "SCAN lineage",
            "SCAN reached",
            "SCAN asked",
            "SCAN assigned",
            "SCAN CONSTANT ROW"
        ]
        .contains(&step.as_str())),
        "{steps:#?}"
    );
}

/// Statistics change plans, and a plan must not change what is found: an older SQLite loses rows of this statement once
/// it has them.
#[tokio::test]
async fn the_result_does_not_depend_on_statistics() {
    const ENTITIES: u32 = 300;
    let mut rng = seed::rng("what_is_found_does_not_depend_on_statistics");
    let entity = |n: u32| Uuid::from_u128(0xe << 64 | u128::from(n));
    let principal = |n: u32| Uuid::from_u128(0xa << 64 | u128::from(n));
    // SQLite stores this form, and PostgreSQL reads it.
    let at = "2026-01-01T00:00:00.000000Z";
    let role = Uuid::from_u128(7);
    let mut sql =
        format!("INSERT INTO roles (id, name, created_at, updated_at) VALUES ('{role}', 'Reader', '{at}', '{at}');");
    // One of two known actions is the role's.
    for (n, action) in ["a:read", "a:write"].into_iter().enumerate() {
        let id = Uuid::from_u128(n as u128);
        let _ = write!(sql, "INSERT INTO permissions (id, action, created_at) VALUES ('{id}', '{action}', '{at}');");
    }
    let _ = write!(
        sql,
        "INSERT INTO role_permissions (role_id, permission_id) VALUES ('{role}', '{}');",
        Uuid::from_u128(0)
    );
    for n in 1..=ENTITIES {
        let parent = if n == 1 { "NULL".into() } else { format!("'{}'", entity(n / 2)) };
        let _ = write!(
            sql,
            "INSERT INTO entities (id, name, type, parent_id, created_at, updated_at) \
             VALUES ('{}', 'e{n}', 'spv', {parent}, '{at}', '{at}');",
            entity(n)
        );
    }
    // 0 means everywhere.
    let mut held = HashSet::new();
    for who in 0..40 {
        for _ in 0..rng.random_range(1..40) {
            let place = rng.random_range(0..=ENTITIES);
            if held.insert((who, place)) {
                let id = Uuid::from_u128(rng.random());
                let place = if place == 0 { "NULL".into() } else { format!("'{}'", entity(place)) };
                let who = principal(who);
                let _ = write!(
                    sql,
                    "INSERT INTO role_assignments \
                     (id, principal_id, role_id, entity_id, effective_at, created_at, updated_at) \
                     VALUES ('{id}', '{who}', '{role}', {place}, '{at}', '{at}', '{at}');"
                );
            }
        }
    }
    for kind in [DatabaseKind::Sqlite, DatabaseKind::Postgres] {
        let database = Database::create(kind).await;
        let store = database.store().await;
        database.execute(&sql).await.unwrap();
        for statistics in [false, true] {
            if statistics {
                database.execute("ANALYZE").await.unwrap();
            }
            // Statistics are read when a database is opened.
            let store = if statistics { database.store().await } else { store.clone() };
            for _ in 0..200 {
                // Alone and together; one entity more than there are.
                let group: Vec<(u32, u32, &str)> = (0..rng.random_range(1..6))
                    .map(|_| {
                        let action = ["a:read", "a:write", "a:other"][rng.random_range(0..3)];
                        (rng.random_range(0..40), rng.random_range(1..=ENTITIES + 1), action)
                    })
                    .collect();
                let questions: Vec<_> = group
                    .iter()
                    .map(|(who, what, action)| {
                        Question::new(principal(*who), (*action).try_into().unwrap(), entity(*what))
                    })
                    .collect();
                let found = store.facts(&questions).await.unwrap().facts;
                assert_eq!(found.len(), group.len());
                for ((who, what, action), facts) in group.into_iter().zip(found) {
                    let case = format!("{kind:?}, statistics: {statistics}, {who} asks for {what} among {questions:?}");
                    let lineage: Vec<u32> =
                        std::iter::successors(Some(what), |n| (*n > 1).then_some(n / 2)).chain([0]).collect();
                    let expected = lineage.iter().filter(|place| held.contains(&(who, **place)));
                    let expected: HashSet<_> = expected.map(|n| (*n > 0).then(|| entity(*n))).collect();
                    if what > ENTITIES {
                        assert_eq!(facts, None, "{case}");
                        continue;
                    }
                    let facts = facts.unwrap_or_else(|| panic!("{case}"));
                    let known: HashSet<_> = expected.iter().flatten().copied().chain([entity(what)]).collect();
                    assert_eq!(facts.assigned_entities.into_iter().collect::<HashSet<_>>(), known, "{case}");
                    assert_eq!(facts.assignments.len(), expected.len(), "{case}");
                    let places: HashSet<_> = facts.assignments.iter().map(|held| held.entity_id).collect();
                    assert_eq!(places, expected, "{case}");
                    let held = (action == "a:read").then_some(action);
                    assert!(
                        facts.assignments.iter().all(|assignment| assignment.held_action.as_deref() == held),
                        "{case}"
                    );
                }
            }
        }
    }
}

/// A read is repeated when only the connection failed.
#[tokio::test]
async fn a_check_outlives_its_connection() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let store = database.store().await;
    let unknown = Question::new(Uuid::from_u128(1), "a:read".try_into().unwrap(), Uuid::from_u128(2));
    for _ in 0..20 {
        assert_eq!(store.facts(&[unknown.clone(), unknown.clone()]).await.unwrap().facts, [None, None]);
        let others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        database.execute(&format!("SELECT pg_terminate_backend(pid) {others}")).await.unwrap();
        database.until(&format!("SELECT COUNT(*) {others}"), 0).await;
    }
}
