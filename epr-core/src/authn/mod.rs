//! Authentication: a bearer token in, a [`Caller`] with its scopes out.
//!
//! Knows nothing of HTTP but the value of the `Authorization` header. Must never store, log or return a token.

mod algorithm;
mod authenticator;
mod bearer;
mod caller;
mod discovery;
mod id_token;
pub mod issuer_http;
mod jwk;
mod jwks;
mod jwt;
mod provider;
mod scope;
pub mod token;
mod token_list;

pub use algorithm::{ALGORITHMS, Algorithm};
pub use authenticator::{Authenticator, StartError, TokenFileError, read_token_file};
pub use caller::{AuthenticationError, Caller, CredentialError};
pub use id_token::IdTokenRules;
pub use jwks::read_keys;
pub use jwt::JwtRules;
pub use provider::{LoginError, LoginRequest, Provider, read_provider};
pub use scope::{Scope, Scopes};
pub use token_list::{TokenList, TokenListError};
