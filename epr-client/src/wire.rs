//! Readers that the bodies of several endpoints share. Bounds are not checked: the service has validated its texts, and
//! a service of another version can have other bounds.

use epr_core::domain::fields::{self, Fields, Reading};
use epr_core::domain::{Invalid, Json, Moment, Text};
use uuid::Uuid;

/// Reads a text.
pub(crate) fn text(value: &Json) -> Reading<String> {
    fields::text::<0, { usize::MAX }>(value).map(Text::into_string)
}

/// Reads a text or `null`.
pub(crate) fn nullable_text(value: &Json) -> Reading<Option<String>> {
    fields::nullable(text)(value)
}

/// Reads an object whose member `name` is `true` or `false`.
pub(crate) fn truth(json: &Json, name: &'static str) -> Result<bool, Invalid> {
    let mut fields = Fields::of_body(json)?;
    let truth = fields.required(name, fields::boolean);
    fields.finish(truth)
}

/// The query parameters of a moment.
pub(crate) fn moment_pairs(moment: Moment) -> impl Iterator<Item = (&'static str, String)> {
    let at = moment.at.map(|at| ("at", at.to_string()));
    at.into_iter().chain(moment.revision.map(|revision| ("revision", revision.to_string())))
}

/// The path of one object of a collection.
pub(crate) fn object(collection: &str, id: Uuid) -> String {
    format!("{collection}/{id}")
}
