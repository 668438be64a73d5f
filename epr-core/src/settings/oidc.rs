//! OpenID Connect: the provider at which people log in to the console.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::reader::Reader;
use super::service::Environment;
use super::variable::Variable;
use crate::authn::issuer_http::{self, IssuerUrl};
use crate::authn::{Algorithm, IdTokenRules, JwtRules, Scope};
use crate::domain::Json;
use crate::domain::fields::Choice as _;

/// The path of the console to which the provider leads the browser back.
pub const CALLBACK_PATH: &str = "/console/login/callback";

const GRANTS_ALLOWED: &str = "a JSON object such as {\"auditors\": [\"epr:read\", \"epr:audit\"]}";

pub(super) const ISSUER: Variable = Variable::optional(
    "EPR_OIDC_ISSUER",
    issuer_http::ALLOWED,
    "The provider of OpenID Connect at which people log in to the console ([CONSOLE.md](CONSOLE.md#openid-connect)): \
     its `issuer`, below which `/.well-known/openid-configuration` is. Not set: people log in with an API token or a \
     JWT.",
);
pub(super) const CLIENT_ID: Variable = Variable::optional(
    "EPR_OIDC_CLIENT_ID",
    "text",
    "The id under which the provider knows the console. Required with `EPR_OIDC_ISSUER`.",
);
pub(super) const CLIENT_SECRET: Variable = Variable::optional(
    "EPR_OIDC_CLIENT_SECRET",
    "text",
    "The secret of the console at the provider. Not set: a public client, which PKCE protects.",
)
.secret();
pub(super) const ORIGIN: Variable = Variable::optional(
    "EPR_CONSOLE_ORIGIN",
    "an origin such as https://epr.example.com; http:// where EPR_ENVIRONMENT is local or test",
    "The origin at which browsers reach the console. Required with `EPR_OIDC_ISSUER`: the provider leads back to \
     `/console/login/callback` there, an address that it has to know.",
);
pub(super) const SCOPES: Variable = Variable::text(
    "EPR_OIDC_SCOPES",
    "openid",
    "words with spaces between them, one of them `openid`",
    "The scopes that the console requests from the provider, such as `openid groups`.",
);
pub(super) const CLAIM: Variable = Variable::text(
    "EPR_OIDC_CLAIM",
    "scope",
    "text",
    "The claim of the ID token that leads to scopes of EPR: a list, or words with spaces between them.",
);
pub(super) const GRANTS: Variable = Variable::optional(
    "EPR_OIDC_GRANTS",
    GRANTS_ALLOWED,
    "The scopes of EPR that each word of the claim gives. Not set: the words are scopes themselves. Other words give \
     nothing.",
);
pub(super) const ACTOR_CLAIM: Variable = Variable::text(
    "EPR_OIDC_ACTOR_CLAIM",
    "sub",
    "text",
    "The claim of the ID token whose UUID is the actor in the ledger.",
);

/// Variables that have a meaning only with a provider.
const DEPENDENT: [Variable; 7] = [CLIENT_ID, CLIENT_SECRET, ORIGIN, SCOPES, CLAIM, GRANTS, ACTOR_CLAIM];

/// Tolerated difference between the provider's clock and this one, in seconds.
const LEEWAY_SECONDS: u8 = 30;

/// A provider of OpenID Connect.
#[derive(Debug, Clone)]
pub struct OidcSettings {
    /// The address of the discovery document.
    pub discovery: IssuerUrl,
    /// The id of the console.
    pub client_id: String,
    /// The secret of the console.
    secret: Option<SecretString>,
    /// The address to which the provider leads back.
    pub redirect: String,
    /// The requested scopes, with spaces between them.
    pub requested_scopes: String,
    /// The conditions of an ID token, and what it gives.
    pub rules: IdTokenRules,
    /// Whether the provider may be reached over plain HTTP.
    pub plain_http: bool,
}

impl OidcSettings {
    /// The secret of the console, if it has one.
    #[must_use]
    pub fn client_secret(&self) -> Option<&str> {
        self.secret.as_ref().map(ExposeSecret::expose_secret)
    }
}

impl PartialEq for OidcSettings {
    fn eq(&self, other: &Self) -> bool {
        let parts = |one: &Self| (one.discovery.clone(), one.client_id.clone(), one.redirect.clone());
        parts(self) == parts(other)
            && self.client_secret() == other.client_secret()
            && self.requested_scopes == other.requested_scopes
            && self.rules == other.rules
            && self.plain_http == other.plain_http
    }
}

impl Eq for OidcSettings {}

