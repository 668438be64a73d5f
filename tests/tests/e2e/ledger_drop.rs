//! `epr audit drop`: what it refuses, what an interruption leaves, and what readers say without the archive.

use std::fs;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use epr_core::clock::{Clock, ManualClock, SystemClock};
use epr_core::domain::{StatedReason, Timestamp};
use epr_core::ledger::archive::{ArchivedFile, Manifest};
use epr_core::ledger::verify::Finding;
use epr_core::store::ScanRange;
use epr_core::{Call, DropOptions};
use epr_testkit::api::Api;
use epr_testkit::database::DatabaseKind;
use epr_testkit::ledger::grow;
use epr_testkit::process::{program, run};
use epr_testkit::wait;
use rstest::rstest;
use serde_json::Value;

use crate::archive_world::{SEED, World, copy, files};

/// An archive of 768 entries, of which the first 600 are old.
pub async fn archived(kind: DatabaseKind) -> World {
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-03-01T00:00:00Z").unwrap()));
    let world = World::with_clock(kind, Arc::clone(&clock) as Arc<dyn Clock>).await;
    world.api.entity("one", "issuer", None).await;
    world.publish(600).await;
    clock.advance_micros(3 * 86_400_000_000);
    world.publish(800).await;
    world.archive("archive").await.unwrap();
    world
}

/// Another process without an archive.
pub async fn without_archive(world: &World) -> Api {
    let environment = [("EPR_LEDGER_ORIGIN", "epr.test/ledger"), ("EPR_LEDGER_KEY", SEED)];
    Api::with_settings(Arc::clone(&world.api.database), Arc::new(SystemClock), &environment).await
}

