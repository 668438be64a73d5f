//! The replica of this database: its pool, and the way to a snapshot of it that may answer a read.
//!
//! Each read opens a snapshot, reads in it what the server says of itself, and compares that with the primary
//! ([`crate::store::replica`]) before it reads anything else. INVARIANT: every error of the replica, and every doubt,
//! leads to the primary; a caller waits for the replica a bounded time. Must never write.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::super::dialect::{
    Conn, Pool, Transaction, begin_list_snapshot, begin_snapshot, close_when_done, max_connections, replica as server,
};
use super::super::step::is_about_connection;
use super::super::{replica_reports, schema};
use super::SqlStore;
use crate::error::chain;
use crate::ledger::chain::Head;
use crate::store::acquire_stats::AcquireStats;
use crate::store::replica::{NeededState, PrimaryHeads, PrimaryReason, PrimaryReport, ReadNeed, ReplicaReport};
use crate::store::{ReplicaReads, ReplicaState, Result, StoreError};

/// The time in which a replica must open a snapshot and say what it has: a list of the primary takes less.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);
/// The time that a call waits for a replica that lacks the state that it needs. A standby that follows replays a commit
/// within milliseconds.
const REPLAY_WAIT: Duration = Duration::from_millis(250);
/// The interval at which it looks.
const REPLAY_POLL_INTERVAL: Duration = Duration::from_millis(25);
/// The time of a page on a replica. The primary takes as long again as it needs, so that it is a small part of the time
/// of a request.
const PAGE_DEADLINE: Duration = Duration::from_secs(3);
/// The time in which the primary must confirm a state. Meanwhile the read holds a connection of the replica.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections of the primary that confirm states at a time.
const CONFIRMATIONS: usize = 2;
/// The time that a confirmed state needs no confirmation: after it, a failover or a restore of the primary is noticed.
const CONFIRMED_TIME: Duration = Duration::from_secs(1);
/// The time that a replica is left alone after it failed.
const REST_TIME: Duration = Duration::from_secs(1);

/// A read that another server can go on with when one has failed.
#[async_trait]
pub(super) trait ResumableRead: Send {
    /// Whether the caller waits for a replica that lacks the state that it needs.
    const WAITS: bool = true;

    type Value: Send;

    /// Reads what was not passed on yet.
    async fn read(&mut self, conn: &mut Conn) -> Result<Self::Value>;
}

/// A replica, and what this process knows of it.
pub(super) struct Replica {
    pub(super) pool: Pool,
    pub(super) stats: AcquireStats,
    /// Connections that scans may use at a time.
    scans: Semaphore,
    /// Connections of the primary that may confirm states at a time.
    confirmations: Semaphore,
    /// Locked by the caller that looks at the state.
    looking: tokio::sync::Mutex<()>,
    max_lag: Duration,
    known: Mutex<Known>,
    answered: AtomicU64,
    refused: [AtomicU64; PrimaryReason::ALL.len()],
}

#[derive(Default)]
struct Known {
    heads: PrimaryHeads,
    /// The last head of the replica that is an entry of the primary's ledger, the generation of the connections that
    /// said so, and when.
    confirmed: Option<(Head, u64, Instant)>,
    /// The state that was looked at last.
    state: Option<ReplicaState>,
    /// Until when the replica is left alone, and why.
    rest: Option<(Instant, PrimaryReason)>,
    /// Until when no call waits for replay: one has waited in vain.
    unawaited: Option<Instant>,
    /// The outcome that was logged last.
    logged: Option<PrimaryReason>,
}

/// A snapshot of the replica that may answer.
pub(super) struct Snapshot {
    pub(super) conn: Transaction,
    pub(super) report: ReplicaReport,
}

/// What a read is for: it decides the time limits of its statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadKind {
    Page,
    Scan,
}

