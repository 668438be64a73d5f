//! The types of entities: six that are built in, and those that `EPR_ENTITY_TYPES` adds.
//!
//! Owns the grammar of their words and the set of types that a service accepts. Must never read a setting.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::fields::{PathSegment, Problem, Reading};
pub use super::input::accepted::EntityTypes;
use super::input::value::Value;
use super::json::Json;

/// The grammar of the word of a type, as a regular expression.
pub const PATTERN: &str = "^[a-z][a-z0-9_.-]{0,63}$";

/// The kind of business entity. It never changes after creation.
///
/// Any word of the grammar is a type; which types a service accepts is a matter of its settings ([`EntityTypes`]).
///
/// ```
/// use epr_core::domain::EntityType;
///
/// assert_eq!("spv".parse(), Ok(EntityType::Spv));
/// assert_eq!("fund".parse::<EntityType>()?.word(), "fund");
/// assert!("Fund".parse::<EntityType>().is_err());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntityType {
    /// Issues tokens.
    Issuer,
    /// A special-purpose vehicle that holds an asset.
    Spv,
    /// An offering to investors.
    Offering,
    /// An investor.
    Investor,
    /// Acts for others.
    Agent,
    /// Any other kind.
    Other,
    /// A type that the operator has added.
    Added(AddedType),
}

/// The word of an added type: within the grammar, and none of the built-in ones. [`EntityType`] parses it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddedType(Arc<str>);

/// The text is not the word of an entity type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{word}` is not an entity type: use one of {built_in}, or an added type: 1 to 64 characters, the first a to z, \
     the others a to z, 0 to 9, `_`, `.` or `-`"
)]
pub struct NoEntityType {
    word: String,
    built_in: String,
}

impl NoEntityType {
    fn new(word: &str) -> Self {
        Self { word: word.chars().take(64).collect(), built_in: EntityType::BUILT_IN_WORDS.join(", ") }
    }
}

impl EntityType {
    /// The built-in types, in the order of the contract.
    pub const BUILT_IN: [Self; 6] = [Self::Issuer, Self::Spv, Self::Offering, Self::Investor, Self::Agent, Self::Other];

    /// The words of the built-in types, in the same order.
    pub const BUILT_IN_WORDS: [&'static str; 6] = ["issuer", "spv", "offering", "investor", "agent", "other"];

    /// The word of this type.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Issuer => "issuer",
            Self::Spv => "spv",
            Self::Offering => "offering",
            Self::Investor => "investor",
            Self::Agent => "agent",
            Self::Other => "other",
            Self::Added(AddedType(word)) => word,
        }
    }

    /// The type with this word; `None` when the word is not within the grammar.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::built_in(word).or_else(|| is_word(word).then(|| Self::Added(AddedType(word.into()))))
    }

    /// The built-in type with this word.
    #[must_use]
    pub fn built_in(word: &str) -> Option<Self> {
        Self::BUILT_IN.into_iter().find(|known| known.word() == word)
    }
}

/// Whether `word` is within the grammar.
fn is_word(word: &str) -> bool {
    let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    word.len() <= 64 && word.starts_with(|first: char| first.is_ascii_lowercase()) && word.bytes().all(inner)
}

impl FromStr for EntityType {
    type Err = NoEntityType;

    fn from_str(word: &str) -> Result<Self, NoEntityType> {
        Self::from_word(word).ok_or_else(|| NoEntityType::new(word))
    }
}

impl fmt::Display for EntityType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

impl Serialize for EntityType {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.word())
    }
}

/// Every word of the grammar is read; in a request only the types that the service accepts.
impl Value for EntityType {
    fn read(value: &Json) -> Reading<Self> {
        EntityTypes::ANY.read(value)
    }

    fn read_for(value: &Json, types: &EntityTypes) -> Reading<Self> {
        types.read(value)
    }

    fn write(&self) -> Json {
        self.word().into()
    }
}

/// A text: the document of a program cannot know the types that an operator adds.
impl PartialSchema for EntityType {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(PATTERN))
            .description(Some(
                "The kind of business entity: `issuer`, `spv`, `offering`, `investor`, `agent`, `other`, or a type \
                 that the operator has added (`EPR_ENTITY_TYPES`). A request with another type is a 400 that lists the \
                 accepted ones.",
            ))
            .examples(Self::BUILT_IN_WORDS)
            .into()
    }
}

impl ToSchema for EntityType {
    fn name() -> Cow<'static, str> {
        "EntityType".into()
    }
}

/// The built-in types.
impl Default for EntityTypes {
    fn default() -> Self {
        Self::with([])
    }
}

