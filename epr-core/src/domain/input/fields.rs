//! Reading a caller's input field by field, so that every failing field is named and not only the first.
//!
//! Owns the error shape of invalid input and the readers of single values. `serde`'s derive stops at the first
//! wrong field, which the contract does not allow.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

use super::nearest::nearest;
use crate::domain::value::json::{Json, JsonObject, MAX_DEPTH};
use crate::domain::value::text::{Text, TextFault};
use crate::domain::value::time::Timestamp;

/// One step of the way to a failing value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A member's name, or the part of the request (`body`, `query`, `path`, `header`).
    Name(Cow<'static, str>),
    /// A position in a list, from 0.
    Index(usize),
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => out.serialize_str(name),
            Self::Index(at) => out.serialize_u64(*at as u64),
        }
    }
}

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The location of the field: `body`, `query`, `path` or `header`, then the names and indexes that lead to it.
    pub loc: Vec<Step>,
    /// What is wrong, for people. The wording is not part of the interface.
    #[schema(example = "Field required")]
    pub msg: String,
    /// The kind of the error, for programs: a stable word.
    #[serde(rename = "type")]
    #[schema(example = "missing", value_type = String)]
    pub kind: &'static str,
}

/// Input that fails validation: at least one field error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} field(s) are not valid", .0.len())]
pub struct Invalid(pub Vec<FieldError>);

impl Invalid {
    /// One failing field.
    #[must_use]
    pub fn one(place: &'static str, field: Option<&str>, problem: Problem) -> Self {
        let mut loc = vec![Step::Name(place.into())];
        loc.extend(field.map(|name| Step::Name(bounded(name).into())));
        loc.extend(problem.path);
        Self(vec![FieldError { loc, msg: problem.msg, kind: problem.kind }])
    }

    /// Both results, or the failures of both.
    pub fn both<A, B>(first: Result<A, Self>, second: Result<B, Self>) -> Result<(A, B), Self> {
        match (first, second) {
            (Ok(a), Ok(b)) => Ok((a, b)),
            (Err(mut faults), Err(more)) => {
                faults.0.extend(more.0);
                Err(faults)
            }
            (Err(faults), _) | (_, Err(faults)) => Err(faults),
        }
    }
}

/// Most errors in one answer; a last one says how many more there are.
const MAX_ERRORS: usize = 1000;

/// A member's name as far as an error repeats it.
fn bounded(name: &str) -> String {
    const MAX_CHARS: usize = 128;
    match name.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

/// What is wrong with one value, before it is known which field it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    path: Vec<Step>,
    msg: String,
    kind: &'static str,
}

impl Problem {
    /// A problem of the stable word `kind`, told in `msg`.
    pub fn new(kind: &'static str, msg: impl Into<String>) -> Self {
        Self { path: Vec::new(), msg: msg.into(), kind }
    }

    fn within(mut self, step: Step) -> Self {
        self.path.insert(0, step);
        self
    }
}

/// A reader of one value: what it became, or everything that is wrong with it.
pub type Reading<T> = Result<T, Vec<Problem>>;

fn problem<T>(kind: &'static str, msg: impl Into<String>) -> Reading<T> {
    Err(vec![Problem::new(kind, msg)])
}

/// The members of one object (or the pairs of one query string) while they are being read.
pub struct Fields<'a> {
    place: &'static str,
    members: &'a JsonObject,
    errors: Vec<FieldError>,
    /// How many more errors there are than are kept.
    more: usize,
}

impl<'a> Fields<'a> {
    /// Reads a request body, which must be an object.
    ///
    /// # Errors
    /// The body is another kind of value.
    pub fn of_body(body: &'a Json) -> Result<Self, Invalid> {
        match body {
            Json::Object(members) => Ok(Self::new("body", members)),
            _ => Err(Invalid::one("body", None, Problem::new("dict_type", "Input should be a valid object"))),
        }
    }

    /// Reads `members` that came from `place` (`body`, `query` …).
    #[must_use]
    pub fn new(place: &'static str, members: &'a JsonObject) -> Self {
        Self { place, members, errors: Vec::new(), more: 0 }
    }

