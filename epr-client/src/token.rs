//! Where the token of a call comes from.
//!
//! Must never print a token.

use async_trait::async_trait;

use crate::error::BoxError;

/// Gives the token for each request, for tokens that expire while the program runs. An async closure without
/// arguments is a provider.
///
/// ```
/// # use epr_client::Client;
/// let client = Client::builder("https://epr.example.com")
///     .token_provider(async || Ok(std::fs::read_to_string("/run/secrets/epr-token")?))
///     .build();
/// # assert!(client.is_ok());
/// ```
#[async_trait]
pub trait TokenProvider: Send + Sync {
    /// The token to send now, without `Bearer`. White space at its ends is ignored. It is called before every
    /// attempt: a provider that fetches tokens has to keep them until they expire.
    ///
    /// # Errors
    /// There is no token; the call fails with [`Error::Token`](crate::Error::Token).
    async fn token(&self) -> Result<String, BoxError>;
}

#[async_trait]
impl<F, Fut> TokenProvider for F
where
    F: Fn() -> Fut + Send + Sync,
    Fut: Future<Output = Result<String, BoxError>> + Send,
{
    async fn token(&self) -> Result<String, BoxError> {
        self().await
    }
}

/// A source that returns one token for every request.
pub(crate) struct StaticToken(pub(crate) String);

#[async_trait]
impl TokenProvider for StaticToken {
    async fn token(&self) -> Result<String, BoxError> {
        Ok(self.0.clone())
    }
}
