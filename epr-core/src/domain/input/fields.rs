//! Reads a caller's input field by field, so that an error names every failing field and not only the first.
//!
//! Owns the shape of validation errors and the readers of single values. `serde`'s derive stops at the first failing
//! field, which the contract does not allow. Must never know what a field is for.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

use super::accepted::EntityTypes;
use super::nearest::nearest;
use crate::domain::value::json::{Json, JsonObject, MAX_DEPTH};
use crate::domain::value::text::{Text, TextError};
use crate::domain::value::time::Timestamp;

/// One segment of the path to a failing value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathSegment {
    /// A member's name, or the part of the request (`body`, `query`, `path`, `header`).
    Name(Cow<'static, str>),
    /// A position in a list, from 0.
    Index(usize),
}

impl Serialize for PathSegment {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => out.serialize_str(name),
            Self::Index(at) => out.serialize_u64(*at as u64),
        }
    }
}

impl fmt::Display for PathSegment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => out.write_str(name),
            Self::Index(at) => at.fmt(out),
        }
    }
}

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The location of the field: `body`, `query`, `path` or `header`, then the names and indexes that lead to it.
    pub loc: Vec<PathSegment>,
    /// What is wrong, for people. The wording is not part of the interface.
    #[schema(example = "Field required")]
    pub msg: String,
    /// The kind of the error, for programs: a stable word.
    #[serde(rename = "type")]
    #[schema(example = "missing", value_type = String)]
    pub kind: &'static str,
}

impl FieldError {
    /// The path to the field within the part of the request, for example `scope_types.0`; empty when the whole body is
    /// wrong.
    #[must_use]
    pub fn path(&self) -> String {
        self.loc.iter().skip(1).map(ToString::to_string).collect::<Vec<_>>().join(".")
    }
}

/// Input that fails validation: at least one field error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} field(s) are not valid", .0.len())]
pub struct Invalid(pub Vec<FieldError>);

impl Invalid {
    /// One failing field.
    #[must_use]
    pub fn one(location: &'static str, field: Option<&str>, problem: Problem) -> Self {
        let mut loc = vec![PathSegment::Name(location.into())];
        loc.extend(field.map(|name| PathSegment::Name(bounded(name).into())));
        loc.extend(problem.path);
        Self(vec![FieldError { loc, msg: problem.msg, kind: problem.kind }])
    }

    /// Both results, or the failures of both.
    pub fn both<A, B>(first: Result<A, Self>, second: Result<B, Self>) -> Result<(A, B), Self> {
        match (first, second) {
            (Ok(a), Ok(b)) => Ok((a, b)),
            (Err(mut errors), Err(more)) => {
                errors.0.extend(more.0);
                Err(errors)
            }
            (Err(errors), _) | (_, Err(errors)) => Err(errors),
        }
    }
}

/// The number of errors in one response; one more error has the number of those that are not listed.
const MAX_ERRORS: usize = 1000;

/// A member's name, cut to the length that an error repeats.
fn bounded(name: &str) -> String {
    const MAX_CHARS: usize = 128;
    match name.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

/// Whether `member` is probably a misspelt one of `names`.
#[must_use]
pub fn resembles(member: &str, names: &[&str]) -> bool {
    nearest(member, names).is_some()
}

/// The problem of one value, before its field is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    path: Vec<PathSegment>,
    msg: String,
    kind: &'static str,
}

impl Problem {
    /// A problem with the stable word `kind` and the sentence `msg`.
    pub fn new(kind: &'static str, msg: impl Into<String>) -> Self {
        Self { path: Vec::new(), msg: msg.into(), kind }
    }

    /// The sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.msg
    }

    /// The same problem of the member `name` of the value.
    #[must_use]
    pub fn under(self, name: &str) -> Self {
        self.within(PathSegment::Name(bounded(name).into()))
    }

    pub(crate) fn within(mut self, segment: PathSegment) -> Self {
        self.path.insert(0, segment);
        self
    }
}

/// The result of a reader of one value: the value, or all its problems.
pub type Reading<T> = Result<T, Vec<Problem>>;

fn problem<T>(kind: &'static str, msg: impl Into<String>) -> Reading<T> {
    Err(vec![Problem::new(kind, msg)])
}

