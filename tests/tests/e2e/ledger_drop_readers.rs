//! Readers of a ledger of which entries were dropped: who may, at which place the archive is, and what operators see.

use std::fs;

use epr_core::domain::{AuditEntry, AuditFilter, AuditPage, Incarnation, Revision};
use epr_core::ledger::verify::Finding;
use epr_core::store::{ReadNeed, ScanRange, grants};
use epr_testkit::api::Api;
use epr_testkit::cli::Cli;
use epr_testkit::database::{DatabaseKind, postgres_server};
use epr_testkit::ledger::grow;
use epr_testkit::process::{Process, run};
use rstest::rstest;
use serde_json::{Value, json};

use crate::archive_world::{SEED, World};
use crate::ledger_drop::{archived, without_archive};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_was_moved_is_read_continued_and_dropped_from_at_its_new_place() {
    let world = archived(DatabaseKind::Sqlite).await;
    world.drop_to("archive", Some(256)).await.unwrap();
    let moved = world.place("moved");
    fs::rename(world.place("archive"), &moved).unwrap();
    let path = "/api/v1/audit/entries?order=asc&from_sequence=1&to_sequence=300&limit=300";
    let answer = world.api.get(path).await.expect(503);
    assert!(answer["detail"].as_str().unwrap().contains("cannot be read"), "{answer}");
    let reader = world.reader(moved.to_str().unwrap(), &[]).await;
    assert_eq!(reader.get(path).await.expect(200).as_array().unwrap().len(), 300);
    assert_eq!(reader.epr.prove_entry(5).await.unwrap().index, 4);
    let verified = reader.epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.unwrap();
    assert_eq!((verified.valid, verified.dropped), (true, None), "{:?}", verified.finding);
    world.publish(1_100).await;
    assert_eq!(world.archive("moved").await.unwrap().archived_to, 1_024);
    let published = world.place("published");
    let environment = [
        ("EPR_DATABASE_URL", world.api.database.url.as_str()),
        ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
        ("EPR_LEDGER_KEY", SEED),
        ("EPR_LEDGER_PUBLISH_URL", published.to_str().unwrap()),
        ("EPR_LEDGER_ARCHIVE_URL", moved.to_str().unwrap()),
        ("EPR_LEDGER_RETENTION_DAYS", "1"),
    ];
    let (code, out, error) = run("epr", &environment, &["audit", "drop", "--yes"]).await;
    assert!(code == 0 && out.contains("Dropped the entries 257 to 1024"), "{out}{error}");
    let border = world.api.database.store().await.ledger_border().await.unwrap().unwrap();
    assert_eq!((border.sequence, border.archive.as_str()), (1_024, moved.to_str().unwrap()));
    let (code, out, error) = run("epr", &environment, &["audit", "verify"]).await;
    assert!(code == 0 && out.contains("The chain holds"), "{out}{error}");
}

