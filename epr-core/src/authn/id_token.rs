//! ID tokens of OpenID Connect: from claims whose signature is verified to a caller. Pure.

use std::collections::BTreeMap;

use super::jwt::{self, JwtRules};
use super::{Caller, CredentialError, Scope, Scopes};
use crate::domain::fields::Choice as _;
use crate::domain::named_caller::CallerKind;
use crate::domain::{Json, JsonObject, Timestamp};

/// The conditions of an accepted ID token, and the scopes that it gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdTokenRules {
    /// What each JWT must have; the only audience is the client's id.
    pub jwt: JwtRules,
    /// The claim that leads to scopes.
    pub scopes_claim: String,
    /// The scopes that each word of the claim gives; `None` where the words are scopes themselves.
    pub grants: Option<BTreeMap<String, Vec<Scope>>>,
}

/// The caller, by claims whose signature is verified. The token must be valid at `at`.
pub(super) fn caller(claims: &JsonObject, rules: &IdTokenRules, at: Timestamp) -> Result<Caller, CredentialError> {
    jwt::check(claims, &rules.jwt, at)?;
    // A token for several parties names the one that asked for it.
    match (claims.get("azp"), claims.get("aud")) {
        (None, Some(Json::List(audiences))) if audiences.len() > 1 => return Err(CredentialError::Audience),
        (None, _) => {}
        (Some(party), _) => {
            let is_ours = party.as_text().is_some_and(|party| rules.jwt.audiences.iter().any(|own| own == party));
            if !is_ours {
                return Err(CredentialError::Audience);
            }
        }
    }
    let name = jwt::subject(claims)?;
    if name.is_empty() {
        return Err(CredentialError::Claims);
    }
    Ok(Caller {
        kind: CallerKind::OpenId,
        name: name.into(),
        scopes: scopes(claims, rules)?,
        actor_id: jwt::actor_id(claims, &rules.jwt),
    })
}

/// Whether the token answers the request with this nonce.
pub(super) fn has_nonce(claims: &JsonObject, nonce: &str) -> bool {
    claims.get("nonce").and_then(Json::as_text) == Some(nonce)
}

/// The scopes by the words of the claim: one text with spaces between them, or a list. Other words give none.
fn scopes(claims: &JsonObject, rules: &IdTokenRules) -> Result<Scopes, CredentialError> {
    let given = match claims.get(&rules.scopes_claim) {
        None => Vec::new(),
        // A name in a list may have spaces in it.
        Some(Json::List(_)) if rules.grants.is_some() => given(claims, rules)?,
        Some(_) => given(claims, rules)?.into_iter().flat_map(|text| text.split(' ')).collect(),
    };
    Ok(match &rules.grants {
        None => given.into_iter().filter_map(Scope::from_word).collect(),
        Some(grants) => given.into_iter().filter_map(|word| grants.get(word)).flatten().copied().collect(),
    })
}

fn given<'a>(claims: &'a JsonObject, rules: &IdTokenRules) -> Result<Vec<&'a str>, CredentialError> {
    claims.get(&rules.scopes_claim).and_then(jwt::words).ok_or(CredentialError::Claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(grants: Option<&[(&str, &[Scope])]>) -> IdTokenRules {
        let jwt = JwtRules {
            issuer: "https://id.test".to_owned(),
            audiences: vec!["epr".to_owned()],
            algorithms: Vec::new(),
            leeway_seconds: 0,
            token_type: None,
            actor_claim: "actor".to_owned(),
        };
        let grants = grants.map(|grants| grants.iter().map(|(word, scopes)| ((*word).to_owned(), scopes.to_vec())));
        IdTokenRules { jwt, scopes_claim: "groups".to_owned(), grants: grants.map(Iterator::collect) }
    }

    fn claims(more: &str) -> JsonObject {
        let text = format!(r#"{{"iss": "https://id.test", "aud": "epr", "sub": "ada", "exp": 2000000000{more}}}"#);
        match Json::parse(text.as_bytes()) {
            Ok(Json::Object(claims)) => claims,
            other => panic!("{other:?}"),
        }
    }

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-01T00:00:00Z").unwrap()
    }

    #[test]
    fn the_claim_gives_scopes_itself_or_by_its_words() {
        let scopes = |more: &str, rules: &IdTokenRules| {
            let scopes = caller(&claims(more), rules, now()).unwrap().scopes;
            Scope::ALL.iter().copied().filter(|scope| scopes.hold(*scope)).collect::<Vec<_>>()
        };
        let own = rules(None);
        assert_eq!(scopes("", &own), []);
        assert_eq!(scopes(r#", "groups": "epr:read other epr:audit""#, &own), [Scope::Read, Scope::Audit]);
        assert_eq!(scopes(r#", "groups": ["epr:read", "x"]"#, &own), [Scope::Read]);
        let mapped = rules(Some(&[("Internal audit", &[Scope::Audit, Scope::Read]), ("ops", &[Scope::Write])]));
        assert_eq!(scopes(r#", "groups": ["Internal audit", "staff"]"#, &mapped), [Scope::Read, Scope::Audit]);
        assert_eq!(scopes(r#", "groups": "ops""#, &mapped), [Scope::Write]);
        assert_eq!(scopes(r#", "groups": "epr:write""#, &mapped), [], "the words are not scopes any more");
    }

    #[test]
    fn a_token_for_another_party_or_without_a_subject_is_refused() {
        let rules = rules(None);
        let refused = |claims: &JsonObject| caller(claims, &rules, now()).unwrap_err();
        let with = |name: &str, value: Json| {
            let mut claims = claims("");
            claims.insert(name.to_owned(), value);
            claims
        };
        let both = || Json::List(vec!["epr".into(), "other".into()]);
        assert_eq!(refused(&with("aud", both())), CredentialError::Audience);
        assert_eq!(refused(&with("azp", "other".into())), CredentialError::Audience);
        assert_eq!(refused(&with("azp", Json::Null)), CredentialError::Audience);
        assert_eq!(refused(&with("sub", "".into())), CredentialError::Claims);
        assert_eq!(refused(&with("groups", Json::Bool(true))), CredentialError::Claims);
        assert_eq!(refused(&with("iss", "https://other.test".into())), CredentialError::Issuer);
        assert_eq!(refused(&with("exp", Json::Int(1))), CredentialError::Expired);
        let mut for_us = with("aud", both());
        for_us.insert("azp".to_owned(), "epr".into());
        let caller = caller(&for_us, &rules, now()).unwrap();
        assert_eq!((&*caller.name, caller.kind), ("ada", CallerKind::OpenId));
        assert!(has_nonce(&with("nonce", "n".into()), "n"));
        assert!(!has_nonce(&with("nonce", "n".into()), "m") && !has_nonce(&claims(""), ""));
    }
}
