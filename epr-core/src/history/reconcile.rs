//! Compares the registry with what the ledger says it is, row by row.
//!
//! The rows come joined with their entries, in the order of the rows, so that one row is in memory at a time. Must
//! never guess: a row whose entries cannot be replayed is named.

use serde::Serialize;

use super::replay::{Entry, RowEntry, Step, Unreplayable, members_of};
use super::row::RegistryRow;
use crate::domain::input::declare::words;
use crate::domain::principal::PERSONAL_FIELDS;
use crate::domain::{Json, JsonObject};
use crate::seal::PrincipalKey;

words! {
    /// How a row of the registry, or a version of history, and the ledger differ.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
    pub enum DifferenceKind: "kind of difference" {
        /// A field has another value than the ledger says: it was changed outside EPR. Of a version also its end.
        Changed = "changed",
        /// The ledger has made the row or version, and the table lacks it.
        Missing = "missing",
        /// The table has the row or version, and the ledger does not explain it.
        Extra = "extra",
        /// The row or version holds a value that EPR cannot read.
        Unreadable = "unreadable",
        /// An entry cannot be replayed, so that the ledger does not say how the row or version is.
        Unreplayable = "unreplayable",
    }
}

/// A difference between the registry and the ledger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// What is different.
    pub kind: DifferenceKind,
    /// The table.
    pub table: &'static str,
    /// The key of the row: its id; of a principal, its type and its id.
    pub row: String,
    /// The field; `None` when the whole row is different.
    pub field: Option<String>,
    /// What the ledger says; `None`: nothing.
    pub ledger: Option<Json>,
    /// What the registry says; `None`: nothing.
    pub registry: Option<Json>,
    /// The last entry about the row.
    pub sequence: Option<i64>,
    /// Why the row or the entry cannot be read.
    pub why: Option<String>,
}

/// What is shown in place of a personal field.
const WITHHELD: &str = "(personal)";

impl Difference {
    /// The difference without the values of personal fields.
    #[must_use]
    pub fn without_personal_values(mut self) -> Self {
        if self.table == "principals" {
            let values = [&mut self.ledger, &mut self.registry];
            withhold(self.field.as_deref(), values.into_iter().flatten());
        }
        self
    }
}

/// Withholds the values of personal fields of a principal: of one field, or of whole rows.
pub(super) fn withhold<'a>(field: Option<&str>, values: impl Iterator<Item = &'a mut Json>) {
    for value in values {
        match (field, value) {
            (Some(field), value) if PERSONAL_FIELDS.contains(&field) => *value = WITHHELD.into(),
            (None, Json::Object(members)) => {
                for field in PERSONAL_FIELDS {
                    if let Some(value) = members.get_mut(field) {
                        *value = WITHHELD.into();
                    }
                }
            }
            _ => {}
        }
    }
}

/// The numbers of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Reconciliation {
    /// The rows that the registry or the ledger has.
    pub rows: u64,
    /// The entries that were replayed.
    pub entries: u64,
    /// The differences.
    pub differences: u64,
}

/// The table of a joined row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Entities.
    Entities,
    /// Roles, with their permissions.
    Roles,
    /// Assignments.
    Assignments,
    /// Registered principals.
    Principals,
    /// Permissions of roles: only rows that belong to no role.
    RolePermissions,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Entities => "entities",
            Self::Roles => "roles",
            Self::Assignments => "role_assignments",
            Self::Principals => "principals",
            Self::RolePermissions => "role_permissions",
        }
    }

    /// The table that has `field`.
    fn of_field(self, field: &str) -> &'static str {
        match (self, field) {
            (Self::Roles, "permissions" | "conditions") => Self::RolePermissions.name(),
            _ => self.name(),
        }
    }
}

/// A row of the registry, joined with one of its entries. Items about one row follow each other, in the order of the
/// entries; a row without entries is one item, and so is an entry without a row.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The table.
    pub table: Table,
    /// The key of the row as text; of a principal, its type and its id. Empty for an entry that names no row.
    pub row_key: String,
    /// The entry.
    pub entry: Option<Entry>,
    /// The row as it is registered, or why it cannot be read.
    pub row: Option<Result<RegistryRow, String>>,
    /// The key that opens personal fields of a principal.
    pub opening: Option<PrincipalKey>,
}

