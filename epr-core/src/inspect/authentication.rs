//! The credentials that the API accepts, and their sources.

use super::{Finding, State};
use crate::authn::{read_keys, read_provider, read_token_file};
use crate::error::chain;
use crate::settings::{JwtSettings, KeySource, OidcSettings, Settings, TokenSettings};

const MODE: &str = "auth";
const TOKENS: &str = "tokens";
const KEYS: &str = "keys";
const PROVIDER: &str = "provider";

/// Reads the sources of credentials as the API does.
pub async fn authentication(settings: &Settings) -> Vec<Finding> {
    let auth = &settings.auth;
    let mut findings = Vec::new();
    if auth.unguarded {
        findings.push(
            Finding::new(MODE, State::Wrong, "EPR_AUTH_MODE is not set in production: every caller may do everything")
                .advise(
                    "set EPR_AUTH_MODE to token or jwt, or to none if something in front of the API authenticates \
                     its callers",
                ),
        );
    } else if auth.tokens.is_none() && auth.jwt.is_none() {
        findings.push(Finding::new(MODE, State::Unused, "the API requires no credentials"));
    }
    if let Some(tokens) = &auth.tokens {
        findings.push(of_tokens(tokens).await);
    }
    if let Some(jwt) = &auth.jwt {
        findings.push(of_keys(jwt).await);
    }
    if let Some(oidc) = &auth.oidc {
        findings.push(of_provider(oidc).await);
    }
    findings
}

async fn of_tokens(tokens: &TokenSettings) -> Finding {
    let Some(path) = &tokens.file else {
        let seen = format!("EPR_API_TOKENS has {}", count(tokens.listed.len(), "token"));
        return Finding::new(TOKENS, state_of(tokens.listed.len()), seen);
    };
    let shown = path.display();
    match read_token_file(path.clone(), tokens.listed.clone()).await {
        Ok(number) => Finding::new(
            TOKENS,
            state_of(number),
            format!("{shown} can be read; with EPR_API_TOKENS {}", count(number, "token")),
        ),
        Err(error) => Finding::new(TOKENS, State::Wrong, format!("{shown}: {}", chain(&error)))
            .advise("correct the file or EPR_API_TOKENS_FILE: the API does not start; `epr token new` prints an entry"),
    }
}

async fn of_keys(jwt: &JwtSettings) -> Finding {
    let (shown, variable) = match &jwt.keys {
        // An address may hold a secret.
        KeySource::Url(_) => ("the issuer's address".to_owned(), "EPR_JWT_JWKS_URL"),
        KeySource::File(path) => (path.display().to_string(), "EPR_JWT_JWKS_FILE"),
    };
    match read_keys(&jwt.keys).await {
        Ok(number) => Finding::new(KEYS, State::Fine, format!("{shown} has {}", count(number, "key"))),
        Err(error) => Finding::new(KEYS, State::Wrong, format!("{shown}: {error}"))
            .advise(format!("correct {variable}; until then every JWT is answered 503")),
    }
}

async fn of_provider(oidc: &OidcSettings) -> Finding {
    let host = oidc.discovery.host();
    match read_provider(oidc).await {
        Ok(number) => {
            Finding::new(PROVIDER, State::Fine, format!("{host} describes itself and has {}", count(number, "key")))
        }
        Err(error) => Finding::new(PROVIDER, State::Wrong, format!("{host}: {error}")).advise(
            "correct EPR_OIDC_ISSUER, or let the service reach the provider; until then nobody can log in to the \
             console with it",
        ),
    }
}

/// A list without tokens lets no caller in.
fn state_of(tokens: usize) -> State {
    if tokens == 0 { State::Doubtful } else { State::Fine }
}

fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}
