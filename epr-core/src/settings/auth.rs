//! Who may call.

use std::path::PathBuf;
use std::time::Duration;

use super::service::Environment;
use super::source::{Reader, plain};
use crate::authn::jwks_http::{self, JwksUrl};
use crate::authn::{ALGORITHMS, Algorithm, JwtRules, TokenList};
use crate::domain::fields::Choice;

/// `EPR_AUTH_MODE` and all that belongs to it. Holds no secret: of a token only its hash is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthSettings {
    /// Whether this is production without authentication, and `EPR_AUTH_MODE=none` does not say that it is meant.
    pub unguarded: bool,
    /// API tokens, if they are taken.
    pub tokens: Option<TokenSettings>,
    /// JWTs, if they are taken.
    pub jwt: Option<JwtSettings>,
    /// What is answered without a credential even so.
    pub open: Vec<OpenPath>,
}

/// `EPR_API_TOKENS`, `EPR_API_TOKENS_FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// Those in the environment.
    pub listed: TokenList,
    /// Where more are.
    pub file: Option<PathBuf>,
}

/// `EPR_JWT_…`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSettings {
    /// What a JWT must say.
    pub rules: JwtRules,
    /// Where the issuer's keys are.
    pub keys: JwksPlace,
    /// How long keys are used while the issuer is away.
    pub kept: Duration,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksPlace {
    /// At this address.
    Url(JwksUrl),
    /// In this file.
    File(PathBuf),
}

/// A path that can be left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenPath {
    /// `/readyz`
    Readyz,
    /// `/metrics`
    Metrics,
    /// `/docs` and `/openapi.json`
    Docs,
}

impl Choice for OpenPath {
    const ALL: &'static [Self] = &[Self::Readyz, Self::Metrics, Self::Docs];

    fn word(self) -> &'static str {
        match self {
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
            Self::Docs => "/docs",
        }
    }
}

/// Variables that mean nothing unless tokens are taken.
pub(super) const OF_TOKENS: [&str; 2] = ["EPR_API_TOKENS", "EPR_API_TOKENS_FILE"];
/// Variables that mean nothing unless JWTs are taken.
pub(super) const OF_JWT: [&str; 9] = [
    "EPR_JWT_ISSUER",
    "EPR_JWT_AUDIENCE",
    "EPR_JWT_JWKS_URL",
    "EPR_JWT_JWKS_FILE",
    "EPR_JWT_ALGORITHMS",
    "EPR_JWT_LEEWAY",
    "EPR_JWT_TYPE",
    "EPR_JWT_ACTOR_CLAIM",
    "EPR_JWT_KEYS_KEPT",
];

impl AuthSettings {
    pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Self {
        let (token, jwt) = reader.value("EPR_AUTH_MODE", (false, false), "none, token, jwt or token,jwt", plain, mode);
        // A credential that is set up and not asked for is an open door that looks shut.
        let kinds: [(bool, &str, &[&str]); 2] = [(token, "token", &OF_TOKENS), (jwt, "jwt", &OF_JWT)];
        for (taken, word, variables) in kinds {
            for name in variables {
                if !taken && reader.given(name) {
                    reader.fault(format!("{name} is set, but EPR_AUTH_MODE does not say `{word}`"));
                }
            }
        }
        let off = !token && !jwt;
        Self {
            unguarded: off && environment == Environment::Production && !reader.given("EPR_AUTH_MODE"),
            tokens: token.then(|| read_tokens(reader)),
            jwt: if jwt { read_jwt(reader, environment) } else { None },
            open: reader.value(
                "EPR_OPEN_PATHS",
                vec![OpenPath::Readyz],
                "/readyz, /metrics, /docs, comma-separated, or none",
                plain,
                |given| if given == "none" { Some(Vec::new()) } else { list(given, OpenPath::from_word) },
            ),
        }
    }
}

/// Whether tokens are taken, and whether JWTs are.
fn mode(given: &str) -> Option<(bool, bool)> {
    let given = given.to_ascii_lowercase();
    if given == "none" {
        return Some((false, false));
    }
    let words = list(&given, |word| matches!(word, "token" | "jwt").then(|| word.to_owned()))?;
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    Some((has("token"), has("jwt")))
}

/// At least one word, comma-separated.
fn list<T>(given: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let words = given.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(read).collect::<Option<Vec<_>>>().filter(|words| !words.is_empty())
}

