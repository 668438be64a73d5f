//! Authentication: the credentials that the API accepts.

use std::path::PathBuf;
use std::time::Duration;

use super::oidc::{self, OidcSettings};
use super::reader::Reader;
use super::service::Environment;
use super::variable::{Section, Variable};
use crate::authn::issuer_http::{self, IssuerUrl};
use crate::authn::{ALGORITHMS, Algorithm, JwtRules, TokenList};
use crate::domain::fields::Choice;

const MODE: Variable = Variable::text(
    "EPR_AUTH_MODE",
    "none",
    "none, token, jwt or token,jwt",
    "Credentials that the API accepts: `none` (every caller may do everything), `token`, `jwt` or `token,jwt`; see \
     [API.md](API.md#authentication).",
);
const OPEN_PATHS: Variable = Variable::text(
    "EPR_OPEN_PATHS",
    "/readyz,/.well-known/authzen-configuration",
    "/readyz, /metrics, /docs, /.well-known/authzen-configuration, /ledger, comma-separated, or none",
    "Paths that need no credential: `/readyz`, `/metrics`, `/docs` (with `/openapi.json`), \
     `/.well-known/authzen-configuration`, `/ledger` (checkpoints, tiles and keys of the ledger, below `/api/v1`), or \
     `none`. `/healthz` never needs one.",
);
const API_TOKENS: Variable = Variable::optional(
    "EPR_API_TOKENS",
    "a JSON list of entries as `epr token new` prints them",
    "Accepted tokens, by their hashes.",
)
.secret();
const API_TOKENS_FILE: Variable =
    Variable::optional("EPR_API_TOKENS_FILE", "a path", "A file with such a list, read again every 10 s.");
const JWT_ISSUER: Variable =
    Variable::optional("EPR_JWT_ISSUER", "text", "The `iss` of accepted JWTs. Required for `jwt`.");
const JWT_AUDIENCE: Variable = Variable::optional(
    "EPR_JWT_AUDIENCE",
    "audiences, comma-separated",
    "Audiences, one of which must be in `aud`. Required for `jwt`.",
);
const JWT_JWKS_URL: Variable = Variable::optional(
    "EPR_JWT_JWKS_URL",
    issuer_http::ALLOWED,
    "Address of the issuer's keys. This or `EPR_JWT_JWKS_FILE` is required for `jwt`.",
)
.secret();
const JWT_JWKS_FILE: Variable =
    Variable::optional("EPR_JWT_JWKS_FILE", "a path", "A file with the issuer's keys, read again every 10 s.");
const JWT_ALGORITHMS: Variable = Variable::text(
    "EPR_JWT_ALGORITHMS",
    "RS256,ES256,EdDSA",
    ALGORITHMS,
    "Accepted signature algorithms, comma-separated.",
);
const JWT_LEEWAY: Variable = Variable::number(
    "EPR_JWT_LEEWAY",
    30,
    &(0..=60),
    "Tolerated difference between the issuer's clock and this one, in seconds.",
);
const JWT_TYPE: Variable =
    Variable::optional("EPR_JWT_TYPE", "text", "The `typ` of accepted JWTs, such as `at+jwt`. Not set: any.");
const JWT_ACTOR_CLAIM: Variable =
    Variable::text("EPR_JWT_ACTOR_CLAIM", "sub", "text", "The claim whose UUID is the actor in the ledger.");
const JWT_KEYS_KEPT: Variable = Variable::number(
    "EPR_JWT_KEYS_KEPT",
    86_400,
    &(300..=604_800),
    "Time for which the issuer's last valid keys are used while the issuer is unavailable, in seconds.",
);

/// Variables that have a meaning only where tokens are accepted.
const TOKEN_VARIABLES: [Variable; 2] = [API_TOKENS, API_TOKENS_FILE];
/// Variables that have a meaning only where JWTs are accepted.
const JWT_VARIABLES: [Variable; 9] = [
    JWT_ISSUER,
    JWT_AUDIENCE,
    JWT_JWKS_URL,
    JWT_JWKS_FILE,
    JWT_ALGORITHMS,
    JWT_LEEWAY,
    JWT_TYPE,
    JWT_ACTOR_CLAIM,
    JWT_KEYS_KEPT,
];