async fn rows(world: &World) -> i64 {
    world.api.database.number("SELECT count(*) FROM audit_logs").await
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_archived_published_and_old_enough_is_dropped(#[case] kind: DatabaseKind) {
    let world = archived(kind).await;
    let dropped = world.drop_to("archive", Some(511)).await.unwrap();
    assert_eq!((dropped.first, dropped.last, dropped.deleted), (1, 256, 255), "whole bundles, and the entity stays");
    let dropped = world.drop_to("archive", None).await.unwrap();
    assert_eq!((dropped.first, dropped.last, dropped.deleted), (257, 512, 256), "600 are old enough");
    assert_eq!((dropped.archived, dropped.published), (768, 800));
    let nothing = world.drop_to("archive", None).await.unwrap();
    assert!(!nothing.confirmed && nothing.last < nothing.first && nothing.deleted == 0, "{nothing:?}");
    let unpublished = world.drop_to("archive", Some(801)).await.unwrap_err().to_string();
    assert!(unpublished.contains("the published checkpoint covers the entries up to 800"), "{unpublished}");
    // Two entries about the two runs.
    assert_eq!(rows(&world).await, 802 - 511);
    let entries = world.api.get("/api/v1/audit/entries?action=ledger.drop&order=asc").await.expect(200);
    let details: Vec<&Value> = entries.as_array().unwrap().iter().map(|entry| &entry["details"]).collect();
    assert_eq!((details[0]["first"].as_i64(), details[0]["last"].as_i64()), (Some(1), Some(256)));
    assert_eq!((details[1]["first"].as_i64(), details[1]["last"].as_i64()), (Some(257), Some(512)));
    assert_eq!(details[1]["archive"], "/the/archive");
    let kept = world.api.database.store().await.entry_hashes(512, 512).await.unwrap();
    assert_eq!(details[1]["entry_hash"], kept[0].entry_hash.as_str());
    // The ledger goes on, is published and archived as before.
    world.publish(1_100).await;
    assert_eq!(world.archive("archive").await.unwrap().archived_to, 1_024);
    assert!(world.check("archive").await.valid);
    let verified = world.api.epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.unwrap();
    assert_eq!((verified.valid, verified.checked, verified.dropped), (true, 1_100, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_dropped_when_any_file_of_the_archive_is_damaged() {
    let world = archived(DatabaseKind::Sqlite).await;
    let whole = files(&world.place("archive"));
    for (at, (path, content)) in whole.iter().enumerate() {
        let name = format!("damaged-{at}");
        copy(&world.place("archive"), &world.place(&name));
        let flipped = content.iter().enumerate().map(|(n, byte)| byte ^ u8::from(n == content.len() / 3)).collect();
        let flipped: Vec<u8> = flipped;
        fs::write(world.place(&name).join(path), flipped).unwrap();
        let found = world.drop_to(&name, Some(256)).await.unwrap();
        assert!(found.finding.is_some() && !found.confirmed, "{path}: {found:?}");
    }
    assert_eq!(rows(&world).await, 800);
    assert_eq!(world.api.database.store().await.ledger_border().await.unwrap(), None);
    // A row that is not the archived one.
    let other = archived(DatabaseKind::Sqlite).await;
    let changed = "DROP TRIGGER audit_logs_no_update; UPDATE audit_logs SET entry_hash = substr(entry_hash, 2) || 'x' \
                   WHERE sequence = 700";
    other.api.database.execute(changed).await.unwrap();
    let found = other.drop_to("archive", Some(256)).await.unwrap().finding.unwrap();
    assert!(found.why.contains("entry 700 has the hash"), "{found}");
    assert_eq!(rows(&other).await, 800);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_archive_a_reader_says_what_is_missing_and_never_answers_with_less(#[case] kind: DatabaseKind) {
    let world = archived(kind).await;
    world.drop_to("archive", None).await.unwrap();
    let incarnation = world.incarnation().await;
    let api = without_archive(&world).await;
    let sentence = format!(
        "Entries up to 512 were dropped from the database and are archived at /the/archive/{incarnation}/archive: set \
         EPR_LEDGER_ARCHIVE_URL to /the/archive, or to the place to which the archive was moved"
    );
    for path in [
        "/api/v1/audit/entries?order=asc",
        "/api/v1/audit/entries?from_sequence=2&to_sequence=2",
        "/api/v1/audit/entries?from_sequence=512",
        "/api/v1/ledger/proof/5",
    ] {
        let answer = api.get(path).await.expect(503);
        assert_eq!(answer["detail"], sentence.as_str(), "{path}");
    }
    assert_eq!(
        api.get("/api/v1/audit/entries?from_sequence=513&limit=1000").await.expect(200).as_array().unwrap().len(),
        290
    );
    assert_eq!(api.get("/api/v1/audit/entries?limit=10").await.expect(200).as_array().unwrap().len(), 10);
    // By filters: from the database, and the response says so.
    let answer = api.get("/api/v1/audit/entries?source=tests&limit=1000").await;
    assert_eq!(answer.headers["epr-entries-dropped-to"], "512");
    assert_eq!(answer.expect(200).as_array().unwrap().len(), 288);
    let above = api.get("/api/v1/audit/entries?source=tests&from_sequence=513").await;
    assert!(!above.headers.contains_key("epr-entries-dropped-to"));
    let mut none = |_: epr_core::ExportedEntry<'_>| panic!("an entry");
    for range in [ScanRange::ALL, ScanRange { from: 512, to: 600 }] {
        let refused = api.epr.export_ledger(range, &mut none).await.unwrap_err().to_string();
        assert_eq!(refused, sentence);
    }
    let refused = api.epr.verify_ledger(ScanRange { from: 5, to: i64::MAX }, None, &mut |_, _| {}).await.unwrap_err();
    assert_eq!(refused.to_string(), sentence);
    // By the hashes, which lead to the checkpoints; and from the border on.
    let verified = api.epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.unwrap();
    assert_eq!((verified.valid, verified.checked), (true, 291), "{:?}", verified.finding);
    let dropped = verified.dropped.unwrap();
    assert_eq!((dropped.entries, dropped.up_to), (511, 512));
    let after = api.epr.verify_ledger(ScanRange { from: 513, to: i64::MAX }, None, &mut |_, _| {}).await.unwrap();
    assert_eq!((after.valid, after.checked, after.dropped), (true, 290, None));
    // It is no result about the whole ledger.
    assert_eq!(api.epr.last_verification().await.unwrap(), None);
    assert!(world.api.epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.unwrap().valid);
    assert!(api.epr.last_verification().await.unwrap().is_some());
    let tile = Request::get("/api/v1/ledger/tile/entries/000").body(Body::empty()).unwrap();
    assert_eq!(api.bytes(tile).await.0, 200, "the hashes are kept");
}

/// The archive is the only copy of what was dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_ends_before_the_border_does_not_hold() {
    let world = archived(DatabaseKind::Sqlite).await;
    world.drop_to("archive", None).await.unwrap();
    assert!(world.check("archive").await.valid);
    let archive = world.place("archive").join(world.incarnation().await).join("archive");
    for first in [257, 513] {
        let _ = std::fs::remove_dir_all(archive.join(format!("{first:019}")));
    }
    let finding = world.finding("archive").await;
    assert!(
        finding.contains("entries up to 512 were dropped from the database, but the archive ends at 256"),
        "{finding}"
    );
    let dropped = world.drop_to("archive", None).await.unwrap();
    assert!(dropped.finding.is_some() && dropped.deleted == 0, "{dropped:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_below_the_border_is_found_with_the_archive_and_without_it() {
    let world = archived(DatabaseKind::Sqlite).await;
    world.drop_to("archive", None).await.unwrap();
    let api = without_archive(&world).await;
    let finding = async |api: &Api| api.epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.unwrap().finding;
    assert_eq!((finding(&api).await, finding(&world.api).await), (None, None));
    let database = &world.api.database;
    // A kept hash.
    database.execute("DROP TRIGGER dropped_entries_no_update; DROP TRIGGER dropped_entries_no_delete").await.unwrap();
    database.execute("CREATE TABLE kept AS SELECT * FROM dropped_entries WHERE sequence = 9").await.unwrap();
    database.execute("UPDATE dropped_entries SET entry_hash = zeroblob(32) WHERE sequence = 9").await.unwrap();
    // The tree has another root than the checkpoints.
    assert!(matches!(finding(&api).await, Some(Finding::ChangedTile { .. } | Finding::DiffersFromCheckpoint { .. })));
    let Some(Finding::NotInArchive { sequence: 9, why, .. }) = finding(&world.api).await else { panic!("not found") };
    assert!(why.starts_with("its text has the hash"), "{why}");
    database.execute("DELETE FROM dropped_entries WHERE sequence = 9").await.unwrap();
    assert_eq!(finding(&api).await, Some(Finding::Gap { sequence: 9, found: 10 }));
    assert!(matches!(finding(&world.api).await, Some(Finding::Gap { sequence: 9, found: 10 })));
    database.execute("DROP TRIGGER dropped_entries_kept").await.unwrap();
    database.execute("INSERT INTO dropped_entries SELECT * FROM kept").await.unwrap();
    assert_eq!(finding(&api).await, None);
    // The text of an entry that stays.
    database
        .execute("DROP TRIGGER audit_logs_no_update; UPDATE audit_logs SET actor_type = 'x' WHERE sequence = 1")
        .await
        .unwrap();
    assert!(matches!(finding(&api).await, Some(Finding::ChangedContent { sequence: 1, .. })));
    // Without the checkpoints, nothing vouches for the hashes.
    database.execute("UPDATE audit_logs SET actor_type = 'user' WHERE sequence = 1").await.unwrap();
    database.execute("DROP TRIGGER audit_checkpoints_no_delete; DELETE FROM audit_checkpoints").await.unwrap();
    assert_eq!(finding(&api).await, Some(Finding::UncoveredBorder { sequence: 512 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_archive_is_never_an_answer() {
    let world = archived(DatabaseKind::Sqlite).await;
    world.drop_to("archive", None).await.unwrap();
    let place = world.place("archive").join(world.incarnation().await).join("archive/0000000000000000257");
    let (aside, manifest) = (world.place("aside"), place.join("manifest.json"));
    let entries = place.join("entries-0000000000000000257.jsonl.gz");
    for file in [&manifest, &entries] {
        fs::rename(file, &aside).unwrap();
        let answer = world.api.get("/api/v1/audit/entries?from_sequence=300&to_sequence=301").await.expect(503);
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains("it does not exist"), "{detail}");
        fs::write(file, b"x").unwrap();
        world.api.get("/api/v1/audit/entries?from_sequence=300&to_sequence=301").await.expect(503);
        fs::rename(&aside, file).unwrap();
    }
    world.api.get("/api/v1/audit/entries?from_sequence=300&to_sequence=301").await.expect(200);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_incarnation_signs_proves_and_is_archived_across_the_border(#[case] kind: DatabaseKind) {
    let world = archived(kind).await;
    world.drop_to("archive", None).await.unwrap();
    world.api.epr.reincarnate(&Call::default(), &StatedReason::new("restored").unwrap()).await.unwrap();
    world.publish(1_030).await;
    let verified = world.api.epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.unwrap();
    assert_eq!((verified.valid, verified.checked, verified.dropped), (true, 1_030, None), "{:?}", verified.finding);
    assert_eq!(world.archive("archive").await.unwrap().archived_to, 1_024);
    assert!(world.check("archive").await.valid);
    assert_eq!(world.api.epr.prove_entry(7).await.unwrap().index, 6);
    let entry = world.api.get("/api/v1/audit/entries?from_sequence=7&to_sequence=7").await.expect(200);
    assert_eq!(entry[0]["details"]["n"], 6);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_beside_appends_drop_each_entry_once_and_lose_none(#[case] kind: DatabaseKind) {
    let world = archived(kind).await;
    let (one, other, ()) = tokio::join!(world.drop_to("archive", None), world.drop_to("archive", None), async {
        for size in (810..=1_000).step_by(10) {
            grow(&world.api, size).await;
        }
    });
    // One of them may find the border moved.
    let deleted: u64 = [&one, &other].into_iter().flatten().map(|dropped| dropped.deleted).sum();
    for error in [&one, &other].into_iter().filter_map(|run| run.as_ref().err()) {
        assert!(error.to_string().contains("Another process drops entries"), "{error}");
    }
    let border = world.drop_to("archive", None).await.unwrap();
    assert!(border.last == 512 && deleted + border.deleted <= 511, "{border:?}");
    assert_eq!(world.api.database.number("SELECT count(*) FROM dropped_entries").await, 511);
    let verified = world.api.epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.unwrap();
    assert!(verified.valid, "{:?}", verified.finding);
    let head = world.api.database.store().await.registry_state().await.unwrap().head;
    assert_eq!(verified.checked, head.unsigned_abs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_needs_the_setting_and_a_confirmation() {
    let world = archived(DatabaseKind::Sqlite).await;
    let (published, archive) = (world.place("published"), world.place("archive"));
    let mut environment = vec![
        ("EPR_DATABASE_URL", world.api.database.url.as_str()),
        ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
        ("EPR_LEDGER_KEY", SEED),
        ("EPR_LEDGER_PUBLISH_URL", published.to_str().unwrap()),
        ("EPR_LEDGER_ARCHIVE_URL", archive.to_str().unwrap()),
    ];
    let (code, _, error) = run("epr", &environment, &["audit", "drop", "--yes"]).await;
    assert!(code == 2 && error.contains("EPR_LEDGER_RETENTION_DAYS is not set: no entry is ever dropped"), "{error}");
    environment.push(("EPR_LEDGER_RETENTION_DAYS", "1"));
    let (code, out, error) = run("epr", &environment, &["audit", "drop"]).await;
    assert!(code == 0 && out.contains("Would drop the entries 1 to 768"), "{out}{error}");
    assert_eq!(rows(&world).await, 800);
    let (code, out, error) = run("epr", &environment, &["audit", "drop", "--yes", "--to-sequence", "300"]).await;
    assert!(code == 0 && out.contains("Dropped the entries 1 to 256 from the database: 255 rows"), "{out}{error}");
    let (code, out, error) = run("epr", &environment, &["audit", "verify"]).await;
    assert!(code == 0 && out.contains("The chain holds: 801 entries, 1 to 801."), "{out}{error}");
    let (code, out, _) = run("epr", &environment[..4], &["audit", "verify"]).await;
    assert!(code == 0 && out.contains("The texts of 255 entries up to 256 were NOT verified"), "{out}");
    let (code, out, error) =
        run("epr", &environment, &["audit", "list", "--oldest-first", "--limit", "3", "--json"]).await;
    assert!(code == 0 && out.contains("entity.create"), "{out}{error}");
    let (code, out, error) = run("epr", &environment, &["audit", "list", "--source", "tests", "--limit", "1"]).await;
    assert!(code == 0 && error.contains("Entries up to 256 were dropped from the database"), "{out}{error}");
    for arguments in [&["reconcile"][..], &["history", "verify"], &["history", "rebuild"], &["audit", "prove", "7"]] {
        let (code, out, error) = run("epr", &environment, arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {out}{error}");
    }
    let (code, out, error) = run("epr", &environment, &["audit", "export"]).await;
    assert!(code == 0 && out.lines().count() == 801, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_nothing_is_dropped() {
    let world = archived(DatabaseKind::Sqlite).await;
    let api = Api::with_settings(Arc::clone(&world.api.database), Arc::new(SystemClock), &[]).await;
    let (target, published) = (world.target("archive"), world.published());
    let options = DropOptions {
        target: &target,
        place: "x",
        published: &published,
        to_sequence: None,
        retention_days: 1,
        former_keys: &[],
        confirmed: true,
    };
    let refused = api.epr.drop_archived(&Call::default(), &options, &mut |_, _| {}).await.unwrap_err().to_string();
    assert!(refused.contains("set EPR_LEDGER_KEY"), "{refused}");
    assert_eq!(rows(&world).await, 800);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_run_loses_nothing_and_is_completed_by_the_next_one(#[case] kind: DatabaseKind) {
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-03-01T00:00:00Z").unwrap()));
    let world = World::with_clock(kind, Arc::clone(&clock) as Arc<dyn Clock>).await;
    world.publish(20_000).await;
    clock.advance_micros(3 * 86_400_000_000);
    world.archive("archive").await.unwrap();
    let (published, archive) = (world.place("published"), world.place("archive"));
    let environment = [
        ("EPR_DATABASE_URL", world.api.database.url.as_str()),
        ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
        ("EPR_LEDGER_KEY", SEED),
        ("EPR_LEDGER_PUBLISH_URL", published.to_str().unwrap()),
        ("EPR_LEDGER_ARCHIVE_URL", archive.to_str().unwrap()),
        ("EPR_LEDGER_RETENTION_DAYS", "1"),
    ];
    let store = world.api.database.store().await;
    let border = async || store.ledger_border().await.unwrap().map_or(0, |border| border.sequence);
    let mut command = tokio::process::Command::new(program("epr"));
    let mut child = command.env_clear().envs(environment).args(["audit", "drop", "--yes"]).spawn().unwrap();
    wait::until("some entries are dropped", async || border().await > 0).await;
    child.kill().await.unwrap();
    let is_killed = !child.wait().await.unwrap().success();
    let reached = border().await;
    assert!(is_killed && (1..19_968).contains(&reached), "it was killed in the middle: {reached}");
    assert_eq!(world.api.database.number("SELECT count(*) FROM dropped_entries").await, reached);
    let verified = world.api.epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.unwrap();
    // An entry about each bundle that was dropped as a whole.
    let whole = |last: i64| u64::try_from(last / 256).unwrap();
    assert_eq!((verified.valid, verified.checked), (true, 20_000 + whole(reached)), "{:?}", verified.finding);
    let (code, out, error) = run("epr", &environment, &["audit", "drop", "--yes"]).await;
    assert!(code == 0 && out.contains(&format!("Dropped the entries {} to 19968", reached + 1)), "{out}{error}");
    let verified = world.api.epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.unwrap();
    assert_eq!((verified.valid, verified.checked), (true, 20_000 + whole(19_968)), "{:?}", verified.finding);
    assert_eq!(rows(&world).await, 20_000 + 78 - 19_968);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_was_changed_in_the_archive_with_its_checksums_is_never_an_answer() {
    let world = archived(DatabaseKind::Sqlite).await;
    world.drop_to("archive", None).await.unwrap();
    let place = world.place("archive").join(world.incarnation().await).join("archive/0000000000000000257");
    let (manifest, entries) = (place.join("manifest.json"), place.join("entries-0000000000000000257.jsonl.gz"));
    let shell = format!("gzip -dc {0} | sed 's/thing.done/thing.made/' | gzip > {0}.new", entries.display());
    assert!(tokio::process::Command::new("sh").args(["-ec", &shell]).status().await.unwrap().success());
    let changed = fs::read(format!("{}.new", entries.display())).unwrap();
    let mut described: Manifest = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    described.files[0] = ArchivedFile::of(&described.files[0].name, &changed);
    fs::write(&entries, changed).unwrap();
    fs::write(&manifest, described.to_bytes()).unwrap();
    for path in ["/api/v1/audit/entries?from_sequence=300&to_sequence=301", "/api/v1/ledger/proof/300"] {
        let answer = world.api.get(path).await.expect(503);
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains("its text has the hash") && detail.contains("the database has kept"), "{detail}");
    }
    let mut seen = Vec::new();
    let mut take = |entry: epr_core::ExportedEntry<'_>| {
        seen.push(entry.sequence);
        true
    };
    world.api.epr.export_ledger(ScanRange { from: 250, to: 600 }, &mut take).await.unwrap_err();
    assert_eq!(seen, (250..=256).collect::<Vec<_>>());
    let verified = world.api.epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.unwrap();
    assert!(matches!(verified.finding, Some(Finding::NotInArchive { sequence: 257, .. })), "{:?}", verified.finding);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_read_while_entries_are_dropped_lacks_none(#[case] kind: DatabaseKind) {
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-03-01T00:00:00Z").unwrap()));
    let world = World::with_clock(kind, Arc::clone(&clock) as Arc<dyn Clock>).await;
    world.publish(8_000).await;
    clock.advance_micros(3 * 86_400_000_000);
    world.archive("archive").await.unwrap();
    let dropping = async {
        let dropped = world.drop_to("archive", None).await.unwrap();
        assert_eq!(dropped.deleted, 7_936);
    };
    let reading = async {
        let mut is_over = false;
        while !is_over {
            is_over =
                world.api.database.store().await.ledger_border().await.unwrap().is_some_and(|b| b.sequence == 7_936);
            for (path, first, step) in [("order=asc&from_sequence=1", 1, 1), ("to_sequence=7990", 7_990, -1)] {
                let mut path = format!("/api/v1/audit/entries?{path}&limit=1000");
                let mut next = first;
                for _ in 0..7 {
                    let answer = world.api.get(&path).await;
                    let link = answer.next_page(&path);
                    let rows = answer.expect(200);
                    for row in rows.as_array().unwrap() {
                        assert_eq!(row["sequence"], next, "{path}");
                        next += step;
                    }
                    assert_eq!(rows.as_array().unwrap().len(), 1_000, "{path}");
                    path = link.unwrap();
                }
            }
        }
    };
    tokio::join!(dropping, reading);
}
