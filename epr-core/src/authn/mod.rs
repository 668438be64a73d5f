//! Authentication: a bearer token in, a [`Caller`] with its scopes out.
//!
//! Knows nothing of HTTP but the value of the `Authorization` header. Must never store, log or return a token.

mod algorithm;
mod authenticator;
mod bearer;
mod caller;
mod jwk;
mod jwks;
pub mod jwks_http;
mod jwt;
mod scope;
pub mod token;
mod token_list;

pub use algorithm::{ALGORITHMS, Algorithm};
pub use authenticator::{Authenticator, StartError, TokenFileError, read_token_file};
pub use caller::{AuthenticationError, Caller, CredentialError};
pub use jwks::read_keys;
pub use jwt::JwtRules;
pub use scope::{Scope, Scopes};
pub use token_list::{TokenList, TokenListError};
