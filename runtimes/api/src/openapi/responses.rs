//! What the extractors take and refuse, for the OpenAPI document: a handler names its extractors there as it does in
//! its signature, and cannot forget what they answer.

use std::collections::BTreeMap;

use epr_core::domain::{FieldError, Text};
use serde_json::json;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{KnownFormat, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{Ref, RefOr, Required, Response};
use utoipa::{IntoParams, IntoResponses, PartialSchema as _, ToSchema};

use crate::http::extract::{CallHeaders, JsonBody, LenientCallHeaders, Paging, PathId};

/// Why a call was not done.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `failure.rs` writes it")]
pub(crate) struct Problem {
    /// A sentence.
    detail: String,
}

/// Input that fails validation.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `failure.rs` writes it")]
pub(crate) struct InvalidInput {
    /// Every failing field.
    #[schema(min_items = 1)]
    detail: Vec<FieldError>,
}

/// A fault on this side.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `failure.rs` writes it")]
pub(crate) struct InternalProblem {
    /// Says nothing more.
    detail: String,
    /// The id under which the log tells the cause.
    request_id: String,
}

type Responses = BTreeMap<String, RefOr<Response>>;

/// A response with a JSON body of the named schemas.
pub(crate) fn answer(
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
    answer(400, "The input is not valid, or does not fit what is registered", &["InvalidInput", "Problem"], example)
}

impl IntoResponses for JsonBody {
    fn responses() -> Responses {
        let too_large = json!({"detail": "The body is larger than 1048576 bytes"});
        responses([invalid(), answer(413, "The body is over the limit", &["Problem"], too_large)])
    }
}

/// A malformed id, `X-Actor-Id` or query parameter.
pub(crate) struct InvalidRequest;

impl IntoResponses for InvalidRequest {
    fn responses() -> Responses {
        responses([invalid()])
    }
}

/// What the call is about does not exist.
pub(crate) struct NotFound;

impl IntoResponses for NotFound {
    fn responses() -> Responses {
        let example = json!({"detail": "Entity 01a20864-7750-7688-ae30-e4554a6f9d96 not found"});
        responses([answer(404, "What the call is about does not exist", &["Problem"], example)])
    }
}

/// The name is taken.
pub(crate) struct NameConflict;

impl IntoResponses for NameConflict {
    fn responses() -> Responses {
        let example = json!({"detail": "Entity 'Berlin One' of type 'spv' already exists"});
        responses([answer(409, "Something else holds that name", &["Problem"], example)])
    }
}

/// What any call may be answered with.
pub(crate) struct ServerErrors;

impl IntoResponses for ServerErrors {
    fn responses() -> Responses {
        let fault = json!({"detail": "Internal server error", "request_id": "01a20864-7750-7688-ae30-e4554a6f9d96"});
        let away = json!({"detail": "The service is temporarily unavailable"});
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let retry =
            HeaderBuilder::new().schema(Some(seconds.build())).description(Some("Seconds to wait before trying again"));
        let (status, unavailable) =
            answer(503, "A dependency is away, or there is more to do than can be done in time", &["Problem"], away);
        responses([
            answer(500, "A fault on this side", &["InternalProblem"], fault),
            (status, unavailable.header("Retry-After", retry.build())),
        ])
    }
}

/// Any text.
pub(crate) fn text_object() -> Object {
    ObjectBuilder::new().schema_type(Type::String).build()
}

fn uuid_object() -> Object {
    let format = SchemaFormat::KnownFormat(KnownFormat::Uuid);
    ObjectBuilder::new().schema_type(Type::String).format(Some(format)).build()
}

fn parameter(place: ParameterIn, name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
}

fn request_id() -> Parameter {
    let about = "Echoed. When given, its first 120 characters become the ledger entry's `correlation_id`";
    parameter(ParameterIn::Header, "X-Request-ID", about, text_object()).build()
}

impl IntoParams for CallHeaders {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "The actor of the ledger entry";
        vec![parameter(ParameterIn::Header, "X-Actor-Id", about, uuid_object()).build(), request_id()]
    }
}

impl IntoParams for LenientCallHeaders {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "The actor of the ledger entry, a UUID; any other value is ignored";
        vec![parameter(ParameterIn::Header, "X-Actor-Id", about, text_object()).build(), request_id()]
    }
}

impl IntoParams for PathId {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![parameter(ParameterIn::Path, "id", "Its id", uuid_object()).required(Required::True).build()]
    }
}

impl<const DEFAULT: u32, const MOST: u32> IntoParams for Paging<DEFAULT, MOST> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(MOST))
            .default(Some(DEFAULT.into()));
        let cursor = "A place in the list, from the `Link` header of the page before";
        vec![
            parameter(ParameterIn::Query, "limit", "Most rows in the answer", limit).build(),
            parameter(ParameterIn::Query, "cursor", cursor, Text::<1, 512>::schema()).build(),
        ]
    }
}
