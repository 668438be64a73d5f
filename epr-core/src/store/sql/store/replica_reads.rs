//! Reads that may come from a replica.
//!
//! INVARIANT: a read that the replica has begun goes on at the primary after the last row that was passed on: a visitor
//! sees each row once, and in its order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::super::dialect::replica::leads_to_replica;
use super::super::dialect::{self, Conn};
use super::super::facts::Accepted;
use super::super::{
    assignments, border, changes, entities, history, ledger_page, ledger_scan, principals, replica_reports, roles,
};
use super::SqlStore;
use super::replica::{Replica, ResumableRead};
use crate::domain::{AuditEntry, AuditFilter, AuditPage, Change, Moment, NotAskable, PastMoment, Revision, Timestamp};
use crate::history::RegistryRow;
use crate::ledger::chain::Head;
use crate::ledger::verify::{StoredEntry, UnreadableRow};
use crate::store::{
    ConnectFailure, Cursor, LedgerVisitor, ListedEntries, Page, ReadNeed, RegistryList, ReplicaReadStore, ReplicaReads,
    ReplicaState, Result, RowVisitor, ScanRange, ScanStart,
};

/// The longest time between two rows of a scan on a replica.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The part of a list that was not passed on yet.
struct Rest<'a, T, P> {
    limit: u32,
    after: Option<P>,
    /// Whether the visitor has ended the list.
    is_over: bool,
    position: fn(&T) -> P,
    visit: RowVisitor<'a, T>,
}

impl<'a, T, P> Rest<'a, T, P> {
    fn new((limit, after): (u32, Option<P>), position: fn(&T) -> P, visit: RowVisitor<'a, T>) -> Self {
        Self { limit, after, is_over: limit == 0, position, visit }
    }

    fn pass(&mut self, row: T) -> bool {
        self.after = Some((self.position)(&row));
        self.limit -= 1;
        let goes_on = (self.visit)(row);
        self.is_over = !goes_on || self.limit == 0;
        goes_on
    }
}

/// A list of the present.
struct PresentList<'a> {
    list: RegistryList<'a>,
    now: Timestamp,
    rest: Rest<'a, RegistryRow, Cursor>,
}

#[async_trait]
impl ResumableRead for PresentList<'_> {
    type Value = ();

    async fn read(&mut self, conn: &mut Conn) -> Result<()> {
        let Self { list, now, rest } = self;
        if rest.is_over {
            return Ok(());
        }
        let page = Page { limit: rest.limit, after: rest.after };
        match *list {
            RegistryList::Entities(filter) => {
                entities::list(conn, filter, page, &mut |row| rest.pass(row.into())).await
            }
            RegistryList::Roles => roles::list(conn, page, &mut |row| rest.pass(row.into())).await,
            RegistryList::Assignments(filter) => {
                assignments::list(conn, filter, *now, page, &mut |row| rest.pass(row.into())).await
            }
            RegistryList::Principals(filter) => {
                principals::list(conn, filter, page, &mut |row| rest.pass(row.into())).await
            }
        }
    }
}

/// The end of a list of the present.
struct PresentEnd<'a> {
    list: RegistryList<'a>,
    now: Timestamp,
    bytes: i64,
}

#[async_trait]
impl ResumableRead for PresentEnd<'_> {
    type Value = Option<Cursor>;

    async fn read(&mut self, conn: &mut Conn) -> Result<Option<Cursor>> {
        match self.list {
            RegistryList::Entities(filter) => entities::end(conn, filter, self.bytes).await,
            RegistryList::Roles => roles::end(conn, self.bytes).await,
            RegistryList::Assignments(filter) => assignments::end(conn, filter, self.now, self.bytes).await,
            RegistryList::Principals(filter) => principals::end(conn, filter, self.bytes).await,
        }
    }
}

/// A list of the past.
struct PastRows<'a> {
    list: RegistryList<'a>,
    moment: (Moment, Timestamp),
    /// An entry that the primary must have.
    known: Option<Head>,
    rest: Rest<'a, RegistryRow, Cursor>,
}

