//! Several checks at once: one after the other, because nothing is saved by asking an embedded database for all in one statement.

use super::super::Result;
use super::{Conn, facts};
use crate::authz::{Facts, Question};

pub(super) async fn read(conn: &mut Conn, questions: &[Question]) -> Result<Vec<Option<Facts>>> {
    let mut all = Vec::with_capacity(questions.len());
    for question in questions {
        all.push(facts::read(conn, question).await?);
    }
    Ok(all)
}
