//! The plans of lists with filters: a page reads a bounded part of the table and at most the candidates of its filter.

use epr_core::domain::{AssignmentFilter, EntityFilter, EntityStatus, EntityType, InForce, Timestamp};
use epr_core::store::postgres::Searched as _;
use epr_core::store::sqlite::Searched as _;
use epr_core::store::{Page, postgres, sqlite};
use epr_testkit::database::{Database, DatabaseKind};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Execute as _, PgConnection, QueryBuilder, Row as _, SqliteConnection};
use uuid::Uuid;

use crate::plan::looked_at;

/// Entities and assignments in the tables whose plans are tested, one created each second.
const ROWS: u32 = 100_000;
/// The oldest of them are in one subtree, and have assignments that have ended.
const OLD: u32 = 15_000;
/// The most levels of the hierarchy.
const LEVELS: f64 = 5.0;
/// One row more than a page shows whether there is another page.
const PAGE: Page = Page { limit: 501, after: None };

const ENTITIES: &str = "
    INSERT INTO entities (id, name, type, status, parent_id, created_at)
    SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid),
      CASE WHEN n % 20000 = 77 THEN 'rare ' WHEN n <= 15000 THEN 'old ' ELSE 'new ' END || n,
      CASE WHEN n % 10 = 0 THEN 'agent' ELSE 'spv' END,
      CASE n % 1000 WHEN 7 THEN 'archived' WHEN 8 THEN 'inactive' ELSE 'active' END,
      CASE WHEN n IN (1, 15001) THEN NULL
        WHEN n <= 15000 THEN CAST(lpad(to_hex(greatest(n / 20, 1)), 32, '0') AS uuid)
        ELSE CAST(lpad(to_hex(15001 + (n - 15001) / 20), 32, '0') AS uuid) END,
      timestamptz '2026-01-01 00:00Z' + n * interval '1 second'
    FROM generate_series(1, 100000) n;
    ANALYZE entities";

/// The ends of the old ones are one second apart; a few others begin later than they were made.
const ASSIGNMENTS: &str = "
    INSERT INTO roles (id, name) VALUES ('00000000-0000-0000-0000-0000000000aa', 'Common'),
      ('00000000-0000-0000-0000-0000000000bb', 'Rare');
    INSERT INTO role_assignments (id, principal_id, principal_type, role_id, effective_at, expires_at, created_at)
    SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), CAST(lpad(to_hex(n), 32, '0') AS uuid),
      CASE WHEN n % 20000 = 77 THEN 'service' ELSE 'user' END,
      CASE WHEN n % 20000 = 78 THEN uuid '00000000-0000-0000-0000-0000000000bb'
        ELSE uuid '00000000-0000-0000-0000-0000000000aa' END,
      CASE WHEN n % 10000 = 79 AND n > 15000 THEN timestamptz '2030-01-01'
        ELSE timestamptz '2026-01-01 00:00Z' + n * interval '1 second' END,
      CASE WHEN n <= 15000 THEN timestamptz '2027-01-01 00:00Z' + n * interval '1 second' END,
      timestamptz '2026-01-01 00:00Z' + n * interval '1 second'
    FROM generate_series(1, 100000) n;
    ANALYZE role_assignments";

fn id(n: u32) -> Uuid {
    Uuid::from_u128(n.into())
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// The rows of `table` that a statement reads.
async fn rows_of(conn: &mut PgConnection, table: &str, mut query: QueryBuilder<sqlx::Postgres>) -> f64 {
    let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) {}", query.sql().as_str());
    let arguments = query.build().take_arguments().unwrap().unwrap();
    let row = sqlx::query_with(AssertSqlSafe(explain), arguments).fetch_one(conn).await.unwrap();
    let plan: Value = serde_json::from_str(row.try_get_unchecked(0).unwrap()).unwrap();
    looked_at(&plan[0]["Plan"], table)
}

