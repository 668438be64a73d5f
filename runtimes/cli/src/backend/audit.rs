//! The ledger, on the database or over the API.
//!
//! Must never verify: an export over the API only refuses an entry whose hash does not match its text.

use epr_core::ExportedEntry;
use epr_core::domain::{AuditEntry, AuditFilter, AuditPage};
use epr_core::ledger::canonical::{Fields, entry_hash, id_text};
use epr_core::ledger::number;
use epr_core::store::{ReadNeed, ScanRange};

use super::api::Api;
use super::{Backend, BackendError, PAGE_ROWS, RowVisitor};

/// Gets exported entries one at a time; `false` stops the export.
pub(crate) type EntryVisitor<'a> = &'a mut (dyn FnMut(ExportedEntry<'_>) -> bool + Send);

impl Backend {
    /// Entries that match `filter`, by sequence. Reads no more than `wanted`, page by page. Returns the border up to
    /// which entries may be missing, because they were dropped and the list has filters.
    pub(crate) async fn for_each_entry(
        &self,
        filter: &AuditFilter,
        oldest_first: bool,
        wanted: u64,
        visit: RowVisitor<'_, AuditEntry>,
    ) -> Result<Option<i64>, BackendError> {
        let limit = u32::try_from(wanted).unwrap_or(PAGE_ROWS).min(PAGE_ROWS);
        let epr = match self {
            Self::Database { epr, .. } => epr,
            Self::Api(api) => return api.for_each_entry(filter, oldest_first, limit, visit).await,
        };
        let mut page = AuditPage { limit, after: None, ascending: oldest_first };
        let mut need = ReadNeed::default();
        let mut incomplete_to = None;
        loop {
            let (mut read, mut goes_on, mut last) = (0, true, None);
            let mut take = |entry: AuditEntry| {
                read += 1;
                last = Some(entry.sequence);
                goes_on = visit(entry);
                goes_on
            };
            let listed = epr.list_audit_entries(need, filter, page, &mut take).await?;
            incomplete_to = listed.incomplete_to.or(incomplete_to);
            page.after = last;
            if !goes_on || read < limit {
                return Ok(incomplete_to);
            }
            need = need.after_page(listed.position);
        }
    }

    /// The entries of `range` with their canonical texts.
    pub(crate) async fn export_ledger(&self, range: ScanRange, take: EntryVisitor<'_>) -> Result<(), BackendError> {
        match self {
            Self::Database { epr, .. } => Ok(epr.copy_ledger(range, take).await?),
            Self::Api(api) => export(api, range, take).await,
        }
    }
}

/// Reads the entries and writes the text that was hashed again, because the API sends their fields.
async fn export(api: &Api, range: ScanRange, take: EntryVisitor<'_>) -> Result<(), BackendError> {
    let filter = AuditFilter { from_sequence: Some(range.from), to_sequence: range.end(), ..AuditFilter::default() };
    let mut canonical = String::new();
    let mut changed = None;
    api.for_each_entry(&filter, true, PAGE_ROWS, &mut |entry| {
        write_canonical(&entry, &entry.details.0, &mut canonical);
        if hash(&entry, &canonical) != entry.entry_hash {
            // An earlier version wrote some numbers in another form.
            if let Some(details) = number::former(&entry.details.0) {
                write_canonical(&entry, &details, &mut canonical);
            }
            if hash(&entry, &canonical) != entry.entry_hash {
                changed = Some(entry.sequence);
                return false;
            }
        }
        let AuditEntry { sequence, previous_hash, entry_hash, .. } = &entry;
        take(ExportedEntry { sequence: *sequence, previous_hash, entry_hash, canonical: &canonical })
    })
    .await?;
    changed.map_or(Ok(()), |sequence| {
        Err(BackendError::Message(format!(
            "entry {sequence} does not match its hash: it may have been changed; `epr audit verify` on the database \
             says what is wrong, and an export of the database has its text"
        )))
    })
}

fn hash(entry: &AuditEntry, canonical: &str) -> String {
    entry_hash(&entry.previous_hash, canonical)
}

fn write_canonical(entry: &AuditEntry, details: &str, out: &mut String) {
    let [actor, entity, event] = [entry.actor_id, entry.entity_id, entry.event_id].map(|id| id.map(id_text));
    out.clear();
    Fields {
        action: &entry.action,
        actor_id: id_str(actor.as_ref()),
        actor_type: &entry.actor_type,
        correlation_id: entry.correlation_id.as_deref(),
        details,
        entity_id: id_str(entity.as_ref()),
        entity_type: entry.entity_type.as_deref(),
        event_id: id_str(event.as_ref()),
        hash_version: entry.hash_version,
        occurred_at: entry.occurred_at,
        previous_hash: &entry.previous_hash,
        sequence: entry.sequence,
        source: &entry.source,
    }
    .write(out);
}

fn id_str(id: Option<&[u8; 36]>) -> Option<&str> {
    id.and_then(|id| std::str::from_utf8(id).ok())
}
