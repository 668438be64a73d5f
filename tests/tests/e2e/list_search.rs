//! Lists whose pages are searched: each way to search a page finds the rows of a model, and pages lead through all of
//! a list, each row once.

use std::collections::HashMap;

use epr_core::domain::{AssignmentFilter, Entity, EntityFilter, EntityStatus, EntityType, InForce, Timestamp};
use epr_core::store::postgres::Searched as _;
use epr_core::store::sqlite::Searched as _;
use epr_core::store::{Cursor, Page, Store, collect_into, postgres, sqlite};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::seed;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rstest::rstest;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection as _, PgConnection, Row as _, SqliteConnection};
use uuid::Uuid;

fn id(n: u32) -> Uuid {
    Uuid::from_u128(n.into())
}

/// A random registry in both databases, and its rows as a model.
struct World {
    on_sqlite: SqliteConnection,
    on_postgres: PgConnection,
    parents: HashMap<u32, u32>,
    rows: Vec<Row>,
    _databases: [Database; 2],
}

struct Row {
    n: u32,
    name: String,
    entity_type: EntityType,
    status: EntityStatus,
    created: u32,
}

const COUNT: u32 = 200;

fn second(n: u32) -> Timestamp {
    Timestamp::parse("2026-01-01T00:00:00Z").unwrap().plus_seconds(n.into())
}

async fn databases() -> ([Database; 2], SqliteConnection, PgConnection) {
    let databases = [Database::create(DatabaseKind::Sqlite).await, Database::create(DatabaseKind::Postgres).await];
    for database in &databases {
        database.store().await.close().await;
    }
    let url = format!("sqlite://{}", databases[0].file().unwrap().display());
    let on_sqlite = SqliteConnection::connect(&url).await.unwrap();
    let on_postgres = PgConnection::connect(&databases[1].url).await.unwrap();
    (databases, on_sqlite, on_postgres)
}

impl World {
    async fn random(rng: &mut StdRng) -> Self {
        let (databases, on_sqlite, on_postgres) = databases().await;
        let pieces = ["a", "A", "é", "ab", "\u{d7ff}", "\u{10ffff}", "z"];
        let mut parents = HashMap::new();
        let mut rows = Vec::new();
        let mut values = Vec::new();
        for n in 1..=COUNT {
            if n > 1 && rng.random_bool(0.9) {
                parents.insert(n, rng.random_range(1..n));
            }
            let text: String = (0..3).map(|_| *pieces.choose(rng).unwrap()).collect();
            // Some of one moment, which only their ids order.
            let row = Row {
                n,
                name: format!("{text}{n}"),
                entity_type: if rng.random_bool(0.7) { EntityType::Spv } else { EntityType::Agent },
                status: *[EntityStatus::Active, EntityStatus::Inactive, EntityStatus::Archived].choose(rng).unwrap(),
                created: rng.random_range(0..COUNT),
            };
            let parent = parents.get(&n).map_or("NULL".to_owned(), |parent| format!("'{}'", id(*parent)));
            let at = second(row.created);
            values.push(format!(
                "('{}', '{}', '{}', '{}', {parent}, '{at}', '{at}')",
                id(n),
                row.name,
                row.entity_type,
                row.status
            ));
            rows.push(row);
        }
        // A cycle, which no write can create: a walk has to end in it.
        parents.insert(1, 3);
        parents.insert(3, 1);
        let insert = format!(
            "INSERT INTO entities (id, name, type, status, parent_id, created_at, updated_at) VALUES {}",
            values.join(", ")
        );
        let link = |n, parent| format!("UPDATE entities SET parent_id = '{}' WHERE id = '{}'", id(parent), id(n));
        let cycle = [link(1, 3), link(3, 1)].join("; ");
        for database in &databases {
            database.execute(&insert).await.unwrap();
            database.execute(&cycle).await.unwrap();
        }
        Self { on_sqlite, on_postgres, parents, rows, _databases: databases }
    }

    fn is_below(&self, n: u32, root: u32) -> bool {
        let mut above = self.parents.get(&n);
        for _ in 0..=COUNT {
            match above {
                Some(parent) if *parent == root => return n != root,
                Some(parent) => above = self.parents.get(parent),
                None => return false,
            }
        }
        false
    }

