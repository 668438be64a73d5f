//! The position in a distributed trace: `traceparent` of W3C Trace Context.
//!
//! Owns its reading and writing. Must never start a trace.

use std::fmt;

/// A `traceparent`: which trace, which span of it, and its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceParent {
    /// From the ids of a trace and a span.
    #[must_use]
    pub fn new(trace: [u8; 16], span: [u8; 8], flags: u8) -> Option<Self> {
        let (trace, span) = (u128::from_be_bytes(trace), u64::from_be_bytes(span));
        (trace != 0 && span != 0).then_some(Self { trace, span, flags })
    }

    /// Reads the header's value, of version 00 or of a later one, of which the fields of version 00 are used. `None`
    /// when it is not valid: such a header is treated as absent.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lower_hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let mut parts = text.splitn(5, '-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let whole = lower_hex(version, 2) && lower_hex(trace, 32) && lower_hex(span, 16) && lower_hex(flags, 2);
        if !whole || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok()?;
        let span = u64::from_str_radix(span, 16).ok()?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Self::new(trace.to_be_bytes(), span.to_be_bytes(), flags)
    }

    /// The trace.
    #[must_use]
    pub fn trace_id(self) -> [u8; 16] {
        self.trace.to_be_bytes()
    }

    /// The span.
    #[must_use]
    pub fn span_id(self) -> [u8; 8] {
        self.span.to_be_bytes()
    }

    /// The flags; the lowest bit says that the trace is recorded.
    #[must_use]
    pub fn flags(self) -> u8 {
        self.flags
    }
}

impl fmt::Display for TraceParent {
    /// Writes the header of version 00.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn reads_and_writes_the_same() {
        assert_eq!(TraceParent::parse(GIVEN).unwrap().to_string(), GIVEN);
        let later = GIVEN.replacen("00", "cc", 1) + "-what-the-future-will-be-like";
        assert_eq!(TraceParent::parse(&later).unwrap().to_string(), GIVEN);
    }

    #[test]
    fn an_invalid_traceparent_is_treated_as_absent() {
        for nonsense in [
            String::new(),
            "00".into(),
            GIVEN.to_uppercase(),
            GIVEN.replacen("00", "ff", 1),
            format!("{GIVEN}-x"),
            GIVEN.replace("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
            GIVEN.replace("00f067aa0ba902b7", "0000000000000000"),
            GIVEN.replace("4bf9", "+bf9"),
        ] {
            assert_eq!(TraceParent::parse(&nonsense), None, "{nonsense}");
        }
    }
}
