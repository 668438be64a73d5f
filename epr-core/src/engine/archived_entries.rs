//! Entries that were dropped from the database, as a file of their archive has them.
//!
//! Must never return a text whose hash is not the one that the database has kept: what is in the archive is believed
//! for that reason only.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::domain::audit::CanonicalDetails;
use crate::domain::{AuditEntry, Timestamp};
use crate::ledger::canonical::{Fields, entry_hash};

/// Entries with consecutive sequences from one file of an archive.
pub(crate) struct ArchivedEntries {
    /// The path of the file below the place of the archive.
    pub(crate) file: String,
    /// The sequence of the first one.
    pub(crate) first: i64,
    /// The exact texts that were hashed.
    pub(crate) texts: Vec<String>,
}

/// The members of a text that was hashed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    actor_id: Option<String>,
    #[serde(borrow)]
    actor_type: Cow<'a, str>,
    correlation_id: Option<String>,
    #[serde(borrow)]
    details: &'a RawValue,
    entity_id: Option<String>,
    entity_type: Option<String>,
    event_id: Option<String>,
    hash_version: i32,
    #[serde(borrow)]
    occurred_at: Cow<'a, str>,
    #[serde(borrow)]
    previous_hash: Cow<'a, str>,
    sequence: i64,
    #[serde(borrow)]
    source: Cow<'a, str>,
}

impl ArchivedEntries {
    /// The sequence of the last entry.
    pub(crate) fn last(&self) -> i64 {
        self.first.saturating_add(i64::try_from(self.texts.len()).unwrap_or(i64::MAX)).saturating_sub(1)
    }

    /// Why an entry cannot be read from this file.
    pub(crate) fn damaged(&self, sequence: i64, why: impl Into<String>) -> DamagedArchive {
        DamagedArchive { sequence, file: self.file.clone(), why: why.into() }
    }

    /// Passes the fields of an entry to `take`, if their hash is `kept`, the one of the database.
    pub(crate) fn with_fields<T>(
        &self,
        sequence: i64,
        kept: &str,
        take: impl FnOnce(Fields<'_>) -> T,
    ) -> std::result::Result<T, DamagedArchive> {
        let damaged = |why: String| self.damaged(sequence, why);
        let at = usize::try_from(sequence.saturating_sub(self.first)).ok();
        let text = at.and_then(|at| self.texts.get(at));
        let text = text.ok_or_else(|| damaged("it is not in the file that should have it".to_owned()))?;
        let members: Members<'_> = serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
        let occurred_at = Timestamp::parse(&members.occurred_at).map_err(|error| damaged(error.to_string()))?;
        let fields = Fields {
            action: &members.action,
            actor_id: members.actor_id.as_deref(),
            actor_type: &members.actor_type,
            correlation_id: members.correlation_id.as_deref(),
            details: members.details.get(),
            entity_id: members.entity_id.as_deref(),
            entity_type: members.entity_type.as_deref(),
            event_id: members.event_id.as_deref(),
            hash_version: members.hash_version,
            occurred_at,
            previous_hash: &members.previous_hash,
            sequence: members.sequence,
            source: &members.source,
        };
        // Of the text as it is written from the fields, which are what is returned.
        let mut written = String::with_capacity(text.len());
        fields.write(&mut written);
        let hash = entry_hash(fields.previous_hash, &written);
        if hash != kept || fields.sequence != sequence {
            return Err(damaged(format!("its text has the hash {hash}, but the database has kept {kept}")));
        }
        Ok(take(fields))
    }

    /// The entry with this sequence, as a list has it.
    pub(crate) fn entry(&self, sequence: i64, kept: &str) -> std::result::Result<AuditEntry, DamagedArchive> {
        let id = |text: Option<&str>| text.map(Uuid::try_parse).transpose();
        let read = |fields: Fields<'_>| -> std::result::Result<AuditEntry, uuid::Error> {
            Ok(AuditEntry {
                sequence,
                previous_hash: fields.previous_hash.to_owned(),
                entry_hash: kept.to_owned(),
                hash_version: fields.hash_version,
                event_id: id(fields.event_id)?,
                source: fields.source.to_owned(),
                action: fields.action.to_owned(),
                actor_id: id(fields.actor_id)?,
                actor_type: fields.actor_type.to_owned(),
                entity_id: id(fields.entity_id)?,
                entity_type: fields.entity_type.map(str::to_owned),
                correlation_id: fields.correlation_id.map(str::to_owned),
                details: CanonicalDetails(fields.details.to_owned()),
                occurred_at: fields.occurred_at,
            })
        };
        let damaged = |error: uuid::Error| self.damaged(sequence, error.to_string());
        self.with_fields(sequence, kept, read)?.map_err(damaged)
    }
}

/// The archive is there, but does not have an entry that was dropped: a file is missing, damaged, or has another text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Entry {sequence} cannot be read from the archive of EPR_LEDGER_ARCHIVE_URL: {file}: {why}. Run \
     `epr audit archive --check`"
)]
pub(crate) struct DamagedArchive {
    pub(crate) sequence: i64,
    /// The path of the file below the place of the archive.
    pub(crate) file: String,
    pub(crate) why: String,
}

/// The file that was read last: a page of a list often begins where the one before it ended.
#[derive(Default)]
pub(crate) struct LastFile {
    last: Mutex<Option<(String, Arc<ArchivedEntries>)>>,
    /// Held by the caller that reads a file.
    reading: tokio::sync::Mutex<()>,
}

impl LastFile {
    /// Waits for the turn to read a file. Unpacked, a file can take 128 MiB of memory, so that one is read at a time.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.reading.lock().await
    }

    pub(crate) fn known(&self, folder: &str, sequence: i64) -> Option<Arc<ArchivedEntries>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, entries) = last.as_ref().filter(|(of, _)| of == folder)?;
        (entries.first <= sequence && sequence <= entries.last()).then(|| Arc::clone(entries))
    }

    pub(crate) fn keep(&self, folder: String, entries: &Arc<ArchivedEntries>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((folder, Arc::clone(entries)));
    }
}