    /// The number of rows behind the position of a page that match by type and status.
    fn rows_of_kind(&self, filter: &EntityFilter, page: Page) -> i64 {
        let of_kind = EntityFilter { types: filter.types.clone(), status: filter.status, ..EntityFilter::default() };
        let all = self.expected(&of_kind, Page { limit: u32::MAX, ..page });
        i64::try_from(all.len()).unwrap()
    }

    /// The page that the model says.
    fn expected(&self, filter: &EntityFilter, page: Page) -> Vec<Uuid> {
        let admits = |row: &&Row| {
            filter.status.map_or(row.status != EntityStatus::Archived, |status| status == row.status)
                && (filter.types.is_empty() || filter.types.contains(&row.entity_type))
                && filter.name_prefix.as_ref().is_none_or(|prefix| row.name.starts_with(prefix.as_str()))
                && filter.parent_id.is_none_or(|parent| self.parents.get(&row.n).is_some_and(|n| id(*n) == parent))
                && filter.ancestor_id.is_none_or(|root| self.is_below(row.n, u32::try_from(root.as_u128()).unwrap()))
        };
        let mut found: Vec<_> = self.rows.iter().filter(admits).map(|row| (second(row.created), id(row.n))).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        let begins = |row: &(Timestamp, Uuid)| page.after.is_none_or(|after| *row < (after.created_at, after.id));
        found.into_iter().filter(begins).take(page.limit as usize).map(|(_, id)| id).collect()
    }
}

/// The ids of positions. A row without an id says how many rows were looked at.
fn sqlite_ids(rows: &[SqliteRow]) -> Vec<Uuid> {
    rows.iter().filter_map(|row| row.get::<Option<String>, _>("id")).map(|id| id.parse().unwrap()).collect()
}

fn postgres_ids(rows: &[PgRow]) -> Vec<Uuid> {
    rows.iter().filter_map(|row| row.get("id")).collect()
}

fn random_page(rng: &mut StdRng) -> Page {
    let after = Cursor { created_at: second(rng.random_range(0..COUNT)), id: id(rng.random_range(1..=COUNT)) };
    Page { limit: rng.random_range(1..60), after: rng.random_bool(0.5).then_some(after) }
}

#[tokio::test]
async fn every_way_to_search_a_page_of_entities_finds_the_rows_of_the_model() {
    let mut rng = seed::rng("every_way_to_search_a_page_of_entities_finds_the_rows_of_the_model");
    let mut world = World::random(&mut rng).await;
    let prefixes = ["a", "A", "é", "ab", "aa", "\u{d7ff}", "\u{10ffff}", "\u{10ffff}\u{10ffff}", "zz", "q"];
    let (mut found_rows, mut counted) = (0, 0);
    for _ in 0..200 {
        let types = match rng.random_range(0..4) {
            0 => vec![EntityType::Spv],
            1 => vec![EntityType::Agent, EntityType::Spv],
            _ => Vec::new(),
        };
        let filter = EntityFilter {
            types,
            status: [
                None,
                None,
                Some(EntityStatus::Active),
                Some(EntityStatus::Inactive),
                Some(EntityStatus::Archived),
            ]
            .choose(&mut rng)
            .copied()
            .unwrap(),
            name_prefix: rng.random_bool(0.6).then(|| prefixes.choose(&mut rng).unwrap().parse().unwrap()),
            parent_id: rng.random_bool(0.2).then(|| id(rng.random_range(1..20))),
            ancestor_id: rng.random_bool(0.7).then(|| id(rng.random_range(1..20))),
            ..EntityFilter::default()
        };
        let page = random_page(&mut rng);
        let expected = world.expected(&filter, page);
        found_rows += expected.len();
        let ids = |rows: Vec<Uuid>, how: &str| assert_eq!(rows, expected, "{how}: {filter:?} {page:?}");
        for search in sqlite::EntitySearch::all_of(&filter) {
            for among in [sqlite::SearchIn::Candidates, sqlite::SearchIn::NewestRows] {
                let mut query = search.positions(among, page);
                let rows = query.build().fetch_all(&mut world.on_sqlite).await.unwrap();
                ids(sqlite_ids(&rows), "SQLite, searched");
                // A page among the newest rows that is not full knows whether they are all rows.
                if let Some(last) = rows.last().filter(|last| last.get::<Option<String>, _>("id").is_none()) {
                    let (all, is_full) = (world.rows_of_kind(&filter, page), expected.len() >= page.limit as usize);
                    assert!(is_full || last.get::<i64, _>("looked_at") == all, "{all}: {filter:?} {page:?}");
                    counted += 1;
                }
            }
        }
        for search in postgres::EntitySearch::all_of(&filter) {
            for among in [postgres::SearchIn::Candidates, postgres::SearchIn::NewestRows] {
                let mut query = search.positions(among, page);
                let rows = query.build().fetch_all(&mut world.on_postgres).await.unwrap();
                ids(postgres_ids(&rows), "PostgreSQL, searched");
                if let Some(last) = rows.last().filter(|last| last.get::<Option<Uuid>, _>("id").is_none()) {
                    let (all, is_full) = (world.rows_of_kind(&filter, page), expected.len() >= page.limit as usize);
                    assert!(is_full || last.get::<i64, _>("looked_at") == all, "{all}: {filter:?} {page:?}");
                    counted += 1;
                }
            }
        }
        let rows = sqlite::entity_list_query(&filter, page).build().fetch_all(&mut world.on_sqlite).await.unwrap();
        ids(sqlite_ids(&rows), "SQLite");
        let rows = postgres::entity_list_query(&filter, page).build().fetch_all(&mut world.on_postgres).await.unwrap();
        ids(postgres_ids(&rows), "PostgreSQL");
    }
    assert!(found_rows > 500, "{found_rows} rows in all pages");
    assert!(counted > 50, "{counted} pages were counted");
}

