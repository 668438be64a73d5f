//! The facts of several questions, one statement each: an embedded database has no round trip that a batch would save.

use super::super::Result;
use super::dialect::Conn;
use super::sql::facts::{self, Accepted, Found};
use super::sql::revisions;
use crate::decision::{Facts, Question};
use crate::ledger::chain::Head;

/// Returns the facts of each question, in their order, and their origin; an error unless `known` is an entry of this
/// database's ledger.
pub(super) async fn read(
    conn: &mut Conn,
    questions: &[Question],
    known: Option<&Head>,
) -> Result<(Vec<Option<Facts>>, Accepted)> {
    let (found, accepted) = found(conn, questions, known).await?;
    Ok((found.into_iter().map(Found::facts).collect(), accepted))
}

/// What [`read`] makes facts of.
pub(super) async fn found<'a>(
    conn: &mut Conn,
    questions: &'a [Question],
    known: Option<&Head>,
) -> Result<(Vec<Found<'a>>, Accepted)> {
    let mut all = Vec::with_capacity(questions.len());
    let mut first = None;
    for question in questions {
        let (found, accepted) = facts::found(conn, question, known).await?;
        all.push(found);
        // Each statement has its own snapshot: a decision is valid only while nothing has changed since the oldest.
        first.get_or_insert(accepted);
    }
    let accepted = match first {
        Some(accepted) => accepted,
        None => revisions::read(conn, known).await?.0,
    };
    Ok((all, accepted))
}
