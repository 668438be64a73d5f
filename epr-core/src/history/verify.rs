//! Compares the versions of history with those that the ledger makes, row by row.
//!
//! Entries and versions come joined, in the order of the rows and then of the entries, so that one row is in memory at
//! a time. Must never repair: what differs is named.

use serde::Serialize;

use super::reconcile::{DifferenceKind, differing, withhold};
use super::replay::{Entry, RowEntry, Step, members_of};
use super::row::{RegistryRow, RowKey};
use crate::domain::Json;
use crate::seal::PrincipalKey;

/// A difference between the tables of history and the ledger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionDifference {
    /// What is different.
    pub kind: DifferenceKind,
    /// The table.
    pub table: &'static str,
    /// The key of the row: its id; of a principal, its type and its id.
    pub row: String,
    /// The entry that makes the version.
    pub valid_from: i64,
    /// The field; `None` when the whole version is different.
    pub field: Option<String>,
    /// What the ledger says; `None`: nothing.
    pub ledger: Option<Json>,
    /// What history says; `None`: nothing.
    pub history: Option<Json>,
    /// Why the version or the entry cannot be read, or is wrong.
    pub why: Option<String>,
}

impl VersionDifference {
    /// The difference without the values of personal fields.
    #[must_use]
    pub fn without_personal_values(mut self) -> Self {
        if self.table == PRINCIPALS {
            let values = [&mut self.ledger, &mut self.history];
            withhold(self.field.as_deref(), values.into_iter().flatten());
        }
        self
    }
}

const PRINCIPALS: &str = "principal_versions";

/// The numbers of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HistoryVerification {
    /// The rows that history or the ledger has.
    pub rows: u64,
    /// The versions that were compared.
    pub versions: u64,
    /// The entries that were replayed.
    pub entries: u64,
    /// The differences.
    pub differences: u64,
}

/// A version as its table has it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredVersion {
    /// The entry that made it.
    pub valid_from: i64,
    /// The entry that ended it.
    pub valid_to: Option<i64>,
    /// The row, or why it cannot be read.
    pub row: Result<RegistryRow, String>,
}

/// An entry joined with the version that its table has of that entry. Items about one row follow each other, in the
/// order of the entries.
#[derive(Debug, Clone)]
pub struct JoinedVersion {
    /// The table of the versions.
    pub table: &'static str,
    /// The key of the row as text; of a principal, its type and its id. Empty for an entry that names no row.
    pub row_key: String,
    /// The entry; `None`: no entry about this row has the sequence of the version.
    pub entry: Option<Entry>,
    /// The version; `None`: the table has none of that entry.
    pub version: Option<StoredVersion>,
    /// The key that opens personal fields of a principal.
    pub opening: Option<PrincipalKey>,
}

/// What a comparison is shown.
#[derive(Debug, Clone)]
pub enum HistoryItem {
    /// An entry, a version, or both.
    Version(Box<JoinedVersion>),
    /// A row of another table of history that does not fit the ledger.
    Misfit(VersionDifference),
}

/// A row whose entries are being replayed.
struct Open {
    table: &'static str,
    row_key: String,
    expected: Option<RegistryRow>,
    /// The version that the ledger has not ended, with the end that its table has.
    present: Option<(i64, Option<i64>)>,
}

/// Compares joined versions, and passes differences on.
pub struct HistoryVerifier<'a> {
    take: &'a mut (dyn FnMut(VersionDifference) -> bool + Send),
    /// History begins here: what the ledger lacks before is known.
    began: i64,
    open: Option<Open>,
    numbers: HistoryVerification,
    goes_on: bool,
}

impl<'a> HistoryVerifier<'a> {
    /// Passes each difference to `take` until it returns `false`. `began` is the first revision that can be asked, or
    /// 0.
    pub fn new(began: i64, take: &'a mut (dyn FnMut(VersionDifference) -> bool + Send)) -> Self {
        Self { take, began, open: None, numbers: HistoryVerification::default(), goes_on: true }
    }

    /// Adds the next item; `false` when no more are needed.
    pub fn add(&mut self, item: HistoryItem) -> bool {
        match item {
            HistoryItem::Version(joined) => self.compare(*joined),
            HistoryItem::Misfit(difference) => self.report(difference),
        }
        self.goes_on
    }

    /// Compares the end of the last row; returns the numbers.
    #[must_use]
    pub fn finish(mut self) -> HistoryVerification {
        self.close();
        self.numbers
    }

