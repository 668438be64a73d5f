//! Several checks at once: one after the other, because nothing is saved by asking an embedded database for all in one statement.

use super::super::Result;
use super::dialect::Conn;
use super::sql::facts;
use crate::decision::{Facts, Question};
use crate::ledger::chain::Head;

/// The facts of each question, in their order, and where they were read; an error unless that is the ledger of which `known` is
/// an entry.
pub(super) async fn read(
    conn: &mut Conn,
    questions: &[Question],
    known: Option<&Head>,
) -> Result<(Vec<Option<Facts>>, Head)> {
    let mut all = Vec::with_capacity(questions.len());
    let mut first = None;
    for question in questions {
        let (facts, revision) = facts::read(conn, question, known).await?;
        all.push(facts);
        // Each is a snapshot of its own: a decision counts only while nothing has changed since the oldest.
        first.get_or_insert(revision);
    }
    Ok((all, first.unwrap_or_else(Head::genesis)))
}
