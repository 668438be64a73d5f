//! The names that an expression can use.
//!
//! Owns the roots, their members and the declared parameters, and the sentence about any other name.

use super::program::{Field, Side};
use super::syntax::Rejected;
use super::types::Type;
use crate::domain::Condition;
use crate::domain::input::nearest::nearest;

const ROOTS: [&str; 5] = ["context", "principal", "resource", "action", "now"];

pub(super) struct Names<'a> {
    source: &'a Condition,
}

impl<'a> Names<'a> {
    pub(super) fn new(source: &'a Condition) -> Self {
        Self { source }
    }

    /// The position and the type of a declared parameter.
    pub(super) fn parameter(&self, name: &str, at: usize) -> Result<(usize, Type), Rejected> {
        let mut declared = self.source.parameters.iter().enumerate();
        let found = declared.find_map(|(position, (known, of))| (known == name).then(|| (position, Type::from(*of))));
        found.ok_or_else(|| {
            let known: Vec<_> = self.source.parameters.keys().map(String::as_str).collect();
            let advice = nearest(name, &known).map_or_else(
                || "add it to `parameters` with its type".to_owned(),
                |known| format!("did you mean `context.{known}`?"),
            );
            Rejected::new(at, format!("the parameter `{name}` is not declared; {advice}"))
        })
    }

    /// The field `root.key`; `None` if `root` is none of the roots with fixed members.
    pub(super) fn field(root: &str, key: &str, at: usize) -> Result<Option<Field>, Rejected> {
        let (field, known): (_, &[&str]) = match root {
            "principal" => (Field::of_side(Side::Principal, key), &Field::OF_SIDE),
            "resource" => (Field::of_side(Side::Resource, key), &Field::OF_SIDE),
            "action" => (Field::of_action(key), &Field::OF_ACTION),
            _ => return Ok(None),
        };
        if field.is_some() {
            return Ok(field);
        }
        let list = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let advice = match nearest(key, known) {
            Some(known) => format!("did you mean `{root}.{known}`?"),
            None if root == "action" => format!("it has {list}"),
            None => format!("it has {list}; stored data are in `{root}.attributes.{key}`"),
        };
        Err(Rejected::new(at, format!("`{root}` has no member `{key}`; {advice}")))
    }

    /// The problem of a name that stands alone.
    pub(super) fn not_a_value(&self, name: &str, at: usize) -> Rejected {
        let advice = match name {
            "context" => "`context` is no value; select a declared parameter, for example `context.amount`".to_owned(),
            "principal" | "resource" | "action" => {
                format!("`{name}` is no value; select one of its members, for example `{name}.{}`", example(name))
            }
            _ if self.source.parameters.contains_key(name) => {
                format!("`{name}` is a parameter; write `context.{name}`")
            }
            _ => {
                let advice = nearest(name, &ROOTS).map(|known| format!("; did you mean `{known}`?"));
                let known = ROOTS.map(|root| format!("`{root}`")).join(", ");
                format!(
                    "the name `{name}` is unknown{}",
                    advice.unwrap_or_else(|| format!("; an expression knows {known}"))
                )
            }
        };
        Rejected::new(at, advice)
    }
}

fn example(root: &str) -> &'static str {
    if root == "action" { "name" } else { "id" }
}
