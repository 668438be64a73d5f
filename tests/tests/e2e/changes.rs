//! `GET /changes` and `epr changes`: every entry that changed the registry, once and in the order of the commits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Method;
use epr_core::clock::SystemClock;
use epr_core::domain::Revision;
use epr_core::ingest::Message;
use epr_testkit::api::{Answer, Api};
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use epr_testkit::seed;
use epr_testkit::wait;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::history_world::World;

/// SQL: what the feed has to report, by the entries themselves.
pub(crate) const REGISTRY_ENTRIES: &str = "SELECT CAST(sequence AS TEXT) || ' ' || action || ' ' || entry_hash \
     FROM audit_logs WHERE source = 'entity_permissions_core' AND event_id IS NULL \
     AND action NOT LIKE 'authorization.%' ORDER BY sequence";

/// An entry as [`REGISTRY_ENTRIES`] has it; its revision must name it.
pub(crate) fn entry(change: &Value) -> String {
    let sequence = change["sequence"].as_i64().unwrap();
    let revision: Revision = change["revision"].as_str().unwrap().parse().unwrap();
    assert_eq!(revision.sequence, sequence, "{change}");
    format!("{sequence} {} {}", change["action"].as_str().unwrap(), change["entry_hash"].as_str().unwrap())
}

fn revision_of(answer: &Answer) -> Revision {
    answer.headers["epr-revision"].to_str().unwrap().parse().unwrap()
}

fn entries(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body.as_array().unwrap().iter().map(entry).collect()
}

