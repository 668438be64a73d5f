//! A question as one call asks it.

use crate::call::Call;
use crate::decision::Question;
use crate::domain::JsonObject;

/// A question in its context, as one call asks it.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) call: &'a Call,
    pub(crate) question: &'a Question,
    /// What conditions can read under `context`.
    pub(crate) context: &'a JsonObject,
}