    fn report(&mut self, difference: VersionDifference) {
        if self.goes_on {
            self.numbers.differences += 1;
            self.goes_on = (self.take)(difference);
        }
    }

    fn compare(&mut self, joined: JoinedVersion) {
        let JoinedVersion { table, row_key, entry, version, opening } = joined;
        if self.open.as_ref().is_none_or(|open| open.table != table || open.row_key != row_key) {
            self.close();
            self.numbers.rows += 1;
            self.open = Some(Open { table, row_key, expected: None, present: None });
        }
        self.numbers.versions += u64::from(version.is_some());
        self.numbers.entries += u64::from(entry.is_some());
        let Some(mut open) = self.open.take() else { return };
        for difference in open.step(self.began, entry.as_ref(), version, opening.as_ref()) {
            self.report(difference);
        }
        self.open = Some(open);
    }

    fn close(&mut self) {
        let ended = self.open.take().and_then(|mut open| open.end(None));
        if let Some(difference) = ended {
            self.report(difference);
        }
    }
}

impl Open {
    fn difference(&self, kind: DifferenceKind, valid_from: i64) -> VersionDifference {
        let (table, row) = (self.table, self.row_key.clone());
        VersionDifference { kind, table, row, valid_from, field: None, ledger: None, history: None, why: None }
    }

    /// Compares what an entry does with the version that the table has of it.
    fn step(
        &mut self,
        began: i64,
        entry: Option<&Entry>,
        version: Option<StoredVersion>,
        opening: Option<&PrincipalKey>,
    ) -> Vec<VersionDifference> {
        let Some(entry) = entry else { return version.map(|version| self.extra(&version)).into_iter().collect() };
        let replayed = RowEntry::read(entry).and_then(|read| match read {
            Some(read) => read.apply(self.expected.as_ref(), opening),
            None => Ok(Step::Same),
        });
        let mut found = Vec::new();
        match replayed {
            Ok(Step::Version(row)) => {
                found.extend(self.end(Some(entry.sequence)));
                match version {
                    Some(version) => {
                        self.present = Some((entry.sequence, version.valid_to));
                        found.extend(self.fields(&row, &version));
                    }
                    None => found.push(VersionDifference {
                        ledger: Some(Json::Object(members_of(&row))),
                        ..self.difference(DifferenceKind::Missing, entry.sequence)
                    }),
                }
                self.expected = Some(*row);
            }
            Ok(step) => {
                if step == Step::Ended {
                    found.extend(self.end(Some(entry.sequence)));
                    self.expected = None;
                }
                found.extend(version.map(|version| self.extra(&version)));
            }
            Err(problem) => {
                found.extend(version.map(|version| self.extra(&version)));
                if entry.sequence > began {
                    let unreplayable = self.difference(DifferenceKind::Unreplayable, entry.sequence);
                    found.push(VersionDifference { why: Some(problem.to_string()), ..unreplayable });
                }
            }
        }
        found
    }

    /// Ends the present version; the difference if the table has another end of it.
    fn end(&mut self, sequence: Option<i64>) -> Option<VersionDifference> {
        let (valid_from, stored) = self.present.take()?;
        let end = |sequence: Option<i64>| Some(sequence.map_or(Json::Null, Json::Int));
        (stored != sequence).then(|| VersionDifference {
            field: Some("valid_to".to_owned()),
            ledger: end(sequence),
            history: end(stored),
            ..self.difference(DifferenceKind::Changed, valid_from)
        })
    }

    fn extra(&self, version: &StoredVersion) -> VersionDifference {
        VersionDifference {
            history: version.row.as_ref().ok().map(|row| Json::Object(members_of(row))),
            ..self.difference(DifferenceKind::Extra, version.valid_from)
        }
    }

    fn fields(&self, expected: &RegistryRow, version: &StoredVersion) -> Vec<VersionDifference> {
        let (mut ledger, row) = (
            members_of(expected),
            match &version.row {
                Ok(row) => row,
                Err(why) => {
                    return vec![VersionDifference {
                        why: Some(why.clone()),
                        ..self.difference(DifferenceKind::Unreadable, version.valid_from)
                    }];
                }
            },
        );
        let mut history = members_of(row);
        differing(&ledger, &history)
            .into_iter()
            .map(|field| VersionDifference {
                table: self.table_of(&field, row),
                ledger: ledger.remove(&field),
                history: history.remove(&field),
                field: Some(field),
                ..self.difference(DifferenceKind::Changed, version.valid_from)
            })
            .collect()
    }

