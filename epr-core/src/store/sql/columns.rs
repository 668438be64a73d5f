//! The columns of a registry type: how each value type is selected, read and bound.
//!
//! Owns one [`Column`] per value type. Which columns a table has follows from the declaration of its record in the
//! domain: a field whose type is no `Column` does not compile. Must never know a table.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::query_builder::Separated;
use uuid::Uuid;

use super::dialect::{Db, Id, Row, SqlTime, bind_id, bind_time, classify, read_id, read_time};
use crate::domain::condition::Condition;
use crate::domain::fields::Choice;
use crate::domain::input::value::{Shape, Sink, Source, Value as _};
use crate::domain::{EntityType, Json, JsonObject, Timestamp};
use crate::store::{Result, StoreError};

/// The parameters of a statement, separated by commas.
type Parameters<'a> = Separated<'a, Db, &'static str>;

/// A value of a registry type in the column of a row.
pub(super) trait Column: Sized {
    /// Whether the row has a column for the value. A value without one is kept in a table of its own.
    const IN_ROW: bool = true;
    /// Whether the column holds JSON, which is selected as text.
    const IS_JSON: bool = false;

    /// Reads the column `name`.
    ///
    /// # Errors
    /// `Corrupt` when the column holds a value that the program does not write.
    fn read(row: &Row, name: &'static str) -> Result<Self>;

    /// Adds the value as a parameter, without a separator before it.
    fn bind(&self, to: &mut Parameters<'_>);
}

impl Column for Uuid {
    fn read(row: &Row, name: &'static str) -> Result<Self> {
        row.try_get(name).map(read_id).map_err(classify)
    }

    fn bind(&self, to: &mut Parameters<'_>) {
        to.push_bind_unseparated(bind_id(*self));
    }
}

impl Column for Option<Uuid> {
    fn read(row: &Row, name: &'static str) -> Result<Self> {
        Ok(row.try_get::<Option<Id>, _>(name).map_err(classify)?.map(read_id))
    }

    fn bind(&self, to: &mut Parameters<'_>) {
        to.push_bind_unseparated(self.map(bind_id));
    }
}

impl Column for Timestamp {
    fn read(row: &Row, name: &'static str) -> Result<Self> {
        row.try_get::<SqlTime, _>(name).map_err(classify).and_then(read_time)
    }

    fn bind(&self, to: &mut Parameters<'_>) {
        to.push_bind_unseparated(bind_time(*self));
    }
}

impl Column for Option<Timestamp> {
    fn read(row: &Row, name: &'static str) -> Result<Self> {
        row.try_get::<Option<SqlTime>, _>(name).map_err(classify)?.map(read_time).transpose()
    }

    fn bind(&self, to: &mut Parameters<'_>) {
        to.push_bind_unseparated(self.map(bind_time));
    }
}

impl Column for String {
    fn read(row: &Row, name: &'static str) -> Result<Self> {
        row.try_get(name).map_err(classify)
    }

    fn bind(&self, to: &mut Parameters<'_>) {
        to.push_bind_unseparated(self.clone());
    }
}

impl Column for Option<String> {
    fn read(row: &Row, name: &'static str) -> Result<Self> {
        row.try_get(name).map_err(classify)
    }

    fn bind(&self, to: &mut Parameters<'_>) {
        to.push_bind_unseparated(self.clone());
    }
}

impl Column for bool {
    fn read(row: &Row, name: &'static str) -> Result<Self> {
        row.try_get(name).map_err(classify)
    }

    fn bind(&self, to: &mut Parameters<'_>) {
        to.push_bind_unseparated(*self);
    }
}

/// A word of a closed set.
impl<T: Choice> Column for T {
    fn read(row: &Row, name: &'static str) -> Result<Self> {
        read_word(row.try_get(name).map_err(classify)?)
    }

    fn bind(&self, to: &mut Parameters<'_>) {
        to.push_bind_unseparated(self.word());
    }
}

/// The word of an entity type, which another program of EPR may have been told to accept.
impl Column for EntityType {
    fn read(row: &Row, name: &'static str) -> Result<Self> {
        read_type(row.try_get(name).map_err(classify)?)
    }

    fn bind(&self, to: &mut Parameters<'_>) {
        to.push_bind_unseparated(self.word().to_owned());
    }
}

/// Entity types, as a JSON list.
impl Column for Vec<EntityType> {
    const IS_JSON: bool = true;

    fn read(row: &Row, name: &'static str) -> Result<Self> {
        read_types(row.try_get(name).map_err(classify)?)
    }

    fn bind(&self, to: &mut Parameters<'_>) {
        let words = Json::List(self.iter().map(|word| word.word().into()).collect());
        bind_json(words.to_string(), to);
    }
}

/// Texts of another table, which the statement selects as a JSON list. They are sorted by code point here: a database
/// would sort them by its collation.
impl Column for Vec<String> {
    const IN_ROW: bool = false;

    fn read(row: &Row, name: &'static str) -> Result<Self> {
        let mut texts = read_texts(name, row.try_get(name).map_err(classify)?)?;
        texts.sort_unstable();
        Ok(texts)
    }

    fn bind(&self, _: &mut Parameters<'_>) {}
}

impl Column for JsonObject {
    const IS_JSON: bool = true;

    fn read(row: &Row, name: &'static str) -> Result<Self> {
        read_object(name, row.try_get(name).map_err(classify)?)
    }

    fn bind(&self, to: &mut Parameters<'_>) {
        bind_json(Json::Object(self.clone()).to_string(), to);
    }
}

/// A condition as the text of its JSON, in which the ledger has it too; null when there is none.
impl Column for Option<Condition> {
    fn read(row: &Row, name: &'static str) -> Result<Self> {
        Ok(row.try_get::<Option<&str>, _>(name).map_err(classify)?.map(read_condition))
    }

    fn bind(&self, to: &mut Parameters<'_>) {
        to.push_bind_unseparated(self.as_ref().map(condition_text));
    }
}

/// Conditions of another table, which the statement selects as a JSON object of texts.
impl Column for BTreeMap<String, Condition> {
    const IN_ROW: bool = false;

    fn read(row: &Row, name: &'static str) -> Result<Self> {
        let texts = row.try_get(name).map_err(classify)?;
        let texts: BTreeMap<String, String> =
            serde_json::from_str(texts).map_err(|error| StoreError::corrupt(name, error))?;
        Ok(texts.into_iter().map(|(action, text)| (action, read_condition(&text))).collect())
    }

    fn bind(&self, _: &mut Parameters<'_>) {}
}

/// What precedes the stored text of a condition that this version cannot read, in place of its expression. No
/// expression compiles with it, so that no caller can write one.
const UNREADABLE: &str = "unreadable stored condition: ";

/// The stored text of a condition; of an unreadable one, what was read.
pub(super) fn condition_text(condition: &Condition) -> String {
    match condition.expression.strip_prefix(UNREADABLE) {
        Some(stored) => stored.to_owned(),
        None => condition.write().to_string(),
    }
}

/// A stored condition. One that this version cannot read is kept as its text: it must not keep an assignment from being
/// listed or revoked, nor a role from being changed. Checks read the stored text itself, and it grants nothing there.
fn read_condition(text: &str) -> Condition {
    let condition = Json::parse(text.as_bytes()).ok().and_then(|json| Condition::read(&json).ok());
    condition.unwrap_or_else(|| Condition::new(format!("{UNREADABLE}{text}")))
}

fn bind_json(text: String, to: &mut Parameters<'_>) {
    // The dialect's expression around a parameter; the builder numbers the parameter itself.
    let (before, after) = json_value!("$").split_once('$').unwrap_or_default();
    to.push_unseparated(before).push_bind_unseparated(text).push_unseparated(after);
}

/// The member of a closed set with the stored word.
pub(super) fn read_word<T: Choice>(word: &str) -> Result<T> {
    T::from_word(word).ok_or_else(|| StoreError::corrupt(T::WHAT, word))
}

/// The entity type with the stored word.
pub(super) fn read_type(word: &str) -> Result<EntityType> {
    EntityType::from_word(word).ok_or_else(|| StoreError::corrupt("entity type", word))
}

/// The entity types whose words are stored as a JSON list.
pub(super) fn read_types(text: &str) -> Result<Vec<EntityType>> {
    read_texts("entity type", text)?.iter().map(|word| read_type(word)).collect()
}

fn read_texts(what: &'static str, text: &str) -> Result<Vec<String>> {
    serde_json::from_str(text).map_err(|error| StoreError::corrupt(what, error))
}

/// A stored JSON object.
pub(super) fn read_object(what: &'static str, text: &str) -> Result<JsonObject> {
    match Json::parse(text.as_bytes()) {
        Ok(Json::Object(members)) => Ok(members),
        Ok(_) => Err(StoreError::corrupt(what, "not an object")),
        Err(error) => Err(StoreError::corrupt(what, error)),
    }
}

/// The fields of a record in the columns of a row.
pub(super) struct Columns<'r>(pub(super) &'r Row);

impl<T: Column> Source<T, StoreError> for Columns<'_> {
    fn take(&mut self, name: &'static str) -> Result<T> {
        T::read(self.0, name)
    }
}

/// The columns of a record in a SELECT, qualified by an alias unless it is empty.
pub(super) struct Selected {
    alias: &'static str,
    pub(super) sql: String,
}

impl Selected {
    pub(super) const fn of(alias: &'static str) -> Self {
        Self { alias, sql: String::new() }
    }
}

impl<T: Column> Shape<T> for Selected {
    fn field(&mut self, name: &'static str) {
        if !T::IN_ROW {
            return;
        }
        if !self.sql.is_empty() {
            self.sql.push_str(", ");
        }
        let point = if self.alias.is_empty() { "" } else { "." };
        let column = format!("{}{point}{name}", self.alias);
        let column = if T::IS_JSON { format!("CAST({column} AS TEXT) AS {name}") } else { column };
        self.sql.push_str(&column);
    }
}

/// The names of a record's columns, for an INSERT.
#[derive(Default)]
pub(super) struct Names(pub(super) String);

impl<T: Column> Shape<T> for Names {
    fn field(&mut self, name: &'static str) {
        if T::IN_ROW {
            self.0.push_str(if self.0.is_empty() { "" } else { ", " });
            self.0.push_str(name);
        }
    }
}

/// The values of a record's columns, for an INSERT.
pub(super) struct InsertValues<'a, 'q>(pub(super) &'a mut Parameters<'q>);

impl<T: Column> Sink<T> for InsertValues<'_, '_> {
    fn put(&mut self, _: &'static str, value: &T) {
        if T::IN_ROW {
            self.0.push("");
            value.bind(self.0);
        }
    }
}

/// The columns of a record with their values, for an UPDATE.
pub(super) struct UpdateValues<'q>(pub(super) Parameters<'q>);

impl<T: Column> Sink<T> for UpdateValues<'_> {
    fn put(&mut self, name: &'static str, value: &T) {
        if T::IN_ROW {
            self.0.push(name).push_unseparated(" = ");
            value.bind(&mut self.0);
        }
    }
}