#[tokio::test]
async fn every_way_to_search_assignments_that_are_not_in_force_finds_the_rows_of_the_model() {
    let mut rng = seed::rng("every_way_to_search_assignments_that_are_not_in_force_finds_the_rows_of_the_model");
    let (databases, mut on_sqlite, mut on_postgres) = databases().await;
    let at = second(0);
    let role =
        format!("INSERT INTO roles (id, name, created_at, updated_at) VALUES ('{}', 'Role', '{at}', '{at}')", id(7));
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for n in 1..=COUNT {
        // Also such that begin before they were made, and such that end before.
        let (created, start) = (rng.random_range(0..COUNT), rng.random_range(0..COUNT));
        let start = if rng.random_bool(0.4) { created } else { start };
        let end = rng.random_bool(0.5).then(|| start + rng.random_range(1..COUNT));
        let kind = if rng.random_bool(0.5) { "user" } else { "service" };
        let ended = end.map_or("NULL".to_owned(), |end| format!("'{}'", second(end)));
        values.push(format!(
            "('{0}', '{0}', '{kind}', '{1}', '{2}', {ended}, '{3}', '{3}')",
            id(n),
            id(7),
            second(start),
            second(created)
        ));
        rows.push((second(created), id(n), kind, start, end));
    }
    rows.sort_unstable_by(|a, b| b.cmp(a));
    let insert = format!(
        "INSERT INTO role_assignments \
         (id, principal_id, principal_type, role_id, effective_at, expires_at, created_at, updated_at) VALUES {}",
        values.join(", ")
    );
    for database in &databases {
        database.execute(&role).await.unwrap();
        database.execute(&insert).await.unwrap();
    }
    for _ in 0..100 {
        let principal_type = rng.random_bool(0.5).then(|| *["user", "service"].choose(&mut rng).unwrap());
        let (now, page) = (rng.random_range(0..2 * COUNT), random_page(&mut rng));
        for in_force in [InForce::NotNow, InForce::Now, InForce::At(second(now))] {
            let filter = AssignmentFilter {
                principal_type: principal_type.map(|word| word.parse().unwrap()),
                in_force: Some(in_force),
                ..AssignmentFilter::default()
            };
            let expected: Vec<_> = rows
                .iter()
                .filter(|(.., start, end)| {
                    (*start <= now && end.is_none_or(|end| now < end)) == (in_force != InForce::NotNow)
                })
                .filter(|(_, _, kind, ..)| principal_type.is_none_or(|wanted| wanted == *kind))
                .filter(|row| page.after.is_none_or(|after| (row.0, row.1) < (after.created_at, after.id)))
                .map(|row| row.1)
                .take(page.limit as usize)
                .collect();
            let case = format!("{filter:?} {page:?} at {now}");
            let mut statements = vec![(
                sqlite::assignment_list_query(&filter, second(now), page),
                postgres::assignment_list_query(&filter, second(now), page),
            )];
            let searches = sqlite::AssignmentSearch::of(&filter, second(now))
                .zip(postgres::AssignmentSearch::of(&filter, second(now)));
            assert_eq!(searches.is_some(), in_force == InForce::NotNow);
            if let Some((one, other)) = searches {
                use {postgres::SearchIn as Other, sqlite::SearchIn as One};
                for (in_one, in_other) in [(One::Candidates, Other::Candidates), (One::NewestRows, Other::NewestRows)] {
                    statements.push((one.positions(in_one, page), other.positions(in_other, page)));
                }
            }
            for (mut one, mut other) in statements {
                let found = one.build().fetch_all(&mut on_sqlite).await.unwrap();
                assert_eq!(sqlite_ids(&found), expected, "SQLite: {case}");
                let found = other.build().fetch_all(&mut on_postgres).await.unwrap();
                assert_eq!(postgres_ids(&found), expected, "PostgreSQL: {case}");
            }
        }
    }
}

