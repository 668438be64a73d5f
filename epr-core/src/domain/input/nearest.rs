//! Finds the known name that a misspelt one resembles.
//!
//! Owns the comparison of names. Its result is a hint for a person and must never decide anything.

/// The longest name that is compared, in bytes; longer ones resemble no known name.
const MAX_NAME_BYTES: usize = 64;

/// The name in `known` that `given` resembles most, if one does: a few letters apart without regard to case, or one
/// begins with the other (`entity` and `entity_id`).
pub(crate) fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    if given.len() > MAX_NAME_BYTES {
        return None;
    }
    let given = given.to_ascii_lowercase();
    let resembling = known.iter().filter_map(|name| {
        let known = name.to_ascii_lowercase();
        let apart = distance(&given, &known);
        let begins = given.len() >= 3 && (known.starts_with(&given) || given.starts_with(&known));
        (begins || (apart <= 3 && apart * 2 < known.chars().count())).then_some((apart, *name))
    });
    resembling.min_by_key(|(apart, _)| *apart).map(|(_, name)| name)
}

/// The number of edits that turn one name into the other: a letter inserted, removed or exchanged, or two neighbouring
/// letters swapped (Damerau-Levenshtein distance, no letter edited twice).
fn distance(one: &str, other: &str) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    let mut last = None;
    for (at, letter) in one.chars().enumerate() {
        let mut left = at + 1;
        let mut above_left = at;
        let mut next = vec![left];
        let mut last_wanted = None;
        for (index, (wanted, above)) in other.chars().zip(row.iter().skip(1)).enumerate() {
            left = (above + 1).min(left + 1).min(above_left + usize::from(letter != wanted));
            let is_swap = last_wanted == Some(letter) && last == Some(wanted);
            if let Some(swapped) = index.checked_sub(1).and_then(|index| before.get(index)).filter(|_| is_swap) {
                left = left.min(swapped + 1);
            }
            above_left = *above;
            last_wanted = Some(wanted);
            next.push(left);
        }
        before = std::mem::replace(&mut row, next);
        last = Some(letter);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn two_neighbouring_letters_swapped_are_one_edit() {
        let cases = [("nmae", "name", 1), ("tpye", "type", 1), ("ab", "ba", 1), ("abc", "cab", 2), ("", "ab", 2)];
        for (one, other, expected) in cases {
            assert_eq!((distance(one, other), distance(other, one)), (expected, expected), "{one} {other}");
        }
        let known = ["name", "type", "status", "parent_id", "attributes"];
        for (given, expected) in [("nmae", "name"), ("tpye", "type"), ("stauts", "status"), ("praent_id", "parent_id")]
        {
            assert_eq!(nearest(given, &known), Some(expected), "{given}");
        }
        assert_eq!(nearest("eamn", &known), None, "two edits are too many for four letters");
    }

    #[test]
    fn a_similar_word_is_suggested() {
        let known = ["principal_id", "principal_type", "role_id", "entity_id", "effective_at", "expires_at"];
        let cases = [
            ("entity", Some("entity_id")),
            ("expire_at", Some("expires_at")),
            ("expires", Some("expires_at")),
            ("entityId", Some("entity_id")),
            ("ROLE_ID", Some("role_id")),
            ("principal", Some("principal_id")),
            ("principle_type", Some("principal_type")),
            ("x", None),
            ("", None),
            ("comment", None),
        ];
        for (given, expected) in cases {
            assert_eq!(nearest(given, &known), expected, "{given}");
        }
        assert_eq!(nearest(&"entity_id".repeat(100_000), &known), None);
    }
}