#[async_trait]
impl ResumableRead for PastRows<'_> {
    type Value = (PastMoment, Head);

    async fn read(&mut self, conn: &mut Conn) -> Result<(PastMoment, Head)> {
        let (moment, now) = self.moment;
        let is_replica = leads_to_replica(conn);
        let known = self.known.as_ref().filter(|_| !is_replica);
        let (past, accepted) = history::resolve(&mut *conn, known, moment, now).await?;
        if is_replica && !is_settled(&mut *conn, moment, now).await? {
            return Err(NotAskable::Unreached { present: accepted.revision }.into());
        }
        let rest = &mut self.rest;
        if !rest.is_over {
            let page = Page { limit: rest.limit, after: rest.after };
            history::rows(conn, self.list, past, page, &mut |row| rest.pass(row)).await?;
        }
        Ok((past, accepted.decisive))
    }
}

/// A list of the ledger.
struct LedgerList<'a> {
    filter: &'a AuditFilter,
    ascending: bool,
    rest: Rest<'a, AuditEntry, i64>,
}

#[async_trait]
impl ResumableRead for LedgerList<'_> {
    /// The border.
    type Value = i64;

    async fn read(&mut self, conn: &mut Conn) -> Result<i64> {
        let Self { filter, ascending, rest } = self;
        if !rest.is_over {
            let page = AuditPage { limit: rest.limit, after: rest.after, ascending: *ascending };
            ledger_page::list(&mut *conn, filter, page, &mut |entry| rest.pass(entry)).await?;
        }
        border::sequence(conn).await
    }
}

/// A list of changes.
struct ChangeList<'a> {
    /// An entry that the primary must have.
    known: Option<Head>,
    rest: Rest<'a, Change, Revision>,
}

#[async_trait]
impl ResumableRead for ChangeList<'_> {
    // Every reader of the feed asks for what has been reported a moment ago.
    const WAITS: bool = false;

    type Value = Accepted;

    async fn read(&mut self, conn: &mut Conn) -> Result<Accepted> {
        let Self { known, rest } = self;
        let known = known.as_ref().filter(|_| !leads_to_replica(conn));
        let range = (rest.after, if rest.is_over { 0 } else { rest.limit });
        changes::visit(conn, known, range, &mut |change| rest.pass(change)).await
    }
}

/// Whether a server that may lag resolves `moment` as the primary does. A revision is a state or is not there; of a
/// time, a change may be missing until a later one is there.
async fn is_settled(conn: &mut Conn, moment: Moment, now: Timestamp) -> Result<bool> {
    match (moment.revision, moment.at) {
        (Some(_), _) => Ok(true),
        (None, Some(at)) if at < now => replica_reports::has_changed_after(conn, at).await,
        (None, _) => Ok(false),
    }
}

/// A visitor of a scan that remembers how far it has come.
struct ScanRest<'a> {
    visitor: &'a mut dyn LedgerVisitor,
    /// The last entry that the scan has when it began, once it has begun.
    end: Option<i64>,
    last: Option<i64>,
    is_over: bool,
    rows: &'a AtomicU64,
}

impl LedgerVisitor for ScanRest<'_> {
    fn begin(&mut self, start: ScanStart) -> bool {
        // The primary continues what the replica has begun.
        if self.end.is_some() {
            return true;
        }
        self.end = Some(start.last);
        self.is_over = !self.visitor.begin(start);
        !self.is_over
    }

    fn entry(&mut self, row: std::result::Result<StoredEntry<'_>, UnreadableRow>) -> bool {
        self.last = Some(row.as_ref().map_or_else(|row| row.sequence, |entry| entry.fields.sequence));
        self.rows.fetch_add(1, Ordering::Relaxed);
        self.is_over = !self.visitor.entry(row);
        !self.is_over
    }

    fn dropped(&mut self, sequence: i64, entry_hash: &str) -> bool {
        self.last = Some(sequence);
        self.rows.fetch_add(1, Ordering::Relaxed);
        self.is_over = !self.visitor.dropped(sequence, entry_hash);
        !self.is_over
    }
}

impl ScanRest<'_> {
    /// The part of `range` that is left; `None` when there is none.
    fn range(&self, range: ScanRange) -> Option<ScanRange> {
        let Some(end) = self.end else { return Some(range) };
        let from = self.last.map_or(range.from, |last| last + 1).max(range.from);
        let to = range.to.min(end);
        (!self.is_over && from <= to).then_some(ScanRange { from, to })
    }
}

/// Waits until no row has come for a while.
async fn stalled(rows: &AtomicU64) {
    let mut seen = rows.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(STALL_TIMEOUT).await;
        let now = rows.load(Ordering::Relaxed);
        if now == seen {
            return;
        }
        seen = now;
    }
}

