//! Descriptions of error responses. A handler names its extractors in `responses(…)` as it does in its signature, and
//! so cannot omit the errors that they return.

use std::collections::BTreeMap;

use epr_core::domain::FieldError;
use serde_json::json;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr, Response};
use utoipa::{IntoResponses, ToSchema};

use crate::http::extract::JsonBody;

/// An error that one sentence describes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `http/error.rs` writes it")]
pub(crate) struct Problem {
    /// What is wrong, for people. The wording is not part of the interface.
    #[schema(example = "Entity 01a20864-7750-7688-ae30-e4554a6f9d96 not found")]
    detail: String,
}

/// Input that is not valid.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `http/error.rs` writes it")]
pub(crate) struct InvalidInput {
    /// Every field that is wrong.
    #[schema(min_items = 1)]
    detail: Vec<FieldError>,
}

/// An internal error of the service.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `http/error.rs` writes it")]
pub(crate) struct InternalProblem {
    /// A generic message; the server log has the details under this request id.
    #[schema(example = "Internal server error")]
    detail: String,
    /// The request id, as in the header `X-Request-ID`.
    #[schema(example = "01a20864-7750-7688-ae30-e4554a6f9d96")]
    request_id: String,
}

type Responses = BTreeMap<String, RefOr<Response>>;

/// A response whose JSON body has one of the named schemas.
pub(crate) fn response(
    status: u16,
    about: &str,
    schemas: &[&str],
    example: serde_json::Value,
) -> (String, ResponseBuilder) {
    let schema: RefOr<Schema> = match schemas {
        [only] => Ref::from_schema_name(*only).into(),
        several => several.iter().fold(OneOfBuilder::new(), |any, name| any.item(Ref::from_schema_name(*name))).into(),
    };
    let content = ContentBuilder::new().schema(Some(schema)).example(Some(example)).build();
    (status.to_string(), ResponseBuilder::new().description(about).content("application/json", content))
}

fn responses(all: impl IntoIterator<Item = (String, ResponseBuilder)>) -> Responses {
    all.into_iter().map(|(status, response)| (status, response.build().into())).collect()
}

fn invalid() -> (String, ResponseBuilder) {
    let example = json!({"detail": [{"loc": ["body", "name"], "msg": "Field required", "type": "missing"}]});
    let about = "The input is not valid (every wrong field is listed), or it contradicts the registry (one sentence).";
    response(400, about, &["InvalidInput", "Problem"], example)
}

impl IntoResponses for JsonBody {
    fn responses() -> Responses {
        let too_large = json!({"detail": "The body is larger than 1048576 bytes"});
        responses([invalid(), response(413, "The body is larger than the limit.", &["Problem"], too_large)])
    }
}

/// A body of AuthZEN that is refused, with one sentence.
pub(crate) struct RefusedBody;

impl IntoResponses for RefusedBody {
    fn responses() -> Responses {
        let missing = json!({"detail": "subject: Field required"});
        let about = "The request is not valid: one sentence names everything that is wrong.";
        let mut all = JsonBody::responses();
        all.extend(responses([response(400, about, &["Problem"], missing)]));
        all
    }
}

/// A malformed id, `X-Actor-Id` or query parameter.
pub(crate) struct InvalidRequest;

impl IntoResponses for InvalidRequest {
    fn responses() -> Responses {
        responses([invalid()])
    }
}

/// The entity, role, assignment or event of the call does not exist.
pub(crate) struct NotFound;

impl IntoResponses for NotFound {
    fn responses() -> Responses {
        let example = json!({"detail": "Entity 01a20864-7750-7688-ae30-e4554a6f9d96 not found"});
        responses([response(404, "Not found.", &["Problem"], example)])
    }
}

/// The revision after which changes are asked is of another incarnation.
pub(crate) struct ForeignRevision;

impl IntoResponses for ForeignRevision {
    fn responses() -> Responses {
        let sentence = "The revision belongs to another incarnation of this ledger (a takeover or a restored backup \
                        began a new one); the present revision is \
                        0198c5b2-8a54-4c1e-9d3f-6f2f0d6f1c11.0000000000000004711";
        let about = "The revision is of another incarnation: what was read before may not be in this ledger.";
        responses([response(409, about, &["Problem"], json!({ "detail": sentence }))])
    }
}

