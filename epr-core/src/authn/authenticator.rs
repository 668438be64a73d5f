//! From the `Authorization` header to a caller, by every kind of credential that the settings accept.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tracing::{info, warn};

use super::issuer_http::FetchError;
use super::jwks::{FILE_INTERVAL, Jwks, KeyReader};
use super::jwt::Jwt;
use super::{AuthenticationError, Caller, CredentialError, JwtRules, Provider, TokenList, TokenListError, bearer};
use crate::clock::{Clock, SystemClock};
use crate::error::chain;
use crate::settings::AuthSettings;

/// Maximum size of a file of tokens, in bytes.
const MAX_FILE_BYTES: usize = 1024 * 1024;

/// Authenticates callers.
pub struct Authenticator {
    clock: Arc<dyn Clock>,
    tokens: Option<Tokens>,
    jwt: Option<Issuer>,
    provider: Option<Provider>,
    unguarded: bool,
}

enum Tokens {
    Fixed(TokenList),
    File(Arc<TokenFile>),
}

struct Issuer {
    rules: JwtRules,
    keys: Jwks,
}

/// Why authentication cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file of tokens cannot be used.
    #[error("EPR_API_TOKENS_FILE `{0}` cannot be used")]
    Tokens(PathBuf, #[source] TokenFileError),
    /// No client can be built for the issuer's keys.
    #[error("the issuer cannot be asked for its keys")]
    Client(#[from] FetchError),
}

/// Why a file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Io(#[from] std::io::Error),
    /// It is larger than a megabyte.
    #[error("it is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    /// It is not a list of tokens.
    #[error(transparent)]
    List(#[from] TokenListError),
}

impl Authenticator {
    /// Starts as the settings demand. Keys of an issuer are fetched in the background: until they have arrived, its
    /// tokens are answered `Unavailable`. Files are read again every ten seconds.
    ///
    /// # Errors
    /// The file of tokens cannot be used.
    pub async fn start(settings: &AuthSettings, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let tokens = match &settings.tokens {
            None => None,
            Some(tokens) => Some(match &tokens.file {
                None => Tokens::Fixed(tokens.listed.clone()),
                Some(path) => {
                    let file = TokenFile::open(path.clone(), tokens.listed.clone()).await;
                    Tokens::File(Arc::new(file.map_err(|error| StartError::Tokens(path.clone(), error))?))
                }
            }),
        };
        if let Some(Tokens::File(file)) = &tokens {
            tokio::spawn(watch(Arc::downgrade(file)));
        }
        let jwt = match &settings.jwt {
            None => None,
            Some(jwt) => {
                let reader = KeyReader::new(&jwt.keys)?;
                Some(Issuer {
                    rules: jwt.rules.clone(),
                    keys: Jwks::start(reader, jwt.max_key_age, Arc::clone(&clock)),
                })
            }
        };
        let provider = match &settings.oidc {
            None => None,
            Some(oidc) => Some(Provider::new(oidc.clone(), Arc::clone(&clock))?),
        };
        Ok(Self { clock, tokens, jwt, provider, unguarded: settings.unguarded })
    }

    /// Accepts every caller without a credential.
    #[must_use]
    pub fn none() -> Self {
        Self { clock: Arc::new(SystemClock), tokens: None, jwt: None, provider: None, unguarded: false }
    }

    /// Whether no credential is required.
    #[must_use]
    pub fn off(&self) -> bool {
        self.tokens.is_none() && self.jwt.is_none()
    }

    /// The provider at which people log in to the console, if there is one.
    #[must_use]
    pub fn provider(&self) -> Option<&Provider> {
        self.provider.as_ref()
    }

    /// Whether this is production without authentication, and the settings do not say that it is intended.
    #[must_use]
    pub fn unguarded(&self) -> bool {
        self.unguarded
    }

    /// The caller, by the values of the request's `Authorization` headers.
    ///
    /// # Errors
    /// See [`AuthenticationError`].
    pub async fn authenticate<'a>(
        &self,
        headers: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Caller, AuthenticationError> {
        let token = bearer::token(headers)?.ok_or(AuthenticationError::Missing)?;
        // An API token has no dot, and a JWT has two.
        match (&self.tokens, &self.jwt) {
            (_, Some(issuer)) if token.contains('.') => issuer.caller(token, &*self.clock).await,
            (Some(Tokens::Fixed(list)), _) => Ok(list.caller(token, self.clock.now())?.clone()),
            (Some(Tokens::File(file)), _) => Ok(file.list().caller(token, self.clock.now())?.clone()),
            (None, _) => Err(CredentialError::Malformed.into()),
        }
    }

    /// Reads again what the background readers would have read by now, if they had not been frozen with the process:
    /// the file of tokens, and the issuer's keys when the last attempt is older than its interval.
    pub async fn refresh_outdated(&self) {
        self.reread().await;
        if let Some(issuer) = &self.jwt {
            issuer.keys.refresh_outdated().await;
        }
    }

    /// Reads the file of tokens again now. A file that cannot be used is logged and changes nothing.
    pub async fn reread(&self) {
        if let Some(Tokens::File(file)) = &self.tokens {
            file.reread().await;
        }
    }
}

impl Issuer {
    async fn caller(&self, token: &str, clock: &dyn Clock) -> Result<Caller, AuthenticationError> {
        let jwt = Jwt::parse(token, &self.rules)?;
        if let Some(keys) = self.keys.current() {
            match jwt.verify(&keys, &self.rules, clock.now()) {
                Err(CredentialError::UnknownKey) => {}
                verified => return Ok(verified?),
            }
        }
        let keys = self.keys.refreshed().await.ok_or(AuthenticationError::Unavailable)?;
        Ok(jwt.verify(&keys, &self.rules, clock.now())?)
    }
}

/// Reads the file of tokens as [`Authenticator::start`] does. Returns the number of tokens, those of the environment
/// included.
///
/// # Errors
/// It cannot be used.
pub async fn read_token_file(path: PathBuf, listed: TokenList) -> Result<usize, TokenFileError> {
    Ok(TokenFile::open(path, listed).await?.list().len())
}

/// Tokens from a file, beside those from the environment.
struct TokenFile {
    path: PathBuf,
    listed: TokenList,
    all: RwLock<Arc<TokenList>>,
    /// The last logged error, so that each is logged once.
    logged: Mutex<Option<String>>,
}

impl TokenFile {
    async fn open(path: PathBuf, listed: TokenList) -> Result<Self, TokenFileError> {
        let file = Self { path, listed, all: RwLock::default(), logged: Mutex::default() };
        let list = file.read().await?;
        *file.all.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
        Ok(file)
    }

    fn list(&self) -> Arc<TokenList> {
        Arc::clone(&self.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn read(&self) -> Result<TokenList, TokenFileError> {
        let bytes = tokio::fs::read(&self.path).await?;
        if bytes.len() > MAX_FILE_BYTES {
            return Err(TokenFileError::TooLarge);
        }
        let text = String::from_utf8(bytes).map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidData))?;
        Ok(TokenList::parse(&text)?.and(&self.listed)?)
    }

    async fn reread(&self) {
        let outcome = self.read().await;
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(list) => {
                *logged = None;
                if list != *self.list() {
                    info!(tokens = list.len(), "api_tokens_changed");
                    *self.all.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
                }
            }
            Err(error) => {
                let error = chain(&error);
                if logged.as_ref() != Some(&error) {
                    warn!(error, "api_tokens_not_read");
                    *logged = Some(error);
                }
            }
        }
    }
}

async fn watch(file: std::sync::Weak<TokenFile>) {
    loop {
        tokio::time::sleep(FILE_INTERVAL).await;
        let Some(file) = file.upgrade() else { return };
        file.reread().await;
    }
}
