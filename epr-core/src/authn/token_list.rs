//! The accepted API tokens: names, hashes, scopes, expiry. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::token::{self, TokenHash};
use super::{Caller, CredentialError, Scopes};
use crate::domain::fields::{self, Fields};
use crate::domain::named_caller::CallerKind;
use crate::domain::{Invalid, Json, JsonObject, Text, Timestamp};

/// Maximum number of tokens in one list. Each is compared with the token of every request.
const MAX_TOKENS: usize = 1000;

/// Registered tokens.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TokenList(Vec<Entry>);

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    hash: TokenHash,
    caller: Caller,
    expires_at: Option<Timestamp>,
}

/// Why a text is not a list of tokens. Shows no hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TokenListError(String);

fn list_error(message: impl Into<String>) -> TokenListError {
    TokenListError(message.into())
}

impl TokenList {
    /// Reads a JSON list of `{name, sha256, scopes, actor_id?, expires_at?}`.
    ///
    /// # Errors
    /// The text is not such a list, or has an unknown member or scope, a repeated name or hash, or more than
    /// [`MAX_TOKENS`].
    pub fn parse(text: &str) -> Result<Self, TokenListError> {
        let Json::List(items) =
            Json::parse(text.as_bytes()).map_err(|error| list_error(format!("not valid JSON: {error}")))?
        else {
            return Err(list_error("it should be a JSON list of objects"));
        };
        items
            .iter()
            .enumerate()
            .map(|(at, item)| {
                let members = item.as_object().ok_or_else(|| list_error(format!("[{at}] should be an object")))?;
                Entry::read(members).map_err(|invalid| list_error(format!("[{at}] {}", sentence(&invalid))))
            })
            .collect::<Result<Vec<_>, _>>()
            .and_then(Self::of)
    }

    fn of(entries: Vec<Entry>) -> Result<Self, TokenListError> {
        if entries.len() > MAX_TOKENS {
            return Err(list_error(format!("there are more than {MAX_TOKENS} tokens")));
        }
        let (mut names, mut hashes) = (BTreeSet::new(), BTreeSet::new());
        for entry in &entries {
            let name = &entry.caller.name;
            if !names.insert(name) {
                return Err(list_error(format!("the name `{name}` appears twice")));
            }
            if !hashes.insert(entry.hash) {
                return Err(list_error(format!("the token `{name}` appears twice, under two names")));
            }
        }
        Ok(Self(entries))
    }

    /// Both lists combined.
    ///
    /// # Errors
    /// A name or a hash is in both.
    pub fn and(&self, other: &Self) -> Result<Self, TokenListError> {
        Self::of(self.0.iter().chain(&other.0).cloned().collect())
    }

    /// The number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The holder of the token `text`.
    ///
    /// # Errors
    /// It does not have the form of a token, is not registered, or has expired.
    pub(super) fn caller(&self, text: &str, now: Timestamp) -> Result<&Caller, CredentialError> {
        let given = token::hash(text).ok_or(CredentialError::Malformed)?;
        // All are compared, whichever matches, so that the time taken says nothing about the hashes.
        let mut found = u64::MAX;
        for (at, entry) in (0_u64..).zip(&self.0) {
            found.conditional_assign(&at, entry.hash.ct_eq(&given));
        }
        let entry = usize::try_from(found).ok().and_then(|at| self.0.get(at)).ok_or(CredentialError::UnknownToken)?;
        match entry.expires_at {
            Some(end) if now >= end => Err(CredentialError::Expired),
            _ => Ok(&entry.caller),
        }
    }
}

impl fmt::Debug for TokenList {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.0.iter().map(|entry| &entry.caller)).finish()
    }
}

impl Entry {
    fn read(members: &JsonObject) -> Result<Self, Invalid> {
        let mut fields = Fields::new("token", members);
        fields.only(&["name", "sha256", "scopes", "actor_id", "expires_at"]);
        let name = fields.required("name", fields::text::<1, 64>);
        let hash = fields.required("sha256", hash);
        let scopes = fields.required("scopes", fields::list(fields::choice));
        let actor_id = fields.optional("actor_id", fields::uuid);
        let expires_at = fields.optional("expires_at", fields::rfc3339);
        let entry = name.zip(hash).zip(scopes).map(|((name, hash), scopes)| Self {
            hash,
            caller: Caller {
                kind: CallerKind::Token,
                name: Arc::from(Text::into_string(name)),
                scopes: Scopes::from_iter(scopes),
                actor_id,
            },
            expires_at,
        });
        fields.finish(entry)
    }
}