impl EntityTypes {
    /// The built-in types and `added`; a type that is named twice, or is built in, is kept once.
    ///
    /// ```
    /// use epr_core::domain::{EntityType, EntityTypes};
    ///
    /// let types = EntityTypes::with(["fund".parse()?]);
    /// assert!(types.contains(&EntityType::Spv) && types.contains(&"fund".parse()?));
    /// assert!(!types.contains(&"ship".parse()?));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with(added: impl IntoIterator<Item = EntityType>) -> Self {
        let mut words: Vec<Box<str>> = Vec::new();
        for one in added {
            if matches!(one, EntityType::Added(_)) && words.iter().all(|known| **known != *one.word()) {
                words.push(one.word().into());
            }
        }
        Self { added: Some(words.into()) }
    }

    /// Whether the service accepts `entity_type`.
    #[must_use]
    pub fn contains(&self, entity_type: &EntityType) -> bool {
        match (&self.added, entity_type) {
            (Some(added), EntityType::Added(AddedType(word))) => added.iter().any(|known| **known == **word),
            _ => true,
        }
    }

    /// The words of the accepted types, the built-in ones first; `None` when every word of the grammar is accepted.
    #[must_use]
    pub fn words(&self) -> Option<Vec<&str>> {
        let added = self.added.as_deref()?.iter().map(|word| &**word);
        Some(EntityType::BUILT_IN_WORDS.into_iter().chain(added).collect())
    }

    /// Reads the word of an accepted type.
    ///
    /// # Errors
    /// The value is no such word; the problem lists the accepted ones.
    pub fn read(&self, value: &Json) -> Reading<EntityType> {
        let read = value.as_text().and_then(EntityType::from_word).filter(|read| self.contains(read));
        read.ok_or_else(|| vec![self.problem()])
    }

    /// The problem of a typed request that names a type which the service does not accept; `None` when it does.
    #[must_use]
    pub fn problem_of(&self, entity_type: &EntityType) -> Option<Problem> {
        (!self.contains(entity_type)).then(|| self.problem())
    }

    /// The problem of the first type of `list` that the service does not accept, with its index.
    #[must_use]
    pub fn problem_in(&self, list: &[EntityType]) -> Option<Problem> {
        let at = list.iter().position(|one| !self.contains(one))?;
        Some(self.problem().within(PathSegment::Index(at)))
    }

    fn problem(&self) -> Problem {
        let sentence = match self.words() {
            None => {
                let built_in = EntityType::BUILT_IN_WORDS.join(", ");
                format!("Input should be an entity type: {built_in}, or a text that matches {PATTERN}")
            }
            Some(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
                format!("Input should be one of {}", quoted.join(", "))
            }
        };
        Problem::new("enum", sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_within_the_grammar() {
        let long = format!("a{}", "b".repeat(63));
        for word in ["a", "fund", "real_estate.spv-2", "everything", &long, "issuer"] {
            let read: EntityType = word.parse().unwrap();
            assert_eq!((read.word(), read.to_string()), (word, word.to_owned()));
            assert_eq!(matches!(read, EntityType::Added(_)), word != "issuer");
        }
        let longer = format!("{long}b");
        for word in ["", "Fund", "1fund", "-fund", "_fund", ".fund", "fund!", "fund ", "fünd", "a\0", "a\n", &longer] {
            assert!(word.parse::<EntityType>().is_err(), "{word:?}");
        }
    }

    #[test]
    fn the_sentence_about_an_unknown_type_lists_the_added_ones() {
        let types = EntityTypes::with(["fund", "spv", "fund", "ship"].map(|word| word.parse().unwrap()));
        assert_eq!(types.words().unwrap()[6..], ["fund", "ship"]);
        let sentence =
            "Input should be one of 'issuer', 'spv', 'offering', 'investor', 'agent', 'other', 'fund', 'ship'";
        for given in [Json::from("boat"), Json::from("Fund"), Json::Null, Json::Int(1)] {
            assert_eq!(types.read(&given), Err(vec![Problem::new("enum", sentence)]), "{given}");
        }
        assert_eq!(types.read(&Json::from("fund")), Ok("fund".parse().unwrap()));
        assert_eq!(types.problem_of(&EntityType::Spv), None);
        assert_eq!(types.problem_of(&"boat".parse().unwrap()), Some(Problem::new("enum", sentence)));
        assert!(EntityTypes::default().read(&Json::from("fund")).is_err());
        assert_eq!(EntityTypes::ANY.read(&Json::from("boat")), Ok("boat".parse().unwrap()));
    }
}
