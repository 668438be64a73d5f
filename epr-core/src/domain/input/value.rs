//! The JSON form of value types, and the form in which a record keeps them.
//!
//! Owns one reader and one writer per value type; the declarations in [`super::declare`] use them. Must never know a
//! registry type; it passes the set of accepted entity types on to the one reader that needs it.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::accepted::EntityTypes;
use super::fields::{self, Problem, Reading};
use super::query;
use crate::domain::value::external_id::ExternalId;
use crate::domain::value::json::{Json, JsonObject};
use crate::domain::value::text::Text;
use crate::domain::value::time::Timestamp;

/// A value of a JSON member.
pub trait Value: Sized {
    /// Reads the value.
    ///
    /// # Errors
    /// Every problem of the value.
    fn read(value: &Json) -> Reading<Self>;

    /// Reads the value of a request to a service that accepts the entity types `types`.
    ///
    /// # Errors
    /// Every problem of the value.
    fn read_for(value: &Json, types: &EntityTypes) -> Reading<Self> {
        let _ = types;
        Self::read(value)
    }

    /// Writes the value in the contract's form, so that `read(&value.write())` returns it.
    fn write(&self) -> Json;
}

impl Value for Uuid {
    fn read(value: &Json) -> Reading<Self> {
        fields::uuid(value)
    }

    fn write(&self) -> Json {
        (*self).into()
    }
}

impl Value for bool {
    fn read(value: &Json) -> Reading<Self> {
        fields::boolean(value)
    }

    fn write(&self) -> Json {
        (*self).into()
    }
}

impl Value for i64 {
    fn read(value: &Json) -> Reading<Self> {
        fields::whole_number(Self::MIN, Self::MAX)(value)
    }

    fn write(&self) -> Json {
        Json::Int(*self)
    }
}

impl Value for Timestamp {
    fn read(value: &Json) -> Reading<Self> {
        fields::timestamp(value)
    }

    fn write(&self) -> Json {
        self.to_string().into()
    }
}

impl<const MIN: usize, const MAX: usize> Value for Text<MIN, MAX> {
    fn read(value: &Json) -> Reading<Self> {
        fields::text(value)
    }

    fn write(&self) -> Json {
        self.as_str().into()
    }
}

impl Value for ExternalId {
    fn read(value: &Json) -> Reading<Self> {
        let text =
            value.as_text().ok_or_else(|| vec![Problem::new("string_type", "Input should be a valid string")])?;
        Self::new(text).map_err(|error| vec![Problem::new(error.kind(), error.to_string())])
    }

    fn write(&self) -> Json {
        self.as_str().into()
    }
}

/// Text of a stored record. Its length is not checked: the service has validated it, perhaps under other bounds.
impl Value for String {
    fn read(value: &Json) -> Reading<Self> {
        fields::text::<0, { usize::MAX }>(value).map(Text::into_string)
    }

    fn write(&self) -> Json {
        self.as_str().into()
    }
}

/// An object of free-form members, within the bounds of [`fields::object_problem`].
impl Value for JsonObject {
    fn read(value: &Json) -> Reading<Self> {
        let members = fields::object(value)?;
        fields::object_problem(&members).map_or(Ok(members), |problem: Problem| Err(vec![problem]))
    }

    fn write(&self) -> Json {
        self.clone().into()
    }
}

impl<T: Value> Value for Option<T> {
    fn read(value: &Json) -> Reading<Self> {
        fields::nullable(T::read)(value)
    }

    fn read_for(value: &Json, types: &EntityTypes) -> Reading<Self> {
        fields::nullable(|value| T::read_for(value, types))(value)
    }

    fn write(&self) -> Json {
        self.as_ref().map_or(Json::Null, Value::write)
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(value: &Json) -> Reading<Self> {
        fields::list(T::read)(value)
    }

    fn read_for(value: &Json, types: &EntityTypes) -> Reading<Self> {
        fields::list(|value| T::read_for(value, types))(value)
    }

    fn write(&self) -> Json {
        Json::List(self.iter().map(Value::write).collect())
    }
}

impl<T: Value + Ord> Value for BTreeSet<T> {
    fn read(value: &Json) -> Reading<Self> {
        Vec::read(value).map(|items: Vec<T>| items.into_iter().collect())
    }

    fn write(&self) -> Json {
        Json::List(self.iter().map(Value::write).collect())
    }
}

/// An object whose member names are values of `K`. Every failing member is reported under its name.
impl<K: Value + Ord, V: Value> Value for BTreeMap<K, V> {
    fn read(value: &Json) -> Reading<Self> {
        let Json::Object(members) = value else {
            return Err(vec![Problem::new("dict_type", "Input should be a valid object")]);
        };
        if members.len() > fields::MAX_ITEMS {
            let msg = format!("Object should have at most {} members", fields::MAX_ITEMS);
            return Err(vec![Problem::new("too_long", msg)]);
        }
        let mut taken = Self::new();
        let mut reader = fields::Fields::new("body", members);
        for (name, value) in members {
            match (K::read(&name.as_str().into()), V::read(value)) {
                (Ok(key), Ok(value)) => drop(taken.insert(key, value)),
                (key, value) => {
                    let problems = key.err().into_iter().chain(value.err()).flatten();
                    problems.for_each(|problem| reader.report(name, problem));
                }
            }
        }
        reader.finish_nested(Some(taken))
    }

