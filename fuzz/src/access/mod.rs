//! The reader of page tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

#[path = "../../../epr-core/src/handlers/access/token.rs"]
mod page_token;

use page_token::{PageToken, TokenKey};

const KEY: TokenKey<'_> = TokenKey { number: 1, bytes: &[7; 32] };

/// Reads one token, as text or as the bytes of one.
///
/// # Panics
/// A text is accepted that is not the only one of its token.
pub fn token(bytes: &[u8]) {
    let text = match bytes.split_first() {
        Some((0, raw)) => URL_SAFE_NO_PAD.encode(raw),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => return,
        },
    };
    if let Ok(token) = PageToken::decode(&text, |number| (number == KEY.number).then_some(KEY)) {
        assert_eq!(token.encode(KEY).as_deref(), Some(text.as_str()), "a token has one text");
    }
}