/// 64 hex digits.
fn hash(value: &Json) -> fields::Reading<TokenHash> {
    let read = value.as_text().filter(|text| text.len() == 64 && text.is_ascii()).and_then(|text| {
        let mut hash = TokenHash::default();
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = text.get(2 * at..2 * at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok())?;
        }
        text.bytes().all(|b| b.is_ascii_hexdigit()).then_some(hash)
    });
    let wrong = || vec![fields::Problem::new("sha256", "Input should be a SHA-256 in 64 hex digits")];
    read.ok_or_else(wrong)
}

fn sentence(invalid: &Invalid) -> String {
    let one = |error: &fields::FieldError| format!("{}: {}", error.path(), error.msg);
    invalid.0.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::Scope;

    const TOKEN: &str = "epr_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg";

    fn hex(token: &str) -> String {
        token::hex(&token::hash(token).unwrap())
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn a_token_is_found_until_it_expires() {
        let other = token::mint().unwrap();
        let text = format!(
            r#"[{{"name": "other", "sha256": "{}", "scopes": []}},
                {{"name": "vault", "sha256": "{}", "scopes": ["epr:authorize"], "expires_at": "2027-01-01T00:00:00Z",
                  "actor_id": "AAAAAAAA-0000-4000-8000-000000000001"}}]"#,
            hex(&other),
            hex(TOKEN).to_uppercase()
        );
        let list = TokenList::parse(&text).unwrap();
        let caller = list.caller(TOKEN, at("2026-12-31T23:59:59.999999Z")).unwrap();
        assert_eq!((&*caller.name, caller.scopes), ("vault", Scopes::from_iter([Scope::Authorize])));
        assert_eq!(caller.actor_id.unwrap().to_string(), "aaaaaaaa-0000-4000-8000-000000000001");
        assert_eq!(list.caller(TOKEN, at("2027-01-01T00:00:00Z")), Err(CredentialError::Expired));
        assert_eq!(&*list.caller(&other, at("9999-01-01T00:00:00Z")).unwrap().name, "other");
        assert_eq!(
            list.caller(&token::mint().unwrap(), at("2026-01-01T00:00:00Z")),
            Err(CredentialError::UnknownToken)
        );
        assert_eq!(list.caller(&TOKEN[..46], at("2026-01-01T00:00:00Z")), Err(CredentialError::Malformed));
        assert_eq!(TokenList::default().caller(TOKEN, at("2026-01-01T00:00:00Z")), Err(CredentialError::UnknownToken));
        let shown = format!("{list:?}");
        assert!(shown.contains("vault") && !shown.to_lowercase().contains(&hex(TOKEN)[..8]), "{shown}");
    }

    #[test]
    fn errors_about_lists_show_no_hash() {
        let hash = hex(TOKEN);
        let entry = |name: &str, hash: &str| format!(r#"{{"name": "{name}", "sha256": "{hash}", "scopes": []}}"#);
        let cases = [
            ("nonsense".to_owned(), "not valid JSON"),
            ("{}".to_owned(), "should be a JSON list"),
            ("[1]".to_owned(), "[0] should be an object"),
            ("[{}]".to_owned(), "name: Field required; sha256: Field required; scopes: Field required"),
            (format!("[{}]", entry("a", "00")), "[0] sha256: Input should be a SHA-256"),
            (format!("[{}]", entry("a", &format!("+{}", &hash[1..]))), "sha256: Input"),
            (format!("[{}, {}]", entry("a", &hash), entry("a", &"0".repeat(64))), "the name `a` appears twice"),
            (format!("[{}, {}]", entry("a", &hash), entry("b", &hash)), "the token `b` appears twice"),
            (
                format!(r#"[{{"name": "a", "sha256": "{hash}", "scopes": ["epr:root"]}}]"#),
                "scopes.0: Input should be one of 'epr:authorize'",
            ),
            (
                format!(r#"[{{"name": "a", "sha256": "{hash}", "scopes": [], "expires": null}}]"#),
                "expires: This field is unknown",
            ),
            (format!(r#"[{{"name": "a", "name": "b", "sha256": "{hash}", "scopes": []}}]"#), "stands twice"),
        ];
        for (text, expected) in cases {
            let error = TokenList::parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains(&hash[..16]), "{error}");
        }
    }
}
