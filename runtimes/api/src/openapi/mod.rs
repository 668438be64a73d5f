//! The OpenAPI document and the registration of routes: one call adds a route to the router, the document and the
//! access table, so that none of them can lack it.
//!
//! Owns what every operation has in common. Whatever is specific to a route is declared beside its handler, and the
//! form of a body beside its type. Must never name a route.

pub(crate) mod parameters;
pub(crate) mod responses;
mod schemas;
mod security;

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use serde_json::json;
use utoipa::IntoResponses as _;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, Info, License, OpenApi, OpenApiBuilder, PathItem, RefOr, Response, Server};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::App;
use crate::access::{Access, AccessTable, Rule};
use crate::http::extract::idempotency;
use crate::http::middleware::is_limited_path;
use parameters::text_object;
use responses::{InternalProblem, InvalidInput, KeyConflict, Problem, ServerErrors};

const ABOUT: &str = "\
EPR is the registry of business entities, roles and assignments. It answers whether a principal may perform an action \
on an \
entity, keeps a tamper-evident audit ledger, and publishes domain events.

**Errors** have the body `{\"detail\": …}`: a sentence, or for invalid input (400) a list of every field that is \
wrong. An unknown path is \
a 404, a method that the path does not have is a 405 with `Allow`, \
a body over the limit is a 413. A request whose path, query \
and headers are too large together is a 431 without a body; the operations do not list it. A 503 means that nothing \
was decided, or that the outcome of \
a change is unknown; retry after the seconds in `Retry-After`. A 500 carries the request id under which the server log \
has the details.

**Ids** are UUIDs, written in lower case with hyphens; upper case and missing hyphens are accepted. **Lists** are bare \
arrays; if more rows exist, the header `Link` has the next page. \
**Free-form JSON** (`attributes`, `payload`, `context`, `details`) is stored exactly: integers of 64 bits, \
numbers in the range of a \
double, at most 64 levels, no duplicate names in an object, no U+0000. **`X-Request-ID`** is echoed, \
or generated if absent.";

const TAGS: [(&str, &str); 9] = [
    ("entities", "Business entities (issuers, SPVs, offerings, investors, agents) in a hierarchy."),
    ("roles", "Named sets of permissions, each permission one action."),
    ("assignments", "Roles given to principals on an entity or everywhere, for a time window."),
    ("principals", "Principals that are registered with attributes, a status and the ids of other systems."),
    ("authorization", "Access checks."),
    ("authzen", "The same checks by the AuthZEN Authorization API 1.0."),
    ("events", "Events that are stored and published to other services."),
    ("audit", "The audit ledger, read only, and proofs over it."),
    ("operation", "Health, metrics and this document."),
];

/// One route: its handler with path, method and description, and its access rule.
pub(crate) struct Route {
    pub(crate) handler: UtoipaMethodRouter<Arc<App>>,
    pub(crate) rule: Rule,
}

/// Declares a route: a handler of this file, which carries `#[utoipa::path]`, and its access rule.
macro_rules! route {
    ($handler:ident, $rule:expr) => {
        $crate::openapi::Route { handler: ::utoipa_axum::routes!($handler), rule: $rule }
    };
}
pub(crate) use route;

/// Routes that are being collected. There is no way to add a route without its description and its rule.
pub(crate) struct Routes {
    router: OpenApiRouter<Arc<App>>,
    access: AccessTable,
}

/// Everything that the declarations of the routes produce.
pub(crate) struct Interface {
    pub(crate) router: Router<Arc<App>>,
    pub(crate) document: OpenApi,
    pub(crate) access: AccessTable,
}

impl Routes {
    /// No routes yet.
    pub(crate) fn new() -> Self {
        Self { router: OpenApiRouter::with_openapi(base()), access: AccessTable::default() }
    }

    /// Adds routes.
    pub(crate) fn with(mut self, routes: impl IntoIterator<Item = Route>) -> Self {
        for Route { handler, rule } in routes {
            for (path, item) in &handler.1.paths {
                for (method, operation) in operations(item) {
                    let operation = operation.operation_id.clone().unwrap_or_default();
                    self.access.add(Access { method, path: path.clone(), rule, operation });
                }
            }
            self.router = self.router.routes(handler);
        }
        self
    }