#[async_trait]
impl ReplicaReadStore for SqlStore {
    async fn registry_list(
        &self,
        need: ReadNeed,
        list: RegistryList<'_>,
        now: Timestamp,
        page: Page,
        visit: RowVisitor<'_, RegistryRow>,
    ) -> Result<Option<i64>> {
        let rest = Rest::new((page.limit, page.after), Cursor::of, visit);
        let mut read = PresentList { list, now, rest };
        if let Some(((), report)) = self.answer_of_replica(need, &mut read).await {
            return Ok(Some(report.head.sequence));
        }
        Ok(self.list_with_position(&mut read).await?.1)
    }

    async fn registry_list_end(
        &self,
        need: ReadNeed,
        list: RegistryList<'_>,
        now: Timestamp,
        bytes: i64,
    ) -> Result<Option<Cursor>> {
        let mut read = PresentEnd { list, now, bytes };
        if let Some((end, _)) = self.answer_of_replica(need, &mut read).await {
            return Ok(end);
        }
        self.list(async |conn| read.read(conn).await).await
    }

    async fn ledger_list(
        &self,
        need: ReadNeed,
        filter: &AuditFilter,
        page: AuditPage,
        visit: RowVisitor<'_, AuditEntry>,
    ) -> Result<ListedEntries> {
        let rest = Rest::new((page.limit, page.after), |entry: &AuditEntry| entry.sequence, visit);
        let mut read = LedgerList { filter, ascending: page.ascending, rest };
        if let Some((border, report)) = self.answer_of_replica(need, &mut read).await {
            return Ok(ListedEntries { position: Some(report.head.sequence), border });
        }
        let (border, position) = self.list_with_position(&mut read).await?;
        Ok(ListedEntries { position, border })
    }

    async fn ledger_scan(&self, need: ReadNeed, range: ScanRange, visitor: &mut dyn LedgerVisitor) -> Result<()> {
        let rows = AtomicU64::new(0);
        let mut rest = ScanRest { visitor, end: None, last: None, is_over: false, rows: &rows };
        let scan = async |conn: &mut Conn| ledger_scan::scan_in(conn, range, &mut rest).await;
        if self.scan_replica(need, scan, stalled(&rows)).await {
            return Ok(());
        }
        let Some(range) = rest.range(range) else { return Ok(()) };
        let _permit = self.limits.scan().await?;
        ledger_scan::scan(&self.read, range, &mut rest).await
    }

    async fn change_list(
        &self,
        need: ReadNeed,
        after: Option<Revision>,
        limit: u32,
        visit: RowVisitor<'_, Change>,
    ) -> Result<Revision> {
        let known = self.continuity.newest_change();
        let rest = Rest::new((limit, after), |change: &Change| change.revision, visit);
        let mut read = ChangeList { known, rest };
        if let Some((accepted, _)) = self.answer_of_replica(need, &mut read).await {
            return Ok(accepted.revision);
        }
        let accepted = self.page_snapshot(async |conn| read.read(conn).await).await?;
        self.continuity.record_read(&accepted.decisive, accepted.revision);
        Ok(accepted.revision)
    }

    async fn past_list(
        &self,
        need: ReadNeed,
        list: RegistryList<'_>,
        moment: (Moment, Timestamp),
        page: Page,
        visit: RowVisitor<'_, RegistryRow>,
    ) -> Result<PastMoment> {
        let known = self.continuity.newest_change();
        let rest = Rest::new((page.limit, page.after), Cursor::of, visit);
        let mut read = PastRows { list, moment, known, rest };
        if let Some(((past, _), _)) = self.answer_of_replica(need, &mut read).await {
            return Ok(past);
        }
        let _permit = self.limits.list().await?;
        let (past, decisive) = self.snapshot(async |conn| read.read(conn).await).await?;
        self.continuity.record(&decisive);
        Ok(past)
    }

    fn replica_reads(&self) -> Vec<ReplicaReads> {
        self.replica.as_ref().map_or_else(Vec::new, Replica::reads)
    }

    async fn replica_state(&self, limit: Duration) -> Option<ReplicaState> {
        let replica = self.replica.as_ref()?;
        Some(self.state_of(replica, limit).await)
    }

    async fn probe_replica(&self) -> std::result::Result<(), ConnectFailure> {
        match &self.replica {
            Some(replica) => dialect::probe_connection(&replica.pool).await,
            None => Ok(()),
        }
    }
}
