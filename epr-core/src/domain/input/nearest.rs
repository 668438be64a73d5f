//! Which known name a misspelt one was probably meant to be.
//!
//! Owns the comparison of names. Its answer is a hint for a person: nothing may be decided by it.

/// Longest name that is compared; longer ones resemble nothing here.
const LONGEST: usize = 64;

/// The name in `known` that `given` resembles most, if one does: a few letters apart without regard to case, or one
/// begins with the other (`entity` and `entity_id`).
pub(crate) fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    if given.len() > LONGEST {
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

/// How many letters have to be put in, taken out or exchanged to make one of the other.
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
    fn what_resembles_is_named() {
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
