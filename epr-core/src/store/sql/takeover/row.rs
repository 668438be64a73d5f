//! A row of an older implementation's table: every column is read as text and checked.
//!
//! Must never guess: a value that does not fit is reported with its table, row and column. Reading continues after one,
//! so that all are reported; the values of such a row are not used.

use sqlx::Row as _;
use uuid::Uuid;

use super::super::dialect::{Row, classify};
use crate::clock::{Clock as _, SystemClock};
use crate::domain::fields::{Choice, parse_uuid};
use crate::domain::{Json, JsonObject, Timestamp};
use crate::store::{Result, TakeoverProblem, TakeoverReport};

/// The most characters of a value that are shown.
const MAX_SHOWN: usize = 80;

/// One row, of which every column is read as text.
pub(super) struct TextRow<'a> {
    row: &'a Row,
    table: &'static str,
    row_kind: &'static str,
    /// The value of its first column, which messages use as its name.
    pub(super) name: String,
    problems: Vec<TakeoverProblem>,
}

impl<'a> TextRow<'a> {
    pub(super) fn new(row: &'a Row, table: &'static str, row_kind: &'static str) -> Result<Self> {
        let name: Option<String> = row.try_get(0).map_err(classify)?;
        Ok(Self { row, table, row_kind, name: name.unwrap_or_default(), problems: Vec::new() })
    }

    /// Reports a value that the operator has to correct first.
    pub(super) fn block(&mut self, column: &str, problem: impl std::fmt::Display, remedy: &str, decisions: &str) {
        self.report(column, problem.to_string(), (remedy, decisions), true);
    }

    /// Reports a value that is adjusted when it is taken over.
    pub(super) fn adjust(&mut self, column: &str, problem: impl std::fmt::Display, remedy: &str, decisions: &str) {
        self.report(column, problem.to_string(), (remedy, decisions), false);
    }

    fn report(&mut self, column: &str, problem: String, (remedy, decisions): (&str, &str), blocks: bool) {
        let value: Option<String> = self.row.try_get(column).ok().flatten();
        let value = value.map(|value| value.chars().take(MAX_SHOWN).collect());
        let (remedy, decisions) = (remedy.to_owned(), decisions.to_owned());
        let (table, row_kind, id, column) = (self.table, self.row_kind, self.name.clone(), column.to_owned());
        self.problems.push(TakeoverProblem { table, row_kind, id, column, value, problem, remedy, decisions, blocks });
    }

    fn wrong(&mut self, column: &str, problem: impl std::fmt::Display) {
        self.block(column, problem, "correct the value in the older table", "as the corrected value says");
    }

    /// Returns whether no problem so far blocks the takeover of the row.
    pub(super) fn is_usable(&self) -> bool {
        !self.problems.iter().any(|problem| problem.blocks)
    }

    /// Adds the problems of the row to `report`; returns whether the row can be used.
    pub(super) fn finish(self, report: &mut TakeoverReport) -> bool {
        let usable = self.is_usable();
        self.problems.into_iter().for_each(|problem| report.add(problem));
        usable
    }

    pub(super) fn get(&self, column: &str) -> Result<Option<String>> {
        self.row.try_get(column).map_err(classify)
    }

    pub(super) fn text(&mut self, column: &str) -> Result<String> {
        let text = self.get(column)?;
        if text.is_none() {
            self.wrong(column, "is missing");
        }
        Ok(text.unwrap_or_default())
    }

    /// Returns a text of at most `max` characters that the database can store.
    pub(super) fn bounded_text(&mut self, column: &str, max: usize) -> Result<String> {
        let text = self.text(column)?;
        self.bound(column, &text, max);
        Ok(text)
    }

    /// Returns such a text of a column that may be null.
    pub(super) fn optional_text(&mut self, column: &str, max: usize) -> Result<Option<String>> {
        let text = self.get(column)?;
        self.bound(column, text.as_deref().unwrap_or_default(), max);
        Ok(text)
    }

    fn bound(&mut self, column: &str, text: &str, max: usize) {
        if text.chars().count() > max {
            self.block(column, format!("has more than {max} characters"), "shorten it in the older table", "none");
        }
        if text.contains('\0') {
            self.block(column, "holds a NUL character", "take it out in the older table", "none");
        }
    }

    pub(super) fn optional_id(&mut self, column: &str) -> Result<Option<Uuid>> {
        let text = self.get(column)?;
        let id = text.as_deref().and_then(parse_uuid);
        if text.is_some() && id.is_none() {
            self.wrong(column, "is no UUID");
        }
        Ok(id)
    }

    pub(super) fn id(&mut self, column: &str) -> Result<Uuid> {
        if self.get(column)?.is_none() {
            self.wrong(column, "is missing");
        }
        Ok(self.optional_id(column)?.unwrap_or_default())
    }

    pub(super) fn optional_time(&mut self, column: &str) -> Result<Option<Timestamp>> {
        let Some(text) = self.get(column)? else { return Ok(None) };
        match Timestamp::parse_any(&text) {
            Ok(at) => Ok(Some(at)),
            Err(error) => {
                self.wrong(column, error);
                Ok(None)
            }
        }
    }

    pub(super) fn time(&mut self, column: &str) -> Result<Timestamp> {
        if self.get(column)?.is_none() {
            self.wrong(column, "is missing");
        }
        Ok(self.optional_time(column)?.unwrap_or_else(|| SystemClock.now()))
    }

    /// Returns a word of a closed set, in upper or lower case; `placeholder` when it is none of them.
    pub(super) fn choice<T: Choice>(&mut self, column: &str, placeholder: T) -> Result<T> {
        let word = self.known_word(column, T::ALL.iter().map(|choice| choice.word()))?;
        Ok(word.and_then(|word| T::from_word(&word)).unwrap_or(placeholder))
    }

    /// Returns the one of `known` that the column holds, in upper or lower case; `None` when it holds none of them.
    pub(super) fn known_word<'w>(
        &mut self,
        column: &str,
        known: impl Iterator<Item = &'w str> + Clone,
    ) -> Result<Option<String>> {
        let word = self.text(column)?.to_lowercase();
        if known.clone().any(|one| one == word) {
            return Ok(Some(word));
        }
        self.wrong(column, format!("`{word}` is none of {}", known.collect::<Vec<_>>().join(", ")));
        Ok(None)
    }

    pub(super) fn object(&mut self, column: &str) -> Result<JsonObject> {
        let problem = match Json::parse(self.get(column)?.unwrap_or_else(|| "{}".into()).as_bytes()) {
            Ok(Json::Object(members)) => return Ok(members),
            Ok(Json::Null) => return Ok(JsonObject::new()),
            Ok(_) => "is no JSON object".to_owned(),
            Err(error) => error.to_string(),
        };
        self.block(column, problem, "correct the value in the older table", "none");
        Ok(JsonObject::new())
    }

    /// Returns a text within the bounds of its type; `None` when it is outside.
    pub(super) fn typed<T: TryFrom<String>>(&mut self, column: &str, text: String) -> Option<T> {
        let typed = T::try_from(text).ok();
        if typed.is_none() {
            self.block(
                column,
                "is too long, or holds a NUL character",
                "the hash covers it: it cannot be changed",
                "none",
            );
        }
        typed
    }
}
