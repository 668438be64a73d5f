//! What the OpenAPI document says about credentials: told from the table of access, for every operation.

use axum::http::Method;
use epr_core::authn::Scope;
use epr_core::domain::fields::Choice as _;
use serde_json::json;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, PathItem, RefOr};

use crate::access::{self, Rule};
use crate::openapi::responses::{answer, text_object};

/// The name of the scheme in the document.
const BEARER: &str = "bearer";

/// How a credential is given.
pub(crate) fn scheme(components: &mut Components) {
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description = Some(
        "An API token, or a JWT of the configured issuer, with the scope that the operation names. Only where the service \
         is set up to ask for it (`EPR_AUTH_MODE`)."
            .into(),
    );
    components.add_security_scheme(BEARER, SecurityScheme::Http(bearer));
}

/// Tells for every operation of `path` which scope it wants, and what is answered without. An operation that has no
/// rule is told to want all of them: nobody gets in there.
pub(crate) fn secure(path: &str, item: &mut PathItem) {
    let operations = [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ];
    for (method, operation) in operations {
        let Some(operation) = operation else { continue };
        let wants = |scope: Scope| SecurityRequirement::new(BEARER, [scope.word()]);
        let open = SecurityRequirement::default();
        operation.security = Some(match access::rule(&method, path) {
            Some(Rule::Open) => vec![open],
            Some(Rule::OpenIf(_)) => vec![open, wants(Scope::Operate)],
            Some(Rule::Needs(scope)) => vec![wants(scope)],
            None => Scope::ALL.iter().map(|scope| wants(*scope)).collect(),
        });
        let scope = match access::rule(&method, path) {
            Some(Rule::Open) => "Scope: none.".to_owned(),
            Some(Rule::OpenIf(_)) => {
                format!("Scope: none where `EPR_OPEN_PATHS` lists it, else `{}`.", Scope::Operate.word())
            }
            Some(Rule::Needs(scope)) => format!("Scope: `{}`.", scope.word()),
            None => "Scope: closed to every caller.".to_owned(),
        };
        let about = operation.description.take().filter(|about| !about.is_empty());
        operation.description = Some(about.map_or(scope.clone(), |about| format!("{about}\n\n{scope}")));
        if access::rule(&method, path) != Some(Rule::Open) {
            refusals(operation);
        }
    }
}

fn refusals(operation: &mut Operation) {
    let told = [
        (401, "No credential, or none that is valid", "A bearer token is required"),
        (403, "The credential lacks the scope", "The bearer token lacks the scope epr:read"),
    ];
    for (status, about, sentence) in told {
        let (status, response) = answer(status, about, &["Problem"], json!({ "detail": sentence }));
        let challenge = HeaderBuilder::new().schema(Some(text_object())).description(Some("RFC 6750"));
        let response = response.header("WWW-Authenticate", challenge.build()).build();
        operation.responses.responses.entry(status).or_insert(RefOr::T(response));
    }
}
