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

/// The number of letters to insert, remove or exchange to turn one name into the other (Levenshtein distance).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut left = at + 1;
        let mut above_left = at;
        let mut next = vec![left];
        for (wanted, above) in other.chars().zip(row.iter().skip(1)) {
            left = (above + 1).min(left + 1).min(above_left + usize::from(letter != wanted));
            above_left = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::nearest;

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
