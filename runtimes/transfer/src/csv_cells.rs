//! Cells of CSV files that a spreadsheet opens: none of them is executed as a formula.

/// The characters that begin a formula in a spreadsheet, with their full-width forms.
pub const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// What ends a cell somewhere: a spreadsheet of another locale reads `;` as the separator, and does not know then that
/// line ends and tabs are inside of quotes.
const CELL_ENDS: [char; 4] = [';', '\t', '\n', '\r'];

/// Whether a cell with this text is a formula, also when its quotes are taken off first.
#[must_use]
pub fn is_formula(text: &str) -> bool {
    text.trim_start_matches(['"', '\'', ' ']).starts_with(FORMULA)
}

/// A spreadsheet takes a text that begins like a formula for one and carries it out. An apostrophe keeps it from that,
/// and marks text that is empty but there; it is taken off again when the file is read. The same inside of the text,
/// behind what ends a cell somewhere.
#[must_use]
pub fn guarded(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 1);
    if text.is_empty() || text.starts_with(FORMULA) || text.starts_with(['\t', '\r', '\n', '\'']) {
        safe.push('\'');
    }
    for (at, c) in text.char_indices() {
        safe.push(c);
        let rest = text.get(at + c.len_utf8()..).unwrap_or_default();
        if CELL_ENDS.contains(&c) && is_formula(rest) {
            safe.push('\'');
        }
    }
    safe
}

/// The text of [`guarded`].
#[must_use]
pub fn unguarded(cell: &str) -> String {
    let mut rest = cell.strip_prefix('\'').unwrap_or(cell);
    let mut text = String::with_capacity(rest.len());
    while let Some(at) = rest.find(CELL_ENDS) {
        let (before, after) = rest.split_at(at + 1);
        text.push_str(before);
        rest = after.strip_prefix('\'').filter(|inside| is_formula(inside)).unwrap_or(after);
    }
    text.push_str(rest);
    text
}

/// JSON text as a cell: where `;` separates cells, a text inside could begin one.
#[must_use]
pub fn json_cell(json: &str) -> String {
    json.replace(';', "\\u003b")
}
