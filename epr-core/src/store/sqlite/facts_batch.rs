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
    let (mut all, mut first) = (Vec::with_capacity(questions.len()), None);
    for question in questions {
        let (facts, accepted) = facts::read(conn, question, known).await?;
        all.push(facts);
        // Each statement has its own snapshot: a decision is valid only while nothing has changed since the oldest.
        first.get_or_insert(accepted);
    }
    Ok((all, oldest(conn, first, known).await?))
}

/// Returns what the statement finds for each question without attributes and external ids.
pub(super) async fn undescribed<'a>(
    conn: &mut Conn,
    questions: &'a [Question],
    known: Option<&Head>,
) -> Result<(Vec<Found<'a>>, Accepted)> {
    let (mut all, mut first) = (Vec::with_capacity(questions.len()), None);
    for question in questions {
        let (found, accepted) = facts::undescribed(conn, question, known).await?;
        all.push(found);
        first.get_or_insert(accepted);
    }
    Ok((all, oldest(conn, first, known).await?))
}

async fn oldest(conn: &mut Conn, first: Option<Accepted>, known: Option<&Head>) -> Result<Accepted> {
    match first {
        Some(accepted) => Ok(accepted),
        None => Ok(revisions::read(conn, known).await?.0),
    }
}