pub(super) const SECTION: Section = Section {
    title: "Authentication",
    variables: &[
        MODE,
        OPEN_PATHS,
        API_TOKENS,
        API_TOKENS_FILE,
        JWT_ISSUER,
        JWT_AUDIENCE,
        JWT_JWKS_URL,
        JWT_JWKS_FILE,
        JWT_ALGORITHMS,
        JWT_LEEWAY,
        JWT_TYPE,
        JWT_ACTOR_CLAIM,
        JWT_KEYS_KEPT,
        oidc::ISSUER,
        oidc::CLIENT_ID,
        oidc::CLIENT_SECRET,
        oidc::ORIGIN,
        oidc::SCOPES,
        oidc::CLAIM,
        oidc::GRANTS,
        oidc::ACTOR_CLAIM,
    ],
};

/// The credentials that the API accepts, and the provider at which people log in to the console. Of a token only its
/// hash is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthSettings {
    /// Whether this is production without authentication, and `EPR_AUTH_MODE=none` does not say that it is intended.
    pub unguarded: bool,
    /// API tokens, if they are accepted.
    pub tokens: Option<TokenSettings>,
    /// JWTs, if they are accepted.
    pub jwt: Option<JwtSettings>,
    /// The provider at which people log in to the console, if there is one.
    pub oidc: Option<OidcSettings>,
    /// Paths that need no credential.
    pub open: Vec<OpenPath>,
}

/// Accepted API tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// The tokens of `EPR_API_TOKENS`.
    pub listed: TokenList,
    /// The file that holds more of them.
    pub file: Option<PathBuf>,
}

/// Accepted JWTs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSettings {
    /// The claims that a JWT must have.
    pub rules: JwtRules,
    /// The source of the issuer's keys.
    pub keys: KeySource,
    /// Time for which keys are used while the issuer is unavailable.
    pub max_key_age: Duration,
}

/// The source of an issuer's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// An address.
    Url(IssuerUrl),
    /// A file.
    File(PathBuf),
}

/// A path that can be open to callers without a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenPath {
    /// `/readyz`
    Readyz,
    /// `/metrics`
    Metrics,
    /// `/docs` and `/openapi.json`
    Docs,
    /// `/.well-known/authzen-configuration`
    AuthzenConfiguration,
    /// Checkpoints, tiles and keys below `/api/v1/ledger`
    Ledger,
}

impl Choice for OpenPath {
    const ALL: &'static [Self] = &[Self::Readyz, Self::Metrics, Self::Docs, Self::AuthzenConfiguration, Self::Ledger];

    fn word(self) -> &'static str {
        match self {
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
            Self::Docs => "/docs",
            Self::AuthzenConfiguration => "/.well-known/authzen-configuration",
            Self::Ledger => "/ledger",
        }
    }
}

impl AuthSettings {
    pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Self {
        let (token, jwt) = reader.value(&MODE, parse_mode).unwrap_or((false, false));
        // A credential that is configured but not accepted would look like protection.
        let kinds: [(bool, &str, &[Variable]); 2] = [(token, "token", &TOKEN_VARIABLES), (jwt, "jwt", &JWT_VARIABLES)];
        for (accepted, word, variables) in kinds {
            for variable in variables {
                if !accepted && reader.is_set(variable) {
                    reader.error(format!("{} is set, but EPR_AUTH_MODE does not say `{word}`", variable.name));
                }
            }
        }
        let off = !token && !jwt;
        let open =
            |given: &str| if given == "none" { Some(Vec::new()) } else { parse_list(given, OpenPath::from_word) };
        Self {
            unguarded: off && environment == Environment::Production && !reader.is_set(&MODE),
            tokens: token.then(|| read_tokens(reader)),
            jwt: if jwt { read_jwt(reader, environment) } else { None },
            oidc: oidc::read(reader, environment, !off),
            open: reader.value(&OPEN_PATHS, open).unwrap_or_default(),
        }
    }
}

