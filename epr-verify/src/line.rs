//! One line of an export: its members, and the text of its entry, which is hashed.
//!
//! A line as `epr audit export` writes it is read without building values, because reading must not take longer than
//! hashing. Any other spelling of the same JSON is read by a JSON parser. Must never accept a line that a JSON parser
//! reads otherwise.

use memchr::{memchr2, memrchr};
use serde::Deserialize;

use crate::finding::{Level, Stop};
use crate::ledger::merkle::Hash;
use crate::ledger::sha256::{BLOCK_BYTES, of_message_in};
use crate::ledger::{HexHash, hex, hex_digits, is_hex};

/// The bytes whose escapes are found at a time.
const BLOCK: usize = 64;
/// The bytes that are copied at a time.
const SHORT: usize = 32;
/// A block, and what a copy that begins in it may reach.
const WINDOW: usize = BLOCK + SHORT;

/// An entry whose text has its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    /// The hash that the entry names as that of the entry before it.
    pub(crate) previous_hash: HexHash,
    pub(crate) hash: Hash,
    /// The same in hex.
    pub(crate) hex_hash: HexHash,
}

/// Space for the text of one entry after another: the hash that is hashed before it, the text, and what its padding
/// takes.
#[derive(Debug, Default)]
pub(crate) struct Text {
    bytes: Vec<u8>,
    len: usize,
}

/// Where the text begins, behind the previous hash in hex.
const TEXT_AT: usize = size_of::<HexHash>();

/// A line in any spelling.
#[derive(Deserialize)]
struct Line {
    sequence: u64,
    previous_hash: String,
    entry_hash: String,
    canonical: String,
}

/// The members of an entry's text that its place in the chain depends on.
#[derive(Deserialize)]
struct Link {
    sequence: u64,
    previous_hash: String,
}

/// Reads a line and compares the hash of its text with the hash that it states.
pub(crate) fn hash_line(line: &[u8], text: &mut Text) -> Result<Entry, Stop> {
    if let Some(members) = Members::of(line)
        && text.unescape(members.canonical).is_some()
    {
        let Members { sequence, digits, previous_hash, entry_hash, .. } = members;
        return hash_text(sequence, digits, previous_hash, entry_hash, text);
    }
    let Line { sequence, previous_hash, entry_hash, canonical } = serde_json::from_slice(line)
        .map_err(|error| Stop::Unreadable(format!("a line is not an entry of an export: {error}")))?;
    let digits = sequence.to_string();
    text.set(canonical.as_bytes());
    hash_text(sequence, digits.as_bytes(), previous_hash.as_bytes(), entry_hash.as_bytes(), text)
}

fn hash_text(
    sequence: u64,
    digits: &[u8],
    previous_hash: &[u8],
    stored: &[u8],
    text: &mut Text,
) -> Result<Entry, Stop> {
    let (Some(previous), Some(stored)) = (is_hex(previous_hash), is_hex(stored)) else {
        return Stop::found(Level::Entry, format!("entry {sequence} has a hash that is not 64 hex digits"));
    };
    let Some(hash) = text.hash_after(previous) else {
        return Err(Stop::Unreadable("a text is too long".to_owned()));
    };
    if hex_digits(&hash) != *stored {
        let (computed, stored) = (hex(&hash), String::from_utf8_lossy(stored));
        return Stop::found(
            Level::Entry,
            format!("the text of entry {sequence} has the hash {computed}, but {stored} is stored"),
        );
    }
    let canonical = text.as_bytes();
    if !ends_with_place(canonical, digits, previous_hash) && !names_place(canonical, sequence, previous_hash) {
        return Stop::found(Level::Entry, format!("the text of entry {sequence} is that of another entry"));
    }
    Ok(Entry { sequence, previous_hash: *previous, hash, hex_hash: *stored })
}

