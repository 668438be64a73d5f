//! The plans of a page of the ledger: every documented filter reads its own entries, and no plan leaves
//! one out.

use epr_core::domain::{AuditFilter, AuditPage, Timestamp};
use epr_core::ledger::chain::Draft;
use epr_core::store::{postgres, sqlite};
use epr_testkit::database::{Database, DatabaseKind, OTHER_CLIENTS};
use epr_testkit::ledger::{all_entries, event as event_of, outcome_text};
use epr_testkit::seed;
use rand::Rng as _;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Execute as _, PgConnection, Row as _, SqliteConnection};
use uuid::Uuid;

use crate::plan::looked_at;
use crate::plan_check::reads;

/// The number of entries in the ledger whose plans are tested: one a second.
const ENTRIES: u32 = 60_000;

const POSTGRES: &str = "
    ALTER TABLE audit_logs DISABLE TRIGGER ALL;
    INSERT INTO audit_logs (sequence, previous_hash, entry_hash, hash_version, event_id, source, action, actor_id,
      actor_type, entity_id, entity_type, correlation_id, details, occurred_at)
    SELECT n, repeat('0', 64), repeat('0', 64), 1, CAST(lpad(to_hex(n), 32, '0') AS uuid),
      CASE WHEN n = 7 THEN 'rare' ELSE 'x' END, CASE WHEN n = 7 THEN 'rare' ELSE 'x' END,
      CAST(lpad(to_hex(n % 9999), 32, '0') AS uuid), 'user', CAST(lpad(to_hex(n % 9999), 32, '0') AS uuid),
      CASE WHEN n = 7 THEN 'rare' ELSE 'spv' END, 'c' || n, '{}',
      timestamptz '2026-01-01 00:00Z' + n * interval '1 second'
    FROM generate_series(1, 60000) n;
    ANALYZE audit_logs";

const SQLITE: &str = "
    INSERT INTO audit_logs (sequence, previous_hash, entry_hash, hash_version, event_id, source, action, actor_id,
      actor_type, entity_id, entity_type, correlation_id, details, occurred_at)
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 60000)
    SELECT n, printf('%064d', 0), printf('%064d', 0), 1, printf('00000000-0000-0000-0000-%012x', n),
      CASE WHEN n = 7 THEN 'rare' ELSE 'x' END, CASE WHEN n = 7 THEN 'rare' ELSE 'x' END,
      printf('00000000-0000-0000-0000-%012x', n % 9999), 'user', printf('00000000-0000-0000-0000-%012x', n % 9999),
      CASE WHEN n = 7 THEN 'rare' ELSE 'spv' END, 'c' || n, '{}',
      strftime('%Y-%m-%dT%H:%M:%S', '2026-01-01', '+' || n || ' seconds') || '.000000Z'
    FROM numbers";

/// A ledger of entries that are in no chain: only their columns matter here.
pub(crate) async fn ledger(kind: DatabaseKind) -> Database {
    let database = Database::create(kind).await;
    database.store().await.close().await;
    if kind == DatabaseKind::Sqlite {
        let url = format!("sqlite://{}", database.file().unwrap().display());
        let mut conn = SqliteConnection::connect(&url).await.unwrap();
        let triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_logs'";
        for row in sqlx::query(triggers).fetch_all(&mut conn).await.unwrap() {
            let drop = format!("DROP TRIGGER {}", row.get::<String, _>("name"));
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut conn).await.unwrap();
        }
    }
    database
}

fn at(second: u32) -> Timestamp {
    let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
    let text = format!("2026-01-{:02}T{:02}:{minutes:02}:{seconds:02}Z", 1 + hours / 24, hours % 24);
    Timestamp::parse(&text).unwrap()
}