/// The members of one object (or the pairs of one query string) while they are being read.
pub struct Fields<'a> {
    location: &'static str,
    members: &'a JsonObject,
    errors: Vec<FieldError>,
    /// The number of errors beyond [`MAX_ERRORS`].
    more: usize,
    /// A member that is known and not read.
    ignored: Option<&'static str>,
    types: &'a EntityTypes,
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

    /// Reads `members` that came from `location` (`body`, `query` …).
    #[must_use]
    pub fn new(location: &'static str, members: &'a JsonObject) -> Self {
        Self { location, members, errors: Vec::new(), more: 0, ignored: None, types: EntityTypes::ANY }
    }

    /// The same members, read for a service that accepts the entity types `types` and no others.
    #[must_use]
    pub fn accepting(self, types: &'a EntityTypes) -> Self {
        Self { types, ..self }
    }

    /// The accepted entity types; every one of the grammar unless [`Fields::accepting`] has narrowed them.
    pub(crate) fn entity_types(&self) -> &'a EntityTypes {
        self.types
    }

    /// Whether there is a member of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.member(name).is_some()
    }

    /// The member of this name. An empty filter of a query is treated as absent.
    fn member(&self, name: &str) -> Option<&'a Json> {
        let may_be_empty = self.location == "query" && !matches!(name, "limit" | "cursor" | "after");
        let value = self.members.get(name).filter(|_| self.ignored != Some(name));
        value.filter(|value| !may_be_empty || value.as_text() != Some(""))
    }

    /// Reads the member `name` as absent from here on, whatever its value is. [`Fields::only`] still accepts it.
    pub fn ignore(&mut self, name: &'static str) {
        self.ignored = Some(name);
    }

    /// Reads a field that must be present.
    pub fn required<T>(&mut self, name: &'static str, read: impl FnOnce(&Json) -> Reading<T>) -> Option<T> {
        if self.has(name) {
            self.given(name, read)
        } else {
            self.report(name, Problem::new("missing", "Field required"));
            None
        }
    }

    /// Reads a field that can be absent or `null`, which means the same.
    pub fn optional<T>(&mut self, name: &'static str, read: impl FnOnce(&Json) -> Reading<T>) -> Option<T> {
        match self.member(name) {
            None | Some(Json::Null) => None,
            Some(_) => self.given(name, read),
        }
    }

    /// Reads a field that can be absent, `null` or an empty text, which mean the same.
    pub fn filled<T>(&mut self, name: &'static str, read: impl FnOnce(&Json) -> Reading<T>) -> Option<T> {
        match self.member(name).and_then(Json::as_text) {
            Some("") => None,
            _ => self.optional(name, read),
        }
    }

    /// Reads a field that can be absent; `null` is passed to the reader.
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

    /// Reports every member that is not in `known`, with the known name that it resembles.
    pub fn only(&mut self, known: &[&str]) {
        let unknown: Vec<_> = self.members.keys().filter(|name| !known.contains(&name.as_str())).cloned().collect();
        for name in unknown {
            let nearest = nearest(&name, known).map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
            let what = if self.location == "query" {
                "This query parameter is unknown"
            } else {
                "This field is unknown or cannot be changed"
            };
            let problem = Problem::new("extra_forbidden", format!("{what}{nearest}"));
            self.report(&name, problem);
        }
    }

    /// The value of the field `name`, if it is present and valid. Reports nothing: for a rule about two fields, each of
    /// which is read elsewhere.
    pub fn peek<T>(&self, name: &'static str, read: impl FnOnce(&Json) -> Reading<T>) -> Option<T> {
        self.member(name).and_then(|value| read(value).ok())
    }

    /// Adds a problem of the field `name`.
    pub fn report(&mut self, name: &str, problem: Problem) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.extend(Invalid::one(self.location, Some(name), problem).0);
        } else {
            self.more += 1;
        }
    }

    /// Returns `build` unless a field failed. `build` is `None` only when a failing field has been reported.
    ///
    /// # Errors
    /// Every reported problem.
    pub fn finish<T>(mut self, build: Option<T>) -> Result<T, Invalid> {
        if self.more > 0 {
            let msg = format!("{} more errors are not listed", self.more);
            self.errors.extend(Invalid::one(self.location, None, Problem::new("too_many_errors", msg)).0);
        }
        match build {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(Invalid(self.errors)),
        }
    }

    /// [`Fields::finish`] for an object inside of another value: the paths of the problems begin in the object.
    ///
    /// # Errors
    /// Every reported problem.
    pub fn finish_nested<T>(self, build: Option<T>) -> Reading<T> {
        let inner = |error: FieldError| Problem {
            path: error.loc.into_iter().skip(1).collect(),
            msg: error.msg,
            kind: error.kind,
        };
        self.finish(build).map_err(|Invalid(errors)| errors.into_iter().map(inner).collect())
    }
}

