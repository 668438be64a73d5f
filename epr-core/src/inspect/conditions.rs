//! The stored conditions: whether this program can compile each.
//!
//! A condition that it cannot compile, because a later version wrote it, grants nothing.

use super::cause::cause;
use super::{Finding, State};
use crate::Epr;
use crate::decision::{ConditionFacts, ConditionOwner};
use crate::domain::StoredCondition;

/// Maximum number of conditions that are named.
const MAX_NAMED: usize = 10;

/// The state of the stored conditions.
pub(super) async fn conditions(epr: &Epr) -> Finding {
    let (mut total, mut failed, mut named) = (0_usize, 0_usize, Vec::new());
    let scanned = epr
        .scan_conditions(&mut |StoredCondition { holder, text }| {
            total += 1;
            if let Err(why) = ConditionFacts::of(ConditionOwner::Assignment, &text).compiled {
                failed += 1;
                if named.len() < MAX_NAMED {
                    named.push(format!("{holder}: {why}"));
                }
            }
            true
        })
        .await;
    if let Err(error) = scanned {
        return Finding::new("conditions", State::Wrong, cause(&error));
    }
    if failed == 0 {
        return Finding::new("conditions", State::Fine, format!("{total} stored, all of them compile"));
    }
    if failed > named.len() {
        named.push(format!("and {} more", failed - named.len()));
    }
    let seen = format!("{failed} of {total} do not compile here: {}", named.join("; "));
    Finding::new("conditions", State::Wrong, seen).advise(
        "they grant nothing, with the reason `condition_error`: run the version that wrote them, or replace them",
    )
}