/// Two flags: tokens are accepted; JWTs are accepted.
fn parse_mode(given: &str) -> Option<(bool, bool)> {
    let given = given.to_ascii_lowercase();
    if given == "none" {
        return Some((false, false));
    }
    let words = parse_list(&given, |word| matches!(word, "token" | "jwt").then(|| word.to_owned()))?;
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    Some((has("token"), has("jwt")))
}

/// At least one word, comma-separated.
fn parse_list<T>(given: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let words = given.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(parse).collect::<Option<Vec<_>>>().filter(|words| !words.is_empty())
}

fn read_tokens(reader: &mut Reader<'_>) -> TokenSettings {
    if !TOKEN_VARIABLES.iter().any(|variable| reader.is_set(variable)) {
        reader
            .error("EPR_AUTH_MODE says `token`, but neither EPR_API_TOKENS nor EPR_API_TOKENS_FILE is set".to_owned());
    }
    let listed =
        reader.optional_text(&API_TOKENS).map_or_else(|| Ok(TokenList::default()), |list| TokenList::parse(&list));
    let listed = listed.unwrap_or_else(|error| {
        reader.error(format!("EPR_API_TOKENS cannot be used: {error}"));
        TokenList::default()
    });
    TokenSettings { listed, file: reader.optional_text(&API_TOKENS_FILE).map(PathBuf::from) }
}

