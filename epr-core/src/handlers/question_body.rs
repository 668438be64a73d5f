//! Reads the body of a check: the decision itself knows no JSON.

use std::io;

use crate::decision::Question;
use crate::domain::assignment::default_principal_type;
use crate::domain::fields::{self, Fields, Problem, Reading};
use crate::domain::{Invalid, Json, JsonObject, Moment};

/// The largest context of a question, in bytes of compact JSON.
pub const MAX_CONTEXT_BYTES: usize = 64 * 1024;

/// The body of a check: a question, the context in which it is asked, and the moment that it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckRequest {
    /// The question.
    pub question: Question,
    /// What conditions can read under `context`; empty if absent.
    pub context: JsonObject,
    /// The moment of the registry; the present one if absent.
    pub moment: Moment,
}

impl CheckRequest {
    /// Reads the body of a check; `principal` is the name of the member that holds the principal's id.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json, principal: &'static str) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        let question = question(&mut fields, principal);
        let context = fields.optional("context", context).unwrap_or_default();
        let moment = Moment::read(&mut fields);
        fields.finish(question.map(|question| Self { question, context, moment }))
    }
}

/// One check of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckItem {
    /// The question.
    pub question: Question,
    /// What conditions can read under `context`; empty if absent.
    pub context: JsonObject,
}

impl From<Question> for CheckItem {
    fn from(question: Question) -> Self {
        Self { question, context: JsonObject::new() }
    }
}

/// The body of an explanation: the same as of a check.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainRequest {
    /// The question.
    pub question: Question,
    /// What conditions can read under `context`; empty if absent.
    pub context: JsonObject,
    /// The moment of the registry; the present one if absent.
    pub moment: Moment,
}

impl ExplainRequest {
    /// Reads the body of an explanation, in which the principal is `user_id`.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        let question = question(&mut fields, "user_id");
        let context = fields.optional("context", context).unwrap_or_default();
        let moment = Moment::read(&mut fields);
        fields.finish(question.map(|question| Self { question, context, moment }))
    }
}

impl Question {
    /// Reads the body of a check and ignores its context; `principal` is the name of the member that holds the
    /// principal's id.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json, principal: &'static str) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        let question = question(&mut fields, principal);
        fields.finish(question)
    }
}

pub(super) fn question(fields: &mut Fields<'_>, principal: &'static str) -> Option<Question> {
    let principal_id = fields.required(principal, fields::uuid);
    let action = fields.required("action", fields::text);
    let resource_id = fields.required("resource_id", fields::uuid);
    let principal_type = fields.given("principal_type", fields::text).unwrap_or_else(default_principal_type);
    principal_id.zip(action).zip(resource_id).map(|((principal_id, action), resource_id)| Question {
        principal_id,
        principal_type,
        action,
        resource_id,
    })
}

/// An object of at most [`MAX_CONTEXT_BYTES`].
pub(crate) fn context(value: &Json) -> Reading<JsonObject> {
    let members = fields::object(value)?;
    check_context(&members).map_err(|problem| vec![problem])?;
    Ok(members)
}

/// Checks the bounds of a context that was not read from a body.
///
/// # Errors
/// It is too large, nested too deeply, or holds a number that is not finite or a NUL character.
pub(crate) fn check_context(context: &JsonObject) -> Result<(), Problem> {
    check_bounds("context", context)
}

/// Checks that `members`, which a caller sent as `what`, are within the bounds of a context.
pub(super) fn check_bounds(what: &str, members: &JsonObject) -> Result<(), Problem> {
    if let Some(problem) = fields::object_problem(members) {
        return Err(problem);
    }
    let bytes = compact_bytes(members);
    if bytes > MAX_CONTEXT_BYTES {
        let msg = format!("The {what} should have at most {MAX_CONTEXT_BYTES} bytes of JSON; this one has {bytes}");
        return Err(Problem::new("too_large", msg));
    }
    Ok(())
}

/// The size of an object as compact JSON.
fn compact_bytes(members: &JsonObject) -> usize {
    let mut bytes = ByteCount(0);
    // Counting cannot fail.
    let _ = serde_json::to_writer(&mut bytes, members);
    bytes.0
}

struct ByteCount(usize);

impl io::Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
