//! Publishing the ledger: to a bucket as to a folder, after outages, and never over something else.

use std::fs;
use std::sync::Arc;

use epr_core::clock::SystemClock;
use epr_core::publish::ledger_target::{LedgerFolder, Put};
use epr_testkit::api::Api;
use epr_testkit::aws;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::grow;
use epr_testkit::process::run;

use crate::archive_world::files;

const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

async fn publishing(place: &str, more: &[(&str, &str)]) -> Api {
    let mut environment =
        vec![("EPR_LEDGER_ORIGIN", "epr.test/ledger"), ("EPR_LEDGER_KEY", SEED), ("EPR_LEDGER_PUBLISH_URL", place)];
    environment.extend(more);
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    Api::with_settings(database, Arc::new(SystemClock), &environment).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_gets_what_a_folder_gets_and_nothing_is_overwritten() {
    let name = format!("ledger-{:08x}", rand::random::<u32>());
    aws::s3().await.create_bucket().bucket(&name).send().await.unwrap();
    let (endpoint, place) = (aws::endpoint(), format!("s3://{name}/public/ledger"));
    let environment = aws::environment(&endpoint);
    let api = publishing(&place, &environment).await;
    let folder = tempfile::tempdir().unwrap();
    for size in [300, 600] {
        grow(&api, size).await;
        api.epr.make_checkpoint().await.unwrap();
        api.epr.publish_ledger(&LedgerFolder(folder.path().to_owned())).await.unwrap();
    }
    let source = epr_core::settings::Source::of(environment);
    let aws = epr_core::Settings::from_source(&source).unwrap().aws;
    let target = epr_core::publish::ledger_place::LedgerPlace::parse(&place).unwrap().open(&aws, None);
    let expected = files(folder.path());
    assert!(expected.len() > 8, "{:?}", expected.keys());
    for (path, content) in &expected {
        assert_eq!(target.read(path).await.unwrap().as_ref(), Some(content), "{path}");
    }
    // By the command, too: everything is there already.
    let url = [("EPR_DATABASE_URL", api.database.url.as_str())];
    let (code, out, error) =
        run("epr", &[&environment[..], &url].concat(), &["audit", "publish", "--to", &place]).await;
    assert!(code == 0 && out.starts_with("0 files written; the checkpoint of 600 entries"), "{out}{error}");

    // Object names are never reused for other content.
    let first = expected.keys().find(|path| path.ends_with("tile/0/000")).unwrap();
    assert_eq!(target.put_new(first, b"something else").await.unwrap(), Put::Exists);
    let incarnation = first.split('/').next().unwrap();
    target.replace(&format!("{incarnation}/tile/0/003"), b"something else").await.unwrap();
    grow(&api, 1100).await;
    let error = api.epr.make_checkpoint().await.unwrap_err().to_string();
    assert!(error.contains("is published with other content"), "{error}");
    let published = target.read(&format!("{incarnation}/checkpoint")).await.unwrap();
    assert_eq!(published.as_ref(), expected.get(&format!("{incarnation}/checkpoint")), "not without its tiles");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_outage_left_out_is_published_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("published");
    let api = publishing(place.to_str().unwrap(), &[]).await;
    grow(&api, 300).await;
    api.epr.make_checkpoint().await.unwrap();
    // A file where the folder was.
    fs::rename(&place, folder.path().join("away")).unwrap();
    fs::write(&place, "").unwrap();
    grow(&api, 600).await;
    api.epr.make_checkpoint().await.unwrap_err();
    assert_eq!(api.epr.newest_checkpoint().await.unwrap().size, 600, "signed nevertheless");
    assert_eq!(api.epr.checkpoint_status().unwrap().published, Some(300));
    fs::remove_file(&place).unwrap();
    fs::rename(folder.path().join("away"), &place).unwrap();
    grow(&api, 700).await;
    api.epr.make_checkpoint().await.unwrap();
    assert_eq!(api.epr.checkpoint_status().unwrap().published, Some(700));

    // What is there is what a publication without an outage would have made of the last checkpoint.
    let whole = tempfile::tempdir().unwrap();
    api.epr.publish_ledger(&LedgerFolder(whole.path().to_owned())).await.unwrap();
    let found = files(&place);
    for (path, content) in files(whole.path()) {
        assert_eq!(found.get(&path), Some(&content), "{path}");
    }
}