/// Whether the text ends as EPR writes it: with this previous hash, this sequence, and a source.
fn ends_with_place(canonical: &[u8], digits: &[u8], previous_hash: &[u8]) -> bool {
    const SOURCE: &[u8] = b",\"source\":\"";
    let mut before = canonical;
    // A quote within the source is escaped, so that the last `,"source":"` is not within it.
    let source = loop {
        let Some(comma) = memrchr(b',', before) else { return false };
        before = before.get(..comma).unwrap_or_default();
        if let Some(source) = canonical.get(comma..).and_then(|from| from.strip_prefix(SOURCE)) {
            break source;
        }
    };
    let place = before
        .strip_suffix(digits)
        .and_then(|rest| rest.strip_suffix(b"\",\"sequence\":"))
        .and_then(|rest| rest.strip_suffix(previous_hash));
    let source = source.strip_suffix(b"\"}");
    place.is_some_and(|rest| rest.ends_with(b",\"previous_hash\":\"")) && source.is_some_and(is_one_string)
}

/// Whether no quote ends the string before its end.
fn is_one_string(mut inside: &[u8]) -> bool {
    while let Some(at) = memchr2(b'\\', b'"', inside) {
        if inside.get(at) == Some(&b'"') {
            return false;
        }
        let Some(rest) = inside.get(at + 2..) else { return false };
        inside = rest;
    }
    true
}

/// Whether the text names this previous hash and sequence, in whatever order its members are.
fn names_place(canonical: &[u8], sequence: u64, previous_hash: &[u8]) -> bool {
    serde_json::from_slice::<Link>(canonical)
        .is_ok_and(|link| link.sequence == sequence && link.previous_hash.as_bytes() == previous_hash)
}

/// The parts of a line as `epr audit export` writes it.
struct Members<'l> {
    sequence: u64,
    digits: &'l [u8],
    previous_hash: &'l [u8],
    entry_hash: &'l [u8],
    /// The text with its escapes.
    canonical: &'l [u8],
}

impl<'l> Members<'l> {
    /// `None` for any other spelling.
    fn of(line: &'l [u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"{\"sequence\":")?;
        let (digits, rest) = rest.split_at(rest.iter().position(|byte| !byte.is_ascii_digit())?);
        let sequence = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let (previous_hash, rest) = rest.strip_prefix(b",\"previous_hash\":\"")?.split_at_checked(64)?;
        let (entry_hash, rest) = rest.strip_prefix(b"\",\"entry_hash\":\"")?.split_at_checked(64)?;
        let canonical = rest.strip_prefix(b"\",\"canonical\":\"")?.strip_suffix(b"\"}")?;
        // JSON has no number that begins with 0.
        let is_number = digits == b"0" || !digits.starts_with(b"0");
        is_number.then_some(Self { sequence, digits, previous_hash, entry_hash, canonical })
    }
}