    /// The table that has a field.
    fn table_of(&self, field: &str, row: &RegistryRow) -> &'static str {
        match (row.key(), field) {
            (RowKey::Role(_), "permissions" | "conditions") => "role_permission_versions",
            _ => self.table,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::audit::OWN_SOURCE;
    use crate::domain::{Entity, EntityStatus, EntityType, JsonObject, Timestamp};

    fn entry(sequence: i64, action: &str, details: &str) -> Entry {
        Entry {
            sequence,
            source: OWN_SOURCE.to_owned(),
            action: action.to_owned(),
            entity_id: Some(Uuid::from_u128(1)),
            occurred_at: Timestamp::parse("2026-01-01T00:00:00Z").unwrap(),
            details: details.to_owned(),
        }
    }

    fn created() -> Entry {
        entry(
            1,
            "entity.create",
            r#"{"attributes": {}, "name": "A", "parent_id": null, "status": "active", "type": "spv"}"#,
        )
    }

    fn renamed(sequence: i64) -> Entry {
        entry(sequence, "entity.update", r#"{"changes": {"name": "B"}}"#)
    }

    fn version(name: &str, valid_from: i64, valid_to: Option<i64>) -> StoredVersion {
        let at = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let row = RegistryRow::Entity(Entity {
            id: Uuid::from_u128(1),
            name: name.to_owned(),
            entity_type: EntityType::Spv,
            external_id: None,
            status: EntityStatus::Active,
            parent_id: None,
            attributes: JsonObject::new(),
            created_at: at,
            updated_at: at,
        });
        StoredVersion { valid_from, valid_to, row: Ok(row) }
    }

    /// The kinds and fields of the differences of one row.
    fn compared(began: i64, items: Vec<(Option<Entry>, Option<StoredVersion>)>) -> Vec<(&'static str, Option<String>)> {
        use crate::domain::fields::Choice as _;
        let mut found = Vec::new();
        let mut take = |difference: VersionDifference| {
            found.push((difference.kind.word(), difference.field));
            true
        };
        let mut verifier = HistoryVerifier::new(began, &mut take);
        for (entry, version) in items {
            let (table, row_key) = ("entity_versions", "1".to_owned());
            let joined = JoinedVersion { table, row_key, entry, version, opening: None };
            verifier.add(HistoryItem::Version(Box::new(joined)));
        }
        let numbers = verifier.finish();
        assert_eq!((numbers.rows, numbers.differences), (1, u64::try_from(found.len()).unwrap()));
        found
    }

    #[test]
    fn versions_are_those_that_the_entries_make_or_each_difference_is_named() {
        let (first, second) = (|to| Some(version("A", 1, to)), |name| Some(version(name, 3, None)));
        let both = |one, other| vec![(Some(created()), one), (Some(renamed(3)), other)];
        let field = |name: &str| Some(name.to_owned());
        assert_eq!(compared(0, both(first(Some(3)), second("B"))), []);
        assert_eq!(compared(0, both(first(None), second("B"))), [("changed", field("valid_to"))]);
        assert_eq!(compared(0, both(first(Some(2)), second("B"))), [("changed", field("valid_to"))]);
        assert_eq!(compared(0, both(first(Some(3)), second("C"))), [("changed", field("name"))]);
        assert_eq!(compared(0, both(first(Some(3)), None)), [("missing", None)]);
        assert_eq!(compared(0, both(None, second("B"))), [("missing", None)]);
        assert_eq!(compared(0, vec![(Some(created()), first(Some(3)))]), [("changed", field("valid_to"))]);
        let more = vec![(Some(created()), first(None)), (None, second("B"))];
        assert_eq!(compared(0, more), [("extra", None)]);
        let unreadable = StoredVersion { row: Err("no status".to_owned()), ..version("A", 1, None) };
        assert_eq!(compared(0, vec![(Some(created()), Some(unreadable))]), [("unreadable", None)]);
    }

    #[test]
    fn an_entry_that_cannot_be_replayed_is_named_unless_history_begins_later() {
        assert_eq!(compared(0, vec![(Some(renamed(3)), None)]), [("unreplayable", None)]);
        assert_eq!(compared(3, vec![(Some(renamed(3)), None)]), []);
        assert_eq!(compared(3, vec![(Some(renamed(3)), Some(version("B", 3, None)))]), [("extra", None)]);
    }
}