/// A row whose entries are being replayed.
struct Open {
    table: Table,
    row_key: String,
    row: Option<Result<RegistryRow, String>>,
    expected: Option<RegistryRow>,
    /// The entries that could not be replayed since the row was last described as a whole.
    unreplayable: Vec<Unreplayable>,
    last: Option<i64>,
}

/// Compares joined rows, and passes differences on.
pub struct Reconciler<'a> {
    take: &'a mut (dyn FnMut(Difference) -> bool + Send),
    open: Option<Open>,
    numbers: Reconciliation,
    goes_on: bool,
}

impl<'a> Reconciler<'a> {
    /// Passes each difference to `take` until it returns `false`.
    pub fn new(take: &'a mut (dyn FnMut(Difference) -> bool + Send)) -> Self {
        Self { take, open: None, numbers: Reconciliation::default(), goes_on: true }
    }

    /// Adds the next item; `false` when no more are needed.
    pub fn add(&mut self, joined: Joined) -> bool {
        let Joined { table, row_key, entry, row, opening } = joined;
        let is_same = self.open.as_ref().is_some_and(|open| open.table == table && open.row_key == row_key);
        if !is_same {
            self.close();
            let (expected, unreplayable, last) = (None, Vec::new(), None);
            self.open = Some(Open { table, row_key, row, expected, unreplayable, last });
            self.numbers.rows += 1;
        }
        if let (Some(open), Some(entry)) = (&mut self.open, entry) {
            self.numbers.entries += 1;
            open.replay(&entry, opening.as_ref());
        }
        self.goes_on
    }

    /// Compares the last row; returns the numbers.
    #[must_use]
    pub fn finish(mut self) -> Reconciliation {
        self.close();
        self.numbers
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        for difference in open.differences() {
            if !self.goes_on {
                return;
            }
            self.numbers.differences += 1;
            self.goes_on = (self.take)(difference);
        }
    }
}

impl Open {
    fn replay(&mut self, entry: &Entry, opening: Option<&PrincipalKey>) {
        self.last = Some(entry.sequence);
        let step = match RowEntry::read(entry) {
            Ok(Some(read)) => read.apply(self.expected.as_ref(), opening),
            Ok(None) => return,
            Err(problem) => Err(problem),
        };
        let is_whole = entry.action.ends_with(".create") || entry.action.ends_with(".baseline");
        match step {
            Ok(step) => {
                if is_whole {
                    self.unreplayable.clear();
                }
                match step {
                    Step::Version(row) => self.expected = Some(*row),
                    Step::Ended => self.expected = None,
                    Step::Same => {}
                }
            }
            Err(problem) => self.unreplayable.push(problem),
        }
    }

    fn differences(self) -> Vec<Difference> {
        let Self { table, row_key, row, expected, unreplayable, last } = self;
        let new = |kind, field: Option<String>, ledger: Option<Json>, registry: Option<Json>| Difference {
            kind,
            table: field.as_ref().map_or(table.name(), |field| table.of_field(field)),
            row: row_key.clone(),
            field,
            ledger,
            registry,
            sequence: last,
            why: None,
        };
        let whole = |row: &RegistryRow| Some(Json::Object(members_of(row)));
        let mut found: Vec<_> = unreplayable
            .iter()
            .map(|problem| Difference {
                sequence: Some(problem.sequence),
                why: Some(problem.to_string()),
                ..new(DifferenceKind::Unreplayable, None, None, None)
            })
            .collect();
        match (expected, row) {
            (None, None) => {}
            (Some(expected), None) => found.push(new(DifferenceKind::Missing, None, whole(&expected), None)),
            (None, Some(Ok(row))) => found.push(new(DifferenceKind::Extra, None, None, whole(&row))),
            (expected, Some(Err(why))) => found.push(Difference {
                why: Some(why),
                ..new(DifferenceKind::Unreadable, None, expected.as_ref().and_then(whole), None)
            }),
            (Some(expected), Some(Ok(row))) => {
                let (mut ledger, mut registry) = (members_of(&expected), members_of(&row));
                for field in differing(&ledger, &registry) {
                    let values = (ledger.remove(&field), registry.remove(&field));
                    found.push(new(DifferenceKind::Changed, Some(field), values.0, values.1));
                }
            }
        }
        found
    }
}

