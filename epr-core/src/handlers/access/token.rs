//! Page tokens of lists of access: where the next page begins, and everything that it must have in common with the
//! first one, under a MAC.
//!
//! Owns the exact bytes. Pure: keys come from the caller. A token is authenticated and not encrypted: its caller can
//! read the last key that was looked at, which need not be that of an item. Must never read a byte as valid before the
//! MAC is.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use uuid::Uuid;

use crate::domain::access::{ListKind, MAX_TOKEN_CHARS};
use crate::domain::{Incarnation, Revision, Timestamp};

/// The version of the form, which the MAC covers.
const FORM: u8 = 1;
/// What is authenticated before the token's own bytes: a key must never authenticate anything else.
const PURPOSE: &[u8] = b"epr-page-token\0";
/// The bytes of a MAC and of the hash of a request.
const MAC_BYTES: usize = 32;
/// The most bytes of the last key and of the state of a list.
const MAX_PART_BYTES: usize = 1024;

/// The hash of a request without its token.
pub(crate) type RequestHash = [u8; 32];

/// What a page token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageToken {
    /// The list.
    pub(crate) kind: ListKind,
    /// The hash of the request of every page.
    pub(crate) request: RequestHash,
    /// The revision that every page rests on.
    pub(crate) revision: Revision,
    /// The time of every page.
    pub(crate) as_of: Timestamp,
    /// The key after which the page begins, in the form of its list.
    pub(crate) last: Vec<u8>,
    /// What else the list has to know.
    pub(crate) state: Vec<u8>,
}

/// A key of page tokens.
#[derive(Clone, Copy)]
pub(crate) struct TokenKey<'a> {
    /// Its number, which a token names.
    pub(crate) number: i64,
    /// Its bytes.
    pub(crate) bytes: &'a [u8; 32],
}

/// The token cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// It is not a token, or its MAC is not that of an accepted key.
    #[error(
        "The token is not one of this service: it was altered or cut, is from another service, or is older than the \
         keys of this one. Begin again without `next`"
    )]
    NotAuthentic,
    /// It belongs to another list or request.
    #[error("The token belongs to another request: send the members of the first page unchanged beside `next`")]
    OtherRequest,
    /// It is from another incarnation of the ledger, such as the one before a restore.
    #[error("The token is from another incarnation of the ledger. Begin again without `next`")]
    OtherIncarnation,
}

impl PageToken {
    /// The text of the token, authenticated with `key`; `None` when a part is longer than a token can hold.
    #[must_use]
    pub(crate) fn encode(&self, key: TokenKey<'_>) -> Option<String> {
        let mut bytes = vec![FORM];
        bytes.extend(key.number.to_be_bytes());
        bytes.push(kind_byte(self.kind));
        bytes.extend(self.request);
        bytes.extend(self.revision.incarnation.0.as_bytes());
        bytes.extend(self.revision.sequence.to_be_bytes());
        bytes.extend(self.as_of.unix_micros().to_be_bytes());
        for part in [&self.last, &self.state] {
            let length = u16::try_from(part.len()).ok().filter(|_| part.len() <= MAX_PART_BYTES)?;
            bytes.extend(length.to_be_bytes());
            bytes.extend(part);
        }
        let mac = hmac::sign(&mac_key(key), &authenticated(&bytes));
        bytes.extend(mac.as_ref());
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads the text of a token. `key` returns the accepted key with a number.
    ///
    /// # Errors
    /// `NotAuthentic`.
    pub(crate) fn decode<'a>(text: &str, key: impl FnOnce(i64) -> Option<TokenKey<'a>>) -> Result<Self, TokenError> {
        Self::read(text, key).ok_or(TokenError::NotAuthentic)
    }

