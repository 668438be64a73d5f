//! Descriptions of the parameters that extractors read. A handler names its extractors in `params(…)` as it does in its
//! signature.

use epr_core::domain::Text;
use serde_json::json;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, Object, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Required};
use utoipa::{IntoParams, PartialSchema as _};

use crate::http::extract::idempotency::NAME;
use crate::http::extract::{CallHeaders, KeyHeader, LenientCallHeaders, Paging, QuestionHeaders};
use crate::http::past::MomentParameters;

/// Any text.
pub(crate) fn text_object() -> Object {
    ObjectBuilder::new().schema_type(Type::String).build()
}

fn uuid_object() -> Object {
    let format = SchemaFormat::KnownFormat(KnownFormat::Uuid);
    ObjectBuilder::new().schema_type(Type::String).format(Some(format)).build()
}

fn parameter(location: ParameterIn, name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(location)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
}

fn header(name: &str, about: &str, schema: Object, example: &str) -> Parameter {
    parameter(ParameterIn::Header, name, about, schema).example(Some(json!(example))).build()
}

const ACTOR_EXAMPLE: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11";

fn request_id() -> Parameter {
    let about = "The request id; generated if absent. It is echoed, it is in every log line of the request, \
     and its first 120 \
                 characters become the `correlation_id` of the ledger entry.";
    header("X-Request-ID", about, text_object(), "vault-2026-11-29-0001")
}

fn reason() -> Parameter {
    let about = "Why the change is made, for the ledger (`details.stated_reason`): 1 to 512 characters of UTF-8 \
                 without control characters, or `UTF-8''` and percent-encoded UTF-8 (RFC 8187). Grants need it where \
                 the service is configured with `EPR_REQUIRE_REASON=assignments`.";
    let schema = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(512));
    header("EPR-Reason", about, schema.pattern(Some("^[ -~]*[!-~][ -~]*$")).build(), "Ticket 4711: audit 2026")
}

impl IntoParams for CallHeaders {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "The actor of the ledger entry. With authentication, \
         an actor other than the credential's own requires \
                     the scope `epr:act-as`.";
        vec![header("X-Actor-Id", about, uuid_object(), ACTOR_EXAMPLE), reason(), request_id()]
    }
}

fn at_least() -> Parameter {
    let about = "A revision, as an `EPR-Revision` header of this service gave it. The answer rests on that state of \
                 the registry or a later one, whichever process gives it. A database that has not reached it in time \
                 is a 503; a revision of another incarnation is a 409.";
    header("EPR-At-Least", about, text_object(), "0198c5b2-8a54-4c1e-9d3f-6f2f0d6f1c11.0000000000000004711")
}

impl IntoParams for MomentParameters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "A time: the answer is the registry as it was then. Such an answer is recorded in the ledger.";
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        let time = ObjectBuilder::new().schema_type(Type::String).format(Some(format));
        let at = parameter(ParameterIn::Query, "at", about, time).example(Some(json!("2026-11-01T12:00:00Z")));
        let about = "A state of the registry, from a header `EPR-Revision`: the answer is the registry as it was then. \
                     Such an answer is recorded in the ledger.";
        let revision = parameter(ParameterIn::Query, "revision", about, text_object())
            .example(Some(json!("0198c5b2-8a54-4c1e-9d3f-6f2f0d6f1c11.0000000000000004711")));
        vec![at.build(), revision.build()]
    }
}

impl IntoParams for QuestionHeaders {
    fn into_params(locate: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        LenientCallHeaders::into_params(locate).into_iter().chain([at_least()]).collect()
    }
}

impl IntoParams for LenientCallHeaders {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "The actor of the ledger entry, a UUID; any other value is ignored. With authentication, \
         an actor other \
                     than the credential's own requires the scope `epr:act-as`.";
        vec![header("X-Actor-Id", about, text_object(), ACTOR_EXAMPLE), request_id()]
    }
}

impl IntoParams for KeyHeader {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "A key that makes the creation safe to repeat, for example a random UUID: 1 to 255 visible ASCII \
                     characters. A repeat of the same caller with the same key and body within 24 hours returns the \
                     first answer.";
        let schema = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
        vec![header(NAME, about, schema.pattern(Some("^[!-~]+$")).build(), "0b8f1c7e-3f57-4d43-9d0e-6a5d6b1c9a55")]
    }
}

impl<const DEFAULT: u32, const MAX: u32> IntoParams for Paging<DEFAULT, MAX> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(MAX))
            .default(Some(DEFAULT.into()));
        let cursor = "Where the page begins: the `cursor` in the `Link` header of the previous page.";
        vec![
            parameter(ParameterIn::Query, "limit", "The largest number of rows in the page.", limit).build(),
            parameter(ParameterIn::Query, "cursor", cursor, Text::<1, 512>::schema()).build(),
        ]
    }
}
