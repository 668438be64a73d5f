//! The facts of several questions in one statement: most of the cost of a check is the overhead of a statement on the
//! server, and the round trip in this process.

use futures_util::TryStreamExt as _;
use sqlx::Row as _;

use super::super::{Result, StoreError};
use super::dialect::{Conn, classify};
use super::sql::facts::{self, Accepted, Found, Origin};
use crate::decision::{Facts, Question};
use crate::ledger::chain::Head;

/// The most assignments that are read for the questions of one batch. A thousand questions about a principal with a
/// thousand global assignments would otherwise be a million. Checks of different callers that are read together are
/// few, and none of them must be refused because of the others.
const MAX_ASSIGNMENTS: usize = 200_000;

/// The statement of one question, once for each row of four arrays. The arrays come from subqueries so that the planner
/// does not see their length: it would plan again for every batch that is shorter than its estimate.
macro_rules! for_each_question {
    ($statement:expr) => {
        concat!(
            "SELECT q.position, found.* \
             FROM unnest((SELECT $1::uuid[]), (SELECT $2::uuid[]), (SELECT $3::text[]), (SELECT $4::text[])) \
                  WITH ORDINALITY AS q(resource_id, principal_id, principal_type, action, position) \
             CROSS JOIN LATERAL (",
            $statement,
            ") found",
            facts_origin!("0, ")
        )
    };
}

pub(super) const FACTS: &str =
    for_each_question!(facts_statement!(now, "q.resource_id", "q.principal_id", "q.principal_type", "q.action"));

/// The same without attributes and external ids.
const UNDESCRIBED_FACTS: &str = for_each_question!(undescribed_facts_statement!(
    now,
    "q.resource_id",
    "q.principal_id",
    "q.principal_type",
    "q.action"
));

/// Returns the facts of each question, in their order, and their origin; an error unless `known` is an entry of this
/// database's ledger.
pub(super) async fn read(
    conn: &mut Conn,
    questions: &[Question],
    known: Option<&Head>,
) -> Result<(Vec<Option<Facts>>, Accepted)> {
    if let [question] = questions {
        let (facts, accepted) = facts::read(conn, question, known).await?;
        return Ok((vec![facts], accepted));
    }
    let (found, accepted) = found(conn, FACTS, questions, known, usize::MAX).await?;
    Ok((found.into_iter().map(Found::facts).collect(), accepted))
}

/// Returns what the statement finds for each question without attributes and external ids.
pub(super) async fn undescribed<'a>(
    conn: &mut Conn,
    questions: &'a [Question],
    known: Option<&Head>,
) -> Result<(Vec<Found<'a>>, Accepted)> {
    if let [question] = questions {
        let (found, accepted) = facts::undescribed(conn, question, known).await?;
        return Ok((vec![found], accepted));
    }
    found(conn, UNDESCRIBED_FACTS, questions, known, MAX_ASSIGNMENTS).await
}

async fn found<'a>(
    conn: &mut Conn,
    statement: &'static str,
    questions: &'a [Question],
    known: Option<&Head>,
    max_assignments: usize,
) -> Result<(Vec<Found<'a>>, Accepted)> {
    let mut rows = sqlx::query(statement)
        .bind(questions.iter().map(|question| question.resource_id).collect::<Vec<_>>())
        .bind(questions.iter().map(|question| question.principal_id).collect::<Vec<_>>())
        .bind(questions.iter().map(|question| question.principal_type.as_str()).collect::<Vec<_>>())
        .bind(questions.iter().map(|question| question.action.as_str()).collect::<Vec<_>>())
        .fetch(&mut *conn);
    let mut count = 0;
    let mut origin = Origin::default();
    let mut all: Vec<_> = questions.iter().map(Found::new).collect();
    while let Some(row) = rows.try_next().await.map_err(classify)? {
        if origin.add(&row)? {
            continue;
        }
        count += 1;
        if count > max_assignments {
            return Err(StoreError::TooLarge(
                "The principals of these questions have more than 200,000 assignments that count for their resources; \
                 ask fewer questions at a time",
            ));
        }
        let position: i64 = row.try_get("position").map_err(classify)?;
        let found = position.checked_sub(1).and_then(|at| all.get_mut(usize::try_from(at).ok()?));
        found.ok_or_else(|| StoreError::corrupt("facts", "a row for no question"))?.add(&row)?;
    }
    drop(rows);
    Ok((all, origin.accept(conn, known).await?))
}
