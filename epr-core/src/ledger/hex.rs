//! Bytes as hex digits in lower case.

use super::merkle::Hash;

/// Bytes in hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
    let digits: Vec<u8> = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    String::from_utf8(digits).unwrap_or_default()
}

/// The hash with these 64 hex digits in lower case, for example the data of the leaf of an entry with this hash; `None`
/// for any other text.
#[must_use]
#[allow(clippy::needless_bitwise_bool, reason = "without a branch for each digit")]
pub fn read_hex(text: &str) -> Option<Hash> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut data = Hash::default();
    if pairs.len() != data.len() || !rest.is_empty() {
        return None;
    }
    let mut are_digits = true;
    let mut digit = |digit: u8| {
        let (number, letter) = (digit.wrapping_sub(b'0'), digit.wrapping_sub(b'a'));
        are_digits &= (number < 10) | (letter < 6);
        if number < 10 { number } else { letter.wrapping_add(10) }
    };
    for (byte, [high, low]) in data.iter_mut().zip(pairs) {
        *byte = digit(*high) << 4 | digit(*low);
    }
    are_digits.then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_digits_in_lower_case_are_a_hash() {
        let hash: Hash = std::array::from_fn(|at| u8::try_from(at * 8 + 3).unwrap_or(0));
        let text = hex(&hash);
        assert_eq!(read_hex(&text), Some(hash));
        for other in [&text[..62], &text[..63], &format!("{text}00"), &text.to_uppercase(), &text.replace('b', "g")] {
            assert_eq!(read_hex(other), None, "{other}");
        }
    }
}
