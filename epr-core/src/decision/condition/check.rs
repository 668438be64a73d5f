//! The static check: syntax tree to program.
//!
//! Owns which names and functions an expression can use, and rejects operations that can never succeed. Must never let
//! a name through that is not in the lists here: what an expression reads is what its author was shown.

use super::functions::{self, Argument};
use super::inputs::Reads;
use super::names::Names;
use super::program::{Field, Node, Program};
use super::syntax::{Call, Expr, Form, Operator, Rejected};
use super::types::{self, Type};
use crate::domain::Condition;

/// Checks `expression`, which was read from the text of `source`.
pub(super) fn check(source: &Condition, expression: &Expr) -> Result<Program, Rejected> {
    let mut checker = Checker { names: Names::new(source), reads: Reads::default() };
    let (root, found) = checker.check(expression)?;
    if !found.may_be(Type::Bool) {
        let reason = format!("the expression is {found}; write one that is true or false");
        return Err(Rejected::new(expression.start, reason));
    }
    let operands = match &expression.form {
        Form::All(operands) | Form::Any(operands) => {
            operands.iter().map(|operand| operand.start..operand.end).collect()
        }
        _ => Box::default(),
    };
    Ok(Program { source: source.clone(), root, reads: checker.reads, operands })
}

/// A checked node and its type.
type Checked = Result<(Node, Type), Rejected>;

struct Checker<'a> {
    names: Names<'a>,
    reads: Reads,
}

