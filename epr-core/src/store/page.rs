//! Keyset pages: a bounded number of rows after a cursor.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::history::RegistryRow;

/// A position in a list ordered by creation, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Creation time of the last row seen.
    pub created_at: Timestamp,
    /// The id of that row, which orders rows of the same moment.
    pub id: Uuid,
}

/// The text is not a cursor of this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Input should be a cursor from a `Link` header of this service")]
pub struct InvalidCursor;

impl Cursor {
    /// Returns the position of a row of the registry in a list.
    #[must_use]
    pub fn of(row: &RegistryRow) -> Self {
        let (created_at, id) = match row {
            RegistryRow::Entity(one) => (one.created_at, one.id),
            RegistryRow::Role(one) => (one.created_at, one.id),
            RegistryRow::Assignment(one) => (one.created_at, one.id),
            RegistryRow::Principal(one) => (one.created_at, one.id),
        };
        Self { created_at, id }
    }

    /// Returns the opaque text that callers send back.
    #[must_use]
    pub fn encode(self) -> String {
        let mut bytes = self.created_at.unix_micros().to_be_bytes().to_vec();
        bytes.extend_from_slice(self.id.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Decodes the text.
    ///
    /// # Errors
    /// The text was not returned by [`Cursor::encode`].
    pub fn decode(text: &str) -> Result<Self, InvalidCursor> {
        let (text, _) = split_position(text)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let (micros, id) = bytes.split_first_chunk::<8>().ok_or(InvalidCursor)?;
        let created_at = Timestamp::from_unix_micros(i64::from_be_bytes(*micros)).map_err(|_| InvalidCursor)?;
        Ok(Self { created_at, id: Uuid::from_slice(id).map_err(|_| InvalidCursor)? })
    }
}

/// Returns a position in the ledger as an opaque cursor.
#[must_use]
pub fn encode_sequence(sequence: i64) -> String {
    URL_SAFE_NO_PAD.encode(sequence.to_be_bytes())
}

/// Decodes the cursor.
///
/// # Errors
/// The text was not returned by [`encode_sequence`].
pub fn decode_sequence(text: &str) -> Result<i64, InvalidCursor> {
    decode_number(split_position(text)?.0)
}

fn decode_number(text: &str) -> Result<i64, InvalidCursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
    bytes.as_slice().try_into().map(i64::from_be_bytes).map_err(|_| InvalidCursor)
}

/// Adds to an encoded cursor the position of the ledger at which its page was read, if it is known: a later page that
/// comes from a replica needs that state.
#[must_use]
pub fn with_position(cursor: String, position: Option<i64>) -> String {
    match position {
        Some(position) => format!("{cursor}.{}", encode_sequence(position)),
        None => cursor,
    }
}

/// Returns the position in an encoded cursor; `None` when it has none.
#[must_use]
pub fn position_of(cursor: &str) -> Option<i64> {
    split_position(cursor).ok()?.1
}

fn split_position(text: &str) -> Result<(&str, Option<i64>), InvalidCursor> {
    match text.split_once('.') {
        Some((cursor, position)) => Ok((cursor, Some(decode_number(position)?))),
        None => Ok((text, None)),
    }
}

/// The part of a list to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The most rows to read.
    pub limit: u32,
    /// Read only rows after this cursor.
    pub after: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back() {
        let cursor =
            Cursor { created_at: Timestamp::parse("2025-10-22T05:38:53.123456Z").unwrap(), id: Uuid::from_u128(7) };
        assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        for nonsense in ["", "AAAA", "not base64!", &URL_SAFE_NO_PAD.encode([0x7f; 24])] {
            assert_eq!(Cursor::decode(nonsense), Err(InvalidCursor), "{nonsense}");
        }
    }

    #[test]
    fn a_cursor_may_have_the_position_that_the_next_page_needs() {
        let cursor =
            Cursor { created_at: Timestamp::parse("2025-10-22T05:38:53.123456Z").unwrap(), id: Uuid::from_u128(7) };
        let text = with_position(cursor.encode(), Some(4711));
        assert_eq!((Cursor::decode(&text), position_of(&text)), (Ok(cursor), Some(4711)));
        let plain = with_position(cursor.encode(), None);
        assert_eq!((plain.as_str(), position_of(&plain)), (cursor.encode().as_str(), None));
        let sequence = with_position(encode_sequence(9), Some(12));
        assert_eq!((decode_sequence(&sequence), position_of(&sequence)), (Ok(9), Some(12)));
        for nonsense in [".", "AAAA.", &format!("{}.", encode_sequence(9)), &format!("{sequence}.AAAA")] {
            assert_eq!(decode_sequence(nonsense), Err(InvalidCursor), "{nonsense}");
        }
    }
}
