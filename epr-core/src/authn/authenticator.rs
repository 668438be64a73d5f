//! From the `Authorization` header to a caller, by whichever kinds of credential are taken.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tracing::{info, warn};

use super::jwks::{Jwks, Place};
use super::jwks_http::{FetchFault, JwksClient};
use super::jwt::Jwt;
use super::{Caller, JwtRules, Reason, Refused, TokenList, TokenListFault, bearer};
use crate::clock::{Clock, SystemClock};
use crate::error::chain;
use crate::settings::{AuthSettings, JwksPlace};

/// How often files of tokens and keys are read again.
pub(super) const REREAD: Duration = Duration::from_secs(10);
/// The largest file of tokens, in bytes.
const LARGEST: usize = 1024 * 1024;

/// Tells who is calling.
pub struct Authenticator {
    clock: Arc<dyn Clock>,
    tokens: Option<Tokens>,
    jwt: Option<Issuer>,
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

/// Why nobody could be authenticated from the start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file of tokens is missing, or is none.
    #[error("EPR_API_TOKENS_FILE `{0}` cannot be used")]
    Tokens(PathBuf, #[source] TokenFileFault),
    /// No client can be made for the issuer's keys.
    #[error("EPR_JWT_JWKS_URL cannot be used")]
    Client(#[from] FetchFault),
}

/// Why a file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileFault {
    /// It cannot be read.
    #[error("it cannot be read")]
    Io(#[from] std::io::Error),
    /// It is larger than a megabyte.
    #[error("it is larger than {LARGEST} bytes")]
    TooLarge,
    /// It is no list of tokens.
    #[error(transparent)]
    List(#[from] TokenListFault),
}

impl Authenticator {
    /// As the settings say. Keys of an issuer are fetched in the background: until they are there, its tokens are answered
    /// `Unavailable`. Files are read again every ten seconds.
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
                    Tokens::File(Arc::new(file.map_err(|fault| StartError::Tokens(path.clone(), fault))?))
                }
            }),
        };
        if let Some(Tokens::File(file)) = &tokens {
            tokio::spawn(watch(Arc::downgrade(file)));
        }
        let jwt = match &settings.jwt {
            None => None,
            Some(jwt) => {
                let place = match &jwt.keys {
                    JwksPlace::Url(url) => Place::Web(JwksClient::new(url)?),
                    JwksPlace::File(path) => Place::File(path.clone()),
                };
                Some(Issuer { rules: jwt.rules.clone(), keys: Jwks::start(place, jwt.kept, Arc::clone(&clock)) })
            }
        };
        Ok(Self { clock, tokens, jwt, unguarded: settings.unguarded })
    }

    /// Asks nobody who they are.
    #[must_use]
    pub fn none() -> Self {
        Self { clock: Arc::new(SystemClock), tokens: None, jwt: None, unguarded: false }
    }

    /// Whether nobody is asked who they are.
    #[must_use]
    pub fn off(&self) -> bool {
        self.tokens.is_none() && self.jwt.is_none()
    }

    /// Whether this is production without authentication, and the settings do not say that it is meant.
    #[must_use]
    pub fn unguarded(&self) -> bool {
        self.unguarded
    }

    /// Whose credential stands in the values of the request's `Authorization` headers.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn authenticate<'a>(&self, headers: impl IntoIterator<Item = &'a [u8]>) -> Result<Caller, Refused> {
        let token = bearer::token(headers)?.ok_or(Refused::Missing)?;
        // An API token has no dot, and a JWT has two.
        match (&self.tokens, &self.jwt) {
            (_, Some(issuer)) if token.contains('.') => issuer.caller(token, &*self.clock).await,
            (Some(Tokens::Fixed(list)), _) => Ok(list.caller(token, self.clock.now())?.clone()),
            (Some(Tokens::File(file)), _) => Ok(file.list().caller(token, self.clock.now())?.clone()),
            (None, _) => Err(Reason::Malformed.into()),
        }
    }

    /// Reads the file of tokens again now. A file that cannot be used changes nothing and is logged.
    pub async fn reread(&self) {
        if let Some(Tokens::File(file)) = &self.tokens {
            file.reread().await;
        }
    }
}

impl Issuer {
    async fn caller(&self, token: &str, clock: &dyn Clock) -> Result<Caller, Refused> {
        let jwt = Jwt::parse(token, &self.rules)?;
        if let Some(keys) = self.keys.at_hand() {
            match jwt.verify(&keys, &self.rules, clock.now()) {
                Err(Reason::UnknownKey) => {}
                told => return Ok(told?),
            }
        }
        let keys = self.keys.asked_for().await.ok_or(Refused::Unavailable)?;
        Ok(jwt.verify(&keys, &self.rules, clock.now())?)
    }
}

/// Reads the file of tokens as [`Authenticator::start`] does; gives how many tokens there are with those of the environment.
///
/// # Errors
/// It cannot be used.
pub async fn read_token_file(path: PathBuf, listed: TokenList) -> Result<usize, TokenFileFault> {
    Ok(TokenFile::open(path, listed).await?.list().len())
}

/// Tokens from a file, beside those from the environment.
struct TokenFile {
    path: PathBuf,
    listed: TokenList,
    all: RwLock<Arc<TokenList>>,
    /// What was last wrong with the file, so that it is told once.
    told: Mutex<Option<String>>,
}

impl TokenFile {
    async fn open(path: PathBuf, listed: TokenList) -> Result<Self, TokenFileFault> {
        let file = Self { path, listed, all: RwLock::default(), told: Mutex::default() };
        let list = file.read().await?;
        *file.all.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
        Ok(file)
    }

    fn list(&self) -> Arc<TokenList> {
        Arc::clone(&self.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn read(&self) -> Result<TokenList, TokenFileFault> {
        let bytes = tokio::fs::read(&self.path).await?;
        if bytes.len() > LARGEST {
            return Err(TokenFileFault::TooLarge);
        }
        let text = String::from_utf8(bytes).map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidData))?;
        Ok(TokenList::parse(&text)?.and(&self.listed)?)
    }

    async fn reread(&self) {
        let outcome = self.read().await;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(list) => {
                *told = None;
                if list != *self.list() {
                    info!(tokens = list.len(), "api_tokens_changed");
                    *self.all.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
                }
            }
            Err(fault) => {
                let why = chain(&fault);
                if told.as_ref() != Some(&why) {
                    warn!(error = why, "api_tokens_not_read");
                    *told = Some(why);
                }
            }
        }
    }
}

async fn watch(file: std::sync::Weak<TokenFile>) {
    loop {
        tokio::time::sleep(REREAD).await;
        let Some(file) = file.upgrade() else { return };
        file.reread().await;
    }
}