/// Reads the provider. `authenticates` says whether the API requires credentials.
pub(super) fn read(reader: &mut Reader<'_>, environment: Environment, authenticates: bool) -> Option<OidcSettings> {
    if !reader.is_set(&ISSUER) {
        for variable in DEPENDENT.iter().filter(|variable| reader.is_set(variable)).collect::<Vec<_>>() {
            reader.error(format!("{} is set, but EPR_OIDC_ISSUER is not", variable.name));
        }
        return None;
    }
    if !authenticates {
        reader.error(
            "EPR_OIDC_ISSUER is set, but EPR_AUTH_MODE is none: people would log in to a console whose API lets \
             everyone in; set EPR_AUTH_MODE to token or jwt"
                .to_owned(),
        );
    }
    for variable in [CLIENT_ID, ORIGIN] {
        if !reader.is_set(&variable) {
            reader.error(format!("{} is not set, but EPR_OIDC_ISSUER needs it", variable.name));
        }
    }
    let plain_http = matches!(environment, Environment::Local | Environment::Test);
    let issuer = reader.value(&ISSUER, |given| IssuerUrl::parse(given, plain_http).ok().map(|_| given.to_owned()));
    let origin = reader.value(&ORIGIN, |given| IssuerUrl::parse(given, plain_http).ok()?.origin());
    let client_id = reader.text(&CLIENT_ID);
    let secret = reader.optional_text(&CLIENT_SECRET).map(SecretString::from);
    let requested = reader.value(&SCOPES, |given| {
        let words: Vec<_> = given.split_whitespace().collect();
        words.contains(&"openid").then(|| words.join(" "))
    });
    let scopes_claim = reader.text(&CLAIM);
    let grants = reader.value(&GRANTS, parse_grants);
    let actor_claim = reader.text(&ACTOR_CLAIM);
    let issuer = issuer?;
    let discovery = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let jwt = JwtRules {
        issuer,
        audiences: vec![client_id.clone()],
        algorithms: Algorithm::ALL.to_vec(),
        leeway_seconds: LEEWAY_SECONDS,
        token_type: None,
        actor_claim,
    };
    Some(OidcSettings {
        discovery: IssuerUrl::parse(&discovery, plain_http).ok()?,
        client_id,
        secret,
        redirect: format!("{}{CALLBACK_PATH}", origin?),
        requested_scopes: requested?,
        rules: IdTokenRules { jwt, scopes_claim, grants },
        plain_http,
    })
}

/// Reads the scopes that words give.
fn parse_grants(given: &str) -> Option<BTreeMap<String, Vec<Scope>>> {
    let Ok(Json::Object(members)) = Json::parse(given.as_bytes()) else { return None };
    let scopes = |value: &Json| match value {
        Json::List(items) => {
            items.iter().map(|item| item.as_text().and_then(Scope::from_word)).collect::<Option<Vec<_>>>()
        }
        _ => None,
    };
    members.iter().map(|(word, value)| Some((word.clone(), scopes(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Settings, Source};

    const SET: [(&str, &str); 5] = [
        ("EPR_AUTH_MODE", "token"),
        ("EPR_API_TOKENS", "[]"),
        ("EPR_OIDC_ISSUER", "https://id.test/realms/a"),
        ("EPR_OIDC_CLIENT_ID", "epr"),
        ("EPR_CONSOLE_ORIGIN", "https://epr.test"),
    ];

    fn read(pairs: &[(&str, &str)]) -> Result<Option<OidcSettings>, String> {
        let settings = Settings::from_source(&Source::of(pairs.iter().copied()));
        settings.map(|settings| settings.auth.oidc).map_err(|error| error.to_string())
    }

    fn with(more: &[(&'static str, &'static str)]) -> Result<Option<OidcSettings>, String> {
        read(&[&SET[..], more].concat())
    }

    #[test]
    fn a_provider_needs_an_issuer_a_client_and_an_origin() {
        assert_eq!(read(&SET[..2]), Ok(None));
        let set = with(&[]).unwrap().unwrap();
        assert_eq!(set.redirect, "https://epr.test/console/login/callback");
        assert_eq!(set.rules.jwt.issuer, "https://id.test/realms/a");
        let grants = ("EPR_OIDC_GRANTS", "{\"Internal audit\": [\"epr:audit\", \"epr:read\"]}");
        let set = with(&[grants, ("EPR_OIDC_SCOPES", "groups  openid")]).unwrap().unwrap();
        assert_eq!(set.rules.grants.as_ref().unwrap()["Internal audit"], [Scope::Audit, Scope::Read]);
        assert_eq!(set.requested_scopes, "groups openid");
        assert!(set.client_secret().is_none());
        let local = with(&[("EPR_CONSOLE_ORIGIN", "http://localhost:8080/")]).unwrap().unwrap();
        assert_eq!(local.redirect, "http://localhost:8080/console/login/callback");
    }

    #[test]
    fn settings_that_contradict_each_other_are_errors() {
        let production = ("EPR_ENVIRONMENT", "production");
        for (read, expected) in [
            (read(&SET[2..]), "EPR_OIDC_ISSUER is set, but EPR_AUTH_MODE is none"),
            (read(&SET[..3]), "EPR_OIDC_CLIENT_ID is not set, but EPR_OIDC_ISSUER needs it"),
            (read(&SET[..4]), "EPR_CONSOLE_ORIGIN is not set"),
            (read(&[SET[0], SET[1], SET[3]]), "EPR_OIDC_CLIENT_ID is set, but EPR_OIDC_ISSUER is not"),
            (with(&[("EPR_CONSOLE", "off")]), "EPR_OIDC_ISSUER is set, but the console is off"),
            (with(&[production]), "EPR_OIDC_ISSUER is set, but the console is off"),
            (with(&[production, ("EPR_OIDC_ISSUER", "http://id.test")]), "allowed: an https:// URL"),
            (with(&[("EPR_CONSOLE_ORIGIN", "https://epr.test/console")]), "allowed: an origin"),
            (with(&[("EPR_OIDC_SCOPES", "profile")]), "one of them `openid`"),
            (with(&[("EPR_OIDC_GRANTS", "{\"a\": [\"epr:all\"]}")]), "allowed: a JSON object"),
            (with(&[("EPR_OIDC_GRANTS", "[]")]), "allowed: a JSON object"),
        ] {
            let reported = read.unwrap_err();
            assert!(reported.contains(expected), "{reported}");
        }
        let secret = with(&[("EPR_OIDC_CLIENT_SECRET", "hunter2"), ("EPR_OIDC_SCOPES", "x")]).unwrap_err();
        assert!(!secret.contains("hunter2"));
        assert!(!format!("{:?}", with(&[("EPR_OIDC_CLIENT_SECRET", "hunter2")])).contains("hunter2"));
    }
}
