//! A row of an older implementation's table: every column is read as text and checked.
//!
//! Must never guess: a value that does not fit names its table, row and column.

use sqlx::Row as _;
use uuid::Uuid;

use super::super::{Row, classify};
use crate::domain::fields::{Choice, parse_uuid};
use crate::domain::{Json, JsonObject, Timestamp};
use crate::store::{Result, StoreError};

pub(super) fn refused(what: &str, id: &str, why: impl std::fmt::Display) -> StoreError {
    StoreError::NotAdopted(format!("{what} {id}: {why}"))
}

/// Columns of one row, all read as text.
pub(super) struct Texts<'a> {
    row: &'a Row,
    what: &'static str,
    /// Its first column, by which messages name it.
    pub(super) name: String,
}

impl<'a> Texts<'a> {
    pub(super) fn new(row: &'a Row, what: &'static str) -> Result<Self> {
        let name: Option<String> = row.try_get(0).map_err(classify)?;
        Ok(Self { row, what, name: name.unwrap_or_default() })
    }

    pub(super) fn fault(&self, column: &str, why: impl std::fmt::Display) -> StoreError {
        refused(self.what, &self.name, format!("{column}: {why}"))
    }

    pub(super) fn get(&self, column: &str) -> Result<Option<String>> {
        self.row.try_get(column).map_err(classify)
    }

    pub(super) fn text(&self, column: &str) -> Result<String> {
        self.get(column)?.ok_or_else(|| self.fault(column, "is missing"))
    }

    pub(super) fn optional_id(&self, column: &str) -> Result<Option<Uuid>> {
        self.get(column)?.map(|text| parse_uuid(&text).ok_or_else(|| self.fault(column, "is no UUID"))).transpose()
    }

    pub(super) fn id(&self, column: &str) -> Result<Uuid> {
        self.optional_id(column)?.ok_or_else(|| self.fault(column, "is missing"))
    }

    pub(super) fn optional_time(&self, column: &str) -> Result<Option<Timestamp>> {
        let Some(mut text) = self.get(column)? else {
            return Ok(None);
        };
        // PostgreSQL writes an offset of whole hours without minutes.
        let short_offset = text.len() > 20 && text.get(text.len() - 3..).is_some_and(|end| end.starts_with(['+', '-']));
        if short_offset {
            text.push_str(":00");
        }
        Timestamp::parse(&text).map(Some).map_err(|fault| self.fault(column, fault))
    }

    pub(super) fn time(&self, column: &str) -> Result<Timestamp> {
        self.optional_time(column)?.ok_or_else(|| self.fault(column, "is missing"))
    }

    pub(super) fn choice<T: Choice>(&self, column: &str) -> Result<T> {
        let word = self.text(column)?.to_lowercase();
        T::from_word(&word).ok_or_else(|| self.fault(column, format!("`{word}` is unknown")))
    }

    pub(super) fn object(&self, column: &str) -> Result<JsonObject> {
        match Json::parse(self.get(column)?.unwrap_or_else(|| "{}".into()).as_bytes()) {
            Ok(Json::Object(members)) => Ok(members),
            Ok(_) => Err(self.fault(column, "is no JSON object")),
            Err(fault) => Err(self.fault(column, fault)),
        }
    }

    pub(super) fn bounded<T: TryFrom<String>>(&self, column: &str, text: String) -> Result<T> {
        T::try_from(text).map_err(|_| self.fault(column, "is too long, empty, or holds a NUL character"))
    }
}
