//! Corrections of derived schemas.

use utoipa::openapi::schema::{AnyOf, Object, OneOf, Schema};
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

/// Describes a page of the list of resources as either of its forms: an empty page is both, which `oneOf` forbids.
pub(crate) fn accept_either_page(components: &mut Components) {
    if let Some(RefOr::T(schema)) = components.schemas.get_mut("ResourcesPage")
        && let Schema::OneOf(OneOf { items, description, .. }) = schema
    {
        let mut either = AnyOf::new();
        either.items = std::mem::take(items);
        either.description = description.take();
        *schema = Schema::AnyOf(either);
    }
}
