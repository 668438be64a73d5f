//! How caches hear that what decisions rest on has changed, in this process or another one.
//!
//! The database itself writes a renewal for each such change, in its transaction, whoever makes it. Must say nothing
//! about who keeps decisions where.

use tokio::time::Instant;
use uuid::Uuid;

/// That decisions made before it no longer count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Renewal {
    /// Its place in the table; it stays there until [`super::Store::renewed`].
    pub id: i64,
    /// Whose decisions; everybody's when `None`.
    pub principal: Option<Uuid>,
}

/// What the line of changes says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Nobody but this process can change this database: there is nothing to be told.
    Alone,
    /// From now on every change is told. What was changed before `at` is not, except what was left undone.
    Began {
        /// A moment at which the line was up.
        at: Instant,
        /// Which database this is, the same for every process on it.
        database: String,
        /// Renewals that nobody has said to be done.
        pending: Vec<Renewal>,
    },
    /// A change was committed.
    Changed(Renewal),
    /// Every change that was answered before this moment has been told.
    Alive(Instant),
    /// The line is cut: changes may be going on unheard.
    Ended,
}
