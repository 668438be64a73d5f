//! The form of values in messages.

use std::fmt::Write as _;

/// A value that is no secret, at most 80 characters long and without control characters.
pub(super) fn plain(given: &str) -> String {
    let mut shown: String = given.chars().filter(|c| !c.is_control()).take(80).collect();
    if given.chars().count() > 80 {
        let _ = write!(shown, "…");
    }
    shown
}
