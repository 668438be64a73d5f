//! Credentials in the OpenAPI document: the security scheme, and for every operation its scope, which comes from its
//! access rule.

use epr_core::authn::Scope;
use epr_core::domain::fields::Choice as _;
use serde_json::json;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, RefOr};

use super::parameters::text_object;
use super::responses::response;
use crate::access::Rule;

/// The name of the scheme in the document.
const BEARER: &str = "bearer";

/// Describes how a credential is sent.
pub(crate) fn add_scheme(components: &mut Components) {
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description = Some(
        "An API token or a JWT of the configured issuer, with the scope that the operation names. Required only if the \
         service authenticates its callers (`EPR_AUTH_MODE`)."
            .into(),
    );
    components.add_security_scheme(BEARER, SecurityScheme::Http(bearer));
}

/// Describes the scope that `operation` requires, and the responses to callers without it. An operation without a rule
/// is documented as requiring every scope; the guard refuses it to everyone.
pub(crate) fn describe(operation: &mut Operation, rule: Option<Rule>) {
    let requires = |scope: Scope| SecurityRequirement::new(BEARER, [scope.word()]);
    let none = SecurityRequirement::default();
    let (security, sentence) = match rule {
        Some(Rule::Open) => (vec![none], "Scope: none.".to_owned()),
        Some(Rule::OpenIf(open, scope)) => {
            let (path, word) = (open.word(), scope.word());
            let sentence = format!("Scope: none if `EPR_OPEN_PATHS` contains `{path}`, else `{word}`.");
            (vec![none, requires(scope)], sentence)
        }
        Some(Rule::Requires(scope)) => (vec![requires(scope)], format!("Scope: `{}`.", scope.word())),
        Some(Rule::RequiresBoth(one, other)) => {
            let sentence = format!("Scope: `{}` and `{}`.", one.word(), other.word());
            (vec![SecurityRequirement::new(BEARER, [one.word(), other.word()])], sentence)
        }
        None => (Scope::ALL.iter().copied().map(requires).collect(), "Scope: refused to every caller.".to_owned()),
    };
    operation.security = Some(security);
    let about = operation.description.take().filter(|about| !about.is_empty());
    operation.description = Some(about.map_or(sentence.clone(), |about| format!("{about}\n\n{sentence}")));
    if rule != Some(Rule::Open) {
        add_refusals(operation);
    }
}

fn add_refusals(operation: &mut Operation) {
    let refusals = [
        (401, "The credential is missing or not valid.", "A bearer token is required", "Bearer realm=\"epr\""),
        (
            403,
            "The credential lacks the required scope.",
            "The bearer token lacks the scope epr:read",
            "Bearer realm=\"epr\", error=\"insufficient_scope\", scope=\"epr:read\"",
        ),
    ];
    for (status, about, sentence, challenge) in refusals {
        let (status, response) = response(status, about, &["Problem"], json!({ "detail": sentence }));
        let header = HeaderBuilder::new()
            .schema(Some(text_object()))
            .description(Some("The challenge (RFC 6750): why the credential is refused, and which scope is required."))
            .example(Some(json!(challenge)));
        let response = response.header("WWW-Authenticate", header.build()).build();
        operation.responses.responses.entry(status).or_insert(RefOr::T(response));
    }
}
