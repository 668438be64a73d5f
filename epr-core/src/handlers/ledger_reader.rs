//! Entries in the order of their sequences, across the border up to which entries were dropped: those that are not in
//! the database come from the archive.
//!
//! Must never skip an entry silently: a reader that cannot have one gets an error.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::archived::{self, ReadFailure};
use crate::domain::{AuditEntry, AuditFilter, AuditPage};
use crate::engine::Engines;
use crate::engine::archived_entries::{ArchivedEntries, DamagedArchive};
use crate::error::{Error, Result};
use crate::ledger::verify::{StoredEntry, UnreadableRow};
use crate::store::{
    LedgerBorder, LedgerVisitor, ListedEntries, ReadNeed, RowVisitor, ScanRange, ScanStart, StoreError,
};

/// What a scan does with entries whose texts are neither in the database nor in an archive that this process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithoutArchive {
    /// It ends with an error.
    Refuse,
    /// It passes on their hashes.
    HashesOnly,
}

/// What a scan returns.
type Read<T> = std::result::Result<T, ReadFailure>;

/// Entries that are passed on by their hashes at a time.
const HASHES_AT_A_TIME: i64 = 65_536;

/// Scans the entries of `range`, on the primary or, with a need, perhaps on a replica. `begin` of the visitor is called
/// once for each part of the range that is read in one snapshot.
pub(crate) async fn scan(
    engines: &Engines,
    need: Option<ReadNeed>,
    range: ScanRange,
    without_archive: WithoutArchive,
    visitor: &mut dyn LedgerVisitor,
) -> Read<()> {
    let refuse = WithoutArchive::Refuse;
    let mut whole = Part {
        visitor: &mut *visitor,
        archived: None,
        without_archive: refuse,
        after: Some(range.from),
        end: PartEnd::Whole,
    };
    let Err(AcrossBorder) = whole.scan_above_border(engines, need, range).await? else { return Ok(()) };
    let border = border_of(engines).await?;
    let mut next = range.from;
    let last = border.sequence.min(range.to);
    while next <= last {
        let archived = match without_archive {
            WithoutArchive::HashesOnly if !archived::is_known(engines) => None,
            _ => Some(match archived::entries_with(engines, &border, next).await {
                Ok(entries) => Ok(entries),
                Err(ReadFailure::Damaged(damaged)) => Err(damaged),
                Err(ReadFailure::Unread(error)) => return Err(error.into()),
            }),
        };
        let end = match &archived {
            None => next.saturating_add(HASHES_AT_A_TIME - 1).min(last),
            Some(Ok(entries)) => entries.last().min(last),
            // The scan ends at the first entry that was dropped, before which the database may have others.
            Some(Err(_)) => last,
        };
        let mut part = Part { visitor: &mut *visitor, archived, without_archive, after: None, end: PartEnd::Whole };
        let range = ScanRange { from: next, to: end };
        if part.scan(engines, need, range, Some(&border)).await?.is_break() {
            return Ok(());
        }
        next = end + 1;
    }
    if range.to > border.sequence {
        let mut part = Part { visitor, archived: None, without_archive: refuse, after: None, end: PartEnd::Whole };
        let _ = part.scan(engines, need, ScanRange { from: next, to: range.to }, Some(&border)).await?;
    }
    Ok(())
}

/// A range begins at the border or below it.
struct AcrossBorder;

/// How a part of a scan ended.
enum PartEnd {
    Whole,
    /// It was not begun, because its range begins at the border or below it.
    AcrossBorder,
    /// The visitor has ended it.
    Stopped,
    Damaged(DamagedArchive),
    /// An entry was dropped meanwhile.
    Dropped(i64),
}

/// A part of a scan, read in one snapshot.
struct Part<'a> {
    visitor: &'a mut dyn LedgerVisitor,
    /// A file of the archive, or why it cannot be used.
    archived: Option<std::result::Result<Arc<ArchivedEntries>, DamagedArchive>>,
    without_archive: WithoutArchive,
    /// Begin only if the border is before this entry.
    after: Option<i64>,
    end: PartEnd,
}

impl Part<'_> {
    /// Scans a range that is after the border.
    async fn scan_above_border(
        &mut self,
        engines: &Engines,
        need: Option<ReadNeed>,
        range: ScanRange,
    ) -> Read<std::result::Result<(), AcrossBorder>> {
        self.read(engines, need, range).await?;
        if matches!(self.end, PartEnd::AcrossBorder) {
            return Ok(Err(AcrossBorder));
        }
        self.outcome(None).map(|_| Ok(()))
    }

    async fn read(&mut self, engines: &Engines, need: Option<ReadNeed>, range: ScanRange) -> Result<()> {
        match need {
            Some(need) => engines.store().ledger_scan(need, range, self).await?,
            None => engines.store().scan_ledger(range, self).await?,
        }
        Ok(())
    }

    async fn scan(
        &mut self,
        engines: &Engines,
        need: Option<ReadNeed>,
        range: ScanRange,
        border: Option<&LedgerBorder>,
    ) -> Read<ControlFlow<()>> {
        self.read(engines, need, range).await?;
        self.outcome(border)
    }

    fn outcome(&mut self, border: Option<&LedgerBorder>) -> Read<ControlFlow<()>> {
        match std::mem::replace(&mut self.end, PartEnd::Whole) {
            PartEnd::Whole | PartEnd::AcrossBorder => Ok(ControlFlow::Continue(())),
            PartEnd::Stopped => Ok(ControlFlow::Break(())),
            PartEnd::Damaged(damaged) => Err(damaged.into()),
            PartEnd::Dropped(sequence) => {
                Err(dropped_meanwhile(sequence, border.map_or(0, |border| border.sequence)).into())
            }
        }
    }
}

