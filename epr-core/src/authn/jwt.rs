//! JSON Web Tokens: the issuer's keys verify the signature; the claims say whether the token is for this audience and
//! valid now. Pure.
//!
//! The `jsonwebtoken` crate verifies signatures. The claims are read here: by the service's clock, and by a reader that
//! refuses an object with a repeated member, in which two readers could see two tokens.

use super::algorithm::Algorithm;
use super::jwk::KeySet;
use super::{Caller, CredentialError, Scope, Scopes};
use crate::domain::fields::{Choice, parse_uuid};
use crate::domain::named_caller::CallerKind;
use crate::domain::{Json, JsonObject, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// The conditions of an accepted JWT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtRules {
    /// The `iss` it must have.
    pub issuer: String,
    /// Audiences, at least one of which must be in its `aud`.
    pub audiences: Vec<String>,
    /// The accepted signature algorithms.
    pub algorithms: Vec<Algorithm>,
    /// The tolerated difference between the issuer's clock and this one, 0 to 60 seconds.
    pub leeway_seconds: u8,
    /// The `typ` it must have (`at+jwt` for example); any when `None`.
    pub token_type: Option<String>,
    /// The claim whose UUID is the actor.
    pub actor_claim: String,
}

/// A parsed token, which is not verified yet.
#[derive(Debug)]
pub(super) struct Jwt<'a> {
    algorithm: Algorithm,
    key_id: Option<String>,
    /// Header and claims, the signed text.
    signed: &'a str,
    claims: &'a str,
    signature: &'a str,
}

impl<'a> Jwt<'a> {
    /// Parses `token` and checks its header by `rules`. The header's own keys (`jwk`, `jku`, `x5u`, `x5c`) are ignored:
    /// keys come only from the configured source.
    pub(super) fn parse(token: &'a str, rules: &JwtRules) -> Result<Self, CredentialError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(CredentialError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(CredentialError::Malformed)?;
        if claims.contains('.') {
            return Err(CredentialError::Malformed);
        }
        let header = object(header)?;
        // An extension that a reader must understand; none is supported.
        if header.contains_key("crit") {
            return Err(CredentialError::Malformed);
        }
        if let Some(expected) = &rules.token_type {
            let given = header.get("typ").and_then(Json::as_text).unwrap_or_default();
            // RFC 7515: `application/` may be left out.
            let short = given.get(..12).filter(|start| start.eq_ignore_ascii_case("application/"));
            let given = given.get(short.map_or(0, str::len)..).unwrap_or_default();
            if !given.eq_ignore_ascii_case(expected) {
                return Err(CredentialError::Claims);
            }
        }
        let algorithm = header.get("alg").and_then(Json::as_text).and_then(Algorithm::from_word);
        let algorithm = algorithm.filter(|given| rules.algorithms.contains(given)).ok_or(CredentialError::Algorithm)?;
        let key_id = match header.get("kid") {
            None => None,
            Some(Json::Text(key_id)) => Some(key_id.clone()),
            Some(_) => return Err(CredentialError::Malformed),
        };
        Ok(Self { algorithm, key_id, signed, claims, signature })
    }

    /// Verifies the signature with the key that the token names, then checks the claims by `rules` at `now`.
    pub(super) fn verify(&self, keys: &KeySet, rules: &JwtRules, now: Timestamp) -> Result<Caller, CredentialError> {
        caller(&self.verified_claims(keys)?, rules, now)
    }

    /// Verifies the signature with the key that the token names. Returns the claims, none of which is checked.
    pub(super) fn verified_claims(&self, keys: &KeySet) -> Result<JsonObject, CredentialError> {
        let key = keys.find(self.key_id.as_deref(), self.algorithm)?;
        let signed = self.signed.as_bytes();
        // An error means that the signature has not even the right form.
        if !jsonwebtoken::crypto::verify(self.signature, signed, key, self.algorithm.jose()).unwrap_or(false) {
            return Err(CredentialError::Signature);
        }
        object(self.claims)
    }
}