fn read_jwt(reader: &mut Reader<'_>, environment: Environment) -> Option<JwtSettings> {
    for variable in [JWT_ISSUER, JWT_AUDIENCE] {
        if !reader.is_set(&variable) {
            reader.error(format!("EPR_AUTH_MODE says `jwt`, but {} is not set", variable.name));
        }
    }
    let plain_http = matches!(environment, Environment::Local | Environment::Test);
    let url = reader.value(&JWT_JWKS_URL, |given| IssuerUrl::parse(given, plain_http).ok());
    let file = reader.optional_text(&JWT_JWKS_FILE).map(PathBuf::from);
    if reader.is_set(&JWT_JWKS_URL) == file.is_some() {
        reader.error("EPR_AUTH_MODE says `jwt`, which needs one of EPR_JWT_JWKS_URL and EPR_JWT_JWKS_FILE".to_owned());
    }
    let audiences = reader.value(&JWT_AUDIENCE, |given| parse_list(given, |word| Some(word.to_owned())));
    let algorithms = reader.value(&JWT_ALGORITHMS, |given| parse_list(given, Algorithm::from_word));
    let rules = JwtRules {
        issuer: reader.text(&JWT_ISSUER),
        audiences: audiences.unwrap_or_default(),
        algorithms: algorithms.unwrap_or_default(),
        leeway_seconds: u8::try_from(reader.number(&JWT_LEEWAY)).unwrap_or(0),
        token_type: reader.optional_text(&JWT_TYPE),
        actor_claim: reader.text(&JWT_ACTOR_CLAIM),
    };
    let max_key_age = Duration::from_secs(reader.number(&JWT_KEYS_KEPT));
    let keys = url.map(KeySource::Url).or(file.map(KeySource::File))?;
    Some(JwtSettings { rules, keys, max_key_age })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Settings, Source};

    const JWT: [(&str, &str); 3] =
        [("EPR_AUTH_MODE", "jwt"), ("EPR_JWT_ISSUER", "https://issuer"), ("EPR_JWT_AUDIENCE", "epr, vault")];

    fn read(pairs: &[(&str, &str)]) -> Result<AuthSettings, String> {
        let settings = Settings::from_source(&Source::of(pairs.iter().copied()));
        settings.map(|settings| settings.auth).map_err(|error| error.to_string())
    }

    #[test]
    fn no_credential_is_required_by_default() {
        let open = vec![OpenPath::Readyz, OpenPath::AuthzenConfiguration];
        for none in [&[][..], &[("EPR_AUTH_MODE", "none")]] {
            assert_eq!(read(none), Ok(AuthSettings { open: open.clone(), ..AuthSettings::default() }));
        }
        assert_eq!(read(&[("EPR_OPEN_PATHS", "none")]).unwrap().open, []);
        assert_eq!(read(&[("EPR_OPEN_PATHS", "/docs,/metrics")]).unwrap().open, [OpenPath::Docs, OpenPath::Metrics]);
    }

    #[test]
    fn production_without_an_authentication_mode_is_unguarded() {
        let production = ("EPR_ENVIRONMENT", "production");
        for (pairs, unguarded) in [
            (vec![production], true),
            (vec![production, ("EPR_AUTH_MODE", " ")], true),
            (vec![production, ("EPR_AUTH_MODE", "none")], false),
            (vec![production, ("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS", "[]")], false),
            (vec![("EPR_ENVIRONMENT", "staging")], false),
            (vec![], false),
        ] {
            assert_eq!(read(&pairs).unwrap().unguarded, unguarded, "{pairs:?}");
        }
    }

    #[test]
    fn both_kinds_can_be_accepted() {
        let mut pairs = JWT.to_vec();
        pairs.extend([("EPR_AUTH_MODE", "token, JWT"), ("EPR_JWT_JWKS_FILE", "keys.json"), ("EPR_API_TOKENS", "[]")]);
        let auth = read(&pairs).unwrap();
        assert!(auth.tokens.is_some_and(|tokens| tokens.listed.is_empty()));
        let jwt = auth.jwt.unwrap();
        assert_eq!(jwt.rules.audiences, ["epr", "vault"]);
        assert_eq!((jwt.rules.leeway_seconds, jwt.rules.actor_claim.as_str()), (30, "sub"));
        assert_eq!(jwt.rules.algorithms, [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]);
    }

    #[test]
    fn half_configured_authentication_is_an_error() {
        let with = |more: &[(&'static str, &'static str)]| read(&[&JWT[..], more].concat()).unwrap_err();
        let keys = ("EPR_JWT_JWKS_FILE", "keys.json");
        for (reported, expected) in [
            (read(&[("EPR_AUTH_MODE", "tokens")]).unwrap_err(), "EPR_AUTH_MODE is `tokens`; allowed: none, token"),
            (read(&[("EPR_AUTH_MODE", "none,jwt")]).unwrap_err(), "EPR_AUTH_MODE is `none,jwt`"),
            (read(&[("EPR_AUTH_MODE", "token")]).unwrap_err(), "neither EPR_API_TOKENS nor"),
            (read(&[("EPR_API_TOKENS", "[]")]).unwrap_err(), "does not say `token`"),
            (
                read(&[("EPR_JWT_AUDIENCE", "x")]).unwrap_err(),
                "EPR_JWT_AUDIENCE is set, but EPR_AUTH_MODE does not say `jwt`",
            ),
            (read(&[("EPR_AUTH_MODE", "jwt"), keys]).unwrap_err(), "EPR_JWT_AUDIENCE is not set"),
            (with(&[]), "needs one of EPR_JWT_JWKS_URL and"),
            (with(&[keys, ("EPR_JWT_JWKS_URL", "https://issuer/keys")]), "needs one of"),
            (
                with(&[keys, ("EPR_JWT_ALGORITHMS", "RS256,HS256")]),
                "EPR_JWT_ALGORITHMS is `RS256,HS256`; allowed: RS256, RS384",
            ),
            (with(&[keys, ("EPR_JWT_ALGORITHMS", "none")]), "EPR_JWT_ALGORITHMS is `none`"),
            (with(&[keys, ("EPR_JWT_LEEWAY", "61")]), "a whole number from 0 to 60"),
            (with(&[keys, ("EPR_OPEN_PATHS", "/api")]), "EPR_OPEN_PATHS is `/api`"),
            (
                with(&[("EPR_ENVIRONMENT", "production"), ("EPR_JWT_JWKS_URL", "http://issuer/keys")]),
                "EPR_JWT_JWKS_URL is `***`; allowed: an https:// URL",
            ),
        ] {
            assert!(reported.contains(expected), "{reported}");
        }
    }
}