/// The rows of `table` that a searched page reads, by the rule of `store/sql/searched.rs`.
async fn searched(
    conn: &mut PgConnection,
    table: &str,
    count: impl Fn() -> QueryBuilder<sqlx::Postgres>,
    positions: impl Fn(postgres::SearchIn) -> QueryBuilder<sqlx::Postgres>,
) -> f64 {
    let candidates: i64 = count().build_query_scalar().fetch_one(&mut *conn).await.unwrap();
    let mut rows = rows_of(&mut *conn, table, count()).await;
    if candidates > postgres::FEW_CANDIDATES {
        rows += rows_of(&mut *conn, table, positions(postgres::SearchIn::NewestRows)).await;
        let found = positions(postgres::SearchIn::NewestRows).build().fetch_all(&mut *conn).await.unwrap();
        let looked_at = found.last().and_then(|last| last.get::<Option<i64>, _>("looked_at"));
        let positions = found.iter().filter(|row| row.get::<Option<Uuid>, _>("id").is_some()).count();
        // A full page, or a page of all rows.
        if positions >= PAGE.limit as usize || looked_at.is_some_and(|all| all < postgres::NEWEST_ROWS) {
            return rows;
        }
    }
    rows + rows_of(conn, table, positions(postgres::SearchIn::Candidates)).await
}

#[tokio::test]
async fn a_page_of_entities_reads_few_rows_of_a_large_table_on_postgres() {
    let database = Database::create(DatabaseKind::Postgres).await;
    database.store().await.close().await;
    database.execute(ENTITIES).await.unwrap();
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    let none = EntityFilter::default;
    let (spv, page) = (vec![EntityType::Spv], f64::from(PAGE.limit));
    for (filter, limit) in [
        (EntityFilter { name: Some("new 90001".parse().unwrap()), types: spv.clone(), ..none() }, 1.0),
        (EntityFilter { status: Some(EntityStatus::Archived), ..none() }, page),
        (EntityFilter { status: Some(EntityStatus::Archived), types: spv.clone(), ..none() }, page),
        (EntityFilter { status: Some(EntityStatus::Inactive), ..none() }, page),
        (EntityFilter { status: Some(EntityStatus::Inactive), types: spv.clone(), ..none() }, 1.2 * page),
        (EntityFilter { status: Some(EntityStatus::Active), ..none() }, 1.1 * page),
        // One walk up from the parent serves all of its children.
        (EntityFilter { parent_id: Some(id(20_000)), ancestor_id: Some(id(15_001)), ..none() }, 20.0 + LEVELS),
    ] {
        let rows = rows_of(&mut conn, "entities", postgres::entity_list_query(&filter, PAGE)).await;
        assert!(rows <= limit, "{filter:?}: {rows} rows");
    }
    let (few, newest, old) = (few(), f64::from(u32::try_from(postgres::NEWEST_ROWS).unwrap()), f64::from(OLD));
    let (rare, old_names, new_names) = ("rare".parse().ok(), "old".parse().ok(), "new".parse().ok());
    for (filter, limit) in [
        (EntityFilter { name_prefix: rare.clone(), ..none() }, 10.0),
        (EntityFilter { name_prefix: new_names.clone(), ..none() }, few + 1.1 * page),
        (EntityFilter { name_prefix: old_names, ..none() }, few + newest + old),
        (EntityFilter { ancestor_id: Some(id(15_100)), ..none() }, 4_000.0),
        (EntityFilter { ancestor_id: Some(id(90_000)), ..none() }, 0.0),
        (EntityFilter { ancestor_id: Some(id(15_001)), ..none() }, few + (1.0 + LEVELS) * page),
        (EntityFilter { ancestor_id: Some(id(1)), ..none() }, few + (1.0 + LEVELS) * newest + old),
        (EntityFilter { name_prefix: rare, ancestor_id: Some(id(15_001)), ..none() }, 10.0 + 5.0 * LEVELS),
        (EntityFilter { name_prefix: new_names, ancestor_id: Some(id(15_100)), ..none() }, few + 4_000.0),
    ] {
        let mut searches = postgres::EntitySearch::all_of(&filter);
        let mut rows = 0.0;
        if searches.len() > 1 {
            let names: i64 = searches[0]
                .count(postgres::FEW_CANDIDATES + 1)
                .build_query_scalar()
                .fetch_one(&mut conn)
                .await
                .unwrap();
            let counting = searches[0].count(postgres::FEW_CANDIDATES + 1);
            rows += rows_of(&mut conn, "entities", counting).await;
            searches.remove(usize::from(names <= postgres::FEW_CANDIDATES));
        }
        let search = searches[0];
        let count = || search.count(postgres::FEW_CANDIDATES + 1);
        rows += searched(&mut conn, "entities", count, |among| search.positions(among, PAGE)).await;
        assert!(rows <= limit, "{filter:?}: {rows} rows, at most {limit}");
        assert!(rows < 0.7 * f64::from(ROWS), "{filter:?}: {rows} rows");
    }
}

