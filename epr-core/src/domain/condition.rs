//! Conditions: an expression and the parameters that it takes from the context of a question.
//!
//! Owns the form on the wire, in the store and in the ledger, and its bounds. Must never compile or evaluate an
//! expression: [`crate::decision`] does.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::fields::{Fields, Problem, Reading};
use super::input::declare::words;
use super::input::value::Value;
use super::json::{Json, object};

/// The largest size of an expression, in bytes of UTF-8.
pub const MAX_EXPRESSION_BYTES: usize = 1024;

/// The largest number of parameters of a condition.
pub const MAX_PARAMETERS: usize = 8;

/// The largest number of characters in the name of a parameter.
pub const MAX_NAME_CHARS: usize = 64;

words! {
    /// The type of a parameter.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
    pub enum ParameterType: "parameter type" {
        /// `true` or `false`.
        Bool = "bool",
        /// A JSON integer of 64 bits.
        Int = "int",
        /// A JSON number.
        Double = "double",
        /// A text.
        String = "string",
        /// A text such as `2026-01-31T09:30:00Z`: RFC 3339 with an offset.
        Timestamp = "timestamp",
        /// A text such as `1h30m`: numbers with the units `h`, `m`, `s`, `ms`, `us` or `ns`.
        Duration = "duration",
        /// The text of an IPv4 or IPv6 address.
        Ip = "ip",
        /// A list of texts.
        StringList = "list<string>",
    }
}

/// Checks that an expression compiles. The decision has the function; readers of bodies take it as a parameter, so that
/// they report what it finds together with every other failing field.
pub type ConditionCheck = fn(&Condition) -> Result<(), Problem>;

/// A condition in the dialect `epr-cel-1`: an expression that must be true, and the types of its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// The expression; 1 to 1024 bytes.
    pub expression: String,
    /// The names and types of the members of the context that the expression reads; at most 8.
    pub parameters: BTreeMap<String, ParameterType>,
}

impl Condition {
    /// A condition without parameters.
    ///
    /// ```
    /// use epr_core::domain::{Condition, ParameterType};
    ///
    /// let condition = Condition::new("context.amount <= 10000").parameter("amount", ParameterType::Int);
    /// assert_eq!(condition.parameters.len(), 1);
    /// ```
    #[must_use]
    pub fn new(expression: impl Into<String>) -> Self {
        Self { expression: expression.into(), parameters: BTreeMap::new() }
    }

    /// The same condition with one more parameter.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, parameter_type: ParameterType) -> Self {
        self.parameters.insert(name.into(), parameter_type);
        self
    }
}

/// Reads the object of a condition within the bounds above. An unknown member is a problem; absent parameters mean
/// none.
impl Value for Condition {
    fn read(value: &Json) -> Reading<Self> {
        let Json::Object(members) = value else {
            return Err(vec![Problem::new("dict_type", "Input should be a valid object")]);
        };
        let mut fields = Fields::new("body", members);
        fields.only(&["expression", "parameters"]);
        let expression = fields.required("expression", expression);
        let parameters = fields.given("parameters", parameters).unwrap_or_default();
        fields.finish_nested(expression.map(|expression| Self { expression, parameters }))
    }

    fn write(&self) -> Json {
        object([("expression", self.expression.as_str().into()), ("parameters", self.parameters.write())]).into()
    }
}

fn expression(value: &Json) -> Reading<String> {
    let text = String::read(value)?;
    let problem = if text.is_empty() {
        Problem::new("string_too_short", "An expression should have at least 1 byte")
    } else if text.len() > MAX_EXPRESSION_BYTES {
        let length = text.len();
        Problem::new(
            "string_too_long",
            format!("An expression should have at most {MAX_EXPRESSION_BYTES} bytes; this one has {length}"),
        )
    } else {
        return Ok(text);
    };
    Err(vec![problem])
}