/// Every documented filter, and how SQLite finds its entries.
fn filters() -> Vec<(AuditFilter, &'static str)> {
    let none = AuditFilter::default;
    let (time, sequence) = ("INDEX ix_audit_logs_occurred", "INTEGER PRIMARY KEY");
    vec![
        (AuditFilter { source: Some("rare".into()), ..none() }, "INDEX ix_audit_logs_source"),
        (AuditFilter { source: Some("unknown".into()), ..none() }, "INDEX ix_audit_logs_source"),
        (AuditFilter { entity_type: Some("rare".into()), ..none() }, "INDEX ix_audit_logs_entity_type"),
        (AuditFilter { action: Some("rare".into()), ..none() }, "INDEX ix_audit_logs_action"),
        (AuditFilter { correlation_id: Some("c7".into()), ..none() }, "INDEX ix_audit_logs_correlation"),
        (AuditFilter { actor_id: Some(Uuid::from_u128(7)), ..none() }, "INDEX ix_audit_logs_actor"),
        (AuditFilter { entity_id: Some(Uuid::from_u128(7)), ..none() }, "INDEX ix_audit_logs_entity"),
        (AuditFilter { event_id: Some(Uuid::from_u128(7)), ..none() }, "INDEX uq_audit_logs_event"),
        (AuditFilter { occurred_to: Some(at(100)), ..none() }, time),
        (AuditFilter { occurred_from: Some(at(ENTRIES - 100)), ..none() }, time),
        (AuditFilter { occurred_from: Some(at(30_000)), occurred_to: Some(at(30_100)), ..none() }, time),
        // Nearly half of it, at the end of the order that is read last.
        (AuditFilter { occurred_to: Some(at(25_000)), ..none() }, sequence),
        (AuditFilter { occurred_from: Some(at(35_000)), ..none() }, sequence),
        (AuditFilter { occurred_from: Some(at(10_000)), occurred_to: Some(at(20_000)), ..none() }, sequence),
        // Nearly all of it.
        (AuditFilter { occurred_from: Some(at(10)), ..none() }, sequence),
        (AuditFilter { from_sequence: Some(10), to_sequence: Some(20), ..none() }, sequence),
        (AuditFilter { from_sequence: Some(ENTRIES.into()), ..none() }, sequence),
        (AuditFilter { to_sequence: Some(10), ..none() }, sequence),
        (none(), sequence),
    ]
}

const PAGES: [AuditPage; 2] =
    [AuditPage { limit: 500, after: None, ascending: false }, AuditPage { limit: 500, after: None, ascending: true }];

#[tokio::test]
async fn postgres_reads_the_entries_of_a_filter() {
    let database = ledger(DatabaseKind::Postgres).await;
    database.execute(POSTGRES).await.unwrap();
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    for ((filter, _), page) in filters().into_iter().flat_map(|filter| PAGES.map(|page| (filter.clone(), page))) {
        let span = match postgres::span_query(&filter) {
            Some(mut query) => postgres::TimeSpan::of(&query.build().fetch_one(&mut conn).await.unwrap()).unwrap(),
            None => postgres::TimeSpan::Unknown,
        };
        let mut query = postgres::page_query(&filter, page, span);
        let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) {}", query.sql().as_str());
        let arguments = query.build().take_arguments().unwrap().unwrap();
        let row = sqlx::query_with(AssertSqlSafe(explain), arguments).fetch_one(&mut conn).await.unwrap();
        let plan: Value = serde_json::from_str(row.try_get_unchecked(0).unwrap()).unwrap();
        let rows = looked_at(&plan[0]["Plan"], "audit_logs");
        // A page, and what the planner takes along around a span of time.
        assert!(rows <= 600.0, "{filter:?} {page:?} {span:?}: {rows} rows\n{plan:#}");
    }
}

#[tokio::test]
async fn sqlite_reads_the_entries_of_a_filter() {
    let database = ledger(DatabaseKind::Sqlite).await;
    database.execute(SQLITE).await.unwrap();
    let url = format!("sqlite://{}", database.file().unwrap().display());
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    for ((filter, expected), page) in filters().into_iter().flat_map(|filter| PAGES.map(|page| (filter.clone(), page)))
    {
        let span = match sqlite::span_query(&filter) {
            Some(mut query) => sqlite::TimeSpan::of(&query.build().fetch_one(&mut conn).await.unwrap()).unwrap(),
            None => sqlite::TimeSpan::Unknown,
        };
        let mut query = sqlite::page_query(&filter, page, span);
        let explain = format!("EXPLAIN QUERY PLAN {}", query.sql().as_str());
        let arguments = query.build().take_arguments().unwrap().unwrap();
        let steps = sqlx::query_with(AssertSqlSafe(explain), arguments).fetch_all(&mut conn).await.unwrap();
        let steps: Vec<String> = steps.iter().map(|step| step.get("detail")).collect();
        let bounded = steps.iter().any(|step| step.starts_with("SEARCH l") && step.contains(expected));
        // Without a bound, the order of the sequence is walked until the page is full.
        let walked =
            filter == AuditFilter::default() || span == sqlite::TimeSpan::Unknown && filter.occurred_from.is_some();
        assert!(bounded || walked && steps == ["SCAN l"], "{filter:?} {page:?} {span:?}: {steps:#?}");
        let sorted = steps.iter().any(|step| step.contains("TEMP B-TREE"));
        assert_eq!(sorted, span == sqlite::TimeSpan::Few, "{filter:?} {page:?} {span:?}: {steps:#?}");
    }
}