fn read_tokens(reader: &mut Reader<'_>) -> TokenSettings {
    if !OF_TOKENS.iter().any(|name| reader.given(name)) {
        reader
            .fault("EPR_AUTH_MODE says `token`, but neither EPR_API_TOKENS nor EPR_API_TOKENS_FILE is set".to_owned());
    }
    let listed = match TokenList::parse(&reader.text("EPR_API_TOKENS", "[]")) {
        Ok(listed) => listed,
        Err(fault) => {
            reader.fault(format!("EPR_API_TOKENS cannot be used: {fault}"));
            TokenList::default()
        }
    };
    TokenSettings { listed, file: path(reader, "EPR_API_TOKENS_FILE") }
}

fn path(reader: &mut Reader<'_>, name: &str) -> Option<PathBuf> {
    reader.given(name).then(|| PathBuf::from(reader.text(name, "")))
}

fn read_jwt(reader: &mut Reader<'_>, environment: Environment) -> Option<JwtSettings> {
    for name in ["EPR_JWT_ISSUER", "EPR_JWT_AUDIENCE"] {
        if !reader.given(name) {
            reader.fault(format!("EPR_AUTH_MODE says `jwt`, but {name} is not set"));
        }
    }
    let plain_http = matches!(environment, Environment::Local | Environment::Test);
    let url = reader.value(
        "EPR_JWT_JWKS_URL",
        None,
        jwks_http::ALLOWED,
        |_| "***".to_owned(),
        |given| JwksUrl::parse(given, plain_http).ok().map(Some),
    );
    let file = path(reader, "EPR_JWT_JWKS_FILE");
    if reader.given("EPR_JWT_JWKS_URL") == file.is_some() {
        reader.fault("EPR_AUTH_MODE says `jwt`, which needs one of EPR_JWT_JWKS_URL and EPR_JWT_JWKS_FILE".to_owned());
    }
    let rules = JwtRules {
        issuer: reader.text("EPR_JWT_ISSUER", ""),
        audiences: reader.value("EPR_JWT_AUDIENCE", Vec::new(), "audiences, comma-separated", plain, |given| {
            list(given, |word| Some(word.to_owned()))
        }),
        algorithms: reader.value(
            "EPR_JWT_ALGORITHMS",
            vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
            ALGORITHMS,
            plain,
            |given| list(given, Algorithm::from_word),
        ),
        leeway_seconds: u8::try_from(reader.number("EPR_JWT_LEEWAY", 30, 0, 60)).unwrap_or(0),
        token_type: Some(reader.text("EPR_JWT_TYPE", "")).filter(|given| !given.is_empty()),
        actor_claim: reader.text("EPR_JWT_ACTOR_CLAIM", "sub"),
    };
    let kept = Duration::from_secs(reader.number("EPR_JWT_KEYS_KEPT", 86_400, 300, 604_800));
    let keys = url.map(JwksPlace::Url).or(file.map(JwksPlace::File))?;
    Some(JwtSettings { rules, keys, kept })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Settings, Source};

    const JWT: [(&str, &str); 3] =
        [("EPR_AUTH_MODE", "jwt"), ("EPR_JWT_ISSUER", "https://issuer"), ("EPR_JWT_AUDIENCE", "epr, vault")];

    fn read(pairs: &[(&str, &str)]) -> Result<AuthSettings, String> {
        let settings = Settings::from_source(&Source::of(pairs.iter().copied()));
        settings.map(|settings| settings.auth).map_err(|fault| fault.to_string())
    }

    #[test]
    fn nothing_is_asked_by_default() {
        let open = vec![OpenPath::Readyz];
        for none in [&[][..], &[("EPR_AUTH_MODE", "none")]] {
            assert_eq!(read(none), Ok(AuthSettings { open: open.clone(), ..AuthSettings::default() }));
        }
        assert_eq!(read(&[("EPR_OPEN_PATHS", "none")]).unwrap().open, []);
        assert_eq!(read(&[("EPR_OPEN_PATHS", "/docs,/metrics")]).unwrap().open, [OpenPath::Docs, OpenPath::Metrics]);
    }

    #[test]
    fn production_without_a_word_about_authentication_is_unguarded() {
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
    fn both_kinds_can_be_taken() {
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
    fn what_would_leave_a_door_open_is_a_fault() {
        let with = |more: &[(&'static str, &'static str)]| read(&[&JWT[..], more].concat()).unwrap_err();
        let keys = ("EPR_JWT_JWKS_FILE", "keys.json");
        for (told, expected) in [
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
            assert!(told.contains(expected), "{told}");
        }
    }
}