impl Checker<'_> {
    fn check(&mut self, expr: &Expr) -> Checked {
        let at = expr.at;
        Ok(match &expr.form {
            Form::Null => (Node::Null, Type::Null),
            Form::Bool(value) => (Node::Bool(*value), Type::Bool),
            Form::Int(value) => (Node::Int(*value), Type::Int),
            Form::Double(value) => (Node::Double(*value), Type::Double),
            Form::Text(text) => (Node::Text(text.as_str().into()), Type::Text),
            Form::List(items) => self.list(items)?,
            Form::Map(entries) => self.map(entries, at)?,
            Form::Name(name) => self.name(name, at)?,
            Form::Select(base, key) => self.select(base, key, at)?,
            Form::Index(base, index) => self.index(base, index, at)?,
            Form::Call(call) if call.receiver.is_none() && call.name == "has" => self.has(&call.arguments, at)?,
            Form::Call(call) => self.call(call, at)?,
            Form::Not(operand) => self.not(operand, at)?,
            Form::Negate(operand) => self.negate(operand, at)?,
            Form::Binary(operator, sides) => self.binary(*operator, &sides.0, &sides.1, at)?,
            Form::All(operands) => self.logic(false, operands, at)?,
            Form::Any(operands) => self.logic(true, operands, at)?,
            Form::Choice(parts) => self.choice(&parts.0, &parts.1, &parts.2, at)?,
        })
    }

    fn list(&mut self, items: &[Expr]) -> Checked {
        let mut item_type = None;
        let mut nodes = Vec::with_capacity(items.len());
        for item in items {
            let (node, found) = self.check(item)?;
            item_type = Some(item_type.map_or(found, |known: Type| known.or(found)));
            nodes.push(node);
        }
        Ok((Node::List(nodes.into()), item_type.unwrap_or(Type::Dyn).list_of()))
    }

    fn map(&mut self, entries: &[(Expr, Expr)], at: usize) -> Checked {
        let mut nodes = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let (key_node, key_type) = self.check(key)?;
            if !matches!(key_type, Type::Dyn | Type::Bool | Type::Int | Type::Text) {
                let reason = format!("a key of a map is {key_type}; use a string, an int or a bool");
                return Err(Rejected::new(key.start, reason));
            }
            nodes.push((key_node, self.check(value)?.0));
        }
        Ok((Node::Map { entries: nodes.into(), at }, Type::Map))
    }

    fn name(&mut self, name: &str, at: usize) -> Checked {
        if name == "now" {
            self.reads.now = true;
            return Ok((Node::Now, Type::Timestamp));
        }
        Err(self.names.not_a_value(name, at))
    }

    fn field(&mut self, field: Field) -> (Node, Type) {
        field.note(&mut self.reads);
        (Node::Field(field), if field.is_object() { Type::Map } else { Type::Text })
    }

    fn parameter(&mut self, name: &str, at: usize) -> Result<(usize, Type), Rejected> {
        self.reads.context = true;
        self.names.parameter(name, at)
    }

    /// `base.key`
    fn select(&mut self, base: &Expr, key: &str, at: usize) -> Checked {
        if let Form::Name(root) = &base.form {
            if root == "context" {
                let (position, declared) = self.parameter(key, base.start)?;
                return Ok((Node::Parameter(position), declared));
            }
            if let Some(field) = Names::field(root, key, base.start)? {
                return Ok(self.field(field));
            }
        }
        let (base, base_type) = self.check(base)?;
        if !base_type.may_be(Type::Map) {
            let reason = format!("a value of the type {base_type} has no member `{key}`");
            return Err(Rejected::new(at, reason));
        }
        Ok((Node::Select { base: Box::new(base), key: key.into(), at }, Type::Dyn))
    }

    /// `base[index]`; `base["key"]` is `base.key`.
    fn index(&mut self, base: &Expr, index: &Expr, at: usize) -> Checked {
        if let (Form::Text(key), Form::Name(_)) = (&index.form, &base.form) {
            return self.select(base, key, at);
        }
        let (base, base_type) = self.check(base)?;
        let (index, index_type) = self.check(index)?;
        let Some(found) = types::item(base_type, index_type) else {
            let reason = format!("a value of the type {base_type} has no index of the type {index_type}");
            return Err(Rejected::new(at, reason));
        };
        Ok((Node::Index { base: Box::new(base), index: Box::new(index), at }, found))
    }

    /// `has(base.key)`
    fn has(&mut self, arguments: &[Expr], at: usize) -> Checked {
        let [Expr { form: Form::Select(base, key), at: select_at, .. }] = arguments else {
            return Err(Rejected::new(at, "`has` takes one member, for example `has(principal.attributes.clearance)`"));
        };
        let node = match self.select(base, key, *select_at)?.0 {
            Node::Parameter(position) => Node::HasParameter(position),
            Node::Field(field) => Node::HasField(field),
            Node::Select { base, key, at } => Node::Has { base, key, at },
            other => other,
        };
        Ok((node, Type::Bool))
    }

    fn call(&mut self, call: &Call, at: usize) -> Checked {
        let signature = functions::find(call, at)?;
        let arguments = call.receiver.as_deref().into_iter().chain(&call.arguments);
        let arguments = arguments.map(|argument| {
            let (node, found) = self.check(argument)?;
            Ok(Argument { node, found, start: argument.start })
        });
        let arguments = arguments.collect::<Result<Vec<_>, Rejected>>()?;
        signature.apply(&call.name, arguments, at)
    }

    fn not(&mut self, operand: &Expr, at: usize) -> Checked {
        let (node, found) = self.check(operand)?;
        if !found.may_be(Type::Bool) {
            return Err(Rejected::new(at, format!("`!` takes a bool, not {found}; compare the value with something")));
        }
        Ok((Node::Not { operand: Box::new(node), at }, Type::Bool))
    }

    fn negate(&mut self, operand: &Expr, at: usize) -> Checked {
        let (node, found) = self.check(operand)?;
        if !matches!(found, Type::Int | Type::Double | Type::Dyn) {
            return Err(Rejected::new(at, format!("`-` before a value takes an int or a double, not {found}")));
        }
        Ok((Node::Negate { operand: Box::new(node), at }, found))
    }

    fn binary(&mut self, operator: Operator, left: &Expr, right: &Expr, at: usize) -> Checked {
        let (left, left_type) = self.check(left)?;
        let (right, right_type) = self.check(right)?;
        let Some(found) = types::result(operator, left_type, right_type) else {
            return Err(Rejected::new(at, no_overload(operator, left_type, right_type)));
        };
        Ok((Node::Binary { operator, nodes: Box::new((left, right)), at }, found))
    }

    fn logic(&mut self, absorbing: bool, operands: &[Expr], at: usize) -> Checked {
        let mut nodes = Vec::with_capacity(operands.len());
        for operand in operands {
            let (node, found) = self.check(operand)?;
            if !found.may_be(Type::Bool) {
                let symbol = if absorbing { "||" } else { "&&" };
                let reason = format!("an operand of `{symbol}` is {found}; compare it with something");
                return Err(Rejected::new(operand.start, reason));
            }
            nodes.push(node);
        }
        Ok((Node::Logic { absorbing, operands: nodes.into(), at }, Type::Bool))
    }

    fn choice(&mut self, test: &Expr, yes: &Expr, no: &Expr, at: usize) -> Checked {
        let (test_node, test_type) = self.check(test)?;
        if !test_type.may_be(Type::Bool) {
            let reason = format!("the test before `?` is {test_type}; write one that is true or false");
            return Err(Rejected::new(test.start, reason));
        }
        let (yes, yes_type) = self.check(yes)?;
        let (no, no_type) = self.check(no)?;
        Ok((Node::Choice { nodes: Box::new((test_node, yes, no)), at }, yes_type.or(no_type)))
    }
}

fn no_overload(operator: Operator, left: Type, right: Type) -> String {
    let symbol = operator.symbol();
    let advice = match (operator, left, right) {
        (Operator::Add, Type::Text, _) | (Operator::Add, _, Type::Text) => {
            "; strings cannot be built, compare the parts with startsWith, endsWith or =="
        }
        (_, Type::Int, Type::Double) | (_, Type::Double, Type::Int) => "; write both with or without a decimal point",
        (_, Type::Timestamp, Type::Text) | (_, Type::Text, Type::Timestamp) => "; put the string into timestamp(…)",
        (_, Type::Duration, Type::Text) | (_, Type::Text, Type::Duration) => "; put the string into duration(…)",
        (_, Type::Ip, Type::Text) | (_, Type::Text, Type::Ip) => "; put the string into ip(…)",
        (Operator::In, _, Type::Text) => "; write `a.contains(b)`",
        _ => "",
    };
    format!("`{symbol}` is not defined for {left} and {right}{advice}")
}