fn dropped_meanwhile(sequence: i64, border: i64) -> Error {
    Error::Archived(format!("Entry {sequence} after the border at {border} was dropped during the read: repeat it"))
}

impl LedgerVisitor for Part<'_> {
    fn begin(&mut self, start: ScanStart) -> bool {
        if self.after.is_some_and(|first| first <= start.border) {
            self.end = PartEnd::AcrossBorder;
            return false;
        }
        let goes_on = self.visitor.begin(start);
        if !goes_on {
            self.end = PartEnd::Stopped;
        }
        goes_on
    }

    fn entry(&mut self, row: std::result::Result<StoredEntry<'_>, UnreadableRow>) -> bool {
        let goes_on = self.visitor.entry(row);
        if !goes_on {
            self.end = PartEnd::Stopped;
        }
        goes_on
    }

    fn dropped(&mut self, sequence: i64, entry_hash: &str) -> bool {
        let goes_on = match (&self.archived, self.without_archive) {
            (Some(archived), _) => {
                let visitor = &mut *self.visitor;
                let passed = archived.as_ref().map_err(|damaged| DamagedArchive { sequence, ..damaged.clone() });
                let passed = passed.and_then(|archived| {
                    archived.with_fields(sequence, entry_hash, |fields| {
                        visitor.entry(Ok(StoredEntry { fields, entry_hash }))
                    })
                });
                match passed {
                    Ok(goes_on) => goes_on,
                    Err(damaged) => {
                        self.end = PartEnd::Damaged(damaged);
                        return false;
                    }
                }
            }
            (None, WithoutArchive::HashesOnly) => self.visitor.dropped(sequence, entry_hash),
            (None, WithoutArchive::Refuse) => {
                self.end = PartEnd::Dropped(sequence);
                return false;
            }
        };
        if !goes_on {
            self.end = PartEnd::Stopped;
        }
        goes_on
    }
}

/// The result of listing entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntriesListed {
    /// The position for the next page, if it is known.
    pub position: Option<i64>,
    /// The border, if the list may lack entries up to it: a list with filters has the entries of the database only.
    pub incomplete_to: Option<i64>,
}

/// Whether a list is by sequence alone: then it has every entry.
fn is_by_sequence(filter: &AuditFilter) -> bool {
    let only =
        AuditFilter { from_sequence: filter.from_sequence, to_sequence: filter.to_sequence, ..AuditFilter::default() };
    *filter == only
}

/// Lists entries that match `filter`.
pub(crate) async fn list(
    engines: &Engines,
    need: ReadNeed,
    filter: &AuditFilter,
    page: AuditPage,
    take: RowVisitor<'_, AuditEntry>,
) -> Result<EntriesListed> {
    if !is_by_sequence(filter) {
        let ListedEntries { position, border } = engines.store().ledger_list(need, filter, page, take).await?;
        // Before the first drop the border is 0, which no entry is before.
        let from = filter.from_sequence.unwrap_or(1).max(1);
        let from = page.after.filter(|_| page.ascending).map_or(from, |after| from.max(after.saturating_add(1)));
        return Ok(EntriesListed { position, incomplete_to: Some(border).filter(|border| from <= *border) });
    }
    let first = filter.from_sequence.unwrap_or(1).max(1);
    let last = filter.to_sequence.unwrap_or(i64::MAX);
    let (first, last) = match page.after {
        Some(after) if page.ascending => (first.max(after.saturating_add(1)), last),
        Some(after) => (first, last.min(after.saturating_sub(1))),
        None => (first, last),
    };
    let mut listing = Listing { engines, need, first, last, left: page.limit, position: None, take };
    if page.ascending {
        listing.ascending().await?;
    } else {
        listing.descending().await?;
    }
    Ok(EntriesListed { position: listing.position, incomplete_to: None })
}

/// The border, where something is known to have been dropped.
async fn border_of(engines: &Engines) -> Result<LedgerBorder> {
    let border = engines.store().ledger_border().await?;
    border.ok_or_else(|| StoreError::corrupt("ledger_border", "another server has another border").into())
}

/// A page of the entries from `first` to `last`, which are those that are left.
struct Listing<'a, 't> {
    engines: &'a Engines,
    need: ReadNeed,
    first: i64,
    last: i64,
    /// The number of entries that the page still takes.
    left: u32,
    position: Option<i64>,
    take: RowVisitor<'t, AuditEntry>,
}