impl Replica {
    pub(super) fn new(pool: Pool, max_lag: Duration) -> Self {
        let scans = usize::try_from(max_connections(&pool) / 2).unwrap_or(1).max(1);
        Self {
            pool,
            stats: AcquireStats::default(),
            scans: Semaphore::new(scans),
            confirmations: Semaphore::new(CONFIRMATIONS),
            looking: tokio::sync::Mutex::default(),
            max_lag,
            known: Mutex::default(),
            answered: AtomicU64::new(0),
            refused: array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what it knows of other servers, for a process that is about to be frozen: its clock may freeze, too.
    pub(super) fn forget(&self) {
        let logged = self.known().logged;
        *self.known() = Known { logged, ..Known::default() };
    }

    /// Returns the counts since the start.
    pub(super) fn reads(&self) -> Vec<ReplicaReads> {
        let answered = ReplicaReads { from: "replica", reason: "ok", count: self.answered.load(Ordering::Relaxed) };
        let refused = PrimaryReason::ALL.iter().zip(&self.refused).map(|(reason, count)| ReplicaReads {
            from: "primary",
            reason: reason.word(),
            count: count.load(Ordering::Relaxed),
        });
        std::iter::once(answered).chain(refused).collect()
    }

    fn count_answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if let Some(reason) = self.known().logged.take() {
            info!(was = reason.word(), "database_replica_answers_again");
        }
    }

    /// Counts a read that the primary answers.
    fn count_refusal(&self, reason: PrimaryReason) {
        if let Some(count) =
            PrimaryReason::ALL.iter().position(|one| *one == reason).and_then(|at| self.refused.get(at))
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.rest(reason);
    }

    /// Leaves the replica alone if the next read would meet the same.
    fn rest(&self, reason: PrimaryReason) {
        if !reason.rests() {
            return;
        }
        let mut known = self.known();
        if known.rest.is_none_or(|(until, _)| until <= Instant::now()) {
            known.rest = Some((Instant::now() + REST_TIME, reason));
        }
        if known.logged.replace(reason) != Some(reason) {
            warn!(reason = reason.word(), "database_replica_not_used");
        }
    }

    /// Opens a snapshot and reads what the server says.
    async fn look(&self, kind: ReadKind) -> std::result::Result<Snapshot, PrimaryReason> {
        let opening = async {
            let begun = match kind {
                ReadKind::Page => self.stats.measure(begin_list_snapshot(&self.pool)).await,
                ReadKind::Scan => self.stats.measure(begin_snapshot(&self.pool)).await,
            };
            let mut conn = begun?;
            let report = replica_reports::of_replica(&mut conn).await;
            if report.is_err() {
                close_when_done(&mut conn);
            }
            Ok::<_, StoreError>(Snapshot { conn, report: report? })
        };
        match timeout(OPEN_TIMEOUT, opening).await {
            Ok(Ok(snapshot)) => Ok(snapshot),
            Ok(Err(error)) => Err(self.reason_of(&error)),
            Err(_) => Err(PrimaryReason::Unavailable),
        }
    }

    /// Why a replica that fails with `error` does not answer.
    fn reason_of(&self, error: &StoreError) -> PrimaryReason {
        let reason = match error {
            StoreError::NotAskable(_) => PrimaryReason::Behind,
            error if server::is_too_slow(error) => PrimaryReason::Slow,
            error if server::is_cancelled(error) => PrimaryReason::Cancelled,
            error if is_about_connection(error) => PrimaryReason::Unavailable,
            StoreError::Unavailable(_) if self.is_used_up() => PrimaryReason::Busy,
            StoreError::Unavailable(_) => PrimaryReason::Unavailable,
            _ => PrimaryReason::Failed,
        };
        tracing::debug!(reason = reason.word(), error = chain(error), "database_replica_failed");
        reason
    }

    fn is_used_up(&self) -> bool {
        self.pool.num_idle() == 0 && self.pool.size() == max_connections(&self.pool)
    }

    fn scan_permit(&self) -> std::result::Result<SemaphorePermit<'_>, PrimaryReason> {
        self.scans.try_acquire().map_err(|_| PrimaryReason::Busy)
    }
}

