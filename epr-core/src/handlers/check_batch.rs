//! Batches of checks by ids.
//!
//! Owns the form of their body, and where in it an item fails. Must never decide: [`super::batch`] does.

use super::authzen::Semantic;
use super::batch::{Asking, Batch, Item, decide};
use super::question_body::{CheckItem, check_context, context, question};
use crate::Call;
use crate::decision::Decision;
use crate::domain::fields::{self, Fields, PathSegment, Problem, Reading};
use crate::domain::{Invalid, Json};
use crate::engine::Engines;
use crate::error::{Error, Result};

/// The most checks of one batch.
pub const MAX_CHECKS: usize = fields::MAX_ITEMS;

/// The member of a body that lists the checks.
const MEMBER: &str = "checks";

/// The body of a batch of checks: 1 to [`MAX_CHECKS`] of them.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckBatch(pub Vec<CheckItem>);

impl CheckBatch {
    /// Reads the body of a batch. Each check has the members of a single one. A batch is about the present: `at` and
    /// `revision` fail, because an answer about another moment would be taken for one about this one.
    ///
    /// # Errors
    /// Every failing field, under the index of its check.
    pub fn from_body(body: &Json) -> std::result::Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        refuse_moment(&mut fields);
        let checks = fields.required(MEMBER, checks);
        fields.finish(checks.map(Self))
    }
}

fn checks(value: &Json) -> Reading<Vec<CheckItem>> {
    let checks = fields::list(check)(value)?;
    if checks.is_empty() {
        return Err(vec![Problem::new("too_short", "List should have at least 1 item")]);
    }
    Ok(checks)
}

fn check(value: &Json) -> Reading<CheckItem> {
    let Json::Object(members) = value else {
        return Err(vec![Problem::new("dict_type", "Input should be a valid object")]);
    };
    let mut fields = Fields::new("body", members);
    refuse_moment(&mut fields);
    let question = question(&mut fields, "user_id");
    let context = fields.optional("context", context).unwrap_or_default();
    fields.finish_nested(question.map(|question| CheckItem { question, context }))
}

fn refuse_moment(fields: &mut Fields<'_>) {
    for member in ["at", "revision"] {
        let sentence = "A batch is about the present; ask about another moment with a single check";
        fields.optional(member, |_| Err::<(), _>(vec![Problem::new("not_available", sentence)]));
    }
}

/// Decides each of `checks` at this moment, in their order. A check that fails has the error of a single one: its
/// resource is unknown, or a condition declares a parameter of its context with another type.
///
/// # Errors
/// `Invalid` when there are too many checks, or a context is out of bounds. `Unavailable` when the facts cannot be read
/// or the decisions cannot be recorded: then there is no decision.
pub(crate) async fn check_batch(engines: &Engines, call: &Call, checks: &[CheckItem]) -> Result<Vec<Result<Decision>>> {
    if checks.len() > MAX_CHECKS {
        let msg = format!("List should have at most {MAX_CHECKS} items");
        return Err(Error::field(MEMBER, Problem::new("too_long", msg)));
    }
    for (at, check) in checks.iter().enumerate() {
        check_context(&check.context).map_err(|problem| {
            let problem = problem.under("context").within(PathSegment::Index(at));
            Error::field(MEMBER, problem)
        })?;
    }
    let items = checks.iter().map(|check| Item::new(Asking::Ids(check))).collect();
    let batch = Batch { items, semantic: Semantic::ExecuteAll, member: MEMBER };
    let answers = decide(engines, call, batch).await?;
    Ok(answers.into_iter().enumerate().map(|(at, answer)| answer.map_err(|error| at_index(error, at))).collect())
}

/// The error of a single check with the location of its fields in the batch.
fn at_index(error: Error, at: usize) -> Error {
    let Error::Invalid(Invalid(mut fields)) = error else { return error };
    for field in &mut fields {
        let inner = [PathSegment::Name(MEMBER.into()), PathSegment::Index(at)];
        field.loc.splice(1..1, inner);
    }
    Error::Invalid(Invalid(fields))
}
