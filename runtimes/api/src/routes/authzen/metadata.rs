//! `/.well-known/authzen-configuration`: where the endpoints of AuthZEN are.
//!
//! INVARIANT: every URL comes from `EPR_AUTHZEN_PDP_ID`, never from a header of the request.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use epr_core::authn::Scope;
use epr_core::settings::{OpenPath, PdpId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::access::Rule;
use crate::http::error::detail;
use crate::http::respond::ok;
use crate::openapi::responses::Problem;
use crate::openapi::{Route, route};

pub(crate) fn routes() -> [Route; 2] {
    const RULE: Rule = Rule::OpenIf(OpenPath::AuthzenConfiguration, Scope::Operate);
    [route!(read, RULE), route!(read_of_tenant, RULE)]
}

/// The path of the document of an identifier without a path. The path of another identifier follows it.
const PATH: &str = "/.well-known/authzen-configuration";
/// Callers may keep the document for an hour: it changes only with the settings.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// The endpoints of this policy decision point.
#[derive(Serialize, ToSchema)]
#[schema(as = AuthzenConfiguration)]
pub(crate) struct Configuration {
    /// The identifier, exactly as it is set (`EPR_AUTHZEN_PDP_ID`).
    #[schema(example = "https://pdp.example.com")]
    policy_decision_point: String,
    /// The endpoint of single evaluations.
    #[schema(example = "https://pdp.example.com/access/v1/evaluation")]
    access_evaluation_endpoint: String,
    /// The endpoint of batches.
    #[schema(example = "https://pdp.example.com/access/v1/evaluations")]
    access_evaluations_endpoint: String,
    /// The endpoint of searches for subjects.
    #[schema(example = "https://pdp.example.com/access/v1/search/subject")]
    search_subject_endpoint: String,
    /// The endpoint of searches for resources.
    #[schema(example = "https://pdp.example.com/access/v1/search/resource")]
    search_resource_endpoint: String,
    /// The endpoint of searches for actions.
    #[schema(example = "https://pdp.example.com/access/v1/search/action")]
    search_action_endpoint: String,
}

impl Configuration {
    fn of(id: &PdpId) -> Self {
        let endpoint = |name: &str| format!("{}/access/v1/{name}", id.base());
        Self {
            policy_decision_point: id.as_str().to_owned(),
            access_evaluation_endpoint: endpoint("evaluation"),
            access_evaluations_endpoint: endpoint("evaluations"),
            search_subject_endpoint: endpoint("search/subject"),
            search_resource_endpoint: endpoint("search/resource"),
            search_action_endpoint: endpoint("search/action"),
        }
    }
}

/// Read the AuthZEN configuration
///
/// The document of the identifier in `EPR_AUTHZEN_PDP_ID`; not found when that is not set, or has a path.
#[utoipa::path(
    get, path = "/.well-known/authzen-configuration", operation_id = "getAuthzenConfiguration", tag = "authzen",
    responses(
        (status = 200, description = "The configuration.", body = Configuration,
            headers(("Cache-Control" = String, description = "How long the document may be kept."))),
        (status = 404, description = "Not found.", body = Problem),
    )
)]
async fn read(State(app): State<Arc<App>>, uri: Uri) -> Response {
    configuration(&app, &uri)
}

/// Read the AuthZEN configuration of a tenant
///
/// The document of an identifier with a path: of `https://pdp.example.com/tenant-1`, the path is
/// `/.well-known/authzen-configuration/tenant-1`. Not found for every other path.
#[utoipa::path(
    get, path = "/.well-known/authzen-configuration/{*tenant}", operation_id = "getAuthzenConfigurationOfTenant",
    tag = "authzen",
    params(("tenant" = String, Path, description = "The path of the identifier.", example = "tenant-1")),
    responses(
        (status = 200, description = "The configuration.", body = Configuration,
            headers(("Cache-Control" = String, description = "How long the document may be kept."))),
        (status = 404, description = "Not found.", body = Problem),
    )
)]
async fn read_of_tenant(State(app): State<Arc<App>>, uri: Uri) -> Response {
    configuration(&app, &uri)
}

fn configuration(app: &App, uri: &Uri) -> Response {
    let Some(id) = &app.pdp_id else {
        return detail(StatusCode::NOT_FOUND, "This service has no AuthZEN identifier (EPR_AUTHZEN_PDP_ID)");
    };
    // As sent: an identifier is compared byte for byte.
    if uri.path().strip_prefix(PATH) != Some(id.path()) {
        return detail(StatusCode::NOT_FOUND, "Not Found");
    }
    let mut response = ok(&Configuration::of(id));
    response.headers_mut().insert(header::CACHE_CONTROL, CACHE_CONTROL);
    response
}
