//! Declarations: each field of a registry type, each word of a closed set and each condition of a filter is written
//! once.
//!
//! Owns the macros [`record`], [`words`] and [`filter`] and everything that follows from a declaration. Must never know
//! one of the declared types.
//!
//! # A record
//!
//! ```ignore
//! record! {
//!     /// A registered place.
//!     #[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
//!     pub struct Place;
//!     /// A request to create a place.
//!     #[derive(Debug, Clone, PartialEq, ToSchema)]
//!     pub struct NewPlace(new, id, now);
//!     patch {
//!         /// A change of a place. An absent member keeps its value.
//!         #[derive(Debug, Clone, Default, PartialEq, ToSchema)]
//!         PlacePatch
//!     }
//!
//!     /// The id.
//!     id as "id": Uuid { set id; }
//!     /// The name.
//!     name as "name": String {
//!         new /** The name. */ PlaceName = required;
//!         patch /** The new name. */ PlaceName = given;
//!     }
//! }
//! ```
//!
//! A field has a Rust name, a wire name, which is its JSON member and its column, and the type that the record keeps.
//! `new` is its type in a creation, and how a body gives it: `required`, `optional` (absent or `null` is `None`),
//! `if_some` (the same, and `None` is written as an absent member, also of the record), `if_any` (the same for
//! a map, whose empty form is the absent one) or `default(expression)` (absent
//! only). `patch` is its type in a change: `given` passes `null` to the type's reader,
//! `unless_null` reads `null` as no change. `by reader` replaces the type's own reader. `set` is the expression that
//! gives the field its value in a new record, with the names in the parentheses of the request; without it the
//! request's value is kept. The declaration above expands to:
//!
//! ```ignore
//! pub struct Place { pub id: Uuid, pub name: String }
//! pub struct NewPlace { pub name: PlaceName }
//! pub struct PlacePatch { pub name: Option<PlaceName> }
//!
//! impl Place {
//!     pub fn from_json(body: &Json) -> Result<Self, Invalid>;  // every member is required: what an API returns
//!     pub fn read_from<S, E>(source: &mut S) -> Result<Self, E>;        // for example the columns of a row
//!     pub fn write_to<S>(&self, sink: &mut S);                          // for example the parameters of an INSERT
//!     pub fn describe_to<S>(shape: &mut S);                             // names and types, for example of a SELECT
//!     pub fn details(&self) -> JsonObject;                     // the members of `NewPlace`, for a ledger entry
//!     pub fn write_changeable_to<S>(&self, sink: &mut S);               // the fields of `PlacePatch`, for an UPDATE
//!     pub fn changes_since(&self, before: &Self) -> JsonObject;// those of them that differ, for a ledger entry
//! }
//! impl NewPlace {
//!     pub const MEMBERS: &[&str] = &["name"];
//!     fn read(fields: &mut Fields<'_>) -> Option<Self>;                 // reports every failing field
//!     pub fn to_body(&self) -> JsonObject;                              // for a client
//!     pub fn into_record(self, id: Uuid, now: Timestamp) -> Place;
//! }
//! impl PlacePatch {
//!     pub const MEMBERS: &[&str] = &["name"];
//!     fn read(fields: &mut Fields<'_>) -> Self;
//!     pub fn to_body(&self) -> JsonObject;
//!     pub fn apply(&self, before: &Place) -> Place;
//! }
//! ```
//!
//! A field whose type has no [`Value`](super::value::Value) does not compile, nor one that the store cannot keep.