/// Changes, decisions between them, and an entry of another service.
async fn fill(api: &Api, name: &str, changes: usize) {
    let mut rng = seed::rng(name);
    let mut world = World::default();
    let now = api.epr.now();
    for round in 0..changes {
        world.change(&api.epr, &mut rng, now).await;
        let question = json!({"user_id": Uuid::nil(), "action": "a:read", "resource_id": Uuid::nil()});
        api.post("/api/v1/authorize", question).await;
        if round % 10 == 5 {
            // A message of the queue that claims to be EPR's.
            let body = json!({"source": "entity_permissions_core", "action": "entity.update", "details": {}});
            let message = Message::new(Uuid::from_u128(round as u128).to_string(), body.to_string());
            assert!(api.epr.ingest(&[message]).await.outcomes[0].is_in_ledger());
        }
        if round % 10 == 0 {
            let context = json!({"actor_id": Uuid::nil(), "actor_type": "user", "entity_id": Uuid::nil(),
                "entity_type": "spv"});
            let event = json!({"event_type": "entity.create", "source": "vault", "context": context});
            api.post("/api/v1/events", event).await.expect(201);
        }
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_have_every_entry_that_changed_the_registry_once_and_in_order(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let empty = api.get("/api/v1/changes").await;
    assert_eq!((entries(&empty), revision_of(&empty).sequence), (vec![], 0));
    fill(&api, "pages_have_every_entry_that_changed_the_registry", 200).await;
    let expected = api.database.texts(REGISTRY_ENTRIES).await;
    assert!(expected.len() > 40 && api.database.number("SELECT COUNT(*) FROM audit_logs").await > 100);
    assert_eq!(entries(&api.get("/api/v1/changes?limit=1000").await), expected);
    // By the last entry that was taken, by the header, and by the link.
    let (mut by_entry, mut by_header, mut by_link) = (Vec::new(), Vec::new(), Vec::new());
    let mut after = revision_of(&empty).to_string();
    loop {
        let page = api.get(&format!("/api/v1/changes?limit=7&after={after}")).await;
        by_entry.extend(entries(&page));
        let Some(last) = page.body.as_array().unwrap().last() else { break };
        after = last["revision"].as_str().unwrap().to_owned();
    }
    let mut after = revision_of(&empty);
    loop {
        let page = api.get(&format!("/api/v1/changes?limit=11&after={after}")).await;
        by_header.extend(entries(&page));
        let next = revision_of(&page);
        if next == after {
            break;
        }
        after = next;
    }
    let mut path = Some("/api/v1/changes?limit=13".to_owned());
    while let Some(at) = path {
        let page = api.get(&at).await;
        by_link.extend(entries(&page));
        path = page.next_page(&at);
    }
    assert_eq!([&by_entry, &by_header, &by_link], [&expected; 3]);
    // A decision names a state of the registry, and an entry that is no change has a sequence: both can be gone on
    // after.
    let newest = api.database.number("SELECT MAX(sequence) FROM audit_logs").await;
    let page = api.get(&format!("/api/v1/changes?after={}", Revision { sequence: newest, ..after })).await;
    assert_eq!((entries(&page), revision_of(&page).sequence), (vec![], newest));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_is_malformed_foreign_or_never_reached_is_refused(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    api.create_numbered_entity(1).await;
    let newest = revision_of(&api.get("/api/v1/changes").await);
    let foreign = revision_of(&Api::start(DatabaseKind::Sqlite).await.get("/api/v1/changes").await);
    let future = Revision { sequence: newest.sequence + 1, ..newest };
    let events = ("Accept", "text/event-stream");
    let get = async |query: &str, headers: &[(&str, &str)]| {
        api.raw(Method::GET, &format!("/api/v1/changes{query}"), headers, "").await
    };
    for headers in [&[][..], &[events]] {
        let answer = get(&format!("?after={foreign}"), headers).await;
        let sentence = answer.body["detail"].as_str().unwrap();
        assert!(sentence.contains("another incarnation") && sentence.contains(&newest.to_string()), "{sentence}");
        assert_eq!(answer.status, 409);
        let answer = get(&format!("?after={future}&wait=1"), headers).await;
        assert!(answer.body["detail"].as_str().unwrap().contains("not reached"), "{}", answer.body);
        assert_eq!(answer.status, 400);
        for (query, error) in [
            ("?after=12", "query.after: revision"),
            ("?after=", "query.after: revision"),
            ("?wait=31", "query.wait: less_than_equal"),
            ("?wait=-1", "query.wait: greater_than_equal"),
            ("?limit=0", "query.limit: greater_than_equal"),
            ("?since=1", "query.since: extra_forbidden"),
        ] {
            let answer = get(query, headers).await;
            assert_eq!(answer.status, 400, "{query}: {}", answer.body);
            assert_eq!(answer.field_errors(), [error], "{query}");
        }
    }
    for (id, status) in [("12", 400), (&foreign.to_string(), 409), (&future.to_string(), 400)] {
        // It replaces the parameter of the URL, with which a browser connects again.
        let answer = get(&format!("?after={newest}"), &[events, ("Last-Event-ID", id)]).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
}

/// A service with one permit, whose readers wait.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite, "true")]
#[case::postgres(DatabaseKind::Postgres, "true")]
#[case::postgres_without_a_cache(DatabaseKind::Postgres, "false")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_that_waits_holds_no_permit_and_ends_with_the_next_change(
    #[case] kind: DatabaseKind,
    #[case] cache: &str,
) {
    let database = Arc::new(Database::create(kind).await);
    let settings = [("EPR_MAX_CONCURRENCY", "1"), ("EPR_DECISION_CACHE", cache)];
    let api = Api::with_settings(database.clone(), Arc::new(SystemClock), &settings).await;
    let other = Api::on(database).await;
    for (round, writer) in [(0, &api), (1, &other)] {
        let newest = revision_of(&api.get("/api/v1/changes").await);
        let path = format!("/api/v1/changes?wait=30&after={newest}");
        let (polled, ()) = tokio::join!(biased; api.get(&path), async {
            // The poll has been sent first. It has the permit while it reads; once it waits, others have it.
            wait::until("a poll that waits", async || api.get("/api/v1/roles").await.status == 200).await;
            for _ in 0..10 {
                api.get("/api/v1/roles").await.expect(200);
            }
            assert_eq!(writer.create_numbered_entity(round).await, 201);
        });
        assert_eq!(entries(&polled).len(), 1, "{}", polled.body);
        assert_eq!(polled.body[0]["action"], "entity.create");
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_waits_longer_than_a_request_may_take_and_then_answers_with_nothing(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let api = Api::with_settings(database, Arc::new(SystemClock), &[("EPR_REQUEST_TIMEOUT", "1")]).await;
    let began = Instant::now();
    let answer = api.get("/api/v1/changes?wait=3").await;
    assert_eq!(entries(&answer), Vec::<String>::new());
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_a_part_of_the_connections() {
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    let api = Api::with_settings(database, Arc::new(SystemClock), &[("EPR_MAX_CONNECTIONS", "16")]).await;
    let poll = || api.get("/api/v1/changes?wait=30");
    let four = futures_util::future::join_all((0..4).map(|_| poll()));
    let (answered, refused) = tokio::join!(biased; four, async {
        let refused = poll().await;
        api.create_numbered_entity(1).await;
        refused
    });
    assert_eq!(answered.iter().map(|answer| entries(answer).len()).collect::<Vec<_>>(), [1; 4]);
    assert_eq!((refused.status.as_u16(), &refused.headers["retry-after"]), (503, &"1".parse().unwrap()));
    let sentence = refused.body["detail"].as_str().unwrap();
    assert!(sentence.starts_with("Too many readers of changes"), "{sentence}");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_lists_changes_and_follows_them_on_the_database_and_over_the_api(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let api = Api::on(database.clone()).await;
    fill(&api, "the_command_lists_changes", 30).await;
    let (_process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    let expected = database.texts(REGISTRY_ENTRIES).await;
    let mut outputs = Vec::new();
    for cli in [Cli::on(&database.url), Cli::over(&base)] {
        let all = cli.run(&["changes", "--json"]).await;
        assert_eq!((all.code, all.err.as_str()), (0, ""));
        let rows: Vec<Value> = all.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.iter().map(entry).collect::<Vec<_>>(), expected);
        let fifth = rows[4]["revision"].as_str().unwrap();
        let rest = cli.run(&["changes", "--json", "--after", fifth]).await;
        assert_eq!(rest.out.lines().collect::<Vec<_>>(), all.out.lines().skip(5).collect::<Vec<_>>());
        let few = cli.run(&["changes", "--limit", "5", "--format", "csv"]).await;
        assert_eq!((few.code, few.out.lines().count()), (0, 6), "{}", few.out);
        assert!(few.err.contains(&format!("go on with --after {fifth}")), "{}", few.err);
        let table = cli.run(&["changes"]).await;
        assert!(table.out.contains("entity.create"), "{}", table.out);
        let foreign = format!("{}.{:019}", Uuid::from_u128(7), 1);
        let refused = cli.run(&["changes", "--after", &foreign]).await;
        assert_eq!(refused.code, 2);
        assert!(refused.err.contains("another incarnation"), "{}", refused.err);
        outputs.push((all.out, few.out, table.out));
    }
    assert_eq!(outputs[0], outputs[1]);
    for target in [None, Some(base.as_str())] {
        let mut arguments = vec!["changes", "--follow", "--json"];
        arguments.extend(target.into_iter().flat_map(|base| ["--url", base]));
        let variables = [("EPR_DATABASE_URL", database.url.as_str())];
        let environment = if target.is_some() { &[][..] } else { &variables };
        let mut followed = Process::start_command("epr", &arguments, environment);
        let before = database.texts(REGISTRY_ENTRIES).await;
        for expected in before {
            assert_eq!(entry(&followed.next_line().await), expected);
        }
        for n in 0..3 {
            let name = format!("followed {n} {}", target.is_some());
            api.post("/api/v1/entities", json!({"name": name, "type": "spv"})).await.expect(201);
            assert_eq!(followed.next_line().await["details"]["name"], name);
        }
    }
}

/// What comes before an entry that cannot be read is printed, and the command does not claim to have listed all.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_prints_the_changes_before_a_damaged_one_then_fails(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let api = Api::on(database.clone()).await;
    fill(&api, "the_command_prints_the_changes", 30).await;
    let entries = database.texts(REGISTRY_ENTRIES).await;
    database.remove_ledger_triggers().await;
    let whole = entries.len() / 2;
    let (damaged, _) = entries[whole].split_once(' ').unwrap();
    let time = if kind == DatabaseKind::Postgres { "infinity" } else { "never" };
    let damage = format!("UPDATE audit_logs SET occurred_at = '{time}' WHERE sequence = {damaged}");
    database.execute(&damage).await.unwrap();
    let broken = Cli::on(&database.url).run(&["changes", "--json"]).await;
    let rows: Vec<Value> = broken.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.iter().map(entry).collect::<Vec<_>>(), entries[..whole], "{}", broken.err);
    assert_ne!(broken.code, 0);
    assert!(broken.err.starts_with("epr: "), "{}", broken.err);
}

/// A reader of another process learns of a change by the feed of its cache, and without a cache by its own looks.
#[rstest]
#[case::with_a_cache("true")]
#[case::without_a_cache("false")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_past_every_process_are_reported_too(#[case] cache: &str) {
    let database = Arc::new(Database::create(DatabaseKind::Postgres).await);
    let api = Api::with_settings(database.clone(), Arc::new(SystemClock), &[("EPR_DECISION_CACHE", cache)]).await;
    let seen = revision_of(&api.get("/api/v1/changes").await);
    let cli = Cli::on(&database.url);
    let (changed, output) = tokio::join!(
        tokio::time::timeout(Duration::from_mins(1), api.epr.changed_since(seen)),
        cli.run(&["entities", "create", "spv", "by another process"])
    );
    assert_eq!(output.code, 0, "{}", output.err);
    changed.expect("a reader that wakes");
    wait::until("the change", async || entries(&api.get("/api/v1/changes").await).len() == 1).await;
}

/// Every reader wakes on one change: other calls are answered meanwhile.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_that_wake_at_once_delay_no_other_call(#[case] kind: DatabaseKind) {
    const READERS: usize = 100;
    let api = Api::start(kind).await;
    let polls = futures_util::future::join_all((0..READERS).map(|_| api.get("/api/v1/changes?wait=30")));
    let (polled, ()) = tokio::join!(biased; polls, async {
        assert_eq!(api.create_numbered_entity(1).await, 201);
        for _ in 0..50 {
            api.get("/api/v1/entities").await.expect(200);
        }
    });
    assert!(polled.iter().all(|answer| entries(answer).len() == 1));
}

/// A reader that waits when the incarnation ends is refused, and not left with a position that names nothing.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_that_waits_is_refused_when_a_new_incarnation_begins(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    api.create_numbered_entity(1).await;
    let newest = revision_of(&api.get("/api/v1/changes").await);
    let path = format!("/api/v1/changes?wait=30&after={newest}");
    let (polled, ()) = tokio::join!(biased; api.get(&path), async {
        api.epr.reincarnate(&epr_core::Call::default(), &"a drill".parse().unwrap()).await.unwrap();
    });
    assert_eq!(polled.status, 409, "{}", polled.body);
}