    fn write(&self) -> Json {
        let member = |(key, value): (&K, &V)| (parameter(key), value.write());
        Json::Object(self.iter().map(member).collect())
    }
}

/// The conversion of a request's value to the form that a record keeps: unchanged, or without the type of its bounds.
pub trait FromInput<T> {
    /// The value as the record keeps it.
    fn from_input(input: T) -> Self;
}

impl<T> FromInput<T> for T {
    fn from_input(input: T) -> Self {
        input
    }
}

impl<const MIN: usize, const MAX: usize> FromInput<Text<MIN, MAX>> for String {
    fn from_input(input: Text<MIN, MAX>) -> Self {
        input.into_string()
    }
}

impl<const MIN: usize, const MAX: usize> FromInput<Option<Text<MIN, MAX>>> for Option<String> {
    fn from_input(input: Option<Text<MIN, MAX>>) -> Self {
        input.map(Text::into_string)
    }
}

impl FromInput<Option<ExternalId>> for Option<String> {
    fn from_input(input: Option<ExternalId>) -> Self {
        input.map(ExternalId::into_string)
    }
}

impl<const MIN: usize, const MAX: usize> FromInput<BTreeSet<Text<MIN, MAX>>> for Vec<String> {
    fn from_input(input: BTreeSet<Text<MIN, MAX>>) -> Self {
        input.into_iter().map(Text::into_string).collect()
    }
}

impl<const MIN: usize, const MAX: usize, V> FromInput<BTreeMap<Text<MIN, MAX>, V>> for BTreeMap<String, V> {
    fn from_input(input: BTreeMap<Text<MIN, MAX>, V>) -> Self {
        input.into_iter().map(|(name, value)| (name.into_string(), value)).collect()
    }
}

/// Returns the fields of a record one by one, for example from the columns of a row.
pub trait Source<T, E> {
    /// The value of the field `name`.
    ///
    /// # Errors
    /// The field is missing, or its value is not one of the type.
    fn take(&mut self, name: &'static str) -> Result<T, E>;
}

/// Takes the fields of a record one by one, for example as parameters of a statement.
pub trait Sink<T> {
    /// Takes the value of the field `name`.
    fn put(&mut self, name: &'static str, value: &T);
}

/// Takes the names and the types of a record's fields, for example for the columns of a SELECT.
pub trait Shape<T> {
    /// Takes the field `name`, whose type is `T`.
    fn field(&mut self, name: &'static str);
}

/// Members of a JSON object.
impl<T: Value> Sink<T> for JsonObject {
    fn put(&mut self, name: &'static str, value: &T) {
        self.insert(name.to_owned(), value.write());
    }
}

/// A condition of a list's filter: one query parameter, which may be absent.
pub trait Condition: Sized {
    /// The value of one parameter.
    type Item;

    /// Reads the parameter `name`, each of its values with `read`.
    fn from_query(
        fields: &mut fields::Fields<'_>,
        name: &'static str,
        read: impl Fn(&Json) -> Reading<Self::Item>,
    ) -> Self;

    /// Adds the parameter to `pairs`; an absent condition adds none.
    fn to_query(&self, name: &'static str, pairs: &mut Vec<(&'static str, String)>);
}

fn parameter(value: &impl Value) -> String {
    match value.write() {
        Json::Text(text) => text,
        other => other.to_string(),
    }
}

impl<T: Value> Condition for Option<T> {
    type Item = T;

    fn from_query(fields: &mut fields::Fields<'_>, name: &'static str, read: impl Fn(&Json) -> Reading<T>) -> Self {
        fields.given(name, read)
    }

    fn to_query(&self, name: &'static str, pairs: &mut Vec<(&'static str, String)>) {
        pairs.extend(self.iter().map(|value| (name, parameter(value))));
    }
}

/// A parameter that may repeat: any of its values matches.
impl<T: Value> Condition for Vec<T> {
    type Item = T;

    fn from_query(fields: &mut fields::Fields<'_>, name: &'static str, read: impl Fn(&Json) -> Reading<T>) -> Self {
        fields.given(name, query::repeated(read)).unwrap_or_default()
    }

    fn to_query(&self, name: &'static str, pairs: &mut Vec<(&'static str, String)>) {
        pairs.extend(self.iter().map(|value| (name, parameter(value))));
    }
}