/// Declares a record, the request that creates it and the request that changes it: see the module's documentation.
macro_rules! record {
    (
        $(#[$record_meta:meta])* pub struct $record:ident;
        $(#[$new_meta:meta])* pub struct $new:ident($values:ident, $id:ident, $now:ident);
        patch $patch:tt
        $(
            $(#[$meta:meta])*
            $field:ident as $member:tt: $ty:ty {
                $( set $stored:expr; )?
                $( new $(#[$n_meta:meta])* $n_ty:ty = $n_how:ident $(($n_default:expr))? $(by $n_reader:path)?; )?
                $( patch $(#[$p_meta:meta])* $p_ty:ty = $p_how:ident $(by $p_reader:path)?; )?
            }
        )*
    ) => {
        $(#[$record_meta])*
        pub struct $record {
            $( $(#[$meta])* #[serde(rename = $member)] pub $field: $ty, )*
        }

        $(#[$new_meta])*
        pub struct $new {
            $( $( $(#[$n_meta])* #[serde(rename = $member)] pub $field: $n_ty, )? )*
        }

        impl $record {
            /// Reads a whole record, as an API returns it.
            ///
            /// # Errors
            /// Every failing field. A missing member is one; members that the record does not have are ignored.
            pub fn from_json(
                body: &$crate::domain::Json,
            ) -> ::std::result::Result<Self, $crate::domain::Invalid> {
                let mut fields = $crate::domain::fields::Fields::of_body(body)?;
                $( let $field: Option<$ty> = record!(@whole fields, $member, $ty $(, $n_how)?); )*
                let build = || Some(Self { $( $field: $field?, )* });
                let build = build();
                fields.finish(build)
            }

            /// Reads every field from `source`, in the order of the declaration.
            ///
            /// # Errors
            /// The first failing field.
            pub fn read_from<S, E>(source: &mut S) -> ::std::result::Result<Self, E>
            where
                $( S: $crate::domain::input::value::Source<$ty, E>, )*
            {
                Ok(Self {
                    $( $field: $crate::domain::input::value::Source::<$ty, E>::take(source, $member)?, )*
                })
            }

            /// Writes every field to `sink`, in the order of the declaration.
            pub fn write_to<S>(&self, sink: &mut S)
            where
                $( S: $crate::domain::input::value::Sink<$ty>, )*
            {
                $( $crate::domain::input::value::Sink::<$ty>::put(sink, $member, &self.$field); )*
            }

            /// Describes every field to `shape`, in the order of the declaration.
            pub fn describe_to<S>(shape: &mut S)
            where
                $( S: $crate::domain::input::value::Shape<$ty>, )*
            {
                $( $crate::domain::input::value::Shape::<$ty>::field(shape, $member); )*
            }

            /// The members that a request can set, as a ledger entry records them.
            #[must_use]
            pub fn details(&self) -> $crate::domain::JsonObject {
                let mut members = $crate::domain::JsonObject::new();
                $( $( record!(@put_as $n_how, $ty, &mut members, $member, &self.$field); )? )*
                members
            }
        }

        impl $new {
            /// Every member that a body may have.
            pub const MEMBERS: &[&str] = &[ $( $( record!(@name $n_ty, $member), )? )* ];

            /// Reads the members; `None` when a required one is missing or fails. Every failing field is reported.
            fn read(fields: &mut $crate::domain::fields::Fields<'_>) -> Option<Self> {
                $( $(
                    let $field: Option<$n_ty> =
                        record!(@new fields, $member, $n_how $(($n_default))? $(by $n_reader)?);
                )? )*
                Some(Self { $( $( $field: record!(@name $n_ty, $field?), )? )* })
            }

            /// The body of this request.
            #[must_use]
            pub fn to_body(&self) -> $crate::domain::JsonObject {
                let mut members = $crate::domain::JsonObject::new();
                $( $( record!(@put_as $n_how, $n_ty, &mut members, $member, &self.$field); )? )*
                members
            }

            /// The record that this request asks for, under a new id and made at the present time.
            #[must_use]
            pub fn into_record(self, $id: uuid::Uuid, $now: $crate::domain::Timestamp) -> $record {
                let $values = self;
                $record { $( $field: record!(@stored $values, $field $(, $stored)?), )* }
            }
        }

        record! {
            @patch $patch $record
            $( [ $member $field $ty { $( $(#[$p_meta])* $p_ty = $p_how $(by $p_reader)? )? } ] )*
        }
    };

    (@patch {} $record:ident $($fields:tt)*) => {};
    (
        @patch { $(#[$patch_meta:meta])* $patch:ident } $record:ident
        $( [
            $member:tt $field:ident $ty:ty
            { $( $(#[$p_meta:meta])* $p_ty:ty = $p_how:ident $(by $p_reader:path)? )? }
        ] )*
    ) => {
        $(#[$patch_meta])*
        pub struct $patch {
            $( $( $(#[$p_meta])* #[serde(rename = $member)] pub $field: Option<$p_ty>, )? )*
        }

        impl $record {
            /// Writes the fields that a change can set to `sink`, in the order of the declaration.
            pub fn write_changeable_to<S>(&self, sink: &mut S)
            where
                $( S: $crate::domain::input::value::Sink<$ty>, )*
            {
                $( $( record!(@put $p_ty, $ty, sink, $member, &self.$field); )? )*
            }

            /// The members that differ from `before`, as a ledger entry records them.
            #[must_use]
            pub fn changes_since(&self, before: &Self) -> $crate::domain::JsonObject {
                let mut members = $crate::domain::JsonObject::new();
                $( $(
                    if self.$field != before.$field {
                        record!(@put $p_ty, $ty, &mut members, $member, &self.$field);
                    }
                )? )*
                members
            }
        }

        impl $patch {
            /// Every member that a body may have.
            pub const MEMBERS: &[&str] = &[ $( $( record!(@name $p_ty, $member), )? )* ];

            /// Reads the members. Every failing field is reported.
            fn read(fields: &mut $crate::domain::fields::Fields<'_>) -> Self {
                Self {
                    $( $( $field: record!(@patched fields, $member, $p_ty, $p_how $(by $p_reader)?), )? )*
                }
            }

            /// The body of this request.
            #[must_use]
            pub fn to_body(&self) -> $crate::domain::JsonObject {
                let mut members = $crate::domain::JsonObject::new();
                $( $(
                    if let Some(value) = &self.$field {
                        record!(@put $p_ty, $p_ty, &mut members, $member, value);
                    }
                )? )*
                members
            }

            /// `before` with this change. The time of its last change is the caller's to set.
            #[must_use]
            pub fn apply(&self, before: &$record) -> $record {
                let mut after = before.clone();
                $( $(
                    if let Some(value) = &self.$field {
                        after.$field =
                            <$ty as $crate::domain::input::value::FromInput<$p_ty>>::from_input(value.clone());
                    }
                )? )*
                after
            }
        }
    };

    (@name $driver:ty, $name:expr) => { $name };
    (@put $driver:ty, $ty:ty, $sink:expr, $member:tt, $value:expr) => {
        $crate::domain::input::value::Sink::<$ty>::put($sink, $member, $value)
    };
    (@put_as if_some, $ty:ty, $sink:expr, $member:tt, $value:expr) => {
        if $value.is_some() {
            $crate::domain::input::value::Sink::<$ty>::put($sink, $member, $value)
        }
    };
    (@put_as if_any, $ty:ty, $sink:expr, $member:tt, $value:expr) => {
        if !$value.is_empty() {
            $crate::domain::input::value::Sink::<$ty>::put($sink, $member, $value)
        }
    };
    (@put_as $how:ident, $ty:ty, $sink:expr, $member:tt, $value:expr) => {
        $crate::domain::input::value::Sink::<$ty>::put($sink, $member, $value)
    };
    (@whole $fields:ident, $member:tt, $ty:ty, if_some) => {
        Some($fields.optional($member, $crate::domain::input::value::Value::read))
    };
    (@whole $fields:ident, $member:tt, $ty:ty, if_any) => {
        Some($fields.optional($member, $crate::domain::input::value::Value::read).unwrap_or_default())
    };
    (@whole $fields:ident, $member:tt, $ty:ty $(, $how:ident)?) => {
        $fields.required($member, <$ty as $crate::domain::input::value::Value>::read)
    };
    (@stored $values:ident, $field:ident) => {
        $crate::domain::input::value::FromInput::from_input($values.$field)
    };
    (@stored $values:ident, $field:ident, $stored:expr) => { $stored };

    (@new $fields:ident, $member:tt, required) => {
        {
            let types = $fields.entity_types();
            $fields.required($member, |value| $crate::domain::input::value::Value::read_for(value, types))
        }
    };
    (@new $fields:ident, $member:tt, required by $reader:path) => { $fields.required($member, $reader) };
    (@new $fields:ident, $member:tt, optional) => {
        {
            let types = $fields.entity_types();
            Some($fields.optional($member, |value| $crate::domain::input::value::Value::read_for(value, types)))
        }
    };
    (@new $fields:ident, $member:tt, if_any) => { record!(@new $fields, $member, default(Default::default())) };
    (@new $fields:ident, $member:tt, if_some) => { record!(@new $fields, $member, optional) };
    (@new $fields:ident, $member:tt, optional by $reader:path) => { Some($fields.optional($member, $reader)) };
    (@new $fields:ident, $member:tt, default ($default:expr)) => {
        {
            let types = $fields.entity_types();
            let given = $fields.given($member, |value| $crate::domain::input::value::Value::read_for(value, types));
            Some(given.unwrap_or_else(|| $default))
        }
    };
    (@new $fields:ident, $member:tt, default ($default:expr) by $reader:path) => {
        Some($fields.given($member, $reader).unwrap_or_else(|| $default))
    };

    (@patched $fields:ident, $member:tt, $ty:ty, given) => {
        {
            let types = $fields.entity_types();
            $fields.given($member, |value| <$ty as $crate::domain::input::value::Value>::read_for(value, types))
        }
    };
    (@patched $fields:ident, $member:tt, $ty:ty, given by $reader:path) => { $fields.given($member, $reader) };
    (@patched $fields:ident, $member:tt, $ty:ty, unless_null) => {
        {
            let types = $fields.entity_types();
            $fields.optional($member, |value| <$ty as $crate::domain::input::value::Value>::read_for(value, types))
        }
    };
    (@patched $fields:ident, $member:tt, $ty:ty, unless_null by $reader:path) => {
        $fields.optional($member, $reader)
    };
}

/// Declares a closed set of words: an enum, its [`Choice`](super::fields::Choice), `FromStr`, and its JSON form.
///
/// ```ignore
/// words! {
///     /// What a place is.
///     #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
///     pub enum PlaceKind: "kind of place" {
///         /// A town.
///         Town = "town",
///     }
/// }
/// ```
macro_rules! words {
    (
        $(#[$meta:meta])* $vis:vis enum $name:ident: $what:literal {
            $( $(#[$variant_meta:meta])* $variant:ident = $word:tt, )+
        }
    ) => {
        $(#[$meta])*
        $vis enum $name {
            $( $(#[$variant_meta])* #[serde(rename = $word)] $variant, )+
        }

        impl $crate::domain::fields::Choice for $name {
            const WHAT: &'static str = $what;
            const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            fn word(self) -> &'static str {
                match self {
                    $( Self::$variant => $word, )+
                }
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::domain::fields::UnknownWord;

            fn from_str(word: &str) -> ::std::result::Result<Self, Self::Err> {
                $crate::domain::fields::Choice::parse(word)
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, out: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                out.write_str($crate::domain::fields::Choice::word(*self))
            }
        }

        impl $crate::domain::input::value::Value for $name {
            fn read(value: &$crate::domain::Json) -> $crate::domain::fields::Reading<Self> {
                $crate::domain::fields::choice(value)
            }

            fn write(&self) -> $crate::domain::Json {
                $crate::domain::fields::Choice::word(*self).into()
            }
        }
    };
}

/// Declares the filter of a list: a struct of conditions, its reader of a query and its writer.
///
/// ```ignore
/// filter! {
///     /// The conditions of a list of places.
///     #[derive(Debug, Clone, Default, PartialEq, Eq, IntoParams)]
///     pub struct PlaceFilter;
///     /// Places of these kinds; empty: of every kind.
///     kinds as "kind": Vec<PlaceKind>;
/// }
/// ```
///
/// `by reader` replaces the reader of the condition's type. The struct gets `PARAMETERS`, the names of the query
/// parameters; `read`, which reports every failing one; and `to_pairs`, the parameters of a query with these
/// conditions.
macro_rules! filter {
    (
        $(#[$meta:meta])* pub struct $name:ident;
        $( $(#[$field_meta:meta])* $field:ident as $parameter:tt: $ty:ty $( = by $reader:path )?; )+
    ) => {
        $(#[$meta])*
        pub struct $name {
            $( $(#[$field_meta])* #[param(rename = $parameter)] pub $field: $ty, )+
        }

        impl $name {
            /// The names of the query parameters.
            pub const PARAMETERS: &[&str] = &[ $( $parameter, )+ ];

            /// Reads the conditions from a query; every failing parameter is reported to `fields`.
            pub fn read(fields: &mut $crate::domain::fields::Fields<'_>) -> Self {
                let types = fields.entity_types();
                Self {
                    $( $field: <$ty as $crate::domain::input::value::Condition>::from_query(
                        fields, $parameter, filter!(@reader types, $($reader)?),
                    ), )+
                }
            }

            /// The query parameters of these conditions: name and value, absent conditions left out.
            #[must_use]
            pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
                let mut pairs = Vec::new();
                $( $crate::domain::input::value::Condition::to_query(&self.$field, $parameter, &mut pairs); )+
                pairs
            }
        }
    };
    (@reader $types:ident,) => { |value| $crate::domain::input::value::Value::read_for(value, $types) };
    (@reader $types:ident, $reader:path) => {{
        let _ = $types;
        $reader
    }};
}

pub(crate) use words;
pub(in crate::domain) use {filter, record};