    fn read<'a>(text: &str, key: impl FnOnce(i64) -> Option<TokenKey<'a>>) -> Option<Self> {
        if text.len() > MAX_TOKEN_CHARS {
            return None;
        }
        // Trailing bits that encode nothing are an error, so that no two texts are one token.
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_BYTES)?)?;
        let mut rest = Reader(signed);
        let [form] = rest.array()?;
        let number = i64::from_be_bytes(rest.array()?);
        let key = key(number).filter(|key| form == FORM && key.number == number)?;
        hmac::verify(&mac_key(key), &authenticated(signed), mac).ok()?;
        let [kind] = rest.array()?;
        let token = Self {
            kind: kind_of(kind)?,
            request: rest.array()?,
            revision: Revision {
                incarnation: Incarnation(Uuid::from_bytes(rest.array()?)),
                sequence: i64::from_be_bytes(rest.array()?),
            },
            as_of: Timestamp::from_unix_micros(i64::from_be_bytes(rest.array()?)).ok()?,
            last: rest.part()?,
            state: rest.part()?,
        };
        rest.0.is_empty().then_some(token)
    }

    /// Checks that the token continues the list `kind` of a request with this hash.
    ///
    /// # Errors
    /// `OtherRequest`.
    pub(crate) fn check(&self, kind: ListKind, request: &RequestHash) -> Result<(), TokenError> {
        if self.kind != kind || self.request != *request {
            return Err(TokenError::OtherRequest);
        }
        Ok(())
    }
}

fn mac_key(key: TokenKey<'_>) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.bytes)
}

fn authenticated(bytes: &[u8]) -> Vec<u8> {
    [PURPOSE, bytes].concat()
}

fn kind_byte(kind: ListKind) -> u8 {
    match kind {
        ListKind::Principals => 1,
        ListKind::Resources => 2,
        ListKind::Actions => 3,
    }
}

fn kind_of(byte: u8) -> Option<ListKind> {
    [ListKind::Principals, ListKind::Resources, ListKind::Actions].into_iter().find(|kind| kind_byte(*kind) == byte)
}

/// The bytes that are still to be read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const BYTES: usize>(&mut self) -> Option<[u8; BYTES]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn part(&mut self) -> Option<Vec<u8>> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(part.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TokenKey<'_> = TokenKey { number: 1, bytes: &[7; 32] };

    fn token() -> PageToken {
        PageToken {
            kind: ListKind::Principals,
            request: [9; 32],
            revision: Revision { incarnation: Incarnation(Uuid::from_u128(3)), sequence: 4711 },
            as_of: Timestamp::parse("2026-11-29T12:00:00Z").unwrap(),
            last: b"last".to_vec(),
            state: Vec::new(),
        }
    }

    #[test]
    fn a_token_reads_back_under_its_key_and_no_other() {
        let text = token().encode(ONE).unwrap();
        assert_eq!(PageToken::decode(&text, |number| (number == 1).then_some(ONE)), Ok(token()));
        let other = TokenKey { number: 1, bytes: &[8; 32] };
        assert_eq!(PageToken::decode(&text, |_| Some(other)), Err(TokenError::NotAuthentic));
        assert_eq!(PageToken::decode(&text, |_| None), Err(TokenError::NotAuthentic));
        // A key authenticates only tokens that name it.
        let renamed = TokenKey { number: 2, ..ONE };
        assert_eq!(PageToken::decode(&text, |_| Some(renamed)), Err(TokenError::NotAuthentic));
    }

    #[test]
    fn every_altered_character_and_every_other_length_is_refused() {
        let text = token().encode(ONE).unwrap();
        let refused = |text: &str| PageToken::decode(text, |_| Some(ONE)) == Err(TokenError::NotAuthentic);
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ %";
        for (at, original) in text.char_indices() {
            for other in alphabet.chars().filter(|other| *other != original) {
                let mut altered = text.clone();
                altered.replace_range(at..=at, &other.to_string());
                assert!(refused(&altered), "{other} at {at}");
            }
            assert!(refused(&text[..at]), "cut at {at}");
        }
        assert!(refused(&format!("{text}A")) && refused(&format!("{text}AAAA")));
    }

    #[test]
    fn a_token_continues_only_its_own_list() {
        let own = token();
        assert_eq!(own.check(ListKind::Principals, &own.request), Ok(()));
        assert_eq!(own.check(ListKind::Actions, &own.request), Err(TokenError::OtherRequest));
        assert_eq!(own.check(ListKind::Principals, &[8; 32]), Err(TokenError::OtherRequest));
    }

    #[test]
    fn a_part_that_is_too_long_makes_no_token() {
        let long = PageToken { last: vec![0; MAX_PART_BYTES], state: vec![0; MAX_PART_BYTES], ..token() };
        let text = long.encode(ONE).unwrap();
        assert!(text.len() <= MAX_TOKEN_CHARS);
        assert_eq!(PageToken::decode(&text, |_| Some(ONE)), Ok(long));
        assert_eq!(PageToken { last: vec![0; MAX_PART_BYTES + 1], ..token() }.encode(ONE), None);
    }
}