/// The rows that are read to count candidates. The planner may read a few more at once.
fn few() -> f64 {
    1.6 * f64::from(u32::try_from(postgres::FEW_CANDIDATES + 1).unwrap())
}

#[tokio::test]
async fn a_page_of_assignments_reads_few_rows_of_a_large_table_on_postgres() {
    let database = Database::create(DatabaseKind::Postgres).await;
    database.store().await.close().await;
    database.execute(ASSIGNMENTS).await.unwrap();
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    let none = AssignmentFilter::default;
    let (page, all_made) = (f64::from(PAGE.limit), time("2027-01-01T00:00:00Z"));
    let in_force = |in_force| Some(in_force);
    for (filter, limit) in [
        (AssignmentFilter { role_id: Some(Uuid::from_u128(0xbb)), ..none() }, 5.0),
        (AssignmentFilter { role_id: Some(Uuid::from_u128(0xaa)), ..none() }, page),
        (AssignmentFilter { principal_type: "service".parse().ok(), ..none() }, 5.0),
        (AssignmentFilter { principal_type: "user".parse().ok(), ..none() }, 1.1 * page),
        (AssignmentFilter { in_force: in_force(InForce::Now), ..none() }, 1.1 * page),
        (AssignmentFilter { principal_id: Some(id(7)), in_force: in_force(InForce::NotNow), ..none() }, 1.0),
    ] {
        let rows =
            rows_of(&mut conn, "role_assignments", postgres::assignment_list_query(&filter, all_made, PAGE)).await;
        assert!(rows <= limit, "{filter:?}: {rows} rows");
    }
    let newest = f64::from(u32::try_from(postgres::NEWEST_ROWS).unwrap());
    let ended = AssignmentFilter { in_force: in_force(InForce::NotNow), ..none() };
    for (now, limit) in [
        // Three have ended, and a few begin later.
        (time("2027-01-01T00:00:03Z"), 50.0),
        // All of the oldest have ended.
        (time("2028-01-01T00:00:00Z"), few() + 10.0 + newest + f64::from(OLD) + 10.0),
    ] {
        let search = postgres::AssignmentSearch::of(&ended, now).unwrap();
        let count = || search.count(postgres::FEW_CANDIDATES + 1);
        let positions = |among| search.positions(among, PAGE);
        let rows = searched(&mut conn, "role_assignments", count, positions).await;
        assert!(rows <= limit, "{now}: {rows} rows, at most {limit}");
    }
}