impl Text {
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(TEXT_AT..TEXT_AT + self.len).unwrap_or_default()
    }

    /// Makes space for a text of `length` bytes.
    fn reserve(&mut self, length: usize) {
        let needed = TEXT_AT + length + 2 * WINDOW.max(BLOCK_BYTES);
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
    }

    fn set(&mut self, text: &[u8]) {
        self.reserve(text.len());
        self.len = text.len();
        if let Some(space) = self.bytes.get_mut(TEXT_AT..TEXT_AT + text.len()) {
            space.copy_from_slice(text);
        }
    }

    /// The [`entry_hash`](crate::ledger::entry_hash) of the text. `None` if it is too long.
    fn hash_after(&mut self, previous: &HexHash) -> Option<Hash> {
        *self.bytes.first_chunk_mut()? = *previous;
        of_message_in(&mut self.bytes, TEXT_AT + self.len)
    }

    /// Takes `escaped` without its escapes. `None` if it has other escapes than those of `"` and `\`, which are the
    /// only ones in a text of printable ASCII, or a quote without one, which would end the string.
    fn unescape(&mut self, escaped: &[u8]) -> Option<()> {
        self.reserve(escaped.len());
        let mut finder = Escapes::of(escaped)?;
        let (mut length, mut rest) = (0, escaped);
        while let Some(window) = rest.first_chunk::<WINDOW>() {
            length += self.take(length, window, finder.of_block(window)?)?;
            rest = rest.get(BLOCK..)?;
        }
        // The rest, with spaces behind it.
        let mut padded = [b' '; 2 * WINDOW];
        padded.get_mut(..rest.len())?.copy_from_slice(rest);
        let blocks = rest.len().div_ceil(BLOCK);
        for block in 0..blocks {
            let window = padded.get(block * BLOCK..)?.first_chunk::<WINDOW>()?;
            length += self.take(length, window, finder.of_block(window)?)?;
        }
        self.len = length - (blocks * BLOCK - rest.len());
        // A backslash at the very end escapes the quote that ends the string.
        (!finder.first_is_escaped || !rest.len().is_multiple_of(BLOCK)).then_some(())
    }

    /// Puts the first bytes of `window` at `at`, without those whose bits are set. Returns how many there are.
    fn take(&mut self, at: usize, window: &[u8; WINDOW], mut without: u64) -> Option<usize> {
        let free = self.bytes.get_mut(TEXT_AT + at..)?.first_chunk_mut::<WINDOW>()?;
        let (mut from, mut to) = (0, 0);
        loop {
            let end = usize::try_from(without.trailing_zeros()).ok()?;
            let part = end - from;
            // More than the part: what follows overwrites it. The compiler knows the lengths, and that the indexes
            // are within the windows.
            let mut copied = 0;
            loop {
                let (source, target) = ((from + copied) % BLOCK, (to + copied) % BLOCK);
                free.get_mut(target..target + SHORT)?.copy_from_slice(window.get(source..source + SHORT)?);
                copied += SHORT;
                if copied >= part {
                    break;
                }
            }
            to += part;
            if without == 0 {
                return Some(to);
            }
            without &= without - 1;
            from = end + 1;
        }
    }
}

/// Finds the backslashes that begin an escape, block by block.
struct Escapes {
    /// Whether each quote follows a backslash and each backslash precedes a quote: nothing else is escaped.
    are_of_quotes: bool,
    /// Whether the last byte of the block before begins an escape.
    first_is_escaped: bool,
}

impl Escapes {
    /// `None` unless the text is ASCII.
    #[allow(clippy::needless_bitwise_bool, reason = "a branch for each byte would be most of the time")]
    fn of(escaped: &[u8]) -> Option<Self> {
        let (first, last) = (escaped.first().copied().unwrap_or(b' '), escaped.last().copied().unwrap_or(b' '));
        // Without a branch for each byte.
        let pairs = escaped.iter().zip(escaped.get(1..).unwrap_or_default());
        let (wrong, all) = pairs.fold((first == b'"' || last == b'\\', last), |(wrong, all), (byte, next)| {
            (wrong | ((*byte == b'\\') != (*next == b'"')), all | byte)
        });
        all.is_ascii().then_some(Self { are_of_quotes: !wrong, first_is_escaped: false })
    }

    /// A bit for each byte of the block that begins an escape. `None` after an escape of another byte than a quote or
    /// a backslash, and after a quote that is not escaped.
    fn of_block(&mut self, window: &[u8; WINDOW]) -> Option<u64> {
        let block = window.first_chunk::<BLOCK>()?;
        let backslashes = positions(block, b'\\');
        if self.are_of_quotes { Some(backslashes) } else { self.of_any(backslashes, positions(block, b'"')) }
    }

    fn of_any(&mut self, backslashes: u64, quotes: u64) -> Option<u64> {
        let first = u64::from(std::mem::take(&mut self.first_is_escaped));
        let specials = backslashes | quotes;
        if first & !specials != 0 {
            return None;
        }
        let (mut begin, mut rest) = (0, specials & !first);
        while rest != 0 {
            let backslash = rest & rest.wrapping_neg();
            let escaped = backslash << 1;
            self.first_is_escaped = escaped == 0;
            if backslashes & backslash == 0 || escaped & !specials != 0 {
                return None;
            }
            begin |= backslash;
            rest &= !(backslash | escaped);
        }
        Some(begin)
    }
}

