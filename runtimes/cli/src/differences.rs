//! How differences from the ledger are shown: those of the registry and those of history.

use std::io;

use epr_core::domain::Json;
use epr_core::domain::fields::Choice as _;
use epr_core::history::reconcile::DifferenceKind;

use crate::output::{Output, count, escaped};

/// A value in a cell; empty when there is none.
pub(crate) fn cell(value: Option<&Json>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

/// A value in a sentence.
pub(crate) fn said(value: Option<&Json>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| escaped(&value.to_string()))
}

/// Prints the line that names a difference; `place` is text that needs no escapes.
pub(crate) fn print_name(
    kind: DifferenceKind,
    (table, row, place, field): (&str, &str, &str, Option<&str>),
    out: &mut Output,
) -> io::Result<()> {
    let field = field.map(|field| format!("  {field}")).unwrap_or_default();
    out.clipped_line(&format!(
        "{}  {table}  {}{place}{}",
        Output::bad(kind.word().to_uppercase()),
        escaped(row),
        escaped(&field)
    ))
}

/// The beginning of the last sentence: that nothing differs, or the number of differences.
pub(crate) fn result(differences: u64, equal: &str) -> String {
    if differences == 0 { Output::good(equal) } else { Output::bad(count(differences, "difference", "differences")) }
}
