//! Reads the bodies of AuthZEN requests: subjects, actions, resources, and batches with defaults.
//!
//! Owns what an evaluation may leave out and where it is taken from. Must never ask the registry.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::super::question_body::check_bounds;
use crate::decision::AskedAction;
use crate::domain::fields::{self, Fields, Problem, Reading};
use crate::domain::input::declare::words;
use crate::domain::input::value::Value as _;
use crate::domain::{Invalid, Json, JsonObject};
use crate::store::ExternalName;

/// The most items of one batch.
pub const MAX_ITEMS: usize = 1000;

/// A subject or a resource with what the caller states about it.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedEntity {
    /// Its type and its id.
    pub name: ExternalName,
    /// What the caller states about it.
    pub properties: JsonObject,
}

/// An action with what the caller states about it.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedAction {
    /// Its name.
    pub name: AskedAction,
    /// What the caller states about it.
    pub properties: JsonObject,
}

/// One question of AuthZEN. The items of a batch share what they inherit.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The subject, which asks for access.
    pub subject: Arc<NamedEntity>,
    /// The action that it asks for.
    pub action: Arc<NamedAction>,
    /// The resource on which the action is to be performed.
    pub resource: Arc<NamedEntity>,
    /// The data that conditions read under `context`.
    pub context: Arc<JsonObject>,
}

words! {
    /// Which items of a batch are evaluated.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
    pub enum Semantic: "evaluations semantic" {
        /// All of them.
        #[default]
        ExecuteAll = "execute_all",
        /// Those up to the first denial.
        DenyOnFirstDeny = "deny_on_first_deny",
        /// Those up to the first permission.
        PermitOnFirstPermit = "permit_on_first_permit",
    }
}

impl Semantic {
    /// Whether an item with this decision is the last one that is evaluated.
    pub(in super::super) fn ends_with(self, allowed: bool) -> bool {
        match self {
            Self::ExecuteAll => false,
            Self::DenyOnFirstDeny => !allowed,
            Self::PermitOnFirstPermit => allowed,
        }
    }
}

/// A batch. An item that cannot be read has a sentence instead.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluations {
    /// The items, at least one.
    pub items: Vec<Result<Evaluation, String>>,
    /// Which of them are evaluated.
    pub semantic: Semantic,
}

/// The body of a request for several evaluations.
#[derive(Debug, Clone, PartialEq)]
pub enum EvaluationsRequest {
    /// It has no items: the answer is that of a single evaluation.
    Single(Evaluation),
    /// It has items.
    Batch(Evaluations),
}

impl Evaluation {
    /// Reads the body of a single evaluation. Unknown members are ignored.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        let subject = fields.required("subject", entity);
        let action = fields.required("action", action);
        let resource = fields.required("resource", entity);
        let context = fields.optional("context", context).unwrap_or_default();
        fields.finish(subject.zip(action).zip(resource).map(|((subject, action), resource)| Self {
            subject: subject.into(),
            action: action.into(),
            resource: resource.into(),
            context: context.into(),
        }))
    }
}

impl EvaluationsRequest {
    /// Reads the body of several evaluations. Unknown members are ignored. An item that cannot be read fails alone.
    ///
    /// # Errors
    /// Every field by which the whole request fails.
    pub fn from_body(body: &Json) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        let semantic = fields.given("options", semantic);
        fields.given("evaluations", check_items);
        let semantic = fields.finish(Some(semantic))?.unwrap_or_default();
        let members = body.as_object();
        match members.and_then(|members| Some((members, members.get("evaluations")?))) {
            Some((members, Json::List(items))) if !items.is_empty() => {
                let mut defaults = Defaults::of(members);
                let items = items.iter().map(|item| defaults.complete(item).map_err(|invalid| sentence(&invalid)));
                Ok(Self::Batch(Evaluations { items: items.collect(), semantic }))
            }
            _ => Evaluation::from_body(body).map(Self::Single),
        }
    }
}

/// Everything that is wrong with a request or with one item of a batch, as one sentence.
#[must_use]
pub fn sentence(Invalid(errors): &Invalid) -> String {
    let one = |error: &fields::FieldError| match error.path() {
        path if path.is_empty() => error.msg.clone(),
        path => format!("{path}: {}", error.msg),
    };
    errors.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn check_items(value: &Json) -> Reading<()> {
    match value {
        Json::List(items) if items.len() > MAX_ITEMS => {
            let msg = format!("List should have at most {MAX_ITEMS} items; this one has {}", items.len());
            Err(vec![Problem::new("too_long", msg)])
        }
        Json::List(_) => Ok(()),
        _ => Err(vec![Problem::new("list_type", "Input should be a valid list")]),
    }
}

fn semantic(value: &Json) -> Reading<Semantic> {
    let mut fields = object(value)?;
    let semantic = fields.given("evaluations_semantic", fields::choice).unwrap_or_default();
    fields.finish_nested(Some(semantic))
}

pub(super) fn object(value: &Json) -> Reading<Fields<'_>> {
    match value {
        Json::Object(members) => Ok(Fields::new("body", members)),
        _ => Err(vec![Problem::new("dict_type", "Input should be a valid object")]),
    }
}