/// What doctor says about the archive; `None` if it says nothing.
async fn doctor(world: &World, archive: Option<&str>) -> Option<(String, String)> {
    let cli = Cli::on(&world.api.database.url);
    let cli = archive.iter().fold(cli, |cli, place| cli.with("EPR_LEDGER_ARCHIVE_URL", place));
    let output = cli.run(&["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&output.out).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(output.code, 0, "{report:#}");
    let finding = report["findings"].as_array().unwrap().iter().find(|finding| finding["what"] == "archive")?;
    let text = |member: &str| finding[member].as_str().unwrap_or_default().to_owned();
    Some((text("state"), text("seen") + &text("advice")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_and_the_start_say_that_dropped_entries_cannot_be_read() {
    let world = archived(DatabaseKind::Sqlite).await;
    let place = world.place("archive");
    let archive = place.to_str().unwrap();
    assert_eq!(doctor(&world, None).await, None, "nothing was dropped");
    world.drop_to("archive", None).await.unwrap();
    let (state, text) = doctor(&world, None).await.unwrap();
    assert!(state == "doubtful" && text.contains("Entries up to 512 were dropped from the database"), "{text}");
    assert!(text.contains("set EPR_LEDGER_ARCHIVE_URL to /the/archive"), "{text}");
    assert_eq!(doctor(&world, Some(archive)).await.unwrap().0, "fine");
    let (state, text) = doctor(&world, Some(world.place("nowhere").to_str().unwrap())).await.unwrap();
    assert!(state == "doubtful" && text.contains("format.json: it does not exist"), "{text}");

    // The archive ends before the border.
    let bundle = place.join(world.incarnation().await).join("archive/0000000000000000257");
    fs::remove_dir_all(&bundle).unwrap();
    let (state, text) = doctor(&world, Some(archive)).await.unwrap();
    assert!(state == "doubtful" && text.contains("257/manifest.json: it does not exist"), "{text}");
    let environment = [("EPR_DATABASE_URL", world.api.database.url.as_str())];
    let (mut process, _) = Process::api(&environment).await;
    let line = process.first_log("ledger_archive_unreadable").await;
    assert_eq!(line["level"], "WARNING");
    assert!(line["extra"]["error"].as_str().unwrap().contains("set EPR_LEDGER_ARCHIVE_URL to /the/archive"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_cannot_delete_is_refused_before_the_archive_is_read() {
    let world = archived(DatabaseKind::Postgres).await;
    let database = &world.api.database;
    let name = database.url.rsplit('/').next().unwrap().to_owned();
    let role = format!("{name}_service");
    let granted = grants::statements(&role, "public");
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'service'; {granted}")).await.unwrap();
    let server = postgres_server();
    let host = server.rsplit('@').next().unwrap().trim_start_matches("postgres://").to_owned();
    let (url, published) = (format!("postgres://{role}:service@{host}/{name}"), world.place("published"));
    // A place at which no archive is: reading it would be another error.
    let place = world.place("nowhere");
    let environment = [
        ("EPR_DATABASE_URL", url.as_str()),
        ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
        ("EPR_LEDGER_KEY", SEED),
        ("EPR_LEDGER_PUBLISH_URL", published.to_str().unwrap()),
        ("EPR_LEDGER_ARCHIVE_URL", place.to_str().unwrap()),
        ("EPR_LEDGER_RETENTION_DAYS", "1"),
    ];
    let (code, out, error) = run("epr", &environment, &["audit", "drop", "--yes"]).await;
    let lacking = "The database user lacks UPDATE on _sqlx_migrations, DELETE on audit_logs, UPDATE on ledger_border, \
                   INSERT on dropped_entries";
    assert!(code == 2 && error.contains(lacking), "{out}{error}");
    let (code, _, error) = run("epr", &environment, &["audit", "drop"]).await;
    assert!(code == 2 && error.contains("There is no archive of this ledger"), "reading needs no more: {error}");
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

/// Entries before the first one are not a part of the ledger that was dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_with_filters_names_no_border_before_the_first_drop() {
    let world = archived(DatabaseKind::Sqlite).await;
    let incomplete = async |from| {
        let filter = AuditFilter { from_sequence: Some(from), source: Some("tests".into()), ..AuditFilter::default() };
        let page = AuditPage { limit: 1, after: None, ascending: true };
        let listed = world.api.epr.list_audit_entries(ReadNeed::Primary, &filter, page, &mut |_| true).await;
        listed.unwrap().incomplete_to
    };
    for from in [i64::MIN, -1, 0, 1] {
        assert_eq!(incomplete(from).await, None, "{from}");
    }
    world.drop_to("archive", None).await.unwrap();
    for (from, expected) in [(0, Some(512)), (1, Some(512)), (512, Some(512)), (513, None)] {
        assert_eq!(incomplete(from).await, expected, "{from}");
    }
    world.api.get("/api/v1/audit/entries?source=tests&from_sequence=0").await.expect(400);
}

/// A missing value in a row is a change of that row, and not the mark of a dropped entry.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_without_hashes_is_not_taken_for_a_dropped_entry(#[case] kind: DatabaseKind) {
    let world = archived(kind).await;
    world.drop_to("archive", None).await.unwrap();
    let database = &world.api.database;
    database.remove_ledger_triggers().await;
    let nullable = match kind {
        DatabaseKind::Postgres => "ALTER TABLE audit_logs ALTER COLUMN previous_hash DROP NOT NULL",
        DatabaseKind::Sqlite => {
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'previous_hash TEXT NOT NULL', \
             'previous_hash TEXT') WHERE name = 'audit_logs'; PRAGMA writable_schema = RESET"
        }
    };
    database.execute(nullable).await.unwrap();
    database.execute("UPDATE audit_logs SET previous_hash = NULL WHERE sequence = 1").await.unwrap();
    for api in [&world.api, &without_archive(&world).await] {
        let found = api.epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.unwrap();
        // SQLite reads a missing text as an empty one.
        let at = found.finding.as_ref().map(Finding::sequence);
        assert_eq!((at, found.valid, found.checked), (Some(1), false, 0), "{:?}", found.finding);
    }
}

/// A list that passed over a gap has seen one border, and another one means that the gap may be of dropped entries.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_meets_a_gap_and_then_another_border_is_repeated(#[case] kind: DatabaseKind) {
    let world = archived(kind).await;
    // After the published entries: before them, the archive would not agree with the database.
    grow(&world.api, 820).await;
    world.api.database.remove_ledger_triggers().await;
    world.api.database.execute("DELETE FROM audit_logs WHERE sequence = 810").await.unwrap();
    let filter = AuditFilter { from_sequence: Some(770), ..AuditFilter::default() };
    let page = AuditPage { limit: 100, after: None, ascending: true };
    let mut seen = Vec::new();
    let mut take = |entry: AuditEntry| {
        seen.push(entry.sequence);
        if entry.sequence == 811 {
            let drop = async { world.drop_to("archive", None).await.unwrap() };
            let dropped = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(drop));
            assert_eq!(dropped.last, 512);
        }
        true
    };
    let listed = world.api.epr.list_audit_entries(ReadNeed::Primary, &filter, page, &mut take);
    let refused = listed.await.unwrap_err().to_string();
    assert!(refused.contains("was dropped during the read: repeat it"), "{refused}");
    // The first entry after the gap is in the page that passes over it, during which the border has moved.
    assert_eq!(seen[..41], (770..=809).chain([811]).collect::<Vec<_>>());
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_revision_of_a_dropped_entry_is_answered_as_before(#[case] kind: DatabaseKind) {
    let world = archived(kind).await;
    let id = world.api.get("/api/v1/entities").await.expect(200)[0]["id"].as_str().unwrap().to_owned();
    let incarnation = Incarnation(world.incarnation().await.parse().unwrap());
    let revision = Revision { incarnation, sequence: 300 }.to_string();
    let question = json!({"user_id": id, "action": "document:upload", "resource_id": id, "revision": revision});
    let answers = async |api: &Api| {
        let entity = api.get(&format!("/api/v1/entities/{id}?revision={revision}")).await.expect(200);
        let list = api.get(&format!("/api/v1/entities?revision={revision}")).await.expect(200);
        (entity, list, api.post("/api/v1/authorize", question.clone()).await.expect(200))
    };
    let before = answers(&world.api).await;
    world.drop_to("archive", None).await.unwrap();
    assert_eq!(answers(&world.api).await, before);
    assert_eq!(answers(&without_archive(&world).await).await, before, "the time is kept in the database");
}