/// The JSON object in one part of the token.
fn object(part: &str) -> Result<JsonObject, CredentialError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| CredentialError::Malformed)?;
    match Json::parse(&bytes) {
        Ok(Json::Object(members)) => Ok(members),
        _ => Err(CredentialError::Malformed),
    }
}

/// The caller, by claims whose signature is verified.
pub(super) fn caller(claims: &JsonObject, rules: &JwtRules, now: Timestamp) -> Result<Caller, CredentialError> {
    check(claims, rules, now)?;
    Ok(Caller {
        kind: CallerKind::Jwt,
        name: subject(claims)?.into(),
        scopes: scopes(claims)?,
        actor_id: actor_id(claims, rules),
    })
}

/// Checks whose token it is, for whom, and when it is valid.
pub(super) fn check(claims: &JsonObject, rules: &JwtRules, now: Timestamp) -> Result<(), CredentialError> {
    match claims.get("iss").and_then(Json::as_text) {
        Some(issuer) if issuer == rules.issuer => {}
        _ => return Err(CredentialError::Issuer),
    }
    let is_accepted = |audience: &str| rules.audiences.iter().any(|accepted| accepted == audience);
    let audiences = claims.get("aud").and_then(words).ok_or(CredentialError::Audience)?;
    if !audiences.into_iter().any(is_accepted) {
        return Err(CredentialError::Audience);
    }
    let now = i128::from(now.unix_micros());
    let leeway = i128::from(rules.leeway_seconds) * 1_000_000;
    let expires = claims.get("exp").and_then(micros).ok_or(CredentialError::Claims)?;
    if now >= expires + leeway {
        return Err(CredentialError::Expired);
    }
    if let Some(begins) = claims.get("nbf")
        && now < micros(begins).ok_or(CredentialError::Claims)? - leeway
    {
        return Err(CredentialError::NotYetValid);
    }
    // The token is bound to a key of the caller's, which cannot be checked here: it is not a bearer token.
    if claims.contains_key("cnf") {
        return Err(CredentialError::Claims);
    }
    Ok(())
}

/// The subject, as logs and the ledger show it; empty without one.
pub(super) fn subject(claims: &JsonObject) -> Result<String, CredentialError> {
    let subject = claims.get("sub").map_or(Ok(""), |sub| sub.as_text().ok_or(CredentialError::Claims))?;
    Ok(subject.chars().filter(|c| !c.is_control()).take(255).collect())
}

/// The actor that the ledger names.
pub(super) fn actor_id(claims: &JsonObject, rules: &JwtRules) -> Option<Uuid> {
    claims.get(&rules.actor_claim).and_then(Json::as_text).and_then(parse_uuid)
}

/// The scopes in `scope` (words with spaces between them), or without it in `scp` (the same, or a list). Scopes of
/// other services are ignored.
fn scopes(claims: &JsonObject) -> Result<Scopes, CredentialError> {
    let given = match (claims.get("scope"), claims.get("scp")) {
        (Some(Json::Text(text)), _) => vec![text.as_str()],
        (Some(_), _) => return Err(CredentialError::Claims),
        (None, Some(list)) => words(list).ok_or(CredentialError::Claims)?,
        (None, None) => Vec::new(),
    };
    Ok(given.into_iter().flat_map(|text| text.split(' ')).filter_map(Scope::from_word).collect())
}

/// One text, or a list of texts.
pub(super) fn words(value: &Json) -> Option<Vec<&str>> {
    match value {
        Json::List(items) => items.iter().map(Json::as_text).collect(),
        one => one.as_text().map(|text| vec![text]),
    }
}

/// A `NumericDate` (seconds since 1970, whole or not) in microseconds.
fn micros(value: &Json) -> Option<i128> {
    match value {
        Json::Int(seconds) => Some(i128::from(*seconds) * 1_000_000),
        Json::UInt(seconds) => Some(i128::from(*seconds) * 1_000_000),
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a cast ends at the bounds, and below a microsecond is nothing"
        )]
        // Bounded, so that adding the leeway cannot overflow.
        Json::Float(seconds) => Some((*seconds * 1e6).clamp(-1e30, 1e30) as i128),
        _ => None,
    }
}
