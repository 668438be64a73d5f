//! Reading the tables of an older implementation in pages, with log lines about the progress.
//!
//! Must never read a whole table at once: it may have millions of rows.

use std::time::{Duration, Instant};

use tracing::info;

use super::super::assignments;
use super::super::dialect::{Conn, Row, classify, next_page, open_pages, pause_triggers, resume_triggers};
use super::KnownIds;
use super::row::TextRow;
use crate::clock::{Clock as _, SystemClock};
use crate::domain::{Assignment, Timestamp};
use crate::store::{InsertedAssignment, Result, TakeoverReport};

const NOT_IN_FORCE: &str = "none: no check can be about it";

/// The time between two log lines about the progress of one table.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// The progress of the copy of one table.
pub(super) struct Progress {
    table: &'static str,
    rows: i64,
    copied: i64,
    reported: Instant,
}

impl Progress {
    /// Counts the rows by the statement `count`.
    pub(super) async fn begin(conn: &mut Conn, table: &'static str, count: &'static str) -> Result<Self> {
        let rows = sqlx::query_scalar(count).fetch_one(conn).await.map_err(classify)?;
        Ok(Self { table, rows, copied: 0, reported: Instant::now() })
    }

    /// Adds copied rows.
    pub(super) fn add(&mut self, rows: usize) {
        self.copied += i64::try_from(rows).unwrap_or(0);
        if self.copied < self.rows && self.reported.elapsed() >= REPORT_INTERVAL {
            self.report();
        }
    }

    /// Logs how much was copied.
    pub(super) fn report(&mut self) {
        self.reported = Instant::now();
        info!(table = self.table, copied = self.copied, rows = self.rows, "takeover_progress");
    }
}

/// Copies the assignments, one statement a page, without the triggers that invalidate caches: nothing was cached on
/// this database, and before migration 0009 their time grows with the square of the rows.
pub(super) async fn copy_assignments(conn: &mut Conn, report: &mut TakeoverReport, known: &KnownIds) -> Result<()> {
    let now = SystemClock.now();
    let count = concat!("SELECT COUNT(*) FROM ", set_aside!("role_assignments"));
    let mut progress = Progress::begin(conn, "role_assignments", count).await?;
    let mut pages = open_pages(
        conn,
        older_pages!(
            "CAST(o.id AS TEXT) AS id, CAST(o.principal_id AS TEXT) AS principal_id, \
             CAST(o.principal_type AS TEXT) AS principal_type, CAST(o.role_id AS TEXT) AS role_id, \
             CAST(o.entity_id AS TEXT) AS entity_id, CAST(o.effective_at AS TEXT) AS effective_at, \
             CAST(o.expires_at AS TEXT) AS expires_at, CAST(o.created_at AS TEXT) AS created_at, \
             CAST(o.updated_at AS TEXT) AS updated_at",
            "role_assignments"
        ),
    )
    .await?;
    let triggers = pause_triggers(conn, "role_assignments").await?;
    loop {
        let page = next_page(conn, &mut pages).await?;
        if page.is_empty() {
            break;
        }
        copy_page(conn, &page, report, known, now).await?;
        progress.add(page.len());
    }
    resume_triggers(conn, triggers).await?;
    progress.report();
    Ok(())
}

/// Inserts the assignments of a page, unless a problem blocks the takeover, and reports those that are left out.
async fn copy_page(
    conn: &mut Conn,
    page: &[Row],
    report: &mut TakeoverReport,
    known: &KnownIds,
    now: Timestamp,
) -> Result<()> {
    let mut texts = Vec::with_capacity(page.len());
    let (mut kept, mut kept_at) = (Vec::new(), Vec::new());
    for (at, row) in page.iter().enumerate() {
        let mut row = TextRow::new(row, "role_assignments", "assignment")?;
        let mut assignment = assignment(&mut row)?;
        if is_taken_over(&mut row, &mut assignment, known, now) && !known.refers_to_blocked(&assignment) {
            kept.push(assignment);
            kept_at.push(at);
        }
        texts.push(row);
    }
    if report.blocking == 0 && assignments::insert_all(&mut *conn, &kept).await? != kept.len() {
        // The older tables allow a global assignment twice: one of them suffices when both have the same window.
        for (assignment, at) in kept.iter().zip(kept_at) {
            if let InsertedAssignment::Existing(other) = assignments::insert(&mut *conn, assignment).await?
                && (other.effective_at, other.expires_at) != (assignment.effective_at, assignment.expires_at)
                && let Some(row) = texts.get_mut(at)
            {
                row.block(
                    "id",
                    format!("differs from assignment {}, which has the same key", other.id),
                    "delete one of the two",
                    "the principal holds the role in the window of the one that stays",
                );
            }
        }
    }
    for row in texts {
        row.finish(report);
    }
    Ok(())
}

fn assignment(texts: &mut TextRow<'_>) -> Result<Assignment> {
    let created_at = texts.time("created_at")?;
    Ok(Assignment {
        id: texts.id("id")?,
        principal_id: texts.id("principal_id")?,
        principal_type: texts.optional_text("principal_type", 64)?.unwrap_or_else(|| "user".into()),
        role_id: texts.id("role_id")?,
        entity_id: texts.optional_id("entity_id")?,
        effective_at: texts.optional_time("effective_at")?.unwrap_or(created_at),
        expires_at: texts.optional_time("expires_at")?,
        condition: None,
        created_at,
        updated_at: texts.time("updated_at")?,
    })
}

/// Returns whether an assignment is taken over: one that can never be in force may be left out.
fn is_taken_over(texts: &mut TextRow<'_>, assignment: &mut Assignment, known: &KnownIds, now: Timestamp) -> bool {
    if !texts.is_usable() {
        return false;
    }
    let mut left_out = |column: &str, problem: &str| {
        texts.adjust(column, problem, "left out", NOT_IN_FORCE);
        false
    };
    if assignment.principal_type.is_empty() {
        return left_out("principal_type", "is empty");
    }
    if !known.roles.contains(&assignment.role_id) {
        return left_out("role_id", "is the id of no role");
    }
    if assignment.entity_id.is_some_and(|entity| !known.entities.contains(&entity)) {
        return left_out("entity_id", "is the id of no entity");
    }
    if assignment.expires_at.is_none_or(|end| end > assignment.effective_at) {
        return true;
    }
    if assignment.effective_at >= now {
        return left_out("expires_at", "is not after effective_at");
    }
    // The shortest possible window, which is in the past.
    assignment.expires_at = Timestamp::from_unix_micros(assignment.effective_at.unix_micros() + 1).ok();
    texts.adjust(
        "expires_at",
        "is not after effective_at",
        "taken over as a microsecond after effective_at",
        "none: that is in the past",
    );
    true
}
