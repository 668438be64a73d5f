//! The readers of credentials, without the crypto library: the use of keys is not fuzzed here.

use crate::domain::{Json, Timestamp};

#[path = "../../../epr-core/src/authn/algorithm.rs"]
pub mod algorithm;
#[path = "../../../epr-core/src/authn/bearer.rs"]
pub mod bearer;
#[path = "../../../epr-core/src/authn/caller.rs"]
pub mod caller;
#[path = "../../../epr-core/src/authn/jwk.rs"]
pub mod jwk;
#[path = "../../../epr-core/src/authn/jwt.rs"]
pub mod jwt;
#[path = "../../../epr-core/src/authn/scope.rs"]
pub mod scope;
#[path = "../../../epr-core/src/authn/token.rs"]
pub mod token;
#[path = "../../../epr-core/src/authn/token_list.rs"]
pub mod token_list;

pub use caller::{Caller, CredentialError};
pub use scope::{Scope, Scopes};

/// Reads one header: the steps before and after the check of its signature.
pub fn header(value: &[u8], rules: &jwt::JwtRules, tokens: &token_list::TokenList, now: Timestamp) {
    if let Ok(Some(token)) = bearer::token([value]) {
        assert!(tokens.caller(token, now).is_err(), "the list of tokens is empty");
        let _ = jwt::Jwt::parse(token, rules);
    }
}

/// Reads a document as claims and as a set of keys.
pub fn document(bytes: &[u8], rules: &jwt::JwtRules, now: Timestamp) -> Option<Caller> {
    if let Ok(keys) = jwk::KeySet::parse(bytes) {
        assert!(keys.len() <= 100);
    }
    match Json::parse(bytes) {
        Ok(Json::Object(claims)) => jwt::caller(&claims, rules, now).ok(),
        _ => None,
    }
}
