//! The declaration of a setting: its name, default, allowed values and meaning.
//!
//! Each section of the settings declares its variables once, as constants. The [`Reader`](super::reader::Reader), the
//! sentences about wrong values, `epr doctor` and the tables of docs/SETTINGS.md follow from them.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use super::shown::plain;
use crate::store::url::masked;

/// A variable of the environment.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// The name of the variable.
    pub name: &'static str,
    /// The values it takes, and its default.
    pub values: Values,
    /// The meaning of the variable, in Markdown. Links are relative to `docs/`.
    pub meaning: &'static str,
    shown: Shown,
}

/// The values that a variable takes.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// `true` or `false`.
    Flag {
        /// The value of a variable that is not set.
        default: bool,
    },
    /// A whole number from `min` to `max`.
    Number {
        /// The value of a variable that is not set.
        default: u64,
        /// The smallest value.
        min: u64,
        /// The largest value.
        max: u64,
    },
    /// Text.
    Text {
        /// The value of a variable that is not set, as it would be written.
        default: Option<&'static str>,
        /// The allowed values in words, for errors.
        allowed: &'static str,
    },
}

/// The part of a value that appears in errors and in `epr doctor`.
#[derive(Debug, Clone, Copy)]
enum Shown {
    /// The value.
    Plain,
    /// The value without the password of a URL.
    Masked,
    /// Nothing.
    Secret,
}

impl Variable {
    /// A truth value.
    #[must_use]
    pub const fn flag(name: &'static str, default: bool, meaning: &'static str) -> Self {
        Self { name, values: Values::Flag { default }, meaning, shown: Shown::Plain }
    }

    /// A whole number.
    #[must_use]
    pub const fn number(name: &'static str, default: u64, range: &RangeInclusive<u64>, meaning: &'static str) -> Self {
        let values = Values::Number { default, min: *range.start(), max: *range.end() };
        Self { name, values, meaning, shown: Shown::Plain }
    }

    /// Text with a default.
    #[must_use]
    pub const fn text(name: &'static str, default: &'static str, allowed: &'static str, meaning: &'static str) -> Self {
        Self { name, values: Values::Text { default: Some(default), allowed }, meaning, shown: Shown::Plain }
    }

    /// Text without a default.
    #[must_use]
    pub const fn optional(name: &'static str, allowed: &'static str, meaning: &'static str) -> Self {
        Self { name, values: Values::Text { default: None, allowed }, meaning, shown: Shown::Plain }
    }

    /// Marks the variable as a URL whose password is never shown.
    #[must_use]
    pub const fn masked(self) -> Self {
        Self { shown: Shown::Masked, ..self }
    }

    /// Marks the variable as a secret whose value is never shown.
    #[must_use]
    pub const fn secret(self) -> Self {
        Self { shown: Shown::Secret, ..self }
    }

    /// The default as it would be written; `None` when there is none.
    #[must_use]
    pub fn default(&self) -> Option<String> {
        match self.values {
            Values::Flag { default } => Some(default.to_string()),
            Values::Number { default, .. } => Some(default.to_string()),
            Values::Text { default, .. } => default.map(str::to_owned),
        }
    }

    /// The allowed values, as an error describes them.
    #[must_use]
    pub fn allowed(&self) -> String {
        match self.values {
            Values::Flag { .. } => "true or false".to_owned(),
            Values::Number { min, max, .. } => format!("a whole number from {min} to {max}"),
            Values::Text { allowed, .. } => allowed.to_owned(),
        }
    }

    /// `value` as errors and `epr doctor` show it.
    pub(super) fn show(&self, value: &str) -> String {
        match self.shown {
            Shown::Plain => plain(value),
            Shown::Masked => masked(value),
            Shown::Secret => "***".to_owned(),
        }
    }
}

/// Variables that belong together: one table of docs/SETTINGS.md.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// The heading of the section.
    pub title: &'static str,
    /// The variables of the section, in the order of the page.
    pub variables: &'static [Variable],
}

impl Section {
    /// The table of the section in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = "| Variable | Default | Values | Meaning |\n|---|---|---|---|\n".to_owned();
        for variable in self.variables {
            let default = variable.default().map_or_else(|| "–".to_owned(), |default| format!("`{default}`"));
            let values = match variable.values {
                Values::Number { min, max, .. } => format!("{min} to {max}"),
                Values::Flag { .. } | Values::Text { .. } => variable.allowed(),
            };
            // Writing into a string does not fail.
            let _ = writeln!(table, "| `{}` | {default} | {values} | {} |", variable.name, variable.meaning);
        }
        table
    }
}

/// A word that is none of the allowed ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not allowed; allowed: {allowed}")]
pub struct UnknownWord {
    /// The word, shortened.
    pub given: String,
    /// The allowed words.
    pub allowed: &'static str,
}

/// The value that `given` names in any case.
pub(super) fn find_word<T: Copy>(given: &str, words: &[(&str, T)], allowed: &'static str) -> Result<T, UnknownWord> {
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(given));
    found.map(|(_, value)| *value).ok_or_else(|| UnknownWord { given: plain(given), allowed })
}
