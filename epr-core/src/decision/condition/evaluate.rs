//! The evaluator: a program and inputs in, an outcome out.
//!
//! Owns the walk over the program: names, absence, and the logic that lets one operand decide. Must never copy an input
//! unless an error needs it.

use std::collections::{BTreeMap, BTreeSet};

use uuid::fmt::Hyphenated;

use super::clock::{self, Clock};
use super::inputs::Inputs;
use super::operators;
use super::outcome::{ErrorKind, Evaluation, EvaluationError, Outcome};
use super::program::{Field, Function, Node, Program, Side};
use super::syntax::{Operator, characters};
use super::value::{self, List, Map, Value};
use crate::domain::Json;
use crate::domain::condition::MAX_PARAMETERS;

/// Why there is no value.
#[derive(Debug)]
pub(super) enum Failure {
    Missing(BTreeSet<String>),
    /// The kind, and the offset of the operation in bytes.
    Error(ErrorKind, usize),
}

impl Failure {
    /// The failure of an operation whose operands both failed: an error hides what is missing, names are united.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Missing(mut names), Self::Missing(more)) => {
                names.extend(more);
                Self::Missing(names)
            }
            (error @ Self::Error(..), _) | (_, error) => error,
        }
    }
}

type Evaluated<'a> = Result<Value<'a>, Failure>;