/// Entries with any times, also such that arrive late, by each way to read a span of time.
#[tokio::test]
async fn no_plan_for_a_time_range_leaves_an_entry_out() {
    let mut rng = seed::rng("no_way_to_read_a_span_of_time_leaves_an_entry_out");
    let times: Vec<u32> = (0..200).map(|n| if rng.random_bool(0.2) { rng.random_range(0..200) } else { n }).collect();
    let rows: Vec<_> = times
        .iter()
        .enumerate()
        .map(|(n, time)| {
            let (sequence, hash, time) = (n + 1, "0".repeat(64), at(*time));
            format!("({sequence}, '{hash}', '{hash}', 1, 's', 'a', 'user', '{{}}', '{time}')")
        })
        .collect();
    let insert = format!(
        "INSERT INTO audit_logs (sequence, previous_hash, entry_hash, hash_version, source, action, actor_type, \
         details, \
         occurred_at) VALUES {}",
        rows.join(", ")
    );
    let stores = [ledger(DatabaseKind::Sqlite).await, ledger(DatabaseKind::Postgres).await];
    stores[1].execute("ALTER TABLE audit_logs DISABLE TRIGGER ALL").await.unwrap();
    for database in &stores {
        database.execute(&insert).await.unwrap();
    }
    let url = format!("sqlite://{}", stores[0].file().unwrap().display());
    let mut on_sqlite = SqliteConnection::connect(&url).await.unwrap();
    let mut on_postgres = PgConnection::connect(&stores[1].url).await.unwrap();
    for _ in 0..100 {
        let bound = |given: bool, second: u32| given.then(|| at(second));
        let (from, to) = (rng.random_range(0..200), rng.random_range(0..200));
        let (from, to) = ((rng.random_bool(0.8), from), (rng.random_bool(0.8), to));
        let filter = AuditFilter {
            occurred_from: bound(from.0, from.1),
            occurred_to: bound(to.0, to.1),
            ..AuditFilter::default()
        };
        let page = AuditPage {
            limit: rng.random_range(1..100),
            after: rng.random_bool(0.3).then(|| rng.random_range(1..200)),
            ascending: rng.random_bool(0.5),
        };
        let within = |time: u32| (!from.0 || time >= from.1) && (!to.0 || time <= to.1);
        let matching: Vec<i64> = (1..).zip(&times).filter(|(_, time)| within(**time)).map(|(n, _)| n).collect();
        let mut expected = matching.clone();
        if !page.ascending {
            expected.reverse();
        }
        expected.retain(|n| page.after.is_none_or(|after| if page.ascending { *n > after } else { *n < after }));
        expected.truncate(page.limit as usize);
        let (first, last) = (matching.first().copied().unwrap_or(1), matching.last().copied().unwrap_or(1));
        let spans = [sqlite::TimeSpan::Unknown, sqlite::TimeSpan::Few, sqlite::TimeSpan::Between(first, last)];
        for span in spans {
            let rows = sqlite::page_query(&filter, page, span).build().fetch_all(&mut on_sqlite).await.unwrap();
            let found: Vec<i64> = rows.iter().map(|row| row.get("sequence")).collect();
            assert_eq!(found, expected, "SQLite: {filter:?} {page:?} {span:?}");
        }
        let spans = [postgres::TimeSpan::Unknown, postgres::TimeSpan::Few, postgres::TimeSpan::Between(first, last)];
        for span in spans {
            let rows = postgres::page_query(&filter, page, span).build().fetch_all(&mut on_postgres).await.unwrap();
            let found: Vec<i64> = rows.iter().map(|row| row.get("sequence")).collect();
            assert_eq!(found, expected, "PostgreSQL: {filter:?} {page:?} {span:?}");
        }
    }
}

/// The statement of an append is planned while the ledger is empty, and kept.
#[tokio::test]
async fn an_append_reads_no_other_entries_however_large_the_ledger_has_become() {
    let database = ledger(DatabaseKind::Postgres).await;
    // Building its indexes reads a table sequentially.
    let (built, _) = reads(&database, &["audit_logs"]).await["audit_logs"];
    let store = database.store().await;
    let append = async |first: i64| {
        for n in first..first + 12 {
            let id = Uuid::from_u128(1 << 100 | u128::from(n.unsigned_abs()));
            let event = json!({"event_id": id, "source": "s", "action": "a", "occurred_at": "2026-01-01T00:00:00Z"});
            let outcomes = store.append(&[Draft::new(event_of(&event)).unwrap()]).await.unwrap();
            assert_eq!(outcome_text(&outcomes[0]), format!("recorded {n}"));
        }
    };
    append(1).await;
    database.execute(&POSTGRES.replace("generate_series(1, 60000)", "generate_series(1001, 61000)")).await.unwrap();
    database.execute("ALTER TABLE audit_logs ENABLE TRIGGER ALL").await.unwrap();
    append(13).await;
    store.close().await;
    let (sequential, fetched) = reads(&database, &["audit_logs"]).await["audit_logs"];
    assert!(sequential == built && fetched < 100, "{built}, {sequential} sequential reads, {fetched} rows by indexes");
}

