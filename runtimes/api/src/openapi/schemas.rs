//! Corrections of derived schemas.

use utoipa::openapi::schema::{Object, OneOf, Schema};
use utoipa::openapi::{Components, RefOr};

/// Moves the description of an optional property from its reference to the property, where viewers and generators of
/// clients look for it: the derivation writes `oneOf: [{$ref, description}, null]`.
pub(crate) fn move_descriptions(components: &mut Components) {
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::Object(Object { properties, .. })) = schema else { continue };
        for property in properties.values_mut() {
            let RefOr::T(Schema::OneOf(OneOf { items, description, .. })) = property else { continue };
            for item in items {
                if let RefOr::Ref(reference) = item
                    && !reference.description.is_empty()
                {
                    *description = Some(std::mem::take(&mut reference.description));
                }
            }
        }
    }
}
