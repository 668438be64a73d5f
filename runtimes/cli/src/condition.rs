//! Conditions on the command line: `--condition` with `--parameter`, and how a condition is shown.
//!
//! Must never compile an expression: the service does, and says where it is wrong.

use epr_core::domain::condition::{Condition, ParameterType};
use epr_core::domain::fields::Fields;
use epr_core::domain::input::value::Value as _;
use epr_core::domain::json::object;
use epr_core::domain::role::Action;
use epr_core::domain::{Json, JsonObject};

pub(crate) use epr_transfer::text::condition_line as line;

use crate::output::invalid_sentence;

/// A declared parameter, `NAME=TYPE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    name: String,
    kind: ParameterType,
}

/// Reads `NAME=TYPE`, such as `amount=int`.
pub(crate) fn parameter(text: &str) -> Result<Parameter, String> {
    let (name, kind) = text.split_once('=').ok_or("give NAME=TYPE, such as amount=int")?;
    let kind = kind.trim().parse().map_err(|error: epr_core::domain::fields::UnknownWord| error.to_string())?;
    Ok(Parameter { name: name.trim().to_owned(), kind })
}

/// A condition of a role's action, `ACTION=CONDITION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActionCondition {
    pub(crate) action: Action,
    pub(crate) condition: String,
}

/// Reads `ACTION=CONDITION`: the first `=` ends the action.
pub(crate) fn action_condition(text: &str) -> Result<ActionCondition, String> {
    let form = "give ACTION=CONDITION, such as document:download=context.amount<=1000";
    let (action, condition) = text.split_once('=').ok_or(form)?;
    let action = Action::new(action.trim()).map_err(|error| error.to_string())?;
    Ok(ActionCondition { action, condition: condition.trim().to_owned() })
}

/// The condition that `text` stands for: an expression, whose parameters are `parameters`; or a whole condition as
/// JSON, in place or in a file after `@`.
pub(crate) fn read(text: &str, parameters: &[Parameter]) -> Result<Condition, String> {
    let whole = if let Some(path) = text.strip_prefix('@') {
        let bytes = std::fs::read(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
        Some(Json::parse_bounded(&bytes).map_err(|error| format!("{path} is not JSON: {error}"))?)
    } else {
        // An expression can begin with a brace too, but it has no member `expression`.
        Json::parse_bounded(text.as_bytes())
            .ok()
            .filter(|json| json.as_object().is_some_and(|members| members.contains_key("expression")))
    };
    let json = whole.unwrap_or_else(|| {
        let declared: JsonObject = parameters.iter().map(|one| (one.name.clone(), one.kind.write())).collect();
        object([("expression", text.into()), ("parameters", declared.into())]).into()
    });
    let members = object([("condition", json)]);
    let mut fields = Fields::new("body", &members);
    let condition = fields.required("condition", Condition::read);
    fields.finish(condition).map_err(|invalid| invalid_sentence(&invalid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_an_expression_or_a_whole_one_as_json() {
        let amount = parameter("amount=int").unwrap();
        let typed = read("context.amount <= 1000", std::slice::from_ref(&amount)).unwrap();
        assert_eq!(line(&typed), "context.amount <= 1000  (amount: int)");
        let json = r#"{"expression": "context.amount <= 1000", "parameters": {"amount": "int"}}"#;
        assert_eq!(read(json, &[]).unwrap(), typed);
        let file = std::env::temp_dir().join(format!("epr-condition-{}", std::process::id()));
        std::fs::write(&file, json).unwrap();
        assert_eq!(read(&format!("@{}", file.display()), &[]).unwrap(), typed);
        std::fs::remove_file(&file).unwrap();
        assert!(read("@/nonexistent", &[]).unwrap_err().contains("/nonexistent cannot be read"));
        let map = read(r#"{"a": 1}["a"] == 1"#, &[]).unwrap();
        assert_eq!(map.expression, r#"{"a": 1}["a"] == 1"#);
    }

    #[test]
    fn only_the_first_equals_sign_ends_an_action() {
        let read = action_condition("document:download = context.tier == 1").unwrap();
        assert_eq!((read.action.as_str(), read.condition.as_str()), ("document:download", "context.tier == 1"));
        assert!(action_condition("document:download").unwrap_err().contains("ACTION=CONDITION"));
        assert!(parameter("amount").is_err());
        assert!(parameter("amount=number").unwrap_err().contains("int"));
    }
}
