//! The declaration of answers that are not records of the registry: explanations and their parts.
//!
//! Owns the macro. Must never know an answer.

/// Declares an object that the service answers and clients read back: a struct, its JSON form and its reader. Every
/// member is required; members that the struct does not have are ignored.
///
/// ```ignore
/// answer! {
///     /// A place by name.
///     #[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
///     pub struct NamedPlace;
///     /// The name.
///     name as "name": String;
/// }
/// ```
macro_rules! answer {
    (
        $(#[$meta:meta])* pub struct $name:ident;
        $( $(#[$field_meta:meta])* $field:ident as $member:tt: $ty:ty; )+
    ) => {
        $(#[$meta])*
        pub struct $name {
            $( $(#[$field_meta])* #[serde(rename = $member)] pub $field: $ty, )+
        }

        impl $name {
            /// Reads the object, as an API returns it.
            ///
            /// # Errors
            /// Every failing member.
            pub fn from_json(
                body: &$crate::domain::Json,
            ) -> ::std::result::Result<Self, $crate::domain::Invalid> {
                let mut fields = $crate::domain::fields::Fields::of_body(body)?;
                $( let $field = fields.required($member, <$ty as $crate::domain::input::value::Value>::read); )+
                let build = || Some(Self { $( $field: $field?, )+ });
                let build = build();
                fields.finish(build)
            }
        }

        impl $crate::domain::input::value::Value for $name {
            fn read(value: &$crate::domain::Json) -> $crate::domain::fields::Reading<Self> {
                let $crate::domain::Json::Object(members) = value else {
                    let problem = $crate::domain::fields::Problem::new("dict_type", "Input should be a valid object");
                    return Err(vec![problem]);
                };
                let mut fields = $crate::domain::fields::Fields::new("body", members);
                $( let $field = fields.required($member, <$ty as $crate::domain::input::value::Value>::read); )+
                let build = || Some(Self { $( $field: $field?, )+ });
                let build = build();
                fields.finish_nested(build)
            }

            fn write(&self) -> $crate::domain::Json {
                let mut members = $crate::domain::JsonObject::new();
                $( members.insert($member.to_owned(), $crate::domain::input::value::Value::write(&self.$field)); )+
                members.into()
            }
        }
    };
}

pub(crate) use answer;
