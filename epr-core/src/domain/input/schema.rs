//! The OpenAPI schemas of value types with hand-written readers: texts, timestamps and path segments.
//!
//! Owns their bounds as the document states them. Must never state less or more than the readers in [`super::fields`]
//! accept.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AnyOfBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use super::fields::PathSegment;
use crate::domain::value::external_id::{ExternalId, MAX_BYTES};
use crate::domain::value::revision::Revision;
use crate::domain::value::text::Text;
use crate::domain::value::time::Timestamp;

fn of(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

impl<const MIN: usize, const MAX: usize> PartialSchema for Text<MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        of(Type::String).min_length((MIN > 0).then_some(MIN)).max_length(Some(MAX)).into()
    }
}

/// The name of the schema consists of the bounds.
impl<const MIN: usize, const MAX: usize> ToSchema for Text<MIN, MAX> {
    fn name() -> Cow<'static, str> {
        format!("Text{MIN}To{MAX}").into()
    }
}

/// JSON Schema counts characters, of which each has at least one byte.
impl PartialSchema for ExternalId {
    fn schema() -> RefOr<Schema> {
        of(Type::String).min_length(Some(1)).max_length(Some(MAX_BYTES)).into()
    }
}

impl ToSchema for ExternalId {}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        of(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some(
                "RFC 3339, years 1 to 9999. Written in UTC with microseconds and `Z`; read with any offset, which is \
                 converted, or none, which means UTC.",
            ))
            .examples(["2026-01-31T09:30:00.000000Z"])
            .into()
    }
}

impl ToSchema for Timestamp {}

impl PartialSchema for Revision {
    fn schema() -> RefOr<Schema> {
        of(Type::String)
            .description(Some(
                "A state of the registry. Opaque; the texts of one ledger sort in the order in which the states came. \
                 After a takeover or a restored backup a new order begins.",
            ))
            .examples(["0198c5b2-8a54-7c1e-9d3f-6f2f0d6f1c11.0000000000000004711"])
            .into()
    }
}

impl ToSchema for Revision {}

/// The forms of a [`Timestamp`] in a request.
pub(crate) struct AnyTime;

impl PartialSchema for AnyTime {
    fn schema() -> RefOr<Schema> {
        // The years 1 to 9999 in milliseconds.
        let number = of(Type::Number).minimum(Some(-62_135_596_800_000_i64)).maximum(Some(253_402_300_799_999_i64));
        AnyOfBuilder::new()
            .item(Timestamp::schema())
            .item(number.description(Some("Epoch time: seconds, or milliseconds above 20,000,000,000.")))
            .into()
    }
}

impl ToSchema for AnyTime {}

impl PartialSchema for PathSegment {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new().item(of(Type::String)).item(of(Type::Integer).minimum(Some(0))).into()
    }
}

impl ToSchema for PathSegment {}
