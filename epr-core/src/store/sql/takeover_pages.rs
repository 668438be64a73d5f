//! Reading the tables of an older implementation in pages, and saying how far it is.
//!
//! Must never read a whole table at once: it may have millions of rows.

use std::time::{Duration, Instant};

use tracing::info;

use super::super::{Conn, Row, assignments, classify, next_page, open_pages, pause_triggers, resume_triggers};
use super::older_row::Texts;
use crate::domain::Assignment;
use crate::store::{Inserted, Result};

/// Between two lines about the progress of one table.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// How far the copy of one table is.
pub(super) struct Progress {
    table: &'static str,
    rows: i64,
    copied: i64,
    reported: Instant,
}

impl Progress {
    /// Counts the rows with `count`, a whole statement.
    pub(super) async fn begin(conn: &mut Conn, table: &'static str, count: &'static str) -> Result<Self> {
        let rows = sqlx::query_scalar(count).fetch_one(conn).await.map_err(classify)?;
        Ok(Self { table, rows, copied: 0, reported: Instant::now() })
    }

    /// Notes that so many rows more were copied.
    pub(super) fn add(&mut self, rows: usize) {
        self.copied += i64::try_from(rows).unwrap_or(0);
        if self.copied < self.rows && self.reported.elapsed() >= REPORT_INTERVAL {
            self.report();
        }
    }

    /// Says how much was copied.
    pub(super) fn report(&mut self) {
        self.reported = Instant::now();
        info!(table = self.table, copied = self.copied, rows = self.rows, "takeover_progress");
    }
}

/// Copies the assignments, a page in one statement, without the triggers that renew caches: nothing was cached on this database, and
/// before migration 0009 they take time that grows with the square of the rows.
pub(super) async fn copy_assignments(conn: &mut Conn) -> Result<()> {
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
        copy_page(conn, &page).await?;
        progress.add(page.len());
    }
    resume_triggers(conn, triggers).await?;
    progress.report();
    Ok(())
}

async fn copy_page(conn: &mut Conn, page: &[Row]) -> Result<()> {
    let rows = page.iter().map(|row| Texts::new(row, "assignment")).collect::<Result<Vec<_>>>()?;
    let read = rows.iter().map(assignment).collect::<Result<Vec<_>>>()?;
    if assignments::insert_all(conn, &read).await? == read.len() {
        return Ok(());
    }
    // The older tables let a global assignment stand twice: the same grant, so one is enough when they agree.
    for (texts, assignment) in rows.iter().zip(&read) {
        if let Inserted::Existing(other) = assignments::insert(conn, assignment).await?
            && (other.effective_at, other.expires_at) != (assignment.effective_at, assignment.expires_at)
        {
            return Err(texts.fault("id", format!("differs from assignment {}, which has the same key", other.id)));
        }
    }
    Ok(())
}

fn assignment(texts: &Texts<'_>) -> Result<Assignment> {
    let created_at = texts.time("created_at")?;
    Ok(Assignment {
        id: texts.id("id")?,
        principal_id: texts.id("principal_id")?,
        principal_type: texts.get("principal_type")?.unwrap_or_else(|| "user".into()),
        role_id: texts.id("role_id")?,
        entity_id: texts.optional_id("entity_id")?,
        effective_at: texts.optional_time("effective_at")?.unwrap_or(created_at),
        expires_at: texts.optional_time("expires_at")?,
        created_at,
        updated_at: texts.time("updated_at")?,
    })
}
