//! A provider of OpenID Connect: where a browser logs in, and the exchange of its code for an ID token.
//!
//! Authorization code with PKCE. The caller of this module binds state, nonce and verifier to the browser. Must never
//! log or return a code, a secret or a token in an error.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tracing::warn;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::discovery::{self, Discovered};
use super::issuer_http::{FetchError, IssuerClient, IssuerUrl};
use super::jwks::{Jwks, KeyReader};
use super::jwt::Jwt;
use super::{AuthenticationError, Caller, CredentialError, id_token};
use crate::clock::Clock;
use crate::domain::{Json, JsonObject, Timestamp};
use crate::error::chain;
use crate::settings::{KeySource, OidcSettings};

/// Time for which a discovery document is used before it is read again, in microseconds.
const REFRESH_MICROS: i64 = 3_600_000_000;
/// Least time between two attempts to read it, in microseconds: any browser can cause one.
const RETRY_MICROS: i64 = 1_000_000;
/// Time for which keys are used while the provider is unavailable. No session lasts longer.
const MAX_KEY_AGE: Duration = Duration::from_hours(8);

/// What binds a login to the browser that began it.
pub struct LoginRequest {
    /// Comes back with the code.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// Goes to the provider with the code; it had its hash before.
    pub verifier: String,
}

/// Why a login failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The provider does not answer, or not as a provider does. The log has the cause.
    #[error("the identity provider is unavailable")]
    Unavailable,
    /// The provider does not take the code: it was used, has expired, or was issued to another browser.
    #[error("the identity provider does not accept the code")]
    Code,
    /// The provider named itself as another one.
    #[error("the answer is of another identity provider")]
    Issuer,
    /// The ID token is not valid.
    #[error("the ID token is not valid: {}", .0.word())]
    Token(CredentialError),
    /// The ID token answers another request.
    #[error("the ID token answers another request")]
    Nonce,
    /// The ID token gives no scope.
    #[error("the ID token gives no scope")]
    NoScope,
}

/// A provider.
pub struct Provider {
    settings: OidcSettings,
    client: IssuerClient,
    clock: Arc<dyn Clock>,
    found: RwLock<Option<Arc<Found>>>,
    /// When the discovery document was last asked for; locked while it is read.
    attempted_at: Mutex<Option<Timestamp>>,
}

/// A provider whose discovery document was read.
struct Found {
    discovered: Discovered,
    authorization: IssuerUrl,
    token: IssuerUrl,
    keys: Arc<Jwks>,
    read_at: Timestamp,
}

impl Provider {
    /// A provider, which is asked nothing before the first login.
    ///
    /// # Errors
    /// No HTTP client can be built.
    pub(super) fn new(settings: OidcSettings, clock: Arc<dyn Clock>) -> Result<Self, FetchError> {
        Ok(Self {
            settings,
            client: IssuerClient::new()?,
            clock,
            found: RwLock::default(),
            attempted_at: Mutex::default(),
        })
    }

    /// The host of the provider, for people.
    #[must_use]
    pub fn host(&self) -> &str {
        self.settings.discovery.host()
    }

    /// The claim that gives scopes, for the sentence about an ID token that gives none.
    #[must_use]
    pub fn scopes_claim(&self) -> &str {
        &self.settings.rules.scopes_claim
    }

