//! Archives of the ledger: what is archived, what is refused, every interruption, and every damage.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use epr_core::ArchiveOptions;
use epr_core::clock::{Clock, ManualClock};
use epr_core::publish::ledger_target::{LedgerFolder, LedgerTarget, Put, TargetError};
use epr_testkit::aws;
use epr_testkit::database::DatabaseKind;
use epr_testkit::ledger::grow;
use epr_testkit::process::{program, run};
use epr_testkit::wait;
use rstest::rstest;
use serde_json::Value;

use crate::archive_world::{SEED, World, copy, files, options};

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_bundles_below_the_published_checkpoint_are_archived_once(#[case] kind: DatabaseKind) {
    let world = World::new(kind).await;
    world.publish(700).await;
    // Not published.
    grow(&world.api, 1_500).await;
    let first = world.archive("archive").await.unwrap();
    let counts = (first.bundles_before, first.bundles_written, first.archived_to, first.published);
    assert_eq!(counts, (0, 2, 512, 700));
    let there = files(&world.place("archive"));
    assert_eq!(there.len(), 7, "{:?}", there.keys());
    let second = world.archive("archive").await.unwrap();
    assert_eq!((second.bundles_before, second.bundles_written, second.archived_to), (2, 0, 512));
    assert_eq!(files(&world.place("archive")), there, "nothing is written twice");
    assert_eq!(world.check("archive").await.published, Some(700));

    world.publish(1_500).await;
    assert_eq!(world.archive("archive").await.unwrap().archived_to, 1_280);
    let grown = files(&world.place("archive"));
    assert!(there.iter().all(|(path, content)| grown.get(path) == Some(content)), "a bundle never changes");
    let found = world.check("archive").await;
    let counts = (found.valid, found.bundles, found.entries, found.signatures, found.published);
    assert_eq!(counts, (true, 5, 1_280, 5, Some(1_500)), "{found:?}");
    // The database has every entry, and nothing else has changed.
    assert_eq!(world.api.database.number("SELECT count(*) FROM audit_logs").await, 1_500);
    let named = world.check_to("archive", Some(1_281)).await.finding.unwrap();
    assert_eq!(named.why, "entry 1281 is not archived: the archive ends at 1280");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_is_verified_without_epr() {
    let world = World::new(DatabaseKind::Sqlite).await;
    world.publish(700).await;
    world.archive("archive").await.unwrap();
    let place = world.place("archive").join(world.incarnation().await);
    let keys = world.place("keys");
    fs::write(&keys, world.api.epr.verifier_keys().await.unwrap().join("\n")).unwrap();
    let root = world.check("archive").await.root;

    let arguments = ["archive", place.to_str().unwrap(), "--key", keys.to_str().unwrap()];
    let (code, out, error) = run("epr-verify", &[], &arguments).await;
    assert!(code == 0 && out.contains("AGREES: 512 entries in 2 bundles of epr.test/ledger/"), "{out}{error}");
    assert!(out.contains(&root) && out.contains("signatures of 1 keys verified"), "{out}");

    // The unpacked files, one after the other, are the beginning of an export: other tools read them.
    let export = world.place("export.jsonl");
    let (verify, script) = (program("epr-verify"), concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/verify_export.py"));
    let shell = format!(
        "gzip -dc {0}/archive/*/entries-*.jsonl.gz > {1} && '{2}' export {1} && python3 {script} {1}",
        place.display(),
        export.display(),
        verify.display()
    );
    let output = tokio::process::Command::new("sh").args(["-ec", &shell]).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains(&root) && text.contains("512 entries hold"), "{text}");
    let url = [("EPR_DATABASE_URL", world.api.database.url.as_str())];
    let (_, exported, _) = run("epr", &url, &["audit", "export", "--end-sequence", "512"]).await;
    assert_eq!(fs::read_to_string(&export).unwrap(), exported);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_is_not_published_is_never_archived() {
    let world = World::new(DatabaseKind::Sqlite).await;
    grow(&world.api, 600).await;
    let nothing = world.archive("archive").await.unwrap_err().to_string();
    assert!(nothing.contains("is published, and only entries below a published checkpoint"), "{nothing}");
    world.publish(700).await;
    grow(&world.api, 2_000).await;
    let (target, published) = (world.target("archive"), world.published());
    let to = async |sequence| {
        let options = ArchiveOptions { to_sequence: Some(sequence), ..options(&target, &published) };
        world.api.epr.archive_ledger(&options, &mut |_, _| {}).await
    };
    let beyond = to(701).await.unwrap_err().to_string();
    assert_eq!(beyond, "Entry 701 is not archived: the published checkpoint covers the entries up to 700");
    assert_eq!(to(255).await.unwrap().archived_to, 0);
    assert!(!world.place("archive").exists(), "nothing was begun");
    assert_eq!(to(511).await.unwrap().archived_to, 256);
    assert_eq!(to(700).await.unwrap().archived_to, 512);

    // A checkpoint that is published, and that this database has not signed.
    let other = World::new(DatabaseKind::Sqlite).await;
    other.publish(2_000).await;
    let (from, to) = (other.place("published"), world.place("published"));
    let (there, here) = (other.incarnation().await, world.incarnation().await);
    fs::copy(from.join(there).join("checkpoint"), to.join(here).join("checkpoint")).unwrap();
    let foreign = world.archive("archive").await.unwrap_err().to_string();
    assert!(foreign.contains("a checkpoint of 2000 entries is published, but the newest one"), "{foreign}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_of_an_entry_is_that_of_the_checkpoint_that_covers_it() {
    let clock = Arc::new(ManualClock::new(epr_core::domain::Timestamp::parse("2026-01-01T00:00:00Z").unwrap()));
    let world = World::with_clock(DatabaseKind::Sqlite, Arc::clone(&clock) as Arc<dyn Clock>).await;
    // The entries claim times of their own.
    for (size, days) in [(300, 0), (600, 4), (900, 4), (2_000, 21)] {
        clock.advance_micros(days * 86_400_000_000);
        world.publish(size).await;
    }
    let (target, published) = (world.target("archive"), world.published());
    for (days, archived) in [(30, 0), (29, 256), (25, 512), (22, 512), (21, 768), (1, 768), (0, 1_792)] {
        let options = ArchiveOptions { older_than_days: Some(days), ..options(&target, &published) };
        let found = world.api.epr.archive_ledger(&options, &mut |_, _| {}).await.unwrap();
        assert_eq!(found.archived_to, archived, "{days} days");
    }
}

/// A folder whose process ends before a write, or after it.
struct Crashing {
    folder: LedgerFolder,
    /// Writes that are made before the end.
    left: AtomicUsize,
    /// Whether the last write is made, although its process does not live to see it.
    is_last_made: bool,
}

#[async_trait]
impl LedgerTarget for Crashing {
    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, TargetError> {
        self.folder.read(path).await
    }

    async fn read_at_most(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TargetError> {
        self.folder.read_at_most(path, limit).await
    }

    async fn put_new(&self, path: &str, content: &[u8]) -> Result<Put, TargetError> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_err() && self.is_last_made {
            self.folder.put_new(path, content).await?;
        }
        left.map_err(|_| TargetError::new(path, "the process ended"))?;
        self.folder.put_new(path, content).await
    }

    async fn replace(&self, path: &str, content: &[u8]) -> Result<(), TargetError> {
        self.folder.replace(path, content).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_ends_at_any_write_is_completed_by_the_next_one() {
    let world = World::new(DatabaseKind::Sqlite).await;
    world.publish(700).await;
    world.archive("whole").await.unwrap();
    let whole = files(&world.place("whole"));
    for (writes, is_last_made) in (0..whole.len()).flat_map(|writes| [(writes, false), (writes, true)]) {
        let name = format!("interrupted-{writes}-{is_last_made}");
        let crashing = Crashing { folder: world.target(&name), left: AtomicUsize::new(writes), is_last_made };
        let published = world.published();
        let options = options(&crashing, &published);
        let error = world.api.epr.archive_ledger(&options, &mut |_, _| {}).await.unwrap_err().to_string();
        assert!(error.contains("the process ended"), "{error}");
        let made = writes + usize::from(is_last_made);
        if made > 0 {
            assert_eq!(files(&world.place(&name)).len(), made);
            // A bundle without its manifest is not archived.
            let found = world.check(&name).await;
            assert!(found.valid && found.bundles == u64::try_from((made - 1) / 3).unwrap(), "{made}: {found:?}");
        }
        world.archive(&name).await.unwrap();
        assert_eq!(files(&world.place(&name)), whole, "after {made} writes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_command_leaves_what_the_next_one_completes() {
    let world = World::new(DatabaseKind::Sqlite).await;
    world.publish(20_000).await;
    let published = world.place("published");
    let environment = [
        ("EPR_DATABASE_URL", world.api.database.url.as_str()),
        ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
        ("EPR_LEDGER_KEY", SEED),
        ("EPR_LEDGER_PUBLISH_URL", published.to_str().unwrap()),
    ];
    let (place, incarnation) = (world.place("archive"), world.incarnation().await);
    let archive = ["audit", "archive", "--to", place.to_str().unwrap(), "--bundle-entries", "256"];
    let mut command = tokio::process::Command::new(program("epr"));
    let mut child = command.env_clear().envs(environment).args(archive).spawn().unwrap();
    let bundle = place.join(incarnation).join("archive/0000000000000000769");
    wait::until("the fourth bundle is begun", async || bundle.exists()).await;
    child.kill().await.unwrap();
    assert!(!child.wait().await.unwrap().success(), "it was killed in the middle");

    for public in [published.clone(), published.join("archive"), world.place("")] {
        let (code, _, error) = run("epr", &environment, &["audit", "archive", "--to", public.to_str().unwrap()]).await;
        assert!(code == 2 && error.contains("name a private place"), "{error}");
    }
    let (code, out, error) = run("epr", &environment, &[&archive[..], &["--json"]].concat()).await;
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}"));
    assert_eq!((code, &report["archived_to"]), (0, &19_968.into()), "{report}");
    assert!(report["bundles_before"].as_i64() >= Some(3), "{report}");
    world.archive("whole").await.unwrap();
    // The write that was interrupted may have left a file under another name.
    let finished = |(path, _): &(String, Vec<u8>)| !path.contains(".new-");
    let archived: BTreeMap<_, _> = files(&place).into_iter().filter(finished).collect();
    assert_eq!(archived, files(&world.place("whole")));
    let (code, out, error) = run("epr", &environment, &[&archive[..4], &["--check"]].concat()).await;
    assert!(code == 0 && out.contains("The archive holds: 19968 entries in 78 bundles"), "{out}{error}");
    assert!(out.contains("A known key signed the checkpoints of 78 bundles"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_damage_of_an_archive_is_found_at_its_file() {
    let world = World::new(DatabaseKind::Sqlite).await;
    world.publish(700).await;
    world.archive("whole").await.unwrap();
    let whole = files(&world.place("whole"));
    let mut cases = 0;
    for (path, content) in &whole {
        let changes: [Option<Vec<u8>>; 4] = [
            None,
            Some(content[..content.len() / 2].to_vec()),
            Some([content.as_slice(), b"\0"].concat()),
            Some(content.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == content.len() / 3)).collect()),
        ];
        for change in changes {
            cases += 1;
            let name = format!("damaged-{cases}");
            copy(&world.place("whole"), &world.place(&name));
            let file = world.place(&name).join(path);
            let is_gone = change.is_none();
            match change {
                None => fs::remove_file(&file).unwrap(),
                Some(content) => fs::write(&file, content).unwrap(),
            }
            // Without the last manifest, the archive ends before it; without its format, there is none.
            if is_gone && path.ends_with("format.json") {
                let nothing = world.try_check(&name, None, &[]).await.unwrap_err().to_string();
                assert!(nothing.contains("There is no archive of this ledger"), "{nothing}");
                continue;
            }
            if is_gone && path.contains("257/manifest.json") {
                assert_eq!(world.check(&name).await.entries, 256);
                assert!(!world.check_to(&name, Some(512)).await.valid);
                continue;
            }
            // A manifest with another checksum is not what the file has.
            let found = world.finding(&name).await;
            assert!(found.starts_with(path.trim_end_matches("manifest.json")), "{path}: {found}");
        }
    }
    assert_eq!(cases, 28);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_archive_of_another_ledger_or_order_is_refused_and_found() {
    let (world, other) = (World::new(DatabaseKind::Sqlite).await, World::new(DatabaseKind::Sqlite).await);
    for world in [&world, &other] {
        world.publish(700).await;
        world.archive("archive").await.unwrap();
    }
    let (here, there) = (world.incarnation().await, other.incarnation().await);
    copy(&other.place("archive").join(&there), &world.place("foreign").join(&here));
    let found = world.finding("foreign").await;
    assert!(found.contains("it is the archive of another ledger, epr.test/ledger/"), "{found}");
    world.publish(1_100).await;
    let refused = world.archive("foreign").await.unwrap_err().to_string();
    assert!(refused.contains("name another place"), "{refused}");

    // Bundles in each other's place.
    copy(&world.place("archive"), &world.place("swapped"));
    let bundles = world.place("swapped").join(&here).join("archive");
    let [one, two, aside] = ["0000000000000000001", "0000000000000000257", "aside"].map(|name| bundles.join(name));
    fs::rename(&one, &aside).unwrap();
    fs::rename(&two, &one).unwrap();
    fs::rename(&aside, &two).unwrap();
    let found = world.finding("swapped").await;
    assert!(found.contains("it is the manifest of another bundle: of the entries 257 to 512"), "{found}");
    // The first bundle is gone, and later ones are there.
    fs::remove_dir_all(&one).unwrap();
    let found = world.finding("swapped").await;
    assert!(found.ends_with("0000000000000000001/manifest.json: it is missing, but entry 257 is archived"), "{found}");

    // Another number of entries than the archive's.
    let (target, published) = (world.target("archive"), world.published());
    for (entries, why) in [(512, "omit --bundle-entries"), (100, "a multiple of 256"), (1 << 17, "at most 65536")] {
        let options = ArchiveOptions { bundle_entries: Some(entries), ..options(&target, &published) };
        let refused = world.api.epr.archive_ledger(&options, &mut |_, _| {}).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_were_changed_are_not_archived_and_differ_from_the_archive(#[case] kind: DatabaseKind) {
    let world = World::new(kind).await;
    world.publish(700).await;
    world.archive("archive").await.unwrap();
    world.api.database.remove_ledger_triggers().await;
    // An entry and its hash.
    let changed = "UPDATE audit_logs SET action = 'forged' WHERE sequence = 300";
    world.api.database.execute(changed).await.unwrap();
    let refused = world.archive("late").await.unwrap_err().to_string();
    let expected = "The entries 257 to 512 are not archived: the text of entry 300 has the hash";
    assert!(refused.contains(expected), "{refused}");
    let written = files(&world.place("late"));
    assert!(!written.keys().any(|path| path.contains("257/")), "nothing was put before it was verified: {written:?}");
    let hash = "1".repeat(64);
    let changed = format!("UPDATE audit_logs SET entry_hash = '{hash}' WHERE sequence = 300");
    world.api.database.execute(&changed).await.unwrap();
    let found = world.finding("archive").await;
    assert!(found.contains("entry 300 has the hash") && found.contains("is in the database"), "{found}");
    world.api.database.execute("DELETE FROM audit_logs WHERE sequence = 300").await.unwrap();
    let found = world.finding("archive").await;
    assert!(found.contains("entry 300 is archived, but"), "{found}");
    let refused = world.archive("later").await.unwrap_err().to_string();
    assert!(refused.contains("entry 301 is there in place of entry 300"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_another_program_is_never_taken_for_a_part_of_a_bundle() {
    let world = World::new(DatabaseKind::Sqlite).await;
    world.publish(700).await;
    world.archive("whole").await.unwrap();
    for (path, content) in files(&world.place("whole")) {
        let name = format!("left-{}", path.replace('/', "-"));
        let file = world.place(&name).join(&path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &content[..content.len() / 2]).unwrap();
        let refused = world.archive(&name).await.unwrap_err().to_string();
        assert!(refused.contains(&path), "{path}: {refused}");
        assert_eq!(fs::read(&file).unwrap(), content[..content.len() / 2], "nothing is overwritten");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_gets_what_a_folder_gets() {
    let name = format!("archive-{:08x}", rand::random::<u32>());
    aws::s3().await.create_bucket().bucket(&name).send().await.unwrap();
    let world = World::new(DatabaseKind::Sqlite).await;
    world.publish(700).await;
    world.archive("archive").await.unwrap();
    let (endpoint, place) = (aws::endpoint(), format!("s3://{name}/audit"));
    let published = world.place("published");
    let environment =
        [&aws::environment(&endpoint)[..], &[("EPR_DATABASE_URL", world.api.database.url.as_str())]].concat();
    let archive = ["audit", "archive", "--to", &place, "--published", published.to_str().unwrap()];
    for (written, arguments) in [(2, &["--bundle-entries", "256"][..]), (0, &[])] {
        let (code, out, error) = run("epr", &environment, &[&archive[..], arguments].concat()).await;
        assert!(code == 0 && out.contains(&format!("{written} bundles written")), "{out}{error}");
        assert!(out.contains("The entries 1 to 512 are archived at s3://"), "{out}");
    }
    let source = epr_core::settings::Source::of(aws::environment(&endpoint));
    let aws = epr_core::Settings::from_source(&source).unwrap().aws;
    let target = epr_core::publish::ledger_place::LedgerPlace::parse(&place).unwrap().open(&aws, None);
    let expected = files(&world.place("archive"));
    for (path, content) in &expected {
        assert_eq!(target.read(path).await.unwrap().as_ref(), Some(content), "{path}");
    }
    let check = [&archive[..4], &["--check", "--to-sequence", "512"]].concat();
    let (code, out, error) = run("epr", &environment, &check).await;
    assert!(code == 0 && out.contains("The archive holds: 512 entries in 2 bundles"), "{out}{error}");
    let (path, _) = expected.iter().find(|(path, _)| path.contains("257/entries")).unwrap();
    target.replace(path, b"something else").await.unwrap();
    let (code, out, error) = run("epr", &environment, &check).await;
    assert!(code == 1 && out.contains("DAMAGED") && out.contains(path.as_str()), "{out}{error}");
    // Where no archive is.
    let (code, _, error) = run("epr", &environment, &["audit", "archive", "--to", "/nowhere", "--check"]).await;
    assert!(code == 2 && error.contains("There is no archive of this ledger"), "{error}");
}
