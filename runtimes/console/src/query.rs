//! The parameters of a page or of a form.
//!
//! Must never know a parameter. Empty values are absent, because a browser sends every field of a form.

use epr_core::domain::fields::Fields;
use epr_core::domain::{JsonObject, query};
use form_urlencoded::Serializer;

/// The parameters that were sent and are not empty, with spaces around their values removed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    members: JsonObject,
}

impl Query {
    /// Reads `application/x-www-form-urlencoded` text.
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = form_urlencoded::parse(text.as_bytes());
        let pairs: Vec<(String, String)> = pairs
            .map(|(key, value)| (key.into_owned(), value.trim().to_owned()))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let members = query::members(pairs.iter().cloned());
        Self { pairs, members }
    }

    /// These parameters.
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        let mut text = Serializer::new(String::new());
        text.extend_pairs(pairs);
        Self::parse(&text.finish())
    }

    /// The first value of a parameter; `None` if it is absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter; empty if it is absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// Whether any of these parameters is given.
    pub(crate) fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.get(name).is_some())
    }

    /// The parameters as the readers of fields take them.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields::new("query", &self.members)
    }

    /// The query with `name` set to `value`, or without `name`.
    pub(crate) fn with(&self, name: &str, value: Option<&str>) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(self.pairs.iter().filter(|(given, _)| given != name));
        if let Some(value) = value {
            query.append_pair(name, value);
        }
        query.finish()
    }
}

/// A path with parameters, of which those without a value are left out.
pub(crate) fn link(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = Serializer::new(String::new());
    query.extend_pairs(parameters.iter().filter(|(_, value)| !value.is_empty()));
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_parameters_are_absent_and_links_keep_the_others() {
        let query = Query::parse("a=1&b=&c=+x+&a=2");
        assert_eq!((query.get("a"), query.get("b"), query.get("c")), (Some("1"), None, Some("x")));
        assert_eq!(query.with("c", None), "a=1&a=2");
        assert_eq!(query.with("c", Some("&")), "a=1&a=2&c=%26");
        assert_eq!(link("/p", &[("a", ""), ("b", "ü&")]), "/p?b=%C3%BC%26");
        assert_eq!(link("/p", &[]), "/p");
    }
}