/// The names of the members that differ.
pub(super) fn differing(one: &JsonObject, other: &JsonObject) -> Vec<String> {
    let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter(|name| one.get(name) != other.get(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::audit::OWN_SOURCE;
    use crate::domain::{Entity, EntityStatus, Timestamp};

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

    const CREATED: &str = r#"{"attributes": {}, "name": "A", "parent_id": null, "status": "active", "type": "spv"}"#;

    fn registered(name: &str) -> RegistryRow {
        let at = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let id = Uuid::from_u128(1);
        let name = name.to_owned();
        RegistryRow::Entity(Entity {
            id,
            name,
            entity_type: crate::domain::EntityType::Spv,
            external_id: None,
            status: EntityStatus::Active,
            parent_id: None,
            attributes: JsonObject::new(),
            created_at: at,
            updated_at: at,
        })
    }

    /// The differences of one row.
    fn compared(entries: &[Entry], row: Option<&Result<RegistryRow, String>>) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut take = |difference| {
            found.push(difference);
            true
        };
        let mut reconciler = Reconciler::new(&mut take);
        let item = |entry: Option<Entry>| Joined {
            table: Table::Entities,
            row_key: "1".to_owned(),
            entry,
            row: row.cloned(),
            opening: None,
        };
        if entries.is_empty() {
            reconciler.add(item(None));
        }
        for entry in entries {
            reconciler.add(item(Some(entry.clone())));
        }
        let numbers = reconciler.finish();
        assert_eq!((numbers.rows, numbers.differences), (1, u64::try_from(found.len()).unwrap()));
        found
    }

    fn kinds(found: &[Difference]) -> Vec<(DifferenceKind, Option<&str>)> {
        found.iter().map(|one| (one.kind, one.field.as_deref())).collect()
    }

    #[test]
    fn a_row_is_what_its_entries_say_or_each_difference_is_named() {
        let created = [entry(1, "entity.create", CREATED)];
        assert_eq!(compared(&created, Some(&Ok(registered("A")))), []);
        let found = compared(&created, Some(&Ok(registered("B"))));
        assert_eq!(kinds(&found), [(DifferenceKind::Changed, Some("name"))]);
        assert_eq!((&found[0].ledger, &found[0].registry), (&Some("A".into()), &Some("B".into())));
        assert_eq!((found[0].table, found[0].sequence), ("entities", Some(1)));
        assert_eq!(kinds(&compared(&created, None)), [(DifferenceKind::Missing, None)]);
        assert_eq!(kinds(&compared(&[], Some(&Ok(registered("A"))))), [(DifferenceKind::Extra, None)]);
        let unreadable = compared(&created, Some(&Err("no status".to_owned())));
        assert_eq!(kinds(&unreadable), [(DifferenceKind::Unreadable, None)]);
    }

    #[test]
    fn an_entry_that_cannot_be_replayed_counts_until_the_row_is_described_as_a_whole() {
        let update = entry(1, "entity.update", r#"{"changes": {"name": "B"}}"#);
        let found = compared(std::slice::from_ref(&update), Some(&Ok(registered("A"))));
        assert_eq!(kinds(&found), [(DifferenceKind::Unreplayable, None), (DifferenceKind::Extra, None)]);
        assert!(found[0].why.as_ref().unwrap().contains("entry 1"), "{found:?}");
        let baseline = CREATED.replace("{}", r#"{}, "created_at": "2026-01-01T00:00:00Z""#);
        let found = compared(&[update, entry(2, "entity.baseline", &baseline)], Some(&Ok(registered("A"))));
        assert_eq!(found, []);
    }

    #[test]
    fn personal_values_are_withheld() {
        let difference = |table, field: Option<&str>, value: Json| Difference {
            kind: DifferenceKind::Changed,
            table,
            row: "user 1".to_owned(),
            field: field.map(str::to_owned),
            ledger: Some(value.clone()),
            registry: None,
            sequence: None,
            why: None,
        };
        let shown = |one: Difference| one.without_personal_values().ledger.unwrap().to_string();
        assert_eq!(shown(difference("principals", Some("display_name"), "Ada".into())), r#""(personal)""#);
        assert_eq!(shown(difference("principals", Some("status"), "active".into())), r#""active""#);
        assert_eq!(shown(difference("entities", Some("external_id"), "x".into())), r#""x""#);
        let row = crate::domain::json::object([("display_name", "Ada".into()), ("status", "active".into())]);
        let row = shown(difference("principals", None, Json::Object(row)));
        assert!(!row.contains("Ada") && row.contains("active"), "{row}");
    }
}