/// The ids of the pages of this size, one after the other.
async fn pages(store: &dyn Store, filter: &EntityFilter, limit: u32) -> Vec<u128> {
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let mut rows: Vec<Entity> = Vec::new();
        store.entities(filter, Page { limit, after }, &mut collect_into(&mut rows)).await.unwrap();
        let Some(last) = rows.last() else { break };
        after = Some(Cursor { created_at: last.created_at, id: last.id });
        let is_last = rows.len() < limit as usize;
        seen.extend(rows.iter().map(|row| row.id.as_u128()));
        if is_last {
            break;
        }
    }
    seen
}

/// More candidates than are read at once, some among the newest rows and most of them older than all of those.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn pages_lead_through_a_large_subtree_and_a_long_list_of_names(#[case] kind: DatabaseKind) {
    const BELOW: u32 = 12_000;
    const OTHERS: u32 = 6_000;
    let database = Database::create(kind).await;
    let store = database.store().await;
    let at = |n: u32| second(n / 3);
    let mut rows = vec![format!("('{}', 'root', 'spv', 'active', NULL, '{1}', '{1}')", id(1), at(1))];
    let mut expected = Vec::new();
    for n in 2..=BELOW + OTHERS {
        // Among the newest a few are below the root; n / 20 of one that is below is below.
        let is_below = n <= BELOW || n % 1000 == 0;
        let parent = if is_below { format!("'{}'", id((n / 20).clamp(1, BELOW))) } else { "NULL".to_owned() };
        let status = if n % 100 == 3 { "archived" } else { "active" };
        let name = if is_below { "below" } else { "other" };
        rows.push(format!("('{}', '{name} {n}', 'spv', '{status}', {parent}, '{1}', '{1}')", id(n), at(n)));
        if is_below && status == "active" {
            expected.push((at(n), u128::from(n)));
        }
    }
    for chunk in rows.chunks(2_000) {
        let insert = "INSERT INTO entities (id, name, type, status, parent_id, created_at, updated_at) VALUES";
        database.execute(&format!("{insert} {}", chunk.join(", "))).await.unwrap();
    }
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let expected: Vec<u128> = expected.into_iter().map(|(_, n)| n).collect();
    let below = EntityFilter { ancestor_id: Some(id(1)), ..EntityFilter::default() };
    let named = EntityFilter { name_prefix: "below".parse().ok(), ..EntityFilter::default() };
    let both = EntityFilter { name_prefix: "below 1".parse().ok(), ..below.clone() };
    for limit in [700, 1_001, 5_000, u32::MAX] {
        assert_eq!(pages(&*store, &below, limit).await, expected, "by the ancestor, {limit} rows a page");
        assert_eq!(pages(&*store, &named, limit).await, expected, "by the name, {limit} rows a page");
        let begins = |n: &u128| n.to_string().starts_with('1');
        let named_and_below: Vec<u128> = expected.iter().copied().filter(begins).collect();
        assert_eq!(pages(&*store, &both, limit).await, named_and_below, "by both, {limit} rows a page");
    }
    // The end of the list by size is a row of it, and none when all rows fit.
    for filter in [&below, &named] {
        assert_eq!(store.entities_end(filter, i64::MAX).await.unwrap(), None);
        let end = store.entities_end(filter, 100_000).await.unwrap().unwrap();
        let position = expected.iter().position(|n| *n == end.id.as_u128()).unwrap();
        assert!((200..400).contains(&position), "{position} rows of about 310 bytes in 100,000");
    }
}
