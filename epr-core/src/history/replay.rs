//! What a ledger entry makes of the row that it is about.
//!
//! The forms of entries are those of `handlers/record.rs` and `handlers/principal_entries.rs`, and of every earlier
//! version. Must never guess: an entry that cannot be read is reported, and changes nothing.

use uuid::Uuid;

use super::row::{RegistryRow, RowKey, is_row_action};
use crate::domain::audit::OWN_SOURCE;
use crate::domain::fields::{FieldError, parse_uuid};
use crate::domain::{Assignment, Entity, Invalid, Json, JsonObject, Principal, Role, Timestamp};
use crate::seal::{PrincipalKey, SealedPlace, split_personal, unseal};

/// The parts of a ledger entry that a replay reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The sequence.
    pub sequence: i64,
    /// The service that wrote it; only EPR's own entries change the registry.
    pub source: String,
    /// The action, for example `entity.update`.
    pub action: String,
    /// The subject of the entry.
    pub entity_id: Option<Uuid>,
    /// The time of the entry.
    pub occurred_at: Timestamp,
    /// The details, as they are stored.
    pub details: String,
}

/// What an entry does to its row.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The row has a new version.
    Version(Box<RegistryRow>),
    /// The row is gone.
    Ended,
    /// The row stays as it was.
    Same,
}

/// An entry of the registry that cannot be replayed: the reason, without a personal field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {sequence} ({action}) cannot be replayed: {why}")]
pub struct Unreplayable {
    /// The sequence of the entry.
    pub sequence: i64,
    /// The action of the entry.
    pub action: String,
    /// What is wrong.
    pub why: String,
}

/// An entry about a row, read as far as it can be without the row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowEntry<'a> {
    entry: &'a Entry,
    /// The key of the row.
    pub key: RowKey,
    details: JsonObject,
}

impl<'a> RowEntry<'a> {
    /// Reads `entry`; `None` when it is about no row of the registry.
    ///
    /// # Errors
    /// It is about a row, but does not say which.
    pub fn read(entry: &'a Entry) -> Result<Option<Self>, Unreplayable> {
        if entry.source != OWN_SOURCE || !is_row_action(&entry.action) {
            return Ok(None);
        }
        let subject = entry.action.split('.').next().unwrap_or_default();
        let details = match Json::parse(entry.details.as_bytes()) {
            Ok(Json::Object(details)) => details,
            Ok(_) => return Err(entry.unreplayable("its details are no object")),
            Err(error) => return Err(entry.unreplayable(error)),
        };
        let id = |name: &str| details.get(name).and_then(Json::as_text).and_then(parse_uuid);
        let key = match subject {
            "entity" => entry.entity_id.map(RowKey::Entity),
            "role" => entry.entity_id.or_else(|| id("role_id")).map(RowKey::Role),
            "role_assignment" => id("assignment_id").map(RowKey::Assignment),
            _ => {
                let kind = details.get("principal_type").and_then(Json::as_text).map(str::to_owned);
                kind.zip(entry.entity_id).map(|(kind, id)| RowKey::Principal(kind, id))
            }
        };
        let key = key.ok_or_else(|| entry.unreplayable("it does not name its row"))?;
        Ok(Some(Self { entry, key, details }))
    }

    /// The sequence of the entry.
    #[must_use]
    pub fn sequence(&self) -> i64 {
        self.entry.sequence
    }

