//! What a provider of OpenID Connect says about itself in its discovery document. Pure.
//!
//! Must never follow an address: the document is only read here.

use crate::domain::{Json, JsonObject};

/// The part of a discovery document that a login needs. Its addresses are as the provider wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Discovered {
    /// Where the browser goes to log in.
    pub(super) authorization_endpoint: String,
    /// Where a code is exchanged for an ID token.
    pub(super) token_endpoint: String,
    /// Where the keys are.
    pub(super) jwks_uri: String,
    /// Whether the client's secret is sent as a password, rather than in the form.
    pub(super) takes_basic: bool,
    /// Whether the provider names itself when it leads the browser back (RFC 9207).
    pub(super) names_itself: bool,
}

/// Reads the document of `issuer`.
///
/// # Errors
/// A sentence: it is not the document of this issuer, or the provider lacks what a login needs.
pub(super) fn read(bytes: &[u8], issuer: &str) -> Result<Discovered, String> {
    let Ok(Json::Object(members)) = Json::parse(bytes) else {
        return Err("the discovery document is not a JSON object".to_owned());
    };
    let text = |name: &str| {
        let value = members.get(name).and_then(Json::as_text);
        value.map(str::to_owned).ok_or_else(|| format!("the discovery document lacks `{name}`"))
    };
    let stated = text("issuer")?;
    if stated != issuer {
        let stated: String = stated.chars().take(200).collect();
        return Err(format!("the discovery document is of `{stated}` instead of `{issuer}`"));
    }
    if listed(&members, "code_challenge_methods_supported").is_some_and(|methods| !methods.contains(&"S256")) {
        return Err("the provider does not support PKCE with S256".to_owned());
    }
    // Absent, it means a password (OpenID Connect Discovery, section 3).
    let methods = listed(&members, "token_endpoint_auth_methods_supported");
    Ok(Discovered {
        authorization_endpoint: text("authorization_endpoint")?,
        token_endpoint: text("token_endpoint")?,
        jwks_uri: text("jwks_uri")?,
        takes_basic: methods.is_none_or(|methods| methods.contains(&"client_secret_basic")),
        names_itself: matches!(members.get("authorization_response_iss_parameter_supported"), Some(Json::Bool(true))),
    })
}

fn listed<'a>(members: &'a JsonObject, name: &str) -> Option<Vec<&'a str>> {
    match members.get(name)? {
        Json::List(items) => Some(items.iter().filter_map(Json::as_text).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://id.test";

    fn document(more: &str) -> String {
        format!(
            r#"{{"issuer": "{ISSUER}", "authorization_endpoint": "https://id.test/authorize",
                "token_endpoint": "https://id.test/token", "jwks_uri": "https://id.test/keys"{more}}}"#
        )
    }

    #[test]
    fn a_document_says_where_to_log_in_and_how() {
        let read = |more: &str| read(document(more).as_bytes(), ISSUER);
        let plain = read("").unwrap();
        assert_eq!(plain.token_endpoint, "https://id.test/token");
        assert!(plain.takes_basic && !plain.names_itself);
        let post = read(
            r#", "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "authorization_response_iss_parameter_supported": true, "code_challenge_methods_supported": ["S256"]"#,
        );
        let post = post.unwrap();
        assert!(!post.takes_basic && post.names_itself);
    }

    #[test]
    fn a_document_of_another_issuer_or_without_what_a_login_needs_is_refused() {
        for (bytes, expected) in [
            ("[]".to_owned(), "not a JSON object"),
            (document("").replace("\"https://id.test\"", "\"https://id.test/\""), "instead of `https://id.test`"),
            (document("").replace("jwks_uri", "keys"), "lacks `jwks_uri`"),
            (document(", \"issuer\": \"https://id.test\""), "not a JSON object"),
            (document(", \"code_challenge_methods_supported\": [\"plain\"]"), "PKCE with S256"),
        ] {
            let refused = read(bytes.as_bytes(), ISSUER).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