/// A bit for each byte of the block that equals `byte`, the first one's lowest. Every byte must be ASCII.
fn positions(block: &[u8; BLOCK], byte: u8) -> u64 {
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    block.as_chunks::<8>().0.iter().zip(0..).fold(0, |bits, (word, at)| {
        // 0 where the byte is the one, and below 0x80 elsewhere, so that no difference borrows from the next byte.
        let different = u64::from_le_bytes(*word) ^ u64::from_ne_bytes([byte; 8]);
        let found = HIGH.wrapping_sub(different) & HIGH;
        // Gathers the highest bit of each byte in the highest byte.
        let gathered = found.wrapping_mul(0x0002_0408_1020_4081) >> 56;
        bits | gathered << (8 * at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped(escaped: &[u8]) -> Option<Vec<u8>> {
        let mut text = Text::default();
        // What is left of a longer text must not show through.
        text.unescape(&[b'x'; 300])?;
        text.unescape(escaped)?;
        Some(text.as_bytes().to_vec())
    }

    #[test]
    fn a_text_is_read_as_a_json_parser_reads_it() {
        // Escapes at every place of a block and across its end, alone and next to each other.
        for length in 0..200 {
            for escape in [r#"\""#, r"\\", r#"\\\""#, r"\\\\\\"] {
                let escaped = format!("{}{escape}{}{escape}", "a".repeat(length), "b".repeat(length % 37));
                let expected: String = serde_json::from_str(&format!("\"{escaped}\"")).unwrap();
                assert_eq!(unescaped(escaped.as_bytes()), Some(expected.into_bytes()), "{escaped}");
            }
        }
    }

    #[test]
    fn a_text_that_ends_early_or_has_other_escapes_is_left_to_the_json_parser() {
        for length in 0..130 {
            for other in ["\"", "é", r"\n", r#"\\""#, r"\u0041", r#""x":"y"#] {
                let escaped = format!("{}{other}{}", "a".repeat(length), "b".repeat(length % 37));
                assert_eq!(unescaped(escaped.as_bytes()), None, "{escaped}");
            }
            assert_eq!(unescaped(format!("{}\\", "a".repeat(length)).as_bytes()), None, "{length}");
        }
    }

    #[test]
    fn the_place_is_that_at_the_end_of_the_text() {
        let hash = "ab".repeat(32);
        let fast = |text: &str| ends_with_place(text.as_bytes(), b"7", hash.as_bytes());
        let place = format!(r#""previous_hash":"{hash}","sequence":7"#);
        assert!(fast(&format!(r#"{{"action":"a",{place},"source":"s"}}"#)));
        assert!(fast(&format!(r#"{{"action":"a",{place},"source":"s,\"source\":\"t\\"}}"#)));
        let elsewhere = r#""previous_hash":"00","sequence":8"#;
        for text in [
            format!(r#"{{"action":"a",{elsewhere},"source":"s"}}"#),
            // Inside the details, or inside the source.
            format!(r#"{{"details":{{"a":1,{place},"source":"s"}},{elsewhere}}}"#),
            format!(r#"{{"details":{{"a":1,{place},"source":"s"}},{elsewhere},"source":"s"}}"#),
            format!(r#"{{"details":{{"a":1,{place},"source":"s"}},{elsewhere},"other":"s"}}"#),
            format!(r#"{{"a":1,{place}1,"source":"x"}}"#),
        ] {
            assert!(!fast(&text) && !names_place(text.as_bytes(), 7, hash.as_bytes()), "{text}");
        }
        // In another order, which only other programs write.
        assert!(names_place(format!(r#"{{"source":"s",{place}}}"#).as_bytes(), 7, hash.as_bytes()));
        assert!(!names_place(format!(r#"{{"source":"s",{place},"sequence":8}}"#).as_bytes(), 7, hash.as_bytes()));
    }
}
