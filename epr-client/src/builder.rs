//! Makes a [`Client`].

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::redirect;

use crate::base_url::{BaseUrl, BaseUrlError};
use crate::client::Client;
use crate::error::BoxError;
use crate::retry::RetryPolicy;
use crate::token::{StaticToken, TokenProvider};
use crate::transport::{Transport, bearer};

/// Until a connection is open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the start of an attempt to the last byte of its answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The base URL is not valid.
    #[error(transparent)]
    BaseUrl(#[from] BaseUrlError),
    /// The token holds characters that no header can carry.
    #[error("the token holds characters that no token has")]
    Token,
    /// The HTTP library cannot start, for example because there are no trusted certificates.
    #[error("the HTTP client cannot start")]
    Http(#[source] BoxError),
}

/// The settings of a client; see [`Client::builder`].
#[must_use]
pub struct Builder {
    base: Result<BaseUrl, BaseUrlError>,
    token: Option<Result<Arc<dyn TokenProvider>, BuildError>>,
    connect_timeout: Duration,
    timeout: Duration,
    retries: RetryPolicy,
    user_agent: String,
}

impl Builder {
    pub(crate) fn new(base_url: &str) -> Self {
        Self {
            base: base_url.parse(),
            token: None,
            connect_timeout: CONNECT_TIMEOUT,
            timeout: TIMEOUT,
            retries: RetryPolicy::default(),
            user_agent: concat!("epr-client/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// Sends this bearer token with every request. White space at its ends is ignored.
    pub fn token(self, token: impl Into<String>) -> Self {
        let token = token.into();
        let checked = bearer(&token).map(|_| Arc::new(StaticToken(token)) as Arc<dyn TokenProvider>);
        Self { token: Some(checked.ok_or(BuildError::Token)), ..self }
    }

    /// Asks for the token before every request.
    pub fn token_provider(self, provider: impl TokenProvider + 'static) -> Self {
        Self { token: Some(Ok(Arc::new(provider))), ..self }
    }

    /// How long a connection may take to open; 5 s by default.
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// How long one attempt may take, from its start to the last byte of the answer; 30 s by default.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// When calls are repeated; see [`RetryPolicy`] for the default.
    pub fn retries(self, retries: RetryPolicy) -> Self {
        Self { retries, ..self }
    }

    /// Sets the `User-Agent` of requests; `epr-client/<version>` by default.
    pub fn user_agent(self, user_agent: impl Into<String>) -> Self {
        Self { user_agent: user_agent.into(), ..self }
    }

    /// Makes the client. Opens no connection.
    ///
    /// # Errors
    /// The base URL, the token or the user agent is not valid, or the HTTP library cannot start.
    pub fn build(self) -> Result<Client, BuildError> {
        let http = |error: reqwest::Error| BuildError::Http(Box::new(error));
        let client = reqwest::Client::builder()
            .user_agent(self.user_agent)
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            // A redirect would carry the token to another server.
            .redirect(redirect::Policy::none())
            // This crate decides what is repeated.
            .retry(reqwest::retry::never())
            .build()
            .map_err(http)?;
        let transport = Transport {
            http: client,
            base: self.base?,
            token: self.token.transpose()?,
            retries: self.retries,
            timeout: self.timeout,
        };
        Ok(Client::new(transport, HeaderMap::<HeaderValue>::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_not_valid_are_refused_when_the_client_is_made() {
        assert!(matches!(Builder::new("epr.test").build(), Err(BuildError::BaseUrl(BaseUrlError::Syntax))));
        let builder = || Builder::new("https://epr.test");
        assert!(matches!(builder().token("two\nlines").build(), Err(BuildError::Token)));
        assert!(matches!(builder().user_agent("two\nlines").build(), Err(BuildError::Http(_))));
        assert!(builder().token("epr_abc\n").build().is_ok());
    }

    #[test]
    fn no_token_is_printed() {
        let client = Builder::new("https://epr.test").token("s3cret").build().unwrap();
        assert!(!format!("{client:?}").contains("s3cret"), "{client:?}");
    }
}