#[tokio::test]
async fn a_page_along_the_tree_reads_few_rows_of_large_tables_on_postgres() {
    let database = Database::create(DatabaseKind::Postgres).await;
    database.store().await.close().await;
    database.execute(ENTITIES).await.unwrap();
    database.execute(ASSIGNMENTS).await.unwrap();
    // Each entity has an assignment, and the root many old ones.
    let placed = "UPDATE role_assignments SET entity_id = CASE
        WHEN id > CAST(lpad(to_hex(15001), 32, '0') AS uuid) AND id < CAST(lpad(to_hex(25000), 32, '0') AS uuid)
        THEN CAST(lpad(to_hex(15001), 32, '0') AS uuid) ELSE id END; ANALYZE role_assignments";
    database.execute(placed).await.unwrap();
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    let page = f64::from(PAGE.limit);
    let level = async |conn: &mut PgConnection, parent: Option<u32>| {
        rows_of(conn, "entities", postgres::branches_query(parent.map(id), PAGE)).await
    };
    assert!(level(&mut conn, None).await <= 10.0);
    assert!(level(&mut conn, Some(15_001)).await <= 3.0 * 20.0);
    let here = rows_of(&mut conn, "role_assignments", postgres::here_query(id(15_001), PAGE)).await;
    let above = [id(19_000), id(15_201), id(15_011), id(15_001)];
    let inherited = rows_of(&mut conn, "role_assignments", postgres::inherited_query(&above, PAGE)).await;
    assert!(here <= page && inherited <= 2.0 * page + 10.0, "{here} {inherited}");
    let (few, newest) = (few(), f64::from(u32::try_from(postgres::NEWEST_ROWS).unwrap()));
    for (root, limit) in
        [(15_100, 4_000.0), (90_000, 0.0), (1, few + newest + 2.0 * f64::from(OLD)), (15_001, 3.0 * few)]
    {
        let search = postgres::BelowSearch::of(id(root));
        let (count, positions) = (|| search.count(postgres::FEW_CANDIDATES + 1), |among| search.positions(among, PAGE));
        let rows = searched(&mut conn, "role_assignments", count, positions).await;
        assert!(rows <= limit, "{root}: {rows} rows, at most {limit}");
    }
    // A level of many.
    let flat = "UPDATE entities SET parent_id = NULL WHERE name LIKE 'new %'; ANALYZE entities";
    database.execute(flat).await.unwrap();
    let roots = level(&mut conn, None).await;
    assert!(roots <= 1.1 * page, "{roots} rows");
}

/// The steps of a plan on SQLite.
async fn steps(conn: &mut SqliteConnection, mut query: QueryBuilder<sqlx::Sqlite>) -> Vec<String> {
    let explain = format!("EXPLAIN QUERY PLAN {}", query.sql().as_str());
    let arguments = query.build().take_arguments().unwrap().unwrap();
    let steps = sqlx::query_with(AssertSqlSafe(explain), arguments).fetch_all(conn).await.unwrap();
    steps.iter().map(|step| step.get("detail")).collect()
}