    /// Whether the entry has personal fields, sealed under the key of its principal.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.details.contains_key("sealed")
    }

    /// The problem of an entry whose personal fields cannot be opened although their principal has not been erased.
    #[must_use]
    pub fn unopened(&self) -> Unreplayable {
        self.entry.unreplayable(format!("{} has not been erased, and its key is missing", self.key))
    }

    /// Applies the entry to the row as it was `before`; `key` opens the personal fields of a principal.
    ///
    /// # Errors
    /// The details do not make a row.
    pub fn apply(&self, before: Option<&RegistryRow>, key: Option<&PrincipalKey>) -> Result<Step, Unreplayable> {
        let verb = self.entry.action.rsplit('.').next().unwrap_or_default();
        let at = self.entry.occurred_at;
        match (verb, before) {
            ("delete", _) => Ok(if before.is_some() { Step::Ended } else { Step::Same }),
            ("baseline", _) => self.baseline(before, key),
            ("create", _) => self.created(key).map(version),
            (_, None) => Err(self.entry.unreplayable(format!("the ledger has not created {}", self.key))),
            ("archive", Some(RegistryRow::Entity(entity))) => Ok(archived(entity, at)),
            ("erase", Some(RegistryRow::Principal(principal))) => Ok(version(erased(principal, at).into())),
            (_, Some(before)) => self.updated(before, key).map(version),
        }
    }

    /// The row that the details describe as a whole.
    fn created(&self, key: Option<&PrincipalKey>) -> Result<RegistryRow, Unreplayable> {
        let moment = Json::from(self.entry.occurred_at.to_string());
        let mut members = match self.key {
            RowKey::Principal(..) => blank_principal(),
            RowKey::Role(_) => [("is_system".to_owned(), false.into())].into_iter().collect(),
            _ => JsonObject::new(),
        };
        members.insert("created_at".to_owned(), moment.clone());
        members.insert("updated_at".to_owned(), moment);
        self.overlay(&mut members, &self.details, key)?;
        self.row(members)
    }

    fn updated(&self, before: &RegistryRow, key: Option<&PrincipalKey>) -> Result<RegistryRow, Unreplayable> {
        let mut members = members_of(before);
        if let Some(Json::Object(changes)) = self.details.get("changes") {
            self.overlay(&mut members, changes, key)?;
        }
        members.insert("updated_at".to_owned(), self.entry.occurred_at.to_string().into());
        self.row(members)
    }

    fn baseline(&self, before: Option<&RegistryRow>, key: Option<&PrincipalKey>) -> Result<Step, Unreplayable> {
        if self.details.get("absent") == Some(&true.into()) {
            return Ok(if before.is_some() { Step::Ended } else { Step::Same });
        }
        self.created(key).map(version)
    }

    /// Puts the members of `details` over `members`, and those that `key` opens.
    fn overlay(
        &self,
        members: &mut JsonObject,
        details: &JsonObject,
        key: Option<&PrincipalKey>,
    ) -> Result<(), Unreplayable> {
        let put = |members: &mut JsonObject, from: &JsonObject| {
            for (name, value) in from {
                members.insert(name.clone(), value.clone());
            }
        };
        put(members, details);
        if let Some(opened) = self.opened(key)? {
            put(members, &opened);
        }
        Ok(())
    }

    /// The personal fields of the entry; `None` if it has none, or the key has been destroyed.
    fn opened(&self, key: Option<&PrincipalKey>) -> Result<Option<JsonObject>, Unreplayable> {
        let RowKey::Principal(kind, id) = &self.key else { return Ok(None) };
        let sealed = self.details.get("sealed").and_then(Json::as_text);
        let Some((sealed, key)) = sealed.zip(key) else { return Ok(None) };
        let place = SealedPlace {
            action: &self.entry.action,
            occurred_at: self.entry.occurred_at,
            principal_type: kind,
            principal_id: *id,
        };
        match unseal(key, &place, sealed) {
            Ok(fields) => Ok(Some(split_personal(fields).1)),
            Err(error) => Err(self.entry.unreplayable(error)),
        }
    }

    /// The row with these members, and with the id of the key.
    fn row(&self, mut members: JsonObject) -> Result<RegistryRow, Unreplayable> {
        let unreadable = |error: Invalid| self.entry.unreplayable(problems(&error));
        let mut with_id = |id: Uuid| {
            members.insert("id".to_owned(), id.into());
            Json::Object(std::mem::take(&mut members))
        };
        match &self.key {
            RowKey::Entity(id) => Entity::from_json(&with_id(*id)).map(Into::into).map_err(unreadable),
            RowKey::Role(id) => Role::from_json(&with_id(*id)).map(Into::into).map_err(unreadable),
            RowKey::Assignment(id) => Assignment::from_json(&with_id(*id)).map(Into::into).map_err(unreadable),
            RowKey::Principal(kind, id) => {
                let mut members = with_id(*id);
                if let Json::Object(members) = &mut members {
                    members.insert("type".to_owned(), kind.as_str().into());
                }
                Principal::from_json(&members).map(Into::into).map_err(unreadable)
            }
        }
    }
}

impl Entry {
    fn unreplayable(&self, why: impl std::fmt::Display) -> Unreplayable {
        Unreplayable { sequence: self.sequence, action: self.action.clone(), why: why.to_string() }
    }
}