/// Changes of assignments, and entries of other services that look like them: the number of the principal, and whether
/// the entry is one of EPR's own.
fn changes(count: u32, of: u32) -> String {
    let rows: Vec<_> = (1..=count)
        .map(|n| {
            let (hash, time, principal) = ("0".repeat(64), at(n), Uuid::from_u128((n % of).into()));
            let (source, action) = match n % 5 {
                0 => ("vault", "role_assignment.create"),
                1 => ("entity_permissions_core", "authorization.evaluate"),
                2 => ("entity_permissions_core", "principal.update"),
                3 => ("entity_permissions_core", "role_assignment.delete"),
                _ => ("entity_permissions_core", "role_assignment.create"),
            };
            let (actor, assignment) = (Uuid::from_u128((n % 7).into()), Uuid::from_u128((n / 2).into()));
            let sequence = i64::from(ENTRIES) + i64::from(n);
            // A condition comes before the principal, and a parameter of it can have any name.
            let condition = if n % 3 == 0 {
                r#""condition":{"expression":"true","parameters":{"principal_id":"string"}},"#
            } else {
                ""
            };
            let details = format!("{{\"assignment_id\":\"{assignment}\",{condition}\"principal_id\":\"{principal}\"}}");
            format!(
                "({sequence}, '{hash}', '{hash}', 1, '{source}', '{action}', '{actor}', 'user', '{details}', '{time}')"
            )
        })
        .collect();
    format!(
        "INSERT INTO audit_logs (sequence, previous_hash, entry_hash, hash_version, source, action, actor_id, \
         actor_type, details, occurred_at) VALUES {}",
        rows.join(", ")
    )
}

#[tokio::test]
async fn the_entries_about_a_principal_or_an_assignment_are_found_by_indexes() {
    const CHANGES: u32 = 10_000;
    let principal = AuditFilter { principal_id: Some(Uuid::from_u128(77)), ..AuditFilter::default() };
    let assignment = AuditFilter { assignment_id: Some(Uuid::from_u128(77)), ..AuditFilter::default() };
    // An actor that has done much: the order of the page bounds what is read.
    let actor = AuditFilter { principal_id: Some(Uuid::from_u128(3)), ..AuditFilter::default() };
    let database = ledger(DatabaseKind::Postgres).await;
    database.execute(POSTGRES).await.unwrap();
    database.execute(&changes(CHANGES, 500)).await.unwrap();
    database.execute("ANALYZE audit_logs").await.unwrap();
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    let limits = [(&principal, 60.0), (&assignment, 2.0), (&actor, 1_600.0)];
    for ((filter, limit), page) in limits.into_iter().flat_map(|case| PAGES.map(|page| (case, page))) {
        let mut query = postgres::page_query(filter, page, postgres::TimeSpan::Unknown);
        let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) {}", query.sql().as_str());
        let arguments = query.build().take_arguments().unwrap().unwrap();
        let row = sqlx::query_with(AssertSqlSafe(explain), arguments).fetch_one(&mut conn).await.unwrap();
        let plan: Value = serde_json::from_str(row.try_get_unchecked(0).unwrap()).unwrap();
        let rows = looked_at(&plan[0]["Plan"], "audit_logs");
        assert!(rows <= limit, "{filter:?} {page:?}: {rows} rows\n{plan:#}");
    }
    let database = ledger(DatabaseKind::Sqlite).await;
    let url = format!("sqlite://{}", database.file().unwrap().display());
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    for (filter, indexes) in [
        (principal, &["ix_audit_logs_actor (", "ix_audit_logs_principal (<expr>=?)"][..]),
        (assignment, &["ix_audit_logs_assignment (<expr>=?)"][..]),
    ] {
        for page in PAGES {
            let mut query = sqlite::page_query(&filter, page, sqlite::TimeSpan::Unknown);
            let explain = format!("EXPLAIN QUERY PLAN {}", query.sql().as_str());
            let arguments = query.build().take_arguments().unwrap().unwrap();
            let steps = sqlx::query_with(AssertSqlSafe(explain), arguments).fetch_all(&mut conn).await.unwrap();
            let steps: Vec<String> = steps.iter().map(|step| step.get("detail")).collect();
            for index in indexes {
                assert!(steps.iter().any(|step| step.contains(index)), "{index} {page:?}: {steps:#?}");
            }
        }
    }
}

