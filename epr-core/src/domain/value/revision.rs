//! Revisions: states of the registry that callers can name.
//!
//! Owns the text form. Must never compare revisions of two incarnations: their sequences have nothing to do with each
//! other.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::digits::write_digits;

/// The digits of a sequence in the text form: those of the largest one, so that the order of texts is the order of the
/// revisions of an incarnation.
const DIGITS: usize = 19;

/// One life of a ledger. The migration that introduced revisions began the first one, and a takeover begins another:
/// its sequences would otherwise name two different states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation(pub Uuid);

impl fmt::Display for Incarnation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A state of the registry: the one after the ledger entry `sequence` of an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision {
    /// The incarnation of the ledger.
    pub incarnation: Incarnation,
    /// The sequence of a ledger entry; 0 before the first.
    pub sequence: i64,
}

/// The text is not a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("A revision should be the value of an `EPR-Revision` header of this service, unchanged")]
pub struct RevisionError;

/// Revisions of two incarnations have no order.
impl PartialOrd for Revision {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.incarnation == other.incarnation).then(|| self.sequence.cmp(&other.sequence))
    }
}

/// The text form, which callers treat as opaque. The order of the texts of one incarnation is their order in time.
///
/// ```
/// use epr_core::domain::Revision;
///
/// let text = "0198c5b2-8a54-7c1e-9d3f-6f2f0d6f1c11.0000000000000004711";
/// let revision: Revision = text.parse()?;
/// assert_eq!((revision.sequence, revision.to_string().as_str()), (4711, text));
/// # Ok::<_, epr_core::domain::revision::RevisionError>(())
/// ```
impl fmt::Display for Revision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [b'0'; DIGITS];
        // A sequence is not negative.
        write_digits(&mut digits, self.sequence.unsigned_abs());
        let mut id = Uuid::encode_buffer();
        out.write_str(self.incarnation.0.hyphenated().encode_lower(&mut id))?;
        out.write_str(".")?;
        out.write_str(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

impl FromStr for Revision {
    type Err = RevisionError;

    fn from_str(text: &str) -> Result<Self, RevisionError> {
        let (incarnation, digits) = text.split_once('.').ok_or(RevisionError)?;
        if digits.len() != DIGITS || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(RevisionError);
        }
        let incarnation = Incarnation(Uuid::try_parse(incarnation).map_err(|_| RevisionError)?);
        let revision = Self { incarnation, sequence: digits.parse().map_err(|_| RevisionError)? };
        // One revision has one text: no upper-case digits, no braces.
        if revision.to_string() == text { Ok(revision) } else { Err(RevisionError) }
    }
}

impl Serialize for Revision {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(incarnation: u128, sequence: i64) -> Revision {
        Revision { incarnation: Incarnation(Uuid::from_u128(incarnation)), sequence }
    }

    #[test]
    fn the_order_of_texts_is_the_order_of_revisions() {
        let sequences = [0, 1, 9, 10, 99, 4711, i64::MAX - 1, i64::MAX];
        for pair in sequences.windows(2) {
            let (former, later) = (revision(7, pair[0]), revision(7, pair[1]));
            assert!(former < later && former.to_string() < later.to_string(), "{pair:?}");
            assert_eq!(later.to_string().parse(), Ok(later));
        }
        let (one, other) = (revision(7, 1), revision(8, 2));
        assert_eq!(one.partial_cmp(&other), None);
    }

    #[test]
    fn a_text_that_was_not_written_here_is_refused() {
        let text = revision(7, 12).to_string();
        let (incarnation, digits) = text.split_once('.').unwrap();
        for wrong in [
            "",
            "12",
            incarnation,
            digits,
            &format!("{incarnation}.12"),
            &format!("{text} "),
            &format!("{text}0"),
            &format!("{incarnation}.9999999999999999999"),
            &format!("{incarnation}.-000000000000000012"),
            &text.replace('-', ""),
            &format!("{{{incarnation}}}.{digits}"),
            &revision(0xabc, 1).to_string().to_uppercase(),
        ] {
            assert_eq!(wrong.parse::<Revision>(), Err(RevisionError), "{wrong}");
        }
    }
}