#[tokio::test]
async fn a_page_is_read_by_an_index_on_sqlite() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    database.store().await.close().await;
    let url = format!("sqlite://{}", database.file().unwrap().display());
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    let none = EntityFilter::default;
    let spv = vec![EntityType::Spv];
    for (filter, index) in [
        (EntityFilter { name: Some("x".parse().unwrap()), types: spv.clone(), ..none() }, "(name=? AND type=?)"),
        (EntityFilter { status: Some(EntityStatus::Archived), ..none() }, "ix_entities_archived"),
        (EntityFilter { status: Some(EntityStatus::Inactive), ..none() }, "ix_entities_inactive"),
        (EntityFilter { status: Some(EntityStatus::Active), ..none() }, "ix_entities_newest"),
        (EntityFilter { status: Some(EntityStatus::Active), types: spv, ..none() }, "ix_entities_type"),
        (
            EntityFilter { parent_id: Some(id(1)), ancestor_id: Some(id(2)), ..none() },
            "ix_entities_parent (parent_id=?)",
        ),
    ] {
        let steps = steps(&mut conn, sqlite::entity_list_query(&filter, PAGE)).await;
        let uses = steps.iter().any(|step| step.contains(" e USING ") && step.contains(index));
        assert!(uses, "{filter:?}: {steps:#?}");
    }
    for (filter, index) in [
        (EntityFilter { name_prefix: "x".parse().ok(), ..none() }, "(name>? AND name<?)"),
        (EntityFilter { ancestor_id: Some(id(1)), ..none() }, "ix_entities_parent (parent_id=?)"),
    ] {
        let [search] = sqlite::EntitySearch::all_of(&filter)[..] else { panic!("{filter:?}") };
        for query in [search.count(7), search.positions(sqlite::SearchIn::Candidates, PAGE)] {
            let steps = steps(&mut conn, query).await;
            assert!(steps.iter().any(|step| step.contains(index)), "{filter:?}: {steps:#?}");
            // The walk ends with the last row that is counted: it is not made whole first.
            assert!(!steps.iter().any(|step| step.starts_with("MATERIALIZE below")), "{filter:?}: {steps:#?}");
        }
        let steps = steps(&mut conn, search.positions(sqlite::SearchIn::NewestRows, PAGE)).await;
        assert!(steps.iter().any(|step| step.contains("INDEX ix_entities_newest")), "{filter:?}: {steps:#?}");
    }
    for (query, table, index) in [
        (sqlite::branches_query(None, PAGE), "e", "ix_entities_parent (parent_id=?)"),
        (sqlite::branches_query(Some(id(1)), PAGE), "e", "ix_entities_parent (parent_id=?)"),
        (sqlite::here_query(id(1), PAGE), "a", "ix_role_assignments_entity (entity_id=?)"),
        (sqlite::inherited_query(&[id(1)], PAGE), "a", "ix_role_assignments_entity (entity_id=?)"),
        (sqlite::BelowSearch::of(id(1)).count(7), "a", "(entity_id=?)"),
        (sqlite::BelowSearch::of(id(1)).positions(sqlite::SearchIn::Candidates, PAGE), "a", "(entity_id=?)"),
        (
            sqlite::BelowSearch::of(id(1)).positions(sqlite::SearchIn::NewestRows, PAGE),
            "a",
            "ix_role_assignments_newest",
        ),
    ] {
        let steps = steps(&mut conn, query).await;
        let of = |step: &&String| step.split(' ').nth(1) == Some(table);
        assert!(steps.iter().any(|step| of(&step) && step.contains(index)), "{index}: {steps:#?}");
        assert!(!steps.iter().any(|step| step.starts_with("MATERIALIZE below")), "{steps:#?}");
    }
    let (none, now) = (AssignmentFilter::default, time("2026-01-01T00:00:00Z"));
    for (filter, index) in [
        (AssignmentFilter { role_id: Some(id(1)), ..none() }, "ix_role_assignments_role_newest (role_id=?)"),
        (
            AssignmentFilter { principal_type: "x".parse().ok(), ..none() },
            "ix_role_assignments_type (principal_type=?)",
        ),
        (AssignmentFilter { principal_type: "user".parse().ok(), ..none() }, "ix_role_assignments_newest"),
        (AssignmentFilter { in_force: Some(InForce::Now), ..none() }, "ix_role_assignments_newest"),
    ] {
        let steps = steps(&mut conn, sqlite::assignment_list_query(&filter, now, PAGE)).await;
        assert!(matches!(&steps[..], [step] if step.contains(index)), "{filter:?}: {steps:#?}");
    }
    let ended = AssignmentFilter { in_force: Some(InForce::NotNow), ..none() };
    let search = sqlite::AssignmentSearch::of(&ended, now).unwrap();
    for query in [search.count(7), search.positions(sqlite::SearchIn::Candidates, PAGE)] {
        let steps = steps(&mut conn, query).await;
        let indexes = ["_end (expires_at<?)", "_not_begun (effective_at>?)", "_newest (created_at>?)"];
        for index in indexes {
            assert!(steps.iter().any(|step| step.contains(index)), "{index}: {steps:#?}");
        }
    }
    let steps = steps(&mut conn, search.positions(sqlite::SearchIn::NewestRows, PAGE)).await;
    assert!(steps.iter().any(|step| step.contains("INDEX ix_role_assignments_newest")), "{steps:#?}");
}