impl SqlStore {
    /// Runs `read` on a snapshot of the replica; returns its value and the snapshot's report. `None` when the primary
    /// has to answer, perhaps after `read` has begun.
    pub(super) async fn answer_of_replica<R: ResumableRead>(
        &self,
        need: ReadNeed,
        read: &mut R,
    ) -> Option<(R::Value, ReplicaReport)> {
        let replica = self.replica.as_ref()?;
        match self.read_replica(replica, need, read).await {
            Ok(answer) => {
                replica.count_answer();
                Some(answer)
            }
            Err(reason) => {
                replica.count_refusal(reason);
                None
            }
        }
    }

    async fn read_replica<R: ResumableRead>(
        &self,
        replica: &Replica,
        need: ReadNeed,
        read: &mut R,
    ) -> std::result::Result<(R::Value, ReplicaReport), PrimaryReason> {
        let Snapshot { mut conn, report } = self.replica_snapshot(replica, need, ReadKind::Page, R::WAITS).await?;
        // A failover of the primary does not concern this connection: its snapshot is confirmed.
        let reason = match timeout(PAGE_DEADLINE, read.read(&mut conn)).await {
            Ok(Ok(value)) => return Ok((value, report)),
            Ok(Err(error)) => replica.reason_of(&error),
            Err(_) => PrimaryReason::Slow,
        };
        close_when_done(&mut conn);
        Err(reason)
    }

    /// Runs `scan` as [`SqlStore::answer_of_replica`] runs a read, but without a time limit. `stalled` is ready when it
    /// makes no progress.
    pub(super) async fn scan_replica(
        &self,
        need: ReadNeed,
        scan: impl AsyncFnOnce(&mut Conn) -> Result<()>,
        stalled: impl Future<Output = ()>,
    ) -> bool {
        let Some(replica) = &self.replica else { return false };
        let scanned = async {
            let _permit = replica.scan_permit()?;
            let Snapshot { mut conn, .. } = self.replica_snapshot(replica, need, ReadKind::Scan, true).await?;
            let outcome = tokio::select! {
                scanned = scan(&mut conn) => scanned.map_err(|error| replica.reason_of(&error)),
                () = stalled => Err(PrimaryReason::Unavailable),
            };
            if outcome.is_err() {
                close_when_done(&mut conn);
            }
            outcome
        };
        match scanned.await {
            Ok(()) => replica.count_answer(),
            Err(reason) => {
                replica.count_refusal(reason);
                return false;
            }
        }
        true
    }

    /// Returns a snapshot of the replica that has what a call needs, that lags no more than it may, and whose state the
    /// primary has had.
    pub(super) async fn replica_snapshot(
        &self,
        replica: &Replica,
        need: ReadNeed,
        kind: ReadKind,
        waits: bool,
    ) -> std::result::Result<Snapshot, PrimaryReason> {
        let needed = match need {
            ReadNeed::Primary => return Err(PrimaryReason::Cursor),
            ReadNeed::State(needed) => needed,
        };
        if let Some((until, reason)) = replica.known().rest
            && Instant::now() < until
        {
            return Err(reason);
        }
        let begun = Instant::now();
        let is_awaited = waits && replica.known().unawaited.is_none_or(|until| until <= begun);
        let deadline = if is_awaited { begun + REPLAY_WAIT } else { begun };
        loop {
            let snapshot = replica.look(kind).await?;
            let Err(missing) = self.check(replica, &snapshot.report, needed).await? else { return Ok(snapshot) };
            if Instant::now() >= deadline {
                if is_awaited {
                    replica.known().unawaited = Some(Instant::now() + REST_TIME);
                }
                return Err(missing);
            }
            drop(snapshot);
            sleep(REPLAY_POLL_INTERVAL).await;
        }
    }