    /// Whether there is a member of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.member(name).is_some()
    }

    /// The member of this name. An empty filter of a query counts as absent.
    fn member(&self, name: &str) -> Option<&'a Json> {
        let may_be_empty = self.place == "query" && !matches!(name, "limit" | "cursor");
        self.members.get(name).filter(|value| !may_be_empty || value.as_text() != Some(""))
    }

    /// A field that must be there.
    pub fn required<T>(&mut self, name: &'static str, read: impl FnOnce(&Json) -> Reading<T>) -> Option<T> {
        if self.has(name) {
            self.given(name, read)
        } else {
            self.report(name, Problem::new("missing", "Field required"));
            None
        }
    }

    /// A field that may be absent or `null`, which is the same.
    pub fn optional<T>(&mut self, name: &'static str, read: impl FnOnce(&Json) -> Reading<T>) -> Option<T> {
        match self.member(name) {
            None | Some(Json::Null) => None,
            Some(_) => self.given(name, read),
        }
    }

    /// A field that may be absent, `null` or empty text, which are the same.
    pub fn filled<T>(&mut self, name: &'static str, read: impl FnOnce(&Json) -> Reading<T>) -> Option<T> {
        match self.member(name).and_then(Json::as_text) {
            Some("") => None,
            _ => self.optional(name, read),
        }
    }

    /// A field that may be absent; `null` goes to the reader.
    pub fn given<T>(&mut self, name: &'static str, read: impl FnOnce(&Json) -> Reading<T>) -> Option<T> {
        let value = self.member(name)?;
        match read(value) {
            Ok(value) => Some(value),
            Err(problems) => {
                for problem in problems {
                    self.report(name, problem);
                }
                None
            }
        }
    }

    /// Refuses every member that is not in `known`, and names the one it resembles.
    pub fn only(&mut self, known: &[&str]) {
        let unknown: Vec<_> = self.members.keys().filter(|name| !known.contains(&name.as_str())).cloned().collect();
        for name in unknown {
            let nearest = nearest(&name, known).map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
            let what = if self.place == "query" {
                "This query parameter is unknown"
            } else {
                "This field is unknown or cannot be changed"
            };
            let problem = Problem::new("extra_forbidden", format!("{what}{nearest}"));
            self.report(&name, problem);
        }
    }

    /// Adds a problem of the field `name`.
    pub fn report(&mut self, name: &str, problem: Problem) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.extend(Invalid::one(self.place, Some(name), problem).0);
        } else {
            self.more += 1;
        }
    }

    /// What was built, unless a field failed. `build` is `None` exactly when a required part is missing, which has
    /// then been reported.
    ///
    /// # Errors
    /// All that was reported.
    pub fn finish<T>(mut self, build: Option<T>) -> Result<T, Invalid> {
        if self.more > 0 {
            let msg = format!("{} more errors are not listed", self.more);
            self.errors.extend(Invalid::one(self.place, None, Problem::new("too_many_errors", msg)).0);
        }
        match build {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(Invalid(self.errors)),
        }
    }
}

/// Text within the bounds of `Text<MIN, MAX>`.
pub fn text<const MIN: usize, const MAX: usize>(value: &Json) -> Reading<Text<MIN, MAX>> {
    let Some(text) = value.as_text() else {
        return problem("string_type", "Input should be a valid string");
    };
    Text::new(text).or_else(|fault| {
        let kind = match fault {
            TextFault::TooShort { .. } => "string_too_short",
            TextFault::TooLong { .. } => "string_too_long",
            TextFault::Nul => "string_nul",
        };
        problem(kind, fault.to_string())
    })
}

/// A UUID: hyphenated or plain hex, upper or lower case.
pub fn uuid(value: &Json) -> Reading<Uuid> {
    value.as_text().and_then(parse_uuid).map_or_else(|| problem("uuid_parsing", "Input should be a valid UUID"), Ok)
}

/// A UUID from its hyphenated or plain form, also in braces or as a URN.
#[must_use]
pub fn parse_uuid(text: &str) -> Option<Uuid> {
    const URN: &str = "urn:uuid:";
    let bare = match text.split_at_checked(URN.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(URN) => rest,
        _ => text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text),
    };
    matches!(bare.len(), 32 | 36).then(|| Uuid::try_parse(bare).ok()).flatten()
}

/// A timestamp in any form that callers of the older implementation send: see [`Timestamp::parse_any`]. A number is epoch time.
pub fn timestamp(value: &Json) -> Reading<Timestamp> {
    let read = match value {
        Json::Text(text) => Timestamp::parse_any(text),
        Json::Int(number) => Timestamp::from_epoch_integer(*number),
        Json::Float(number) => Timestamp::from_epoch(*number),
        _ => return problem("datetime_type", "Input should be an RFC 3339 timestamp in a string, or epoch time"),
    };
    read.or_else(|fault| problem("datetime_parsing", fault.to_string()))
}