/// Evaluates the program, or its part `node`.
pub(super) fn evaluate(program: &Program, node: &Node, inputs: &Inputs<'_>) -> Evaluation {
    let mut parameters: [Option<Value<'_>>; MAX_PARAMETERS] = [const { None }; MAX_PARAMETERS];
    let mut wrong = BTreeMap::new();
    for ((name, declared), slot) in program.source.parameters.iter().zip(&mut parameters) {
        // Callers write `null` for what they do not know.
        let Some(json) = inputs.context.get(name).filter(|json| **json != Json::Null) else { continue };
        *slot = value::parameter(json, *declared);
        if slot.is_none() {
            wrong.insert(name.clone(), *declared);
        }
    }
    if !wrong.is_empty() {
        return Evaluation { outcome: Outcome::WrongType(wrong), until: None };
    }
    let ids = [Side::Principal, Side::Resource].map(|side| side.of(inputs).id.map(|id| IdText::new(id.hyphenated())));
    let evaluator = Evaluator { program, inputs, parameters: &parameters, ids: &ids, clock: Clock::new(inputs.now) };
    let outcome = match evaluator.value(node) {
        Ok(Value::Bool(true)) => Outcome::True,
        Ok(Value::Bool(false)) => Outcome::False,
        Ok(_) => error(program, ErrorKind::NoSuchOverload, 0),
        Err(Failure::Missing(names)) => Outcome::Missing(names),
        Err(Failure::Error(kind, at)) => error(program, kind, at),
    };
    Evaluation { outcome, until: evaluator.clock.until() }
}

fn error(program: &Program, kind: ErrorKind, at: usize) -> Outcome {
    Outcome::Error(EvaluationError { kind, position: characters(&program.source.expression, at) })
}

/// The text of an id, without an allocation.
struct IdText([u8; Hyphenated::LENGTH]);

impl IdText {
    fn new(id: Hyphenated) -> Self {
        let mut buffer = [0; Hyphenated::LENGTH];
        id.encode_lower(&mut buffer);
        Self(buffer)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

struct Evaluator<'a> {
    program: &'a Program,
    inputs: &'a Inputs<'a>,
    parameters: &'a [Option<Value<'a>>; MAX_PARAMETERS],
    ids: &'a [Option<IdText>; 2],
    clock: Clock,
}

impl<'a> Evaluator<'a> {
    fn value(&self, node: &'a Node) -> Evaluated<'a> {
        Ok(match node {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(value) => Value::Int(*value),
            Node::Double(value) => Value::Double(*value),
            Node::Text(text) => Value::Text(text),
            Node::Timestamp(nanos) => Value::Timestamp(clock::Line::fixed(*nanos)),
            Node::Duration(nanos) => Value::Duration(clock::Line::fixed((*nanos).into())),
            Node::Ip(address) => Value::Ip(*address),
            Node::Now => Value::Timestamp(self.clock.now()),
            Node::Parameter(position) => {
                let found = self.parameters.get(*position).and_then(Option::as_ref);
                found.ok_or_else(|| self.missing(node))?.clone()
            }
            Node::Field(field) | Node::HasField(field) if self.is_erased(*field) => {
                return Err(Failure::Missing(BTreeSet::from([field.name()])));
            }
            Node::Field(field) => self.field(*field).ok_or_else(|| self.missing(node))?,
            Node::Select { base, key, at } => self.member(node, base, key, *at)?,
            Node::Index { base, index, at } => self.index(node, base, index, *at)?,
            Node::HasParameter(position) => Value::Bool(self.parameters.get(*position).is_some_and(Option::is_some)),
            Node::HasField(field) => Value::Bool(self.field(*field).is_some()),
            Node::Has { base, key, at } => match self.value(base)? {
                Value::Map(map) => Value::Bool(map.member(key).is_some()),
                _ => return Err(Failure::Error(ErrorKind::NoSuchOverload, *at)),
            },
            Node::List(items) => Value::List(List::Literal(self.all(items)?.into())),
            Node::Map { entries, at } => self.map(entries, *at)?,
            Node::Not { operand, at } => match self.value(operand)? {
                Value::Bool(value) => Value::Bool(!value),
                _ => return Err(Failure::Error(ErrorKind::NoSuchOverload, *at)),
            },
            Node::Negate { operand, at } => {
                operators::negate(&self.value(operand)?).map_err(|kind| Failure::Error(kind, *at))?
            }
            Node::Logic { absorbing, operands, at } => self.logic(*absorbing, operands, *at)?,
            Node::Choice { nodes, at } => match self.value(&nodes.0)? {
                Value::Bool(true) => self.value(&nodes.1)?,
                Value::Bool(false) => self.value(&nodes.2)?,
                _ => return Err(Failure::Error(ErrorKind::NoSuchOverload, *at)),
            },
            Node::Binary { operator: Operator::In, nodes, at } => self.is_in(&nodes.0, &nodes.1, *at)?,
            Node::Binary { operator, nodes, at } => {
                let (left, right) = self.both(&nodes.0, &nodes.1)?;
                operators::binary(&self.clock, *operator, &left, &right).map_err(|kind| Failure::Error(kind, *at))?
            }
            Node::Call { function, arguments, at } => self.call(*function, arguments, *at)?,
        })
    }

    /// Both values. If both fail, the failure says everything that is missing.
    fn both(&self, left: &'a Node, right: &'a Node) -> Result<(Value<'a>, Value<'a>), Failure> {
        match (self.value(left), self.value(right)) {
            (Ok(left), Ok(right)) => Ok((left, right)),
            (Err(left), Err(right)) => Err(left.and(right)),
            (Err(failure), _) | (_, Err(failure)) => Err(failure),
        }
    }

    fn all(&self, nodes: &'a [Node]) -> Result<Vec<Value<'a>>, Failure> {
        let mut values = Vec::with_capacity(nodes.len());
        let mut failed: Option<Failure> = None;
        for node in nodes {
            match self.value(node) {
                Ok(value) => values.push(value),
                Err(failure) => failed = Some(joined(failed, failure)),
            }
        }
        failed.map_or(Ok(values), Err)
    }

    fn map(&self, entries: &'a [(Node, Node)], at: usize) -> Evaluated<'a> {
        let mut found: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        let mut failed: Option<Failure> = None;
        for (key, value) in entries {
            match self.both(key, value) {
                Ok((key, _)) if !matches!(key, Value::Bool(_) | Value::Int(_) | Value::Text(_)) => {
                    failed = Some(joined(failed, Failure::Error(ErrorKind::NoSuchOverload, at)));
                }
                Ok((key, _)) if found.iter().any(|(known, _)| value::is_same_key(known, &key)) => {
                    failed = Some(joined(failed, Failure::Error(ErrorKind::DuplicateKey, at)));
                }
                Ok(entry) => found.push(entry),
                Err(failure) => failed = Some(joined(failed, failure)),
            }
        }
        failed.map_or_else(|| Ok(Value::Map(Map::Literal(found.into()))), Err)
    }

    /// `&&` and `||`: an operand that decides wins over every failure, whatever their order. If one decides, only its
    /// own changes with time matter.
    fn logic(&self, absorbing: bool, operands: &'a [Node], at: usize) -> Evaluated<'a> {
        let before = self.clock.take();
        let mut failed: Option<Failure> = None;
        let mut until = None;
        for operand in operands {
            let result = self.value(operand);
            let own = self.clock.take();
            match result {
                Ok(Value::Bool(value)) if value == absorbing => {
                    self.clock.record(clock::earliest(before, own));
                    return Ok(Value::Bool(absorbing));
                }
                Ok(Value::Bool(_)) => {}
                Ok(_) => failed = Some(joined(failed, Failure::Error(ErrorKind::NoSuchOverload, at))),
                Err(failure) => failed = Some(joined(failed, failure)),
            }
            until = clock::earliest(until, own);
        }
        self.clock.record(clock::earliest(before, until));
        failed.map_or(Ok(Value::Bool(!absorbing)), Err)
    }

    /// `item in container`; a literal list is not built for it.
    fn is_in(&self, item: &'a Node, container: &'a Node, at: usize) -> Evaluated<'a> {
        let error = |kind| Failure::Error(kind, at);
        let Node::List(nodes) = container else {
            let (item, container) = self.both(item, container)?;
            return operators::binary(&self.clock, Operator::In, &item, &container).map_err(error);
        };
        let item = self.value(item);
        let mut found = false;
        let mut failed: Option<Failure> = None;
        for node in nodes {
            match (self.value(node), &item) {
                (Ok(other), Ok(item)) if !found => {
                    match operators::binary(&self.clock, Operator::Equal, item, &other).map_err(error) {
                        Ok(equal) => found = matches!(equal, Value::Bool(true)),
                        Err(failure) => failed = Some(joined(failed, failure)),
                    }
                }
                (Ok(_), _) => {}
                (Err(failure), _) => failed = Some(joined(failed, failure)),
            }
        }
        match (item, failed) {
            (Ok(_), None) => Ok(Value::Bool(found)),
            (Err(item), Some(failure)) => Err(item.and(failure)),
            (Err(failure), None) | (Ok(_), Some(failure)) => Err(failure),
        }
    }

    fn call(&self, function: Function, arguments: &'a [Node], at: usize) -> Evaluated<'a> {
        let error = |kind| Failure::Error(kind, at);
        match arguments {
            [one] => operators::call_one(&self.clock, function, &self.value(one)?).map_err(error),
            [first, second] => {
                let (first, second) = self.both(first, second)?;
                operators::call_two(function, &first, &second).map_err(error)
            }
            _ => Err(error(ErrorKind::NoSuchOverload)),
        }
    }

    fn field(&self, field: Field) -> Option<Value<'a>> {
        let id = |side| match side {
            Side::Principal => self.ids.first()?.as_ref(),
            Side::Resource => self.ids.last()?.as_ref(),
        };
        Some(match field {
            Field::Id(side) => Value::Text(id(side)?.as_str()),
            Field::Type(side) => Value::Text(&side.of(self.inputs).kind),
            Field::ExternalId(side) => Value::Text(side.of(self.inputs).external_id.as_deref()?),
            Field::Attributes(side) => Value::Map(Map::Json(&side.of(self.inputs).attributes)),
            Field::Properties(side) => Value::Map(Map::Json(side.properties(self.inputs))),
            Field::Effective(side) => {
                Value::Map(Map::Overlaid(side.properties(self.inputs), &side.of(self.inputs).attributes))
            }
            Field::ActionName => Value::Text(self.inputs.action),
            Field::ActionProperties => Value::Map(Map::Json(self.inputs.properties.action)),
        })
    }

    /// Tells if the field was erased.
    fn is_erased(&self, field: Field) -> bool {
        match field {
            Field::ExternalId(side) | Field::Attributes(side) | Field::Effective(side) => {
                side.of(self.inputs).is_erased
            }
            _ => false,
        }
    }

    /// `base.key`
    fn member(&self, node: &'a Node, base: &'a Node, key: &'a str, at: usize) -> Evaluated<'a> {
        match self.value(base)? {
            Value::Map(map) => self.present(map.member(key), node, &Value::Text(key), at),
            _ => Err(Failure::Error(ErrorKind::NoSuchOverload, at)),
        }
    }

    /// `base[index]`
    fn index(&self, node: &'a Node, base: &'a Node, index: &'a Node, at: usize) -> Evaluated<'a> {
        let error = |kind| Failure::Error(kind, at);
        match self.both(base, index)? {
            (Value::List(list), index) => {
                let position = match index {
                    Value::Int(position) => Some(position),
                    Value::Double(position) => value::whole(position),
                    _ => None,
                };
                let position = position.ok_or_else(|| error(ErrorKind::NoSuchOverload))?;
                let item = usize::try_from(position).ok().and_then(|at| list.get(at));
                item.unwrap_or(Err(ErrorKind::IndexOutOfBounds)).map_err(error)
            }
            (Value::Map(map), key @ (Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Text(_))) => {
                self.present(map.get(&key), node, &key, at)
            }
            _ => Err(error(ErrorKind::NoSuchOverload)),
        }
    }

    /// The value, unless `node` selects with `key` what is absent. What an expression builds itself is not missing from
    /// the inputs: that is an error.
    fn present(
        &self,
        found: Option<Result<Value<'a>, ErrorKind>>,
        node: &Node,
        key: &Value<'_>,
        at: usize,
    ) -> Evaluated<'a> {
        let Some(found) = found else {
            let (Node::Select { base, .. } | Node::Index { base, .. }) = node else {
                return Err(Failure::Error(ErrorKind::NoSuchKey, at));
            };
            return Err(self.name(base).map_or(Failure::Error(ErrorKind::NoSuchKey, at), |base| {
                Failure::Missing(BTreeSet::from([match key {
                    Value::Text(key) => with_key(&base, key),
                    _ => format!("{base}[…]"),
                }]))
            }));
        };
        found.map_err(|kind| Failure::Error(kind, at))
    }

    /// The failure of a parameter or a field that is absent.
    fn missing(&self, node: &Node) -> Failure {
        let name = self.name(node);
        name.map_or(Failure::Error(ErrorKind::NoSuchKey, 0), |name| Failure::Missing(BTreeSet::from([name])))
    }

    /// The full name of an input, for example `principal.attributes.clearance`; `None` for other nodes. An index that
    /// is no literal is written as `[…]`.
    ///
    /// INVARIANT: a name evaluates nothing. Nested indexes would be evaluated twice at each level.
    fn name(&self, node: &Node) -> Option<String> {
        match node {
            Node::Parameter(position) => {
                self.program.source.parameters.keys().nth(*position).map(|name| format!("context.{name}"))
            }
            Node::Field(field) => Some(field.name()),
            Node::Select { base, key, .. } => self.name(base).map(|base| with_key(&base, key)),
            Node::Index { base, index, .. } => {
                let base = self.name(base)?;
                Some(match &**index {
                    Node::Text(key) => with_key(&base, key),
                    Node::Int(index) => format!("{base}[{index}]"),
                    _ => format!("{base}[…]"),
                })
            }
            _ => None,
        }
    }
}

fn joined(known: Option<Failure>, more: Failure) -> Failure {
    match known {
        Some(known) => known.and(more),
        None => more,
    }
}

/// `base.key`, or `base["key"]` if the key is no name.
fn with_key(base: &str, key: &str) -> String {
    let is_name = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && key.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if is_name { format!("{base}.{key}") } else { format!("{base}[{}]", Json::from(key)) }
}