    /// Whether the state of a snapshot may answer. The inner error passes when replay goes on.
    async fn check(
        &self,
        replica: &Replica,
        report: &ReplicaReport,
        needed: NeededState,
    ) -> std::result::Result<std::result::Result<(), PrimaryReason>, PrimaryReason> {
        report.check_server(schema::known())?;
        if let Err(missing) = report.check_state(needed) {
            return Ok(Err(missing));
        }
        let is_recent = |floor: Option<i64>| floor.map(|floor| floor <= report.head.sequence);
        match is_recent(self.floor(replica)) {
            Some(false) => return Ok(Err(PrimaryReason::Lag)),
            Some(true) if self.is_confirmed(replica, &report.head) => return Ok(Ok(())),
            Some(true) | None => {}
        }
        let primary = self.ask_primary(replica, report.head.sequence).await?;
        match report.check_origin(&primary) {
            Ok(()) => {}
            Err(PrimaryReason::Ahead) => return Ok(Err(PrimaryReason::Ahead)),
            Err(reason) => return Err(reason),
        }
        let confirmed = (report.head.clone(), self.continuity.generation(), Instant::now());
        replica.known().confirmed = Some(confirmed);
        Ok(if is_recent(self.floor(replica)) == Some(true) { Ok(()) } else { Err(PrimaryReason::Lag) })
    }

    /// The smallest head that the replica may have now, as far as this process knows.
    fn floor(&self, replica: &Replica) -> Option<i64> {
        replica.known().heads.floor((Instant::now(), self.continuity.generation()), replica.max_lag)
    }

    fn is_confirmed(&self, replica: &Replica, head: &Head) -> bool {
        let generation = self.continuity.generation();
        let is_this = |(known, at, when): &(Head, u64, Instant)| {
            known == head && *at == generation && when.elapsed() < CONFIRMED_TIME
        };
        replica.known().confirmed.as_ref().is_some_and(is_this)
    }

    /// Asks the primary for its head and for the entry with this sequence.
    async fn ask_primary(&self, replica: &Replica, sequence: i64) -> std::result::Result<PrimaryReport, PrimaryReason> {
        let asked = (Instant::now(), self.continuity.generation());
        let asking = async {
            let _turn = replica.confirmations.acquire().await;
            self.read(async |conn| replica_reports::of_primary(conn, sequence).await).await
        };
        let report = match timeout(CONFIRM_TIMEOUT, asking).await {
            Ok(Ok(report)) => report,
            Ok(Err(error)) => {
                tracing::debug!(error = chain(&error), "database_replica_unconfirmed");
                return Err(PrimaryReason::Unconfirmed);
            }
            Err(_) => return Err(PrimaryReason::Unconfirmed),
        };
        replica.known().heads.note(asked, report.head, replica.max_lag);
        Ok(report)
    }

    /// Reads a page of the primary; returns its value and the position after it, or `None` without a replica.
    pub(super) async fn list_with_position<R: ResumableRead>(&self, read: &mut R) -> Result<(R::Value, Option<i64>)> {
        let has_replica = self.replica.is_some();
        self.list(async |conn| {
            let value = read.read(&mut *conn).await?;
            let position = if has_replica { Some(replica_reports::position(conn).await?) } else { None };
            Ok((value, position))
        })
        .await
    }

    /// The state that answers of the replica would rest on, if it says so within `limit`. One caller at a time looks;
    /// the others get what was seen last.
    pub(super) async fn state_of(&self, replica: &Replica, limit: Duration) -> ReplicaState {
        let Ok(_turn) = replica.looking.try_lock() else {
            return replica.known().state.unwrap_or(Err(PrimaryReason::Unconfirmed));
        };
        let any = ReadNeed::State(NeededState::default());
        let looking = self.replica_snapshot(replica, any, ReadKind::Page, true);
        let state = match timeout(limit, looking).await {
            Ok(snapshot) => snapshot.map(|snapshot| snapshot.report.revision),
            Err(_) => Err(PrimaryReason::Unavailable),
        };
        if let Err(reason) = state {
            replica.rest(reason);
        }
        replica.known().state = Some(state);
        state
    }
}
