//! The OpenAPI document, which grows with the router: a route gets into one only together with the other.
//!
//! Owns what every operation has in common. What is particular to a route stands beside its handler, what a body looks
//! like beside its type. Must never name a route.

pub(crate) mod responses;
mod security;

use std::sync::Arc;

use axum::Router;
use utoipa::IntoResponses as _;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::{
    ComponentsBuilder, Info, License, OpenApi, OpenApiBuilder, PathItem, RefOr, Response, Server, path::Operation,
    tag::TagBuilder,
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::App;
use crate::openapi::responses::{InternalProblem, InvalidInput, Problem, ServerErrors, text_object};

const ABOUT: &str = "\
Who exists, who may do what, and what happened.

**Errors** are `{\"detail\": …}`: a sentence, or for invalid input (400) a list with every failing field. An unknown path is a \
404, a method that a path does not have a 405 with `Allow`, a body over the limit a 413. Any call whose \
path, query and headers are too large together is a 431 without a body, which is not listed again at each operation. A 503 says that nothing was decided or that it is not known whether it was done: the same call may be sent again after `Retry-After` seconds. A 500 \
carries the request id under which the log tells more.

**Ids** are UUIDs, written lower-case with hyphens; upper-case and un-hyphenated input is accepted. **Lists** are bare \
arrays; when more rows exist, the header `Link` names the next page. \
**Free-form JSON** (`attributes`, `payload`, `context`, `details`) is kept exactly: integers of 64 bits, numbers in the range of a \
double, at most 64 levels, no name twice in one object, no U+0000. **`X-Request-ID`** is echoed, or made when absent.";

/// A router that takes a route only with its description.
pub(crate) struct Routes(OpenApiRouter<Arc<App>>);

impl Routes {
    /// Without routes.
    pub(crate) fn new() -> Self {
        let license = License::builder().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
        let info = Info::builder()
            .title("EPR, the Entity & Permissions Core")
            .version(env!("CARGO_PKG_VERSION"))
            .description(Some(ABOUT))
            .license(Some(license));
        let tags = [
            ("entities", "Issuers, SPVs, offerings, investors and agents, in a hierarchy"),
            ("roles", "Named sets of permitted actions"),
            ("assignments", "Who holds which role, where, and from when to when"),
            ("authorization", "The check"),
            ("events", "What is told to other services"),
            ("audit", "The ledger, read only"),
            ("operation", "Health, metrics, this document"),
        ];
        let document = OpenApiBuilder::new()
            .info(info.build())
            .servers(Some([Server::new("/")]))
            .tags(Some(tags.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build())))
            .components(Some(
                ComponentsBuilder::new()
                    .schema_from::<Problem>()
                    .schema_from::<InvalidInput>()
                    .schema_from::<InternalProblem>()
                    .schema_from::<epr_core::domain::FieldError>()
                    .schema_from::<epr_core::domain::fields::Step>()
                    .build(),
            ))
            .build();
        Self(OpenApiRouter::with_openapi(document))
    }

    /// Adds a path with its methods.
    pub(crate) fn with(self, routes: UtoipaMethodRouter<Arc<App>>) -> Self {
        Self(self.0.routes(routes))
    }

    /// The router, and the document about it.
    pub(crate) fn finish(self) -> (Router<Arc<App>>, OpenApi) {
        let (router, mut document) = self.0.split_for_parts();
        security::scheme(document.components.get_or_insert_default());
        for (path, item) in &mut document.paths.paths {
            security::secure(path, item);
            let limited = path.starts_with("/api/");
            for operation in operations(item) {
                complete(operation, limited);
            }
        }
        (router, document)
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch, &mut item.put, &mut item.delete].into_iter().flatten()
}

/// What every answer has, and (where calls are `limited`) what any call may be answered with.
fn complete(operation: &mut Operation, limited: bool) {
    if limited {
        for (status, response) in ServerErrors::responses() {
            operation.responses.responses.entry(status).or_insert(response);
        }
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(Response { headers, .. }) = response {
            let id = HeaderBuilder::new()
                .schema(Some(text_object()))
                .description(Some("What was sent, or what was made here"));
            headers.insert("X-Request-ID".into(), RefOr::T(id.build()));
        }
    }
}