/// Text within the bounds of `Text<MIN, MAX>`.
pub fn text<const MIN: usize, const MAX: usize>(value: &Json) -> Reading<Text<MIN, MAX>> {
    let Some(text) = value.as_text() else {
        return problem("string_type", "Input should be a valid string");
    };
    Text::new(text).or_else(|error| {
        let kind = match error {
            TextError::TooShort { .. } => "string_too_short",
            TextError::TooLong { .. } => "string_too_long",
            TextError::Nul => "string_nul",
        };
        problem(kind, error.to_string())
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

/// A timestamp in any form that callers of the older implementation send: see [`Timestamp::parse_any`]. A number is
/// epoch time.
pub fn timestamp(value: &Json) -> Reading<Timestamp> {
    let read = match value {
        Json::Text(text) => Timestamp::parse_any(text),
        Json::Int(number) => Timestamp::from_epoch_integer(*number),
        Json::Float(number) => Timestamp::from_epoch(*number),
        _ => return problem("datetime_type", "Input should be an RFC 3339 timestamp in a string, or epoch time"),
    };
    read.or_else(|error| problem("datetime_parsing", error.to_string()))
}

/// A timestamp of RFC 3339 and no other form.
pub fn rfc3339(value: &Json) -> Reading<Timestamp> {
    match value.as_text() {
        Some(text) => Timestamp::parse(text).or_else(|error| problem("datetime_parsing", error.to_string())),
        None => problem("datetime_type", "Input should be an RFC 3339 timestamp in a string"),
    }
}

/// An object.
pub fn object(value: &Json) -> Reading<JsonObject> {
    value
        .as_object()
        .map_or_else(|| problem("dict_type", "Input should be a valid object"), |members| Ok(members.clone()))
}

/// The problem of a free-form object (an entity's attributes, an event's payload): nesting beyond [`MAX_DEPTH`], a
/// number that is not finite, or a NUL character.
#[must_use]
pub fn object_problem(members: &JsonObject) -> Option<Problem> {
    let held = |(key, value): (&String, &Json)| key.contains('\0') || value.holds_nul();
    // The object itself is the first level.
    match members.values().try_for_each(|value| value.check(MAX_DEPTH - 1)) {
        Err(error) => Some(Problem::new("json_bounds", error.to_string())),
        Ok(()) => members.iter().any(held).then(|| Problem::new("string_nul", TextError::Nul.to_string())),
    }
}

/// `true` or `false`.
pub fn boolean(value: &Json) -> Reading<bool> {
    match value {
        Json::Bool(truth) => Ok(*truth),
        _ => problem("bool_type", "Input should be true or false"),
    }
}

/// The largest number of items in a list.
pub const MAX_ITEMS: usize = 1000;

/// A list of at most [`MAX_ITEMS`] items, each read by `read`; every failing item is reported under its index.
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
                Err(errors) => problems.extend(errors.into_iter().map(|error| error.within(PathSegment::Index(at)))),
            }
        }
        if problems.is_empty() { Ok(taken) } else { Err(problems) }
    }
}

/// `null`, or a value that `read` accepts.
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

/// A whole number from `min` to `max`, as a JSON number or as the text of a query parameter.
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

/// The position of a ledger entry, as a query string holds it: 1 or higher.
pub fn sequence(value: &Json) -> Reading<i64> {
    whole_number(1, i64::MAX)(value)
}

/// A text that a list is filtered by: 1 to 512 characters, which is longer than any stored one, and no U+0000.
pub fn filter_text(value: &Json) -> Reading<String> {
    text::<1, 512>(value).map(Text::into_string)
}

/// A closed set of words; declared by [`words`](super::declare::words).
pub trait Choice: Sized + Copy + PartialEq + 'static {
    /// The subject of the words in errors: `entity type`.
    const WHAT: &'static str = "word";
    /// Every member, in the order of the contract.
    const ALL: &'static [Self];

    /// The word of this member.
    fn word(self) -> &'static str;

    /// The member with this word.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|choice| choice.word() == word)
    }

    /// The member with this word.
    ///
    /// # Errors
    /// No member has the word; the error lists all words.
    fn parse(word: &str) -> Result<Self, UnknownWord> {
        Self::from_word(word).ok_or_else(|| UnknownWord {
            what: Self::WHAT,
            word: word.to_owned(),
            known: Self::ALL.iter().map(|choice| choice.word()).collect(),
        })
    }
}

/// The text is no word of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a known {what}: use one of {}", .known.join(", "))]
pub struct UnknownWord {
    /// The subject of the words.
    what: &'static str,
    /// The text.
    word: String,
    /// Every word of the set.
    known: Vec<&'static str>,
}