    /// The router, and the document and the access table about it.
    pub(crate) fn finish(self) -> Interface {
        let Self { router, access } = self;
        let (router, mut document) = router.split_for_parts();
        let components = document.components.get_or_insert_default();
        security::add_scheme(components);
        schemas::move_descriptions(components);
        schemas::accept_either_page(components);
        for (path, item) in &mut document.paths.paths {
            let limited = is_limited_path(path);
            for (method, operation) in operations_mut(item) {
                security::describe(operation, access.rule(&method, path));
                complete(operation, limited);
            }
        }
        // The router's templates say which parameter may have slashes; those of the document cannot.
        let paths = std::mem::take(&mut document.paths.paths);
        document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
        Interface { router, document, access }
    }
}

/// The document without routes.
fn base() -> OpenApi {
    let license = License::builder().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = Info::builder()
        .title("EPR, the Entity & Permissions Core")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(license));
    let components = ComponentsBuilder::new()
        .schema_from::<Problem>()
        .schema_from::<InvalidInput>()
        .schema_from::<InternalProblem>()
        .schema_from::<epr_core::domain::FieldError>()
        .schema_from::<epr_core::domain::Revision>()
        .schema_from::<epr_core::domain::fields::PathSegment>();
    OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([Server::new("/")]))
        .tags(Some(TAGS.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build())))
        .components(Some(components.build()))
        .build()
}

fn operations(item: &PathItem) -> impl Iterator<Item = (Method, &Operation)> {
    let all = [
        (Method::GET, &item.get),
        (Method::POST, &item.post),
        (Method::PUT, &item.put),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let all = [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Adds what every response has, and the responses that any `limited` call can get.
fn complete(operation: &mut Operation, limited: bool) {
    if limited {
        for (status, response) in ServerErrors::responses() {
            operation.responses.responses.entry(status).or_insert(response);
        }
    }
    if has_parameter(operation, &ParameterIn::Header, idempotency::NAME) {
        describe_keyed(operation);
    }
    let paged = has_parameter(operation, &ParameterIn::Query, "cursor");
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(Response { headers, .. }) = response else { continue };
        let id = HeaderBuilder::new()
            .schema(Some(text_object()))
            .description(Some("The request id: the one that was sent, or a generated UUID."))
            .example(Some(json!("01a20864-7750-7688-ae30-e4554a6f9d96")));
        headers.insert("X-Request-ID".into(), RefOr::T(id.build()));
        if paged && status == "200" {
            let link = HeaderBuilder::new()
                .schema(Some(text_object()))
                .description(Some(
                    "Present if more rows exist: the next page, as a reference relative to the URL of the request.",
                ))
                .example(Some(json!("<?type=spv&cursor=MDFhMjA4NjQ>; rel=\"next\"")));
            headers.insert("Link".into(), RefOr::T(link.build()));
        }
    }
}

fn has_parameter(operation: &Operation, location: &ParameterIn, name: &str) -> bool {
    operation.parameters.iter().flatten().any(|one| match one {
        RefOr::T(one) => one.name == name && one.parameter_in == *location,
        RefOr::Ref(_) => false,
    })
}

/// Adds what every creation under a key can answer.
fn describe_keyed(operation: &mut Operation) {
    for (status, response) in KeyConflict::responses() {
        operation.responses.responses.entry(status).or_insert(response);
    }
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        match status.as_str() {
            "201" => {
                let replayed = HeaderBuilder::new()
                    .schema(Some(text_object()))
                    .description(Some(
                        "Present, with the value `true`, if this is the first answer to a repeated call.",
                    ))
                    .example(Some(json!("true")));
                response.headers.insert("Idempotency-Replayed".into(), RefOr::T(replayed.build()));
            }
            "409" if response.description != KeyConflict::ABOUT => {
                response.description = format!("{} {}", response.description, KeyConflict::ABOUT);
            }
            _ => {}
        }
    }
}