    /// The address at which a browser logs in.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn login_address(&self, request: &LoginRequest) -> Result<String, LoginError> {
        let found = self.found().await?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(request.verifier.as_bytes()));
        Ok(found.authorization.with_query(&[
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", &self.settings.redirect),
            ("scope", &self.settings.requested_scopes),
            ("state", &request.state),
            ("nonce", &request.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]))
    }

    /// Checks the name that the provider gave itself when it led the browser back.
    ///
    /// # Errors
    /// `Issuer`, `Unavailable`.
    pub async fn check_issuer(&self, named: Option<&str>) -> Result<(), LoginError> {
        match named {
            Some(named) if named == self.settings.rules.jwt.issuer => Ok(()),
            Some(_) => Err(LoginError::Issuer),
            None if self.found().await?.discovered.names_itself => Err(LoginError::Issuer),
            None => Ok(()),
        }
    }

    /// Exchanges a code. Returns the caller and its ID token.
    ///
    /// # Errors
    /// See [`LoginError`].
    pub async fn log_in(&self, code: &str, request: &LoginRequest) -> Result<(Caller, String), LoginError> {
        let found = self.found().await?;
        let token = self.exchange(&found, code, &request.verifier).await?;
        let claims = self.claims(&found, &token).await.map_err(|error| match error {
            AuthenticationError::Invalid(error) => LoginError::Token(error),
            AuthenticationError::Missing | AuthenticationError::Unavailable => LoginError::Unavailable,
        })?;
        let caller = id_token::caller(&claims, &self.settings.rules, self.clock.now()).map_err(LoginError::Token)?;
        if !id_token::has_nonce(&claims, &request.nonce) {
            return Err(LoginError::Nonce);
        }
        if caller.scopes.is_empty() {
            return Err(LoginError::NoScope);
        }
        Ok((caller, token))
    }

    /// The caller by an ID token with which a session began at `begun_at`, by the present keys and settings.
    ///
    /// # Errors
    /// It is not valid any more, or the provider's keys are unavailable.
    pub async fn caller(&self, token: &str, begun_at: Timestamp) -> Result<Caller, AuthenticationError> {
        let found = self.found().await.map_err(|_| AuthenticationError::Unavailable)?;
        let claims = self.claims(&found, token).await?;
        Ok(id_token::caller(&claims, &self.settings.rules, begun_at)?)
    }

    /// The claims of a token whose signature is verified.
    async fn claims(&self, found: &Found, token: &str) -> Result<JsonObject, AuthenticationError> {
        let jwt = Jwt::parse(token, &self.settings.rules.jwt)?;
        if let Some(keys) = found.keys.current() {
            match jwt.verified_claims(&keys) {
                Err(CredentialError::UnknownKey) => {}
                verified => return Ok(verified?),
            }
        }
        let keys = found.keys.refreshed().await.ok_or(AuthenticationError::Unavailable)?;
        Ok(jwt.verified_claims(&keys)?)
    }

    async fn exchange(&self, found: &Found, code: &str, verifier: &str) -> Result<String, LoginError> {
        let (form, basic) = self.exchange_form(found, code, verifier);
        let basic = basic.as_ref().map(|(name, password)| (name.as_str(), password.as_str()));
        let (status, document) = self.client.post_form(&found.token, form, basic).await.map_err(|error| {
            warn!(error = chain(&error), "oidc_exchange_failed");
            LoginError::Unavailable
        })?;
        let members = match Json::parse(&document) {
            Ok(Json::Object(members)) => members,
            _ => JsonObject::default(),
        };
        let text = |name: &str| members.get(name).and_then(Json::as_text);
        match (status, text("id_token"), text("error")) {
            (200, Some(token), _) => Ok(token.to_owned()),
            (400..=499, _, Some("invalid_grant")) => Err(LoginError::Code),
            (_, _, error) => {
                // Of the client's own making, such as a wrong secret: nothing that the visitor could repair.
                let error = error.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(80);
                warn!(status, error = error.collect::<String>(), "oidc_exchange_failed");
                Err(LoginError::Unavailable)
            }
        }
    }

    /// The form that exchanges a code, and the name and the password that go with it, if the provider takes those.
    fn exchange_form(&self, found: &Found, code: &str, verifier: &str) -> (String, Option<(String, String)>) {
        let mut form = Serializer::new(String::new());
        form.extend_pairs([
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.settings.redirect),
            ("code_verifier", verifier),
        ]);
        // As a password, both are encoded like the values of a form (RFC 6749, section 2.3.1).
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let secret = self.settings.client_secret();
        let basic = secret.filter(|_| found.discovered.takes_basic);
        let basic = basic.map(|secret| (encoded(&self.settings.client_id), encoded(secret)));
        if basic.is_none() {
            form.append_pair("client_id", &self.settings.client_id);
            form.extend_pairs(secret.map(|secret| ("client_secret", secret)));
        }
        (form.finish(), basic)
    }

    /// The provider by its discovery document, which is read at the first use and now and then.
    async fn found(&self) -> Result<Arc<Found>, LoginError> {
        let known = self.known();
        if let Some(found) = known.as_ref().filter(|found| self.is_recent(found.read_at, REFRESH_MICROS)) {
            return Ok(Arc::clone(found));
        }
        let mut attempted_at = match known {
            // One call reads it again; the others use what is known.
            Some(found) => match self.attempted_at.try_lock() {
                Ok(attempted_at) => attempted_at,
                Err(_) => return Ok(found),
            },
            None => self.attempted_at.lock().await,
        };
        let known = self.known();
        let is_fresh = known.as_ref().is_some_and(|found| self.is_recent(found.read_at, REFRESH_MICROS));
        if is_fresh || attempted_at.is_some_and(|at| self.is_recent(at, RETRY_MICROS)) {
            return known.ok_or(LoginError::Unavailable);
        }
        *attempted_at = Some(self.clock.now());
        match self.discover(known.as_deref()).await {
            Ok(found) => {
                let found = Arc::new(found);
                *self.found.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&found));
                Ok(found)
            }
            Err(error) => {
                warn!(error, "oidc_discovery_failed");
                known.ok_or(LoginError::Unavailable)
            }
        }
    }

    fn known(&self) -> Option<Arc<Found>> {
        self.found.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether less than `micros` have passed since `at`. A clock that was set back delays nothing.
    fn is_recent(&self, at: Timestamp, micros: i64) -> bool {
        (0..micros).contains(&(self.clock.now().unix_micros() - at.unix_micros()))
    }

    async fn discover(&self, before: Option<&Found>) -> Result<Found, String> {
        let document = self.client.get(&self.settings.discovery).await.map_err(|error| chain(&error))?;
        let discovered = discovery::read(&document, &self.settings.rules.jwt.issuer)?;
        let address = |name: &str, text: &str| {
            IssuerUrl::parse(text, self.settings.plain_http)
                .map_err(|allowed| format!("`{name}` of the discovery document is not {allowed}"))
        };
        let keys_url = address("jwks_uri", &discovered.jwks_uri)?;
        let keys = match before {
            Some(before) if before.discovered.jwks_uri == discovered.jwks_uri => Arc::clone(&before.keys),
            _ => {
                let reader = KeyReader::new(&KeySource::Url(keys_url)).map_err(|error| chain(&error))?;
                Arc::new(Jwks::start(reader, MAX_KEY_AGE, Arc::clone(&self.clock)))
            }
        };
        Ok(Found {
            authorization: address("authorization_endpoint", &discovered.authorization_endpoint)?,
            token: address("token_endpoint", &discovered.token_endpoint)?,
            discovered,
            keys,
            read_at: self.clock.now(),
        })
    }
}

/// Reads the discovery document and the keys of a provider once. Returns the number of keys.
///
/// # Errors
/// A sentence: they cannot be read or used.
pub async fn read_provider(settings: &OidcSettings) -> Result<usize, String> {
    let client = IssuerClient::new().map_err(|error| chain(&error))?;
    let document = client.get(&settings.discovery).await.map_err(|error| chain(&error))?;
    let discovered = discovery::read(&document, &settings.rules.jwt.issuer)?;
    let keys = IssuerUrl::parse(&discovered.jwks_uri, settings.plain_http)
        .map_err(|allowed| format!("`jwks_uri` of the discovery document is not {allowed}"))?;
    super::read_keys(&KeySource::Url(keys)).await
}