fn parameters(value: &Json) -> Reading<BTreeMap<String, ParameterType>> {
    let read: BTreeMap<ParameterName, ParameterType> = BTreeMap::read(value)?;
    if read.len() > MAX_PARAMETERS {
        let count = read.len();
        let msg = format!("A condition should have at most {MAX_PARAMETERS} parameters; this one has {count}");
        return Err(vec![Problem::new("too_long", msg)]);
    }
    Ok(read.into_iter().map(|(ParameterName(name), parameter_type)| (name, parameter_type)).collect())
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ParameterName(String);

impl Value for ParameterName {
    fn read(value: &Json) -> Reading<Self> {
        let name = String::read(value)?;
        if is_parameter_name(&name) {
            return Ok(Self(name));
        }
        let msg = format!(
            "The name of a parameter should have 1 to {MAX_NAME_CHARS} letters, digits and underscores, and not begin \
             with a digit"
        );
        Err(vec![Problem::new("string_pattern_mismatch", msg)])
    }

    fn write(&self) -> Json {
        self.0.write()
    }
}

/// Whether `name` can name a parameter: `[A-Za-z_][A-Za-z0-9_]{0,63}`.
#[must_use]
pub fn is_parameter_name(name: &str) -> bool {
    name.len() <= MAX_NAME_CHARS
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

impl PartialSchema for Condition {
    fn schema() -> RefOr<Schema> {
        let expression = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(MAX_EXPRESSION_BYTES))
            .description(Some("An expression in the dialect `epr-cel-1` that must be true; at most 1024 bytes."))
            .examples(["context.amount <= 10000"]);
        let name = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z_][A-Za-z0-9_]{0,63}$"));
        let parameters = ObjectBuilder::new()
            .property_names(Some(name))
            .additional_properties(Some(Ref::from_schema_name(ParameterType::name())))
            .max_properties(Some(MAX_PARAMETERS))
            .description(Some("The names and types of the members of the context that the expression reads."))
            .examples([serde_json::json!({"amount": "int"})]);
        ObjectBuilder::new()
            .property("expression", expression)
            .required("expression")
            .property("parameters", parameters)
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
            .description(Some("A condition of an assignment or of an action of a role."))
            .into()
    }
}

impl ToSchema for Condition {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((ParameterType::name().into_owned(), ParameterType::schema()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Reading<Condition> {
        Condition::read(&Json::parse(text.as_bytes()).unwrap())
    }

    fn problems(text: &str) -> String {
        let problems = read(text).unwrap_err();
        problems.iter().map(|problem| format!("{problem:?}")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_condition_comes_back_as_it_was_written() {
        let text = r#"{"expression":"context.a","parameters":{"a":"bool","b":"list<string>"}}"#;
        let condition = read(text).unwrap();
        assert_eq!(condition.write().to_string(), text);
        assert_eq!(serde_json::to_string(&condition).unwrap(), text);
        assert_eq!(read(r#"{"expression":"true"}"#).unwrap(), Condition::new("true"));
    }

    #[test]
    fn every_failing_member_is_named() {
        let found = problems(r#"{"expression":"","parameters":{"a":"uint","1x":"int"},"when":1}"#);
        for word in ["string_too_short", "\"enum\"", "string_pattern_mismatch", "extra_forbidden"] {
            assert!(found.contains(word), "{word}: {found}");
        }
        assert!(problems("[]").contains("dict_type"));
        assert!(problems("{}").contains("missing"));
        assert!(problems(r#"{"expression":1}"#).contains("string_type"));
        assert!(problems(r#"{"expression":"\u0000"}"#).contains("string_nul"));
    }

    #[test]
    fn bounds_are_bytes_and_counts() {
        let of_bytes = |bytes: usize| problems_of(&format!(r#"{{"expression":"{}"}}"#, "ä".repeat(bytes / 2)));
        assert_eq!(of_bytes(MAX_EXPRESSION_BYTES), 0);
        assert_eq!(of_bytes(MAX_EXPRESSION_BYTES + 2), 1);
        let of_count = |count: usize| {
            let names: Vec<_> = (0..count).map(|at| format!(r#""p{at}":"int""#)).collect();
            problems_of(&format!(r#"{{"expression":"true","parameters":{{{}}}}}"#, names.join(",")))
        };
        assert_eq!((of_count(MAX_PARAMETERS), of_count(MAX_PARAMETERS + 1)), (0, 1));
        let of_name = |length: usize| is_parameter_name(&"a".repeat(length));
        assert_eq!((of_name(0), of_name(1), of_name(64), of_name(65)), (false, true, true, false));
        assert!(!is_parameter_name("ä") && !is_parameter_name("a-b") && is_parameter_name("_1"));
    }

    fn problems_of(text: &str) -> usize {
        read(text).map_or_else(|problems| problems.len(), |_| 0)
    }
}
