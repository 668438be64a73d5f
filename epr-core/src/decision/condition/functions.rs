//! The functions of the dialect, as an author may call them.
//!
//! Owns the list of functions, the types of their arguments, and the conversion of literal arguments while the
//! expression is checked, so that an invalid literal is found when it is written. Must never evaluate anything else.

use super::network::{self, Network};
use super::program::{Function, Node};
use super::syntax::{Call, Rejected};
use super::time_text;
use super::types::Type;

/// The functions, with an example of each.
const EXAMPLES: [(&str, &str); 9] = [
    ("has", "has(context.amount)"),
    ("size", "size(context.tags)"),
    ("startsWith", "context.name.startsWith(\"a\")"),
    ("endsWith", "context.name.endsWith(\"a\")"),
    ("contains", "context.name.contains(\"a\")"),
    ("timestamp", "timestamp(\"2026-01-31T09:30:00Z\")"),
    ("duration", "duration(\"1h30m\")"),
    ("ip", "ip(\"10.0.0.1\")"),
    ("inCidr", "inCidr(context.address, \"10.0.0.0/8\")"),
];

/// A function as it is called: the types of its arguments, and the type of its result.
pub(super) struct Signature {
    function: Function,
    /// For each argument the types that it can have.
    arguments: &'static [&'static [Type]],
    result: Type,
}

/// The function that a call names. The receiver of a method is its first argument.
pub(super) fn find(call: &Call, at: usize) -> Result<Signature, Rejected> {
    const TEXTS: &[&[Type]] = &[&[Type::Text], &[Type::Text]];
    let is_method = call.receiver.is_some();
    let (function, arguments, result): (_, &[&[Type]], _) = match (call.name.as_str(), is_method) {
        ("size", _) => (Function::Size, &[&[Type::Text, Type::List(&Type::Dyn), Type::Map]], Type::Int),
        ("startsWith", true) => (Function::StartsWith, TEXTS, Type::Bool),
        ("endsWith", true) => (Function::EndsWith, TEXTS, Type::Bool),
        ("contains", true) => (Function::Contains, TEXTS, Type::Bool),
        ("timestamp", false) => (Function::Timestamp, &[&[Type::Text, Type::Timestamp, Type::Int]], Type::Timestamp),
        ("duration", false) => (Function::Duration, &[&[Type::Text, Type::Duration]], Type::Duration),
        ("ip", false) => (Function::Ip, &[&[Type::Text, Type::Ip]], Type::Ip),
        ("inCidr", false) => (Function::InCidr, &[&[Type::Ip], &[Type::Text]], Type::Bool),
        _ => return Err(Rejected::new(at, unknown(&call.name, is_method))),
    };
    if call.arguments.len() + usize::from(is_method) != arguments.len() {
        return Err(Rejected::new(at, usage(&call.name, "takes another number of arguments")));
    }
    Ok(Signature { function, arguments, result })
}

/// A checked argument, and where it starts.
pub(super) struct Argument {
    pub(super) node: Node,
    pub(super) found: Type,
    pub(super) start: usize,
}

impl Signature {
    /// The node of the call with these arguments, and its type.
    pub(super) fn apply(self, name: &str, arguments: Vec<Argument>, at: usize) -> Result<(Node, Type), Rejected> {
        for (argument, wanted) in arguments.iter().zip(self.arguments) {
            if !wanted.iter().any(|wanted| argument.found.may_be(*wanted)) {
                let (found, advice) = (argument.found, advice(wanted, argument.found));
                let problem = format!("does not take a value of the type {found}{advice}");
                return Err(Rejected::new(argument.start, usage(name, &problem)));
            }
        }
        let last_at = arguments.last().map_or(at, |last| last.start);
        let nodes = arguments.into_iter().map(|argument| argument.node).collect();
        Ok((fold(self.function, nodes, name, last_at, at)?, self.result))
    }
}

fn advice(wanted: &[Type], found: Type) -> &'static str {
    if wanted == [Type::Ip] && found == Type::Text { " (put it into ip(…))" } else { "" }
}

/// The node of the call; a literal argument is converted here.
fn fold(function: Function, mut nodes: Vec<Node>, name: &str, last_at: usize, at: usize) -> Result<Node, Rejected> {
    if let Some(Node::Text(text)) = nodes.last() {
        let problem = |what: &str| Rejected::new(last_at, usage(name, &format!("cannot read {text:?}: {what}")));
        match function {
            Function::Timestamp => {
                let what = "it is no RFC 3339 timestamp with an offset between the years 1 and 9999";
                return time_text::timestamp(text).map(Node::Timestamp).ok_or_else(|| problem(what));
            }
            Function::Duration => {
                let what = "it is no duration of numbers with the units h, m, s, ms, us, ns within 292 years";
                return time_text::duration(text).map(Node::Duration).ok_or_else(|| problem(what));
            }
            Function::Ip => {
                return network::address(text).map(Node::Ip).ok_or_else(|| problem("it is no IPv4 or IPv6 address"));
            }
            Function::InCidr => {
                let what = "it is no network with a prefix length and only zero bits behind it";
                let network = Network::parse(text).ok_or_else(|| problem(what))?;
                nodes.truncate(1);
                return Ok(Node::Call { function: Function::InNetwork(network), arguments: nodes.into(), at });
            }
            _ => {}
        }
    }
    Ok(Node::Call { function, arguments: nodes.into(), at })
}

fn usage(name: &str, problem: &str) -> String {
    let example = EXAMPLES.iter().find(|(known, _)| *known == name).map_or("", |(_, example)| *example);
    format!("`{name}` {problem}; write, for example, `{example}`")
}

/// The problem of a function that the dialect does not have, or not in this form.
fn unknown(name: &str, is_method: bool) -> String {
    if EXAMPLES.iter().any(|(known, _)| *known == name) {
        return usage(name, if is_method { "is no method" } else { "is called on its first argument" });
    }
    match name {
        "all" | "exists" | "exists_one" | "existsOne" | "map" | "filter" | "transformList" | "transformMap" => {
            format!("the macro `{name}` is not part of the dialect; of the macros it has only `has`")
        }
        "matches" => "regular expressions are not part of the dialect; use startsWith, endsWith or contains".to_owned(),
        "int" | "uint" | "double" | "string" | "bool" | "bytes" | "dyn" | "type" => {
            format!(
                "the conversion `{name}` is not part of the dialect; declare the parameter with the type that you need"
            )
        }
        "getFullYear" | "getMonth" | "getDate" | "getDayOfMonth" | "getDayOfWeek" | "getDayOfYear" | "getHours"
        | "getMinutes" | "getSeconds" | "getMilliseconds" => {
            format!("`{name}` is not part of the dialect; compare timestamps, and subtract them to get durations")
        }
        _ => {
            let known = EXAMPLES.map(|(known, _)| known).join(", ");
            format!("the function `{name}` is unknown; the dialect has {known}")
        }
    }
}
