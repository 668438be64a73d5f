//! The canonical form of hash version 1: the exact bytes that are hashed. Must never change.
//!
//! A JSON object with thirteen members in a fixed order, without spaces, in printable ASCII: everything else is
//! escaped. Numbers are written as the oldest implementation (Python) writes them. Source: the contract, section 4.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

pub(crate) use super::hex::hex;
use super::number;
use crate::domain::{Json, JsonObject, Timestamp};

/// The largest canonical text of `details` that is accepted, in bytes.
pub const MAX_DETAILS_BYTES: usize = 1024 * 1024;

/// All fields that are hashed, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    /// The action.
    pub action: &'a str,
    /// The id of the actor, lower-case with hyphens.
    pub actor_id: Option<&'a str>,
    /// The type of the actor.
    pub actor_type: &'a str,
    /// The correlation id.
    pub correlation_id: Option<&'a str>,
    /// The canonical text of `details`.
    pub details: &'a str,
    /// The id of the entity.
    pub entity_id: Option<&'a str>,
    /// The type of the entity.
    pub entity_type: Option<&'a str>,
    /// The idempotency key.
    pub event_id: Option<&'a str>,
    /// The version of the hash's computation.
    pub hash_version: i32,
    /// The time of the event.
    pub occurred_at: Timestamp,
    /// The hash of the previous entry.
    pub previous_hash: &'a str,
    /// The sequence of the entry.
    pub sequence: i64,
    /// The source.
    pub source: &'a str,
}

impl Fields<'_> {
    /// Appends the canonical text to `out`.
    pub fn write(&self, out: &mut String) {
        out.push_str("{\"action\":");
        text(self.action, out);
        out.push_str(",\"actor_id\":");
        optional(self.actor_id, out);
        out.push_str(",\"actor_type\":");
        text(self.actor_type, out);
        out.push_str(",\"correlation_id\":");
        optional(self.correlation_id, out);
        out.push_str(",\"details\":");
        out.push_str(self.details);
        out.push_str(",\"entity_id\":");
        optional(self.entity_id, out);
        out.push_str(",\"entity_type\":");
        optional(self.entity_type, out);
        out.push_str(",\"event_id\":");
        optional(self.event_id, out);
        let _ = write!(out, ",\"hash_version\":{},\"occurred_at\":\"", self.hash_version);
        moment(self.occurred_at, out);
        out.push_str("\",\"previous_hash\":");
        text(self.previous_hash, out);
        let _ = write!(out, ",\"sequence\":{},\"source\":", self.sequence);
        text(self.source, out);
        out.push('}');
    }
}

/// `hex(sha256(previous_hash + canonical))`.
#[must_use]
pub fn entry_hash(previous_hash: &str, canonical: &str) -> String {
    hex(&Sha256::new().chain_update(previous_hash).chain_update(canonical).finalize())
}

/// The canonical text of a value.
#[must_use]
pub fn text_of(json: &Json) -> String {
    let mut out = String::new();
    value(json, &mut out);
    out
}

/// An id as the canonical form writes it.
#[must_use]
pub fn id_text(id: Uuid) -> [u8; uuid::fmt::Hyphenated::LENGTH] {
    let mut buffer = Uuid::encode_buffer();
    id.hyphenated().encode_lower(&mut buffer);
    std::array::from_fn(|at| buffer.get(at).copied().unwrap_or(0))
}

fn value(json: &Json, out: &mut String) {
    match json {
        Json::Null => out.push_str("null"),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Int(number) => {
            let _ = write!(out, "{number}");
        }
        Json::UInt(number) => {
            let _ = write!(out, "{number}");
        }
        Json::Float(number) => number::write(*number, out),
        Json::Text(content) => text(content, out),
        Json::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                value(item, out);
            }
            out.push(']');
        }
        Json::Object(members) => object(members, out),
    }
}

fn object(members: &JsonObject, out: &mut String) {
    out.push('{');
    // The map is sorted by the bytes of UTF-8, which is the order of code points.
    for (at, (key, member)) in members.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        text(key, out);
        out.push(':');
        value(member, out);
    }
    out.push('}');
}

fn optional(content: Option<&str>, out: &mut String) {
    match content {
        Some(content) => text(content, out),
        None => out.push_str("null"),
    }
}

#[allow(clippy::needless_bitwise_bool, reason = "without a branch for each byte")]
fn text(content: &str, out: &mut String) {
    out.push('"');
    // Most text needs no escape. Looking at every byte is faster than looking for the first that needs one.
    let plain = |byte: u8| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
    if content.bytes().fold(true, |all, byte| all & plain(byte)) {
        out.push_str(content);
    } else {
        escaped(content, out);
    }
    out.push('"');
}

fn escaped(content: &str, out: &mut String) {
    let mut rest = content;
    while let Some(at) = rest.find(|c: char| !matches!(c, ' '..='~') || c == '"' || c == '\\') {
        let (plain, tail) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = tail.chars();
        if let Some(special) = chars.next() {
            escape(special, out);
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
}

fn escape(special: char, out: &mut String) {
    match special {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        other => {
            // Above U+FFFF this is a pair of surrogates.
            let mut units = [0; 2];
            for unit in other.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

/// `YYYY-MM-DDTHH:MM:SS[.ffffff]+00:00`, the fraction left out when it is zero.
pub(crate) fn moment(at: Timestamp, out: &mut String) {
    let moment = at.into_inner();
    let (date, clock) = (moment.date(), moment.time());
    digits(date.year().unsigned_abs(), 4, out);
    out.push('-');
    digits(u8::from(date.month()).into(), 2, out);
    out.push('-');
    digits(date.day().into(), 2, out);
    out.push('T');
    digits(clock.hour().into(), 2, out);
    out.push(':');
    digits(clock.minute().into(), 2, out);
    out.push(':');
    digits(clock.second().into(), 2, out);
    if clock.microsecond() != 0 {
        out.push('.');
        digits(clock.microsecond(), 6, out);
    }
    out.push_str("+00:00");
}

/// `number` with leading zeros; a verification of millions of entries spends its time here and in SHA-256.
fn digits(number: u32, width: u32, out: &mut String) {
    for place in (0..width).rev() {
        let digit = number / 10_u32.pow(place) % 10;
        out.push(char::from_digit(digit, 10).unwrap_or('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_outside_printable_ascii_are_escaped() {
        let mut out = String::new();
        text("a/\u{7f}\u{0}\u{1f}é\u{2028}😀\"\\", &mut out);
        assert_eq!(out, r#""a/\u007f\u0000\u001f\u00e9\u2028\ud83d\ude00\"\\""#);
    }
}