/// A subject or a resource.
pub(super) fn entity(value: &Json) -> Reading<NamedEntity> {
    let mut fields = object(value)?;
    let kind = fields.required("type", fields::text);
    let id = fields.required("id", crate::domain::ExternalId::read);
    let properties = fields.optional("properties", properties).unwrap_or_default();
    fields.finish_nested(kind.zip(id).map(|(kind, id)| NamedEntity { name: ExternalName { kind, id }, properties }))
}

pub(super) fn action(value: &Json) -> Reading<NamedAction> {
    let mut fields = object(value)?;
    let name = fields.required("name", fields::text);
    let properties = fields.optional("properties", properties).unwrap_or_default();
    fields.finish_nested(name.map(|name| NamedAction { name, properties }))
}

pub(super) fn context(value: &Json) -> Reading<JsonObject> {
    bounded("context", value)
}

/// Properties have the bounds of a context.
fn properties(value: &Json) -> Reading<JsonObject> {
    bounded("object of properties", value)
}

fn bounded(what: &str, value: &Json) -> Reading<JsonObject> {
    let members = fields::object(value)?;
    check_bounds(what, &members).map_err(|problem| vec![problem])?;
    Ok(members)
}

/// The context of an item or a default. `null` means none.
fn nullable_context(value: &Json) -> Reading<JsonObject> {
    if *value == Json::Null { Ok(JsonObject::new()) } else { context(value) }
}

/// The defaults of a batch. Each is read once, when the first item inherits it whole.
struct Defaults<'a> {
    subject: Inherited<'a, NamedEntity>,
    action: Inherited<'a, NamedAction>,
    resource: Inherited<'a, NamedEntity>,
    context: Inherited<'a, JsonObject>,
}

/// One default.
struct Inherited<'a, T> {
    name: &'static str,
    /// The members that an incomplete item takes from it: never its properties, which are stated about another entity.
    fills: &'static [&'static str],
    given: Option<&'a Json>,
    read: fn(&Json) -> Reading<T>,
    done: Option<Reading<Arc<T>>>,
}

impl<'a, T> Inherited<'a, T> {
    fn new(
        members: &'a JsonObject,
        name: &'static str,
        fills: &'static [&'static str],
        read: fn(&Json) -> Reading<T>,
    ) -> Self {
        Self { name, fills, given: members.get(name), read, done: None }
    }

    /// The value of an item: its own member, which replaces the default whole, or the default. `None` when there is
    /// neither.
    fn of(&mut self, item: &JsonObject) -> Option<Reading<Arc<T>>> {
        if let Some(own) = item.get(self.name) {
            let filled = self.fill(own);
            return Some((self.read)(filled.as_ref().unwrap_or(own)).map(Arc::new));
        }
        let given = self.given?;
        Some(self.done.get_or_insert_with(|| (self.read)(given).map(Arc::new)).clone())
    }

    /// An incomplete member of an item with what it lacks; `None` when it lacks nothing that the default has.
    fn fill(&self, own: &Json) -> Option<Json> {
        let (own, default) = (own.as_object()?, self.given?.as_object()?);
        let lacking = self.fills.iter().filter(|name| !own.contains_key(name));
        let taken: Vec<_> =
            lacking.filter_map(|name| default.get(name).map(|value| ((*name).to_owned(), value.clone()))).collect();
        if taken.is_empty() {
            return None;
        }
        let mut filled = own.clone();
        filled.extend(taken);
        Some(Json::Object(filled))
    }
}

impl<'a> Defaults<'a> {
    fn of(members: &'a JsonObject) -> Self {
        Self {
            subject: Inherited::new(members, "subject", &["type", "id"], entity),
            action: Inherited::new(members, "action", &["name"], action),
            resource: Inherited::new(members, "resource", &["type", "id"], entity),
            context: Inherited::new(members, "context", &[], nullable_context),
        }
    }

    /// The evaluation of one item.
    fn complete(&mut self, item: &Json) -> Result<Evaluation, Invalid> {
        let Json::Object(item) = item else {
            return Err(Invalid::one("body", None, Problem::new("dict_type", "Input should be a valid object")));
        };
        let mut errors = Fields::new("body", item);
        let subject = required(&mut errors, &mut self.subject, item);
        let action = required(&mut errors, &mut self.action, item);
        let resource = required(&mut errors, &mut self.resource, item);
        let context = match self.context.of(item) {
            None => Some(Arc::default()),
            Some(read) => reported(&mut errors, "context", read),
        };
        let all = subject.zip(action).zip(resource).zip(context);
        errors.finish(all.map(|(((subject, action), resource), context)| Evaluation {
            subject,
            action,
            resource,
            context,
        }))
    }
}

fn required<T>(errors: &mut Fields<'_>, default: &mut Inherited<'_, T>, item: &JsonObject) -> Option<Arc<T>> {
    match default.of(item) {
        Some(read) => reported(errors, default.name, read),
        None => {
            errors.report(default.name, Problem::new("missing", "Field required, in the item or as a default"));
            None
        }
    }
}

fn reported<T>(errors: &mut Fields<'_>, name: &str, read: Reading<T>) -> Option<T> {
    read.map_err(|problems| problems.into_iter().for_each(|problem| errors.report(name, problem))).ok()
}