/// The revision in `EPR-At-Least` is of another incarnation.
pub(crate) struct OtherIncarnation;

impl IntoResponses for OtherIncarnation {
    fn responses() -> Responses {
        let sentence = "The revision belongs to another incarnation of this ledger, which was taken over or restored \
                        since; read the state that you rely on again";
        let about = "The revision in `EPR-At-Least` is of another incarnation.";
        responses([response(409, about, &["Problem"], json!({ "detail": sentence }))])
    }
}

/// The name is already in use.
pub(crate) struct NameConflict;

impl IntoResponses for NameConflict {
    fn responses() -> Responses {
        let example = json!({"detail": "Entity 'Berlin One' of type 'spv' already exists"});
        responses([response(409, "The name is already in use.", &["Problem"], example)])
    }
}

/// The id or the external id belongs to another principal, or the personal fields were erased.
pub(crate) struct PrincipalConflict;

impl IntoResponses for PrincipalConflict {
    fn responses() -> Responses {
        let example = json!({"detail": "The external id belongs to another principal of type 'user'"});
        let about = "The id or the external id belongs to another principal, or the personal fields were erased.";
        responses([response(409, about, &["Problem"], example)])
    }
}

/// The idempotency key belongs to another request.
pub(crate) struct KeyConflict;

impl KeyConflict {
    pub(crate) const ABOUT: &str = "The `Idempotency-Key` was used for another body, or its answer was erased.";
}

impl IntoResponses for KeyConflict {
    fn responses() -> Responses {
        let sentence =
            "This Idempotency-Key was used for a request with another body in the last 24 hours; use a new key";
        responses([response(409, Self::ABOUT, &["Problem"], json!({ "detail": sentence }))])
    }
}

/// The principal was erased.
pub(crate) struct ErasedPrincipal;

impl IntoResponses for ErasedPrincipal {
    fn responses() -> Responses {
        let sentence = "Principal 7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11 was erased at 2026-11-29T12:00:00.000000Z and \
                        gets no assignment; register the person under a new id";
        let example = json!({ "detail": sentence });
        responses([response(409, "The principal was erased.", &["Problem"], example)])
    }
}

/// The list cannot go on at the revision of its first page, or `EPR-At-Least` or `revision` is of another incarnation.
pub(crate) struct OutdatedList;

impl IntoResponses for OutdatedList {
    fn responses() -> Responses {
        let sentence = "The pages of this list are at revision \
                        0198c5b2-8a54-7c1e-9d3f-6f2f0d6f1c11.0000000000000004711, and `EPR-At-Least` names a later \
                        one, 0198c5b2-8a54-7c1e-9d3f-6f2f0d6f1c11.0000000000000004712: begin again without `next`, or \
                        leave out the header";
        let about = "The list cannot go on at the revision of its first page: history lacks it, or `EPR-At-Least` \
                     names a later one. Or the revision in `EPR-At-Least` or `revision` is of another incarnation.";
        responses([response(409, about, &["Problem"], json!({ "detail": sentence }))])
    }
}

/// The server errors that any call can get.
pub(crate) struct ServerErrors;

impl IntoResponses for ServerErrors {
    fn responses() -> Responses {
        let internal = json!({"detail": "Internal server error", "request_id": "01a20864-7750-7688-ae30-e4554a6f9d96"});
        let unavailable = json!({"detail": "The service is temporarily unavailable"});
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let retry = HeaderBuilder::new()
            .schema(Some(seconds.build()))
            .description(Some("Seconds to wait before a retry."))
            .example(Some(json!(1)));
        let about = "A dependency is unavailable, or the service is overloaded; \
         retry after the time in `Retry-After`. The \
                     outcome of a change may be unknown.";
        let (status, busy) = response(503, about, &["Problem"], unavailable);
        responses([
            response(500, "An internal error.", &["InternalProblem"], internal),
            (status, busy.header("Retry-After", retry.build())),
        ])
    }
}