/// The failing members and what is wrong with them. No problem shows a value.
fn problems(error: &Invalid) -> String {
    let one = |error: &FieldError| {
        let path: Vec<String> = error.loc.iter().skip(1).map(ToString::to_string).collect();
        format!("{}: {}", path.join("."), error.msg)
    };
    error.0.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// The members of a row, as its API form has them.
pub(super) fn members_of(row: &RegistryRow) -> JsonObject {
    let mut members = JsonObject::new();
    match row {
        RegistryRow::Entity(entity) => entity.write_to(&mut members),
        RegistryRow::Role(role) => role.write_to(&mut members),
        RegistryRow::Assignment(assignment) => assignment.write_to(&mut members),
        RegistryRow::Principal(principal) => principal.write_to(&mut members),
    }
    members
}

/// The members of a principal that an entry may lack.
fn blank_principal() -> JsonObject {
    [
        ("external_id".to_owned(), Json::Null),
        ("display_name".to_owned(), Json::Null),
        ("attributes".to_owned(), Json::Object(JsonObject::new())),
        ("erased_at".to_owned(), Json::Null),
    ]
    .into_iter()
    .collect()
}

fn version(row: RegistryRow) -> Step {
    Step::Version(Box::new(row))
}

/// An update to the status `archived` has an entry of its own before this one, which says the same.
fn archived(entity: &Entity, at: Timestamp) -> Step {
    use crate::domain::EntityStatus::Archived;
    if entity.status == Archived {
        return Step::Same;
    }
    version(Entity { status: Archived, updated_at: at, ..entity.clone() }.into())
}

fn erased(principal: &Principal, at: Timestamp) -> Principal {
    let mut erased = Principal { updated_at: at, erased_at: Some(at), ..principal.clone() };
    super::batch::blank(&mut erased);
    erased
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::EntityStatus;

    fn at(second: i64) -> Timestamp {
        Timestamp::parse("2026-01-01T00:00:00Z").unwrap().plus_seconds(second)
    }

    fn entry(sequence: i64, action: &str, details: &str) -> Entry {
        let (action, details) = (action.to_owned(), details.to_owned());
        let entity_id = Some(Uuid::from_u128(1));
        Entry { sequence, source: OWN_SOURCE.to_owned(), action, entity_id, occurred_at: at(sequence), details }
    }

    fn step(entry: &Entry, before: Option<&RegistryRow>) -> Result<Step, String> {
        let read = RowEntry::read(entry).map_err(|error| error.to_string())?;
        read.expect("an entry about a row").apply(before, None).map_err(|error| error.to_string())
    }

    fn version_of(entry: &Entry, before: Option<&RegistryRow>) -> RegistryRow {
        match step(entry, before) {
            Ok(Step::Version(row)) => *row,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_entity_follows_its_entries() {
        let created = r#"{"attributes": {"n": 1}, "name": "A", "parent_id": null, "status": "active", "type": "spv"}"#;
        let created = version_of(&entry(1, "entity.create", created), None);
        let RegistryRow::Entity(first) = &created else { panic!("{created:?}") };
        assert_eq!((first.name.as_str(), first.created_at, first.updated_at), ("A", at(1), at(1)));
        let changes = r#"{"changes": {"external_id": "e", "name": "B", "status": "archived"}}"#;
        let updated = version_of(&entry(2, "entity.update", changes), Some(&created));
        let expected = Entity {
            name: "B".to_owned(),
            external_id: Some("e".to_owned()),
            status: EntityStatus::Archived,
            updated_at: at(2),
            ..first.clone()
        };
        assert_eq!(updated, expected.into());
        // The entry that follows an update to `archived`, and the archiving itself.
        let archive = entry(3, "entity.archive", r#"{"name": "B", "type": "spv"}"#);
        assert_eq!(step(&archive, Some(&updated)), Ok(Step::Same));
        let archived = Entity { status: EntityStatus::Archived, updated_at: at(3), ..first.clone() };
        assert_eq!(version_of(&archive, Some(&created)), archived.into());
        let baseline = entry(4, "entity.baseline", r#"{"absent": true}"#);
        assert_eq!(step(&baseline, Some(&created)), Ok(Step::Ended));
        assert_eq!(step(&baseline, None), Ok(Step::Same));
    }

    /// The forms of earlier versions lack members that were added later.
    #[test]
    fn entries_of_earlier_versions_are_replayed() {
        let role = r#"{"description": null, "name": "Reader", "permissions": ["b", "a"], "scope_types": ["spv"]}"#;
        let RegistryRow::Role(role) = version_of(&entry(1, "role.create", role), None) else { panic!() };
        assert_eq!((role.is_system, role.conditions.len(), role.permissions.len()), (false, 0, 2));
        let update = r#"{"changes": {"permissions": []}, "name": "Reader"}"#;
        let RegistryRow::Role(changed) = version_of(&entry(2, "role.update", update), Some(&role.into())) else {
            panic!()
        };
        assert!(changed.permissions.is_empty() && changed.updated_at == at(2));
        let assignment = format!(
            r#"{{"assignment_id": "{0}", "effective_at": "2026-01-01T00:00:00Z", "entity_id": null, "expires_at": null,
            "principal_id": "{0}", "principal_type": "user", "role_id": "{0}"}}"#,
            Uuid::from_u128(9)
        );
        let created = version_of(&entry(3, "role_assignment.create", &assignment), None);
        assert_eq!(created.key(), RowKey::Assignment(Uuid::from_u128(9)));
        let deleted = entry(4, "role_assignment.delete", &assignment);
        assert_eq!(step(&deleted, Some(&created)), Ok(Step::Ended));
        assert_eq!(step(&deleted, None), Ok(Step::Same));
    }

    #[test]
    fn what_is_not_about_a_row_is_passed_over_and_what_cannot_be_read_is_named() {
        for action in ["authorization.evaluate", "ledger.set_aside", "entity.viewed", "document.create", "entity"] {
            assert_eq!(RowEntry::read(&entry(1, action, "{}")), Ok(None), "{action}");
        }
        let foreign = Entry { source: "vault".to_owned(), ..entry(1, "entity.create", "{}") };
        assert_eq!(RowEntry::read(&foreign), Ok(None));
        let unread = [
            (entry(1, "entity.create", r#"{"type": "spv"}"#), "entry 1 (entity.create) cannot be replayed: name: "),
            (entry(2, "entity.update", r#"{"changes": {}}"#), "the ledger has not created entity"),
            (entry(3, "role_assignment.create", "{}"), "it does not name its row"),
            (entry(4, "entity.create", "[]"), "its details are no object"),
        ];
        for (entry, expected) in unread {
            let error = step(&entry, None).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn personal_fields_are_opened_with_the_key_and_blank_without_it() {
        let key = PrincipalKey::generate().unwrap();
        let place = SealedPlace {
            action: "principal.create",
            occurred_at: at(1),
            principal_type: "user",
            principal_id: Uuid::from_u128(1),
        };
        let fields = [("display_name".to_owned(), Json::from("Ada")), ("status".to_owned(), "suspended".into())];
        let sealed = crate::seal::seal(&key, &place, &fields.into_iter().collect()).unwrap();
        let id = Uuid::from_u128(1);
        let details = format!(
            r#"{{"principal_id": "{id}", "principal_type": "user", "sealed": "{sealed}", "status": "active"}}"#
        );
        let created = entry(1, "principal.create", &details);
        let read = RowEntry::read(&created).unwrap().unwrap();
        let of = |key| match read.apply(None, key) {
            Ok(Step::Version(row)) => match *row {
                RegistryRow::Principal(principal) => principal,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        // Only personal fields come out of the sealed part.
        let opened = of(Some(&key));
        assert_eq!((opened.display_name.as_deref(), opened.status.to_string().as_str()), (Some("Ada"), "active"));
        assert_eq!(of(None).display_name, None);
        let error = read.apply(None, Some(&PrincipalKey::generate().unwrap())).unwrap_err();
        assert!(error.to_string().contains("cannot be opened"), "{error}");
        let erase = format!(r#"{{"principal_id": "{id}", "principal_type": "user", "assignments_revoked": 0}}"#);
        let erased = version_of(&entry(2, "principal.erase", &erase), Some(&opened.into()));
        let RegistryRow::Principal(erased) = erased else { panic!() };
        assert_eq!((erased.display_name, erased.erased_at), (None, Some(at(2))));
    }
}