/// How a list of the database ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StoredEnd {
    /// There are no more rows.
    Over,
    /// An entry is missing before the next row: it was dropped meanwhile, or never appended.
    Gap,
}

impl Listing<'_, '_> {
    fn is_done(&self) -> bool {
        self.left == 0 || self.first > self.last
    }

    /// Passes the next entry on.
    fn pass(&mut self, entry: AuditEntry, ascending: bool) -> bool {
        self.left -= 1;
        if ascending {
            self.first = entry.sequence.saturating_add(1);
        } else {
            self.last = entry.sequence.saturating_sub(1);
        }
        if !(self.take)(entry) {
            self.left = 0;
        }
        self.left > 0
    }

    async fn ascending(&mut self) -> Result<()> {
        let mut with_gaps_after = None;
        loop {
            let (end, border) = self.stored(true, with_gaps_after).await?;
            if self.is_done() {
                return Ok(());
            }
            if self.first <= border {
                let border = border_of(self.engines).await?;
                self.archived_ascending(&border).await?;
                if self.is_done() {
                    return Ok(());
                }
                with_gaps_after = None;
            } else if end == StoredEnd::Gap {
                with_gaps_after = Some(border);
            } else {
                return Ok(());
            }
        }
    }

    async fn descending(&mut self) -> Result<()> {
        let (mut end, mut border) = self.stored(false, None).await?;
        if !self.is_done() && self.last > border && end == StoredEnd::Gap {
            (end, border) = self.stored(false, Some(border)).await?;
        }
        if self.is_done() || self.first > border {
            return Ok(());
        }
        debug_assert!(self.last <= border || end == StoredEnd::Over, "a gap was accepted");
        let border = border_of(self.engines).await?;
        // Nothing is between the border and the first row after it, unless the ledger has a gap.
        self.last = self.last.min(border.sequence);
        self.archived_descending(&border).await
    }

    /// The next entries of the database up to the first gap, and the border after they were read: an entry that was
    /// dropped is not after it. With `with_gaps_after`, gaps after this border are passed over, and nothing up to it is
    /// read.
    async fn stored(&mut self, ascending: bool, with_gaps_after: Option<i64>) -> Result<(StoredEnd, i64)> {
        let filter = AuditFilter {
            from_sequence: Some(with_gaps_after.map_or(self.first, |border| self.first.max(border + 1))),
            to_sequence: Some(self.last).filter(|last| *last < i64::MAX),
            ..AuditFilter::default()
        };
        let page = AuditPage { limit: self.left, after: None, ascending };
        let (engines, need) = (self.engines, self.need);
        let mut end = StoredEnd::Over;
        let mut add = |entry: AuditEntry| {
            let next = if ascending { self.first } else { self.last };
            // The newest entry is never dropped.
            let is_next = entry.sequence == next || (!ascending && next == i64::MAX);
            if !is_next && with_gaps_after.is_none() {
                end = StoredEnd::Gap;
                return false;
            }
            self.pass(entry, ascending)
        };
        let ListedEntries { position, border } = engines.store().ledger_list(need, &filter, page, &mut add).await?;
        self.position = position.or(self.position);
        match with_gaps_after {
            Some(before) if before < border => Err(dropped_meanwhile(before + 1, before)),
            _ => Ok((end, border)),
        }
    }

    async fn archived_ascending(&mut self, border: &LedgerBorder) -> Result<()> {
        let last = self.last.min(border.sequence);
        while self.first <= last && self.left > 0 {
            let archived = archived::entries_with(self.engines, border, self.first).await?;
            let end = archived.last().min(last).min(self.first.saturating_add(i64::from(self.left) - 1));
            for kept in self.engines.store().entry_hashes(self.first, end).await? {
                if kept.sequence != self.first {
                    return Err(not_there(self.first));
                }
                if !self.pass(archived.entry(kept.sequence, &kept.entry_hash)?, true) {
                    return Ok(());
                }
            }
            if self.first <= end {
                return Err(not_there(self.first));
            }
        }
        Ok(())
    }

    async fn archived_descending(&mut self, border: &LedgerBorder) -> Result<()> {
        while !self.is_done() {
            let archived = archived::entries_with(self.engines, border, self.last).await?;
            let begin = archived.first.max(self.first).max(self.last.saturating_sub(i64::from(self.left) - 1));
            for kept in self.engines.store().entry_hashes(begin, self.last).await?.iter().rev() {
                if kept.sequence != self.last {
                    return Err(not_there(self.last));
                }
                if !self.pass(archived.entry(kept.sequence, &kept.entry_hash)?, false) {
                    return Ok(());
                }
            }
            if self.last >= begin {
                return Err(not_there(self.last));
            }
        }
        Ok(())
    }
}

fn not_there(sequence: i64) -> Error {
    Error::Archived(format!("The database has neither entry {sequence} nor its hash: run `epr audit verify`"))
}
