//! Damage in the archive of dropped entries: a finding of the verification, and never an answer.

use std::fs;
use std::path::Path;

use epr_core::ledger::archive::{ArchivedFile, Manifest};
use epr_core::ledger::verify::Finding;
use epr_core::store::ScanRange;
use epr_core::{ExportedEntry, Verification};
use epr_testkit::database::DatabaseKind;
use epr_testkit::process::run;
use rstest::rstest;

use crate::archive_world::{SEED, World, copy};
use crate::ledger_drop::archived;

/// The unpacked file of a bundle goes through `sed`, and its manifest gets the new checksum.
async fn forge(bundle: &Path, sed: &str) {
    let mut manifest: Manifest = serde_json::from_slice(&fs::read(bundle.join("manifest.json")).unwrap()).unwrap();
    let file = bundle.join(&manifest.files[0].name);
    let shell = format!("gzip -dc {0} | sed '{sed}' | gzip > {0}.new && mv {0}.new {0}", file.display());
    assert!(tokio::process::Command::new("sh").args(["-ec", &shell]).status().await.unwrap().success());
    manifest.files[0] = ArchivedFile::of(&manifest.files[0].name, &fs::read(&file).unwrap());
    fs::write(bundle.join("manifest.json"), manifest.to_bytes()).unwrap();
}

/// What a process that has read no file yet finds.
async fn verified_anew(world: &World) -> Verification {
    let place = world.place("archive");
    let api = world.reader(place.to_str().unwrap(), &[]).await;
    api.epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_found_at_the_first_entry_that_cannot_be_shown_with_its_file() {
    let world = archived(DatabaseKind::Sqlite).await;
    world.drop_to("archive", None).await.unwrap();
    assert!(verified_anew(&world).await.valid);
    copy(&world.place("archive"), &world.place("whole"));
    let archive = world.place("archive").join(world.incarnation().await).join("archive");
    let [first, second] = ["0000000000000000001", "0000000000000000257"];
    let names = [first, second].map(|bundle| format!("entries-{bundle}.jsonl.gz"));
    for (bundle, file, change, sequence, why) in [
        // The first entry is in the database.
        (first, names[0].as_str(), "remove", 2_i64, "it does not exist"),
        (second, &names[1], "remove", 257, "it does not exist"),
        (second, &names[1], "cut", 257, "its bytes are not those that its manifest says"),
        (second, "manifest.json", "remove", 257, "it does not exist"),
        (second, "manifest.json", "cut", 257, "it is not a file of the format"),
        // With the right checksum.
        (second, &names[1], "5d", 257, "entry 262 is there in place of entry 261"),
        (second, &names[1], "5s/canonical/text/", 257, "the line of entry 261 cannot be read"),
        (second, &names[1], "5s/thing.done/thing.made/", 261, "its text has the hash"),
        (second, &names[1], "5,$d", 261, "it does not have the entry"),
    ] {
        let path = archive.join(bundle).join(file);
        match change {
            "cut" => fs::write(&path, &fs::read(&path).unwrap()[..100]).unwrap(),
            "remove" => fs::remove_file(&path).unwrap(),
            sed => forge(&archive.join(bundle), sed).await,
        }
        let found = verified_anew(&world).await;
        let Some(Finding::NotInArchive { sequence: at, file: place, why: said }) = &found.finding else {
            panic!("{change}: {:?}", found.finding)
        };
        assert_eq!(
            (*at, found.checked, found.valid),
            (sequence, sequence.unsigned_abs() - 1, false),
            "{change}: {said}"
        );
        assert!(place.ends_with(&format!("archive/{bundle}/{file}")) && said.contains(why), "{place}: {said}");
        copy(&world.place("whole"), &world.place("archive"));
    }
    assert!(verified_anew(&world).await.valid);
}

/// A reader asks for the entry after the last one of a file, and would get the same file again.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_ends_too_early_ends_every_reader_with_an_error(#[case] kind: DatabaseKind) {
    let world = archived(kind).await;
    world.drop_to("archive", None).await.unwrap();
    let archive = world.place("archive").join(world.incarnation().await).join("archive");
    forge(&archive.join("0000000000000000257"), "5,$d").await;
    for path in ["order=asc&from_sequence=257", "to_sequence=400", "order=asc&from_sequence=300"] {
        let answer = world.api.get(&format!("/api/v1/audit/entries?{path}&limit=300")).await.expect(503);
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains("it does not have the entry"), "{path}: {detail}");
    }
    let mut seen = Vec::new();
    let mut take = |entry: ExportedEntry<'_>| {
        seen.push(entry.sequence);
        true
    };
    world.api.epr.export_ledger(ScanRange { from: 250, to: 600 }, &mut take).await.unwrap_err();
    assert_eq!(seen, (250..=260).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_ends_with_1_for_damage_and_with_2_for_an_archive_that_is_not_there() {
    let world = archived(DatabaseKind::Sqlite).await;
    world.drop_to("archive", None).await.unwrap();
    let place = world.place("archive");
    let environment = [
        ("EPR_DATABASE_URL", world.api.database.url.as_str()),
        ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
        ("EPR_LEDGER_KEY", SEED),
        ("EPR_LEDGER_ARCHIVE_URL", place.to_str().unwrap()),
    ];
    let file = place.join(world.incarnation().await).join("archive/0000000000000000257/manifest.json");
    fs::write(&file, "{}").unwrap();
    for arguments in [&["audit", "verify"][..], &["audit", "verify", "--start-sequence", "300"]] {
        let (code, out, error) = run("epr", &environment, arguments).await;
        let sequence = if arguments.len() > 2 { 300 } else { 257 };
        let expected = format!("BROKEN at entry {sequence}: not in the archive: entry {sequence} was dropped");
        assert!(code == 1 && out.contains(&expected) && out.contains("257/manifest.json: it is not"), "{out}{error}");
    }
    let (code, out, _) = run("epr", &environment, &["audit", "verify", "--json"]).await;
    assert!(code == 1 && out.contains(r#""finding":{"kind":"not_in_archive","sequence":257,"file":"#), "{out}");
    // Operators see it, as they see damage in the database.
    let last = world.api.epr.last_verification().await.unwrap().unwrap();
    assert!(last.finding.is_some_and(|finding| finding.starts_with("not in the archive: entry 257")));
    fs::rename(&place, world.place("elsewhere")).unwrap();
    let (code, _, error) = run("epr", &environment, &["audit", "verify"]).await;
    assert!(code == 2 && error.contains("The archive of EPR_LEDGER_ARCHIVE_URL cannot be read: "), "{error}");
}
