//! A ledger that is published in a folder, and archives of it beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use epr_core::clock::{Clock, SystemClock};
use epr_core::ledger::note::VerifierKey;
use epr_core::publish::ledger_target::{LedgerFolder, LedgerTarget};
use epr_core::{ArchiveCheck, ArchiveCheckOptions, ArchiveOptions, Archived, Call, DropOptions, Dropped, Error};
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::grow;

pub const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A ledger that is published in a folder, and a folder for its archive.
pub struct World {
    pub api: Api,
    folder: tempfile::TempDir,
}

/// Everything that is published, in bundles of 256 entries.
pub fn options<'a>(target: &'a dyn LedgerTarget, published: &'a dyn LedgerTarget) -> ArchiveOptions<'a> {
    let bundle_entries = Some(256);
    ArchiveOptions { target, published, to_sequence: None, older_than_days: None, bundle_entries, former_keys: &[] }
}

impl World {
    pub async fn new(kind: DatabaseKind) -> Self {
        Self::with_clock(kind, Arc::new(SystemClock)).await
    }

    pub async fn with_clock(kind: DatabaseKind, clock: Arc<dyn Clock>) -> Self {
        Self::of(Arc::new(Database::create(kind).await), clock, tempfile::tempdir().unwrap(), SEED).await
    }

    /// Another process on the same database, with this key, which publishes in a folder of its own.
    pub async fn beside(&self, seed: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::of(Arc::clone(&self.api.database), Arc::new(SystemClock), folder, seed).await
    }

    /// Another process on the same database, which reads dropped entries from this place.
    pub async fn reader(&self, archive: &str, more: &[(&str, &str)]) -> Api {
        let own =
            [("EPR_LEDGER_ORIGIN", "epr.test/ledger"), ("EPR_LEDGER_KEY", SEED), ("EPR_LEDGER_ARCHIVE_URL", archive)];
        let environment = [&own[..], more].concat();
        Api::with_settings(Arc::clone(&self.api.database), Arc::new(SystemClock), &environment).await
    }

    async fn of(database: Arc<Database>, clock: Arc<dyn Clock>, folder: tempfile::TempDir, seed: &str) -> Self {
        let (published, archive) = (folder.path().join("published"), folder.path().join("archive"));
        let environment = [
            ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
            ("EPR_LEDGER_KEY", seed),
            ("EPR_LEDGER_PUBLISH_URL", published.to_str().unwrap()),
            ("EPR_LEDGER_ARCHIVE_URL", archive.to_str().unwrap()),
        ];
        Self { api: Api::with_settings(database, clock, &environment).await, folder }
    }

    /// Grows the ledger to this size, and publishes a checkpoint of it.
    pub async fn publish(&self, size: i64) {
        grow(&self.api, size).await;
        self.api.epr.make_checkpoint().await.unwrap();
    }

    pub fn published(&self) -> LedgerFolder {
        LedgerFolder(self.folder.path().join("published"))
    }

    pub fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn target(&self, name: &str) -> LedgerFolder {
        LedgerFolder(self.place(name))
    }

    pub async fn archive(&self, name: &str) -> Result<Archived, Error> {
        self.api.epr.archive_ledger(&options(&self.target(name), &self.published()), &mut |_, _| {}).await
    }

    pub async fn check(&self, name: &str) -> ArchiveCheck {
        self.check_to(name, None).await
    }

    pub async fn check_to(&self, name: &str, to_sequence: Option<i64>) -> ArchiveCheck {
        self.try_check(name, to_sequence, &[]).await.unwrap()
    }

    pub async fn try_check(
        &self,
        name: &str,
        to_sequence: Option<i64>,
        former_keys: &[VerifierKey],
    ) -> Result<ArchiveCheck, Error> {
        let (target, published) = (self.target(name), self.published());
        let options = ArchiveCheckOptions { target: &target, published: Some(&published), to_sequence, former_keys };
        self.api.epr.check_archive(&options, &mut |_, _| {}).await
    }

    /// Drops what is in this archive and older than a day, up to a sequence.
    pub async fn drop_to(&self, name: &str, to_sequence: Option<i64>) -> Result<Dropped, Error> {
        let (target, published) = (self.target(name), self.published());
        let options = DropOptions {
            target: &target,
            place: "/the/archive",
            published: &published,
            to_sequence,
            retention_days: 1,
            former_keys: &[],
            confirmed: true,
        };
        self.api.epr.drop_archived(&Call::default(), &options, &mut |_, _| {}).await
    }

    /// What a check finds.
    pub async fn finding(&self, name: &str) -> String {
        let found = self.check(name).await;
        assert!(!found.valid, "nothing was found");
        found.finding.unwrap().to_string()
    }

    pub async fn incarnation(&self) -> String {
        self.api.database.store().await.registry_state().await.unwrap().revision.incarnation.to_string()
    }
}

/// Every file below a folder, by its path.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

pub fn copy(from: &Path, to: &Path) {
    for (path, content) in files(from) {
        let path = to.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}
