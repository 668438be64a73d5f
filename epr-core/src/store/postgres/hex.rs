//! Hashes on PostgreSQL: stored as bytes, compared and returned as hex.

/// Bytes as text, in lower-case hex.
macro_rules! hex_text {
    ($column:literal) => {
        concat!("encode(", $column, ", 'hex')")
    };
}

/// The bytes of a text in hex.
macro_rules! hex_bytes {
    ($column:literal) => {
        concat!("decode(", $column, ", 'hex')")
    };
}
