//! Reads declared variables from a source, and collects what is wrong with them.
//!
//! INVARIANT: every error is reported, not only the first, and none shows a secret.

use super::error::SettingsError;
use super::shown::plain;
use super::source::{Described, Source};
use super::variable::{Values, Variable};

/// Reads variables.
pub(super) struct Reader<'a> {
    source: &'a Source,
    errors: Vec<String>,
    warnings: Vec<String>,
    seen: Vec<Described>,
}

impl<'a> Reader<'a> {
    /// A reader of `source`.
    pub(super) fn new(source: &'a Source) -> Self {
        Self { source, errors: Vec::new(), warnings: Vec::new(), seen: Vec::new() }
    }

    /// The value of `variable`, or its default, by `parse`. A value that `parse` refuses is an error that says which
    /// ones are allowed. `None` when the variable is not set and has no default, and when an error stops the start
    /// anyway.
    pub(super) fn value<T>(&mut self, variable: &Variable, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.note(variable);
        let Some(given) = self.source.get(variable.name) else {
            return self.default_of(variable, parse);
        };
        let parsed = parse(given);
        if parsed.is_none() {
            let (name, shown, allowed) = (variable.name, variable.show(given), variable.allowed());
            self.errors.push(format!("{name} is `{shown}`; allowed: {allowed}"));
        }
        parsed
    }

    /// [`Reader::value`] where the error of `parse` is a sentence that says what is wrong and shows no value.
    pub(super) fn checked<T>(
        &mut self,
        variable: &Variable,
        parse: impl Fn(&str, &Source) -> Result<T, String>,
    ) -> Option<T> {
        self.note(variable);
        let source = self.source;
        let Some(given) = source.get(variable.name) else {
            return self.default_of(variable, |default| parse(default, source).ok());
        };
        parse(given, source)
            .map_err(|why| self.errors.push(format!("{} is `{}`: {why}", variable.name, variable.show(given))))
            .ok()
    }

    /// The default of `variable` by `parse`. One that does not parse is an error of this program, which must not start.
    fn default_of<T>(&mut self, variable: &Variable, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let default = variable.default()?;
        let parsed = parse(&default);
        if parsed.is_none() {
            self.errors.push(format!("the default of {} is `{default}`, which it does not take", variable.name));
        }
        parsed
    }

    /// Whether `variable` is set.
    pub(super) fn is_set(&self, variable: &Variable) -> bool {
        self.source.get(variable.name).is_some()
    }

    /// The text of `variable`, or its default; empty when it has neither.
    pub(super) fn text(&mut self, variable: &Variable) -> String {
        self.optional_text(variable).unwrap_or_default()
    }

    /// The text of `variable`, or its default.
    pub(super) fn optional_text(&mut self, variable: &Variable) -> Option<String> {
        self.value(variable, |given| Some(given.to_owned()))
    }

    /// A truth value.
    pub(super) fn flag(&mut self, variable: &Variable) -> bool {
        let parsed = self.value(variable, |given| match given.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" | "yes" | "y" | "on" => Some(true),
            "false" | "f" | "0" | "no" | "n" | "off" => Some(false),
            _ => None,
        });
        parsed.unwrap_or_default()
    }

    /// A whole number within the range of `variable`.
    pub(super) fn number(&mut self, variable: &Variable) -> u64 {
        let (min, max) = range(variable);
        let in_range = |number: &u64| (min..=max).contains(number);
        self.value(variable, |given| given.parse().ok().filter(in_range)).unwrap_or_default()
    }

    /// [`Reader::number`] for a variable of the older implementation, which had no upper bound: a larger number is read
    /// as the bound, with a warning.
    pub(super) fn capped_number(&mut self, variable: &Variable) -> u64 {
        let (_, max) = range(variable);
        let larger = self.source.get(variable.name).filter(|given| {
            given.bytes().all(|b| b.is_ascii_digit())
                && given.parse().is_ok_and(|number: u128| number > u128::from(max))
        });
        let Some(given) = larger else {
            return self.number(variable);
        };
        self.note(variable);
        self.warn(format!("{} is `{}`, which is more than {max}: {max} is used", variable.name, plain(given)));
        max
    }

    /// Reports an error that concerns several variables. `sentence` holds no secret.
    pub(super) fn error(&mut self, sentence: String) {
        self.errors.push(sentence);
    }

    /// Reports a value that is used in another way than it is written. `sentence` holds no secret.
    pub(super) fn warn(&mut self, sentence: String) {
        self.warnings.push(sentence);
    }

    fn note(&mut self, variable: &Variable) {
        if !self.seen.iter().any(|known| known.name == variable.name) {
            self.seen.push(self.source.describe(variable));
        }
    }

    /// Every variable that was read, in the order of reading, and the warnings about them.
    pub(super) fn notes(&mut self) -> (Vec<Described>, Vec<String>) {
        (std::mem::take(&mut self.seen), std::mem::take(&mut self.warnings))
    }

    /// `settings`, unless there were errors.
    ///
    /// # Errors
    /// Every error.
    pub(super) fn finish<T>(self, settings: T) -> Result<T, SettingsError> {
        if self.errors.is_empty() { Ok(settings) } else { Err(SettingsError(self.errors)) }
    }
}

/// The smallest and the largest value of a number; of any other variable a range that holds no number.
fn range(variable: &Variable) -> (u64, u64) {
    match variable.values {
        Values::Number { min, max, .. } => (min, max),
        Values::Flag { .. } | Values::Text { .. } => (1, 0),
    }
}