/// A timestamp of RFC 3339 and nothing else: for settings, which nobody sends by habit.
pub fn rfc3339(value: &Json) -> Reading<Timestamp> {
    match value.as_text() {
        Some(text) => Timestamp::parse(text).or_else(|fault| problem("datetime_parsing", fault.to_string())),
        None => problem("datetime_type", "Input should be an RFC 3339 timestamp in a string"),
    }
}

/// An object.
pub fn object(value: &Json) -> Reading<JsonObject> {
    value
        .as_object()
        .map_or_else(|| problem("dict_type", "Input should be a valid object"), |members| Ok(members.clone()))
}

/// What is wrong with a free-form object (an entity's attributes, an event's payload), wherever it comes from.
#[must_use]
pub fn object_problem(members: &JsonObject) -> Option<Problem> {
    let held = |(key, value): (&String, &Json)| key.contains('\0') || value.holds_nul();
    // The object itself is the first level.
    match members.values().try_for_each(|value| value.check(MAX_DEPTH - 1)) {
        Err(fault) => Some(Problem::new("json_bounds", fault.to_string())),
        Ok(()) => members.iter().any(held).then(|| Problem::new("string_nul", TextFault::Nul.to_string())),
    }
}

/// A truth value.
pub fn boolean(value: &Json) -> Reading<bool> {
    match value {
        Json::Bool(truth) => Ok(*truth),
        _ => problem("bool_type", "Input should be true or false"),
    }
}

/// Most items in a list that is read item by item.
pub const MAX_ITEMS: usize = 1000;

/// A list of at most [`MAX_ITEMS`], each by `read`; every failing item is reported under its index.
pub fn list<T>(read: impl Fn(&Json) -> Reading<T>) -> impl Fn(&Json) -> Reading<Vec<T>> {
    move |value| {
        let Json::List(items) = value else {
            return problem("list_type", "Input should be a valid list");
        };
        if items.len() > MAX_ITEMS {
            return problem("too_long", format!("List should have at most {MAX_ITEMS} items"));
        }
        let mut taken = Vec::with_capacity(items.len());
        let mut problems = Vec::new();
        for (at, item) in items.iter().enumerate() {
            match read(item) {
                Ok(value) => taken.push(value),
                Err(faults) => problems.extend(faults.into_iter().map(|fault| fault.within(Step::Index(at)))),
            }
        }
        if problems.is_empty() { Ok(taken) } else { Err(problems) }
    }
}

/// `null`, or what `read` takes.
pub fn nullable<T>(read: impl Fn(&Json) -> Reading<T>) -> impl Fn(&Json) -> Reading<Option<T>> {
    move |value| if *value == Json::Null { Ok(None) } else { read(value).map(Some) }
}

/// One of a closed set of words.
pub fn choice<T: Choice>(value: &Json) -> Reading<T> {
    value.as_text().and_then(T::from_word).map_or_else(
        || {
            let words: Vec<_> = T::ALL.iter().map(|choice| format!("'{}'", choice.word())).collect();
            problem("enum", format!("Input should be one of {}", words.join(", ")))
        },
        Ok,
    )
}

/// A whole number from `min` to `max`, as a query string holds it.
pub fn whole_number(min: i64, max: i64) -> impl Fn(&Json) -> Reading<i64> {
    move |value| {
        let number = match value {
            Json::Int(number) => Some(*number),
            Json::Text(text) => text.parse().ok(),
            _ => None,
        };
        match number {
            None => problem("int_parsing", "Input should be a whole number"),
            Some(number) if number < min => {
                problem("greater_than_equal", format!("Input should be greater than or equal to {min}"))
            }
            Some(number) if number > max => {
                problem("less_than_equal", format!("Input should be less than or equal to {max}"))
            }
            Some(number) => Ok(number),
        }
    }
}

/// A closed set of words.
pub trait Choice: Sized + Copy + PartialEq + 'static {
    /// Every member, in the order of the contract.
    const ALL: &'static [Self];

    /// The word that stands for it.
    fn word(self) -> &'static str;

    /// The member that `word` stands for.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|choice| choice.word() == word)
    }
}

/// A query string as members: a key that has more than one value becomes a list. An empty value is none beside others.
#[must_use]
pub fn query_members(pairs: impl Iterator<Item = (String, String)>) -> JsonObject {
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
        Json::List(_) => list(&read)(value),
        single => read(single).map(|value| vec![value]),
    }
}
