//! Checkpoints of the ledger: the keys that sign them and how often.

use std::sync::Arc;
use std::time::Duration;

use super::aws::AwsSettings;
use super::reader::Reader;
use super::variable::{Section, Variable};
use crate::domain::Incarnation;
use crate::ledger::checkpoint::Checkpoint;
use crate::publish::ledger_place::LedgerPlace;
#[cfg(feature = "publish")]
use crate::publish::ledger_s3::Retention;
#[cfg(feature = "publish")]
use crate::publish::witness::Witness;
use crate::signing::{LedgerKeys, LedgerSigning};

const KEY_ALLOWED: &str =
    "a PEM (PKCS #8), a seed of 32 bytes in hex or base64, the path of a file with either, or the ARN of a KMS key";

const ORIGIN: Variable = Variable::optional(
    "EPR_LEDGER_ORIGIN",
    "a URL without scheme, spaces and +, such as epr.example/ledger",
    "The name of this ledger in its checkpoints, to which EPR adds the incarnation. Required with `EPR_LEDGER_KEY`. \
     Must not be changed afterwards: see [PROOFS.md](PROOFS.md).",
);
const KEY: Variable = Variable::optional(
    "EPR_LEDGER_KEY",
    KEY_ALLOWED,
    "The Ed25519 key that signs checkpoints of the ledger; in KMS one of the spec `ECC_NIST_EDWARDS25519`. Not set: \
     none are made. A process with this variable signs.",
)
.secret();
const KEY_PQ: Variable = Variable::optional(
    "EPR_LEDGER_KEY_PQ",
    KEY_ALLOWED,
    "An ML-DSA-44 key that signs checkpoints besides `EPR_LEDGER_KEY`; in KMS one of the spec `ML_DSA_44`.",
)
.secret();
const INTERVAL: Variable = Variable::number(
    "EPR_LEDGER_CHECKPOINT_INTERVAL",
    10,
    &(1..=86_400),
    "Time between two checkpoints in seconds. None is made unless the ledger has grown.",
);

const PUBLISH_URL: Variable = Variable::optional(
    "EPR_LEDGER_PUBLISH_URL",
    LedgerPlace::ALLOWED,
    "Where every checkpoint is published with its tiles and bundles, below a folder named after the incarnation. A \
     checkpoint is signed only if the database contains what is published there. Needs `EPR_LEDGER_KEY`.",
);

#[cfg(feature = "publish")]
const RETENTION: Variable = Variable::optional(
    "EPR_LEDGER_PUBLISH_RETENTION",
    Retention::ALLOWED,
    "How long S3 retains each published object, except for `checkpoint`, in a bucket that has Object Lock without a \
     default retention. A default retention of the bucket wins. Nothing is published to a bucket without Object Lock \
     if this is set.",
);

#[cfg(feature = "publish")]
const WITNESS_URLS: Variable = Variable::optional(
    "EPR_LEDGER_WITNESS_URLS",
    "URL and verifier key of each witness with a space between them, comma-separated",
    "Witnesses (C2SP tlog-witness) that cosign each checkpoint.",
);
#[cfg(feature = "publish")]
const WITNESS_QUORUM: Variable = Variable::number(
    "EPR_LEDGER_WITNESS_QUORUM",
    0,
    &(0..=16),
    "The number of cosignatures without which a checkpoint is not published.",
);

const ARCHIVE_URL: Variable = Variable::optional(
    "EPR_LEDGER_ARCHIVE_URL",
    LedgerPlace::ALLOWED,
    "The archive from which entries are read that `epr audit drop` has dropped from the database: see \
     [ARCHIVE.md](ARCHIVE.md#dropping-archived-entries).",
);
const RETENTION_DAYS: Variable = Variable::optional(
    "EPR_LEDGER_RETENTION_DAYS",
    "a number of days from 1 to 36500",
    "Allows `epr audit drop` to drop archived entries that a published checkpoint of at least this age covers. Not \
     set: no entry is ever dropped.",
);

pub(super) const SECTION: Section = Section {
    title: "Ledger checkpoints",
    variables: &[
        ORIGIN,
        KEY,
        KEY_PQ,
        INTERVAL,
        PUBLISH_URL,
        ARCHIVE_URL,
        RETENTION_DAYS,
        #[cfg(feature = "publish")]
        RETENTION,
        #[cfg(feature = "publish")]
        WITNESS_URLS,
        #[cfg(feature = "publish")]
        WITNESS_QUORUM,
    ],
};

