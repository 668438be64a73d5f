//! Reads query strings as the members that [`Fields`](super::fields::Fields) reads.
//!
//! Owns the treatment of repeated and empty parameters. Must never know a parameter.

use std::collections::BTreeMap;

use super::fields::{self, Reading};
use crate::domain::value::json::{Json, JsonObject};

/// The members of a query string: a key with more than one value becomes a list, in which empty values are dropped.
#[must_use]
pub fn members(pairs: impl Iterator<Item = (String, String)>) -> JsonObject {
    let mut grouped: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for (key, value) in pairs {
        grouped.entry(key).or_default().push(Json::Text(value));
    }
    grouped
        .into_iter()
        .map(|(key, mut values)| {
            if values.iter().any(|value| value.as_text() != Some("")) {
                values.retain(|value| value.as_text() != Some(""));
            } else {
                values.truncate(1);
            }
            let value = match (values.len(), values.pop()) {
                (1, Some(only)) => only,
                (_, last) => {
                    values.extend(last);
                    Json::List(values)
                }
            };
            (key, value)
        })
        .collect()
}

/// A query parameter that may repeat: one value or many.
pub fn repeated<T>(read: impl Fn(&Json) -> Reading<T>) -> impl Fn(&Json) -> Reading<Vec<T>> {
    move |value| match value {
        Json::List(_) => fields::list(&read)(value),
        single => read(single).map(|value| vec![value]),
    }
}
