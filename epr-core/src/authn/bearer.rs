//! The credential in the `Authorization` header (RFC 6750). Pure.

use super::CredentialError;

/// The longest header value that is read, in bytes.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// The token of the one `Authorization: Bearer …` among `values`; `None` when the header is absent.
///
/// # Errors
/// More than one header, another scheme, no token, or one with characters that no token has.
pub(super) fn token<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<&'a str>, CredentialError> {
    let mut values = values.into_iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    // A proxy could read one header and this service the other.
    if values.next().is_some() || value.len() > MAX_HEADER_BYTES {
        return Err(CredentialError::Malformed);
    }
    let value = std::str::from_utf8(value).map_err(|_| CredentialError::Malformed)?;
    let (scheme, rest) = value.split_once(' ').ok_or(CredentialError::Malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(CredentialError::Malformed);
    }
    let token = rest.trim_matches(' ');
    let (body, padding) = token.split_at(token.trim_end_matches('=').len());
    let is_token = !body.is_empty()
        && padding.len() <= 2
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'));
    if is_token { Ok(Some(token)) } else { Err(CredentialError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: &str) -> Result<Option<&str>, CredentialError> {
        token([value.as_bytes()])
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        for value in ["Bearer abc.d-e_f", "bearer abc.d-e_f", "BEARER   abc.d-e_f "] {
            assert_eq!(one(value), Ok(Some("abc.d-e_f")), "{value}");
        }
        assert_eq!(one("Bearer abc=="), Ok(Some("abc==")));
        assert_eq!(token([]), Ok(None));
    }

    #[test]
    fn a_header_of_any_other_form_is_refused() {
        let long = format!("Bearer {}", "a".repeat(MAX_HEADER_BYTES));
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer  ",
            "abc",
            "Basic YTpi",
            "Bearer\tabc",
            "Bearer a b",
            "Bearer a,b",
            "Bearer é",
            "Bearer ==",
            "Bearer a===",
            "Bearer a\u{0}b",
            "Bearer: abc",
            "Token abc",
            "Bearer Bearer abc",
            &long,
        ] {
            assert_eq!(one(value), Err(CredentialError::Malformed), "{value:.40}");
        }
        assert_eq!(token([b"Bearer a".as_slice(), b"Bearer a"]), Err(CredentialError::Malformed));
        assert_eq!(token([b"Bearer \xff".as_slice()]), Err(CredentialError::Malformed));
    }
}