/// Reads the witnesses, and how many of them must have cosigned what is published.
#[cfg(feature = "publish")]
pub(super) fn read_witnesses(reader: &mut Reader<'_>) -> Option<(Vec<Witness>, usize)> {
    let quorum = usize::try_from(reader.number(&WITNESS_QUORUM)).unwrap_or(0);
    let witnesses: Option<Vec<Witness>> = reader.checked(&WITNESS_URLS, |given, _| {
        given.split(',').map(str::trim).filter(|one| !one.is_empty()).map(Witness::parse).collect()
    });
    let count = witnesses.as_ref().map_or(0, Vec::len);
    if quorum > count && (witnesses.is_some() || !reader.is_set(&WITNESS_URLS)) {
        reader
            .error(format!("EPR_LEDGER_WITNESS_QUORUM is {quorum}, but EPR_LEDGER_WITNESS_URLS has {count} witnesses"));
    }
    witnesses.filter(|witnesses| !witnesses.is_empty()).map(|witnesses| (witnesses, quorum))
}

/// Reads where the ledger is published.
pub(super) fn read_place(reader: &mut Reader<'_>) -> Option<LedgerPlace> {
    let place = reader.value(&PUBLISH_URL, LedgerPlace::parse);
    if place.is_some() && !reader.is_set(&KEY) {
        reader.error("EPR_LEDGER_PUBLISH_URL is set without EPR_LEDGER_KEY: there is nothing to publish".to_owned());
    }
    place
}

/// Reads where the archive is that has dropped entries.
pub(super) fn read_archive(reader: &mut Reader<'_>) -> Option<LedgerPlace> {
    let archive = reader.value(&ARCHIVE_URL, LedgerPlace::parse)?;
    let published = reader.optional_text(&PUBLISH_URL).and_then(|published| LedgerPlace::parse(&published));
    if published.is_some_and(|published| published.overlaps(&archive)) {
        let why = "EPR_LEDGER_ARCHIVE_URL is the place of EPR_LEDGER_PUBLISH_URL, or within or around it";
        reader.error(format!("{why}: an archive has the texts of entries and must be private"));
    }
    Some(archive)
}

/// Reads the age from which entries may be dropped.
pub(super) fn read_retention_days(reader: &mut Reader<'_>) -> Option<u32> {
    let parse = |given: &str| given.parse().ok().filter(|days| (1..=36_500).contains(days));
    reader.value(&RETENTION_DAYS, parse)
}

/// Reads how long published objects are retained.
#[cfg(feature = "publish")]
pub(super) fn read_retention(reader: &mut Reader<'_>) -> Option<Retention> {
    let retention = reader.value(&RETENTION, Retention::parse)?;
    if reader.optional_text(&PUBLISH_URL).is_some_and(|place| !place.starts_with("s3://")) {
        reader.error("EPR_LEDGER_PUBLISH_RETENTION is set, but EPR_LEDGER_PUBLISH_URL is not a bucket".to_owned());
    }
    Some(retention)
}

/// Reads how checkpoints are signed; `None` when they are not.
pub(super) fn read(reader: &mut Reader<'_>, aws: &AwsSettings) -> Option<LedgerSigning> {
    let origin = reader.checked(&ORIGIN, |given, _| {
        let example = format!("{given}/{}", Incarnation(uuid::Uuid::nil()));
        let scheme = given.contains("://") || given.ends_with('/');
        match Checkpoint::new(&example, 0, [0; 32]) {
            Ok(_) if !scheme => Ok(given.to_owned()),
            _ => Err("expected a URL without scheme, spaces and +, such as epr.example/ledger".to_owned()),
        }
    });
    let interval = Duration::from_secs(reader.number(&INTERVAL));
    let key = reader.checked(&KEY, |given, _| LedgerKeys::read_ed25519(given, aws));
    let key = match reader.optional_text(&KEY_PQ) {
        None => key,
        Some(given) => match key.map(|key| key.with_ml_dsa(&given, aws)) {
            Some(Ok(key)) => Some(key),
            Some(Err(why)) => {
                reader.error(format!("EPR_LEDGER_KEY_PQ: {why}"));
                None
            }
            None => {
                if !reader.is_set(&KEY) {
                    reader.error("EPR_LEDGER_KEY_PQ is set without EPR_LEDGER_KEY".to_owned());
                }
                None
            }
        },
    };
    let keys = Arc::new(key?);
    if origin.is_none() && !reader.is_set(&ORIGIN) {
        reader.error("EPR_LEDGER_KEY needs EPR_LEDGER_ORIGIN, the name of the ledger".to_owned());
    }
    Some(LedgerSigning { origin: origin?, keys, interval })
}