/// Pages of the entries about a principal, with and without other filters, against a model of the same entries.
#[tokio::test]
async fn no_page_leaves_an_entry_about_a_principal_out() {
    const CHANGES: u32 = 300;
    let mut rng = seed::rng("no_page_leaves_an_entry_about_a_principal_out");
    let databases = [ledger(DatabaseKind::Sqlite).await, ledger(DatabaseKind::Postgres).await];
    databases[1].execute("ALTER TABLE audit_logs DISABLE TRIGGER ALL").await.unwrap();
    for database in &databases {
        database.execute(&changes(CHANGES, 10)).await.unwrap();
    }
    let url = format!("sqlite://{}", databases[0].file().unwrap().display());
    let mut on_sqlite = SqliteConnection::connect(&url).await.unwrap();
    let mut on_postgres = PgConnection::connect(&databases[1].url).await.unwrap();
    for _ in 0..200 {
        let id = |n: u32| Uuid::from_u128(n.into());
        let (principal, assignment) = (rng.random_range(0..12), rng.random_range(0..CHANGES / 2));
        let (by_principal, by_assignment) = (rng.random_bool(0.8), rng.random_bool(0.3));
        let (from, action) = (rng.random_bool(0.3), rng.random_bool(0.3).then_some("role_assignment.create"));
        let filter = AuditFilter {
            principal_id: by_principal.then(|| id(principal)),
            assignment_id: by_assignment.then(|| id(assignment)),
            action: action.map(str::to_owned),
            occurred_from: from.then(|| at(50)),
            ..AuditFilter::default()
        };
        let (begin, ascending) = (i64::from(ENTRIES + rng.random_range(1..CHANGES)), rng.random_bool(0.5));
        let page =
            AuditPage { limit: rng.random_range(1..100), after: rng.random_bool(0.3).then_some(begin), ascending };
        let mut expected: Vec<i64> = (1..=CHANGES)
            .filter(|n| !by_principal || n % 7 == principal || n % 5 >= 2 && n % 10 == principal)
            .filter(|n| !by_assignment || n % 5 >= 3 && n / 2 == assignment)
            .filter(|n| action.is_none() || matches!(n % 5, 0 | 4))
            .filter(|n| !from || *n >= 50)
            .map(|n| i64::from(ENTRIES + n))
            .filter(|n| page.after.is_none_or(|after| if ascending { *n > after } else { *n < after }))
            .collect();
        if !ascending {
            expected.reverse();
        }
        expected.truncate(page.limit as usize);
        for span in [sqlite::TimeSpan::Unknown, sqlite::TimeSpan::Few] {
            let rows = sqlite::page_query(&filter, page, span).build().fetch_all(&mut on_sqlite).await.unwrap();
            let found: Vec<i64> = rows.iter().map(|row| row.get("sequence")).collect();
            assert_eq!(found, expected, "SQLite: {filter:?} {page:?} {span:?}");
        }
        for span in [postgres::TimeSpan::Unknown, postgres::TimeSpan::Few] {
            let rows = postgres::page_query(&filter, page, span).build().fetch_all(&mut on_postgres).await.unwrap();
            let found: Vec<i64> = rows.iter().map(|row| row.get("sequence")).collect();
            assert_eq!(found, expected, "PostgreSQL: {filter:?} {page:?} {span:?}");
        }
    }
}

/// A ledger that has grown since its last `ANALYZE` is read by its key: sorting would write it to the disk once more.
#[tokio::test]
async fn a_scan_of_a_ledger_without_statistics_writes_nothing_to_the_disk() {
    let database = ledger(DatabaseKind::Postgres).await;
    let rows = POSTGRES.replace("ANALYZE audit_logs", "ALTER TABLE audit_logs ENABLE TRIGGER ALL");
    database.execute("ALTER TABLE audit_logs SET (autovacuum_enabled = off)").await.unwrap();
    database.execute(&rows).await.unwrap();
    let files = async || {
        database.until(OTHER_CLIENTS, 0).await;
        database.number("SELECT temp_files FROM pg_stat_database WHERE datname = current_database()").await
    };
    let before = files().await;
    let store = database.store().await;
    assert_eq!(all_entries(&*store).await.len(), ENTRIES as usize);
    store.close().await;
    assert_eq!(files().await, before);
}
