//! One record of a file: a principal, a role or an assignment, as JSON members. A CSV row is brought into that form
//! first, so that both are read by the same rules.

use epr_core::decision::condition;
use epr_core::domain::assignment::{PrincipalType, default_principal_type};
use epr_core::domain::condition::Condition;
use epr_core::domain::fields::{self, Fields, Problem};
use epr_core::domain::input::value::Value;
use epr_core::domain::json::object;
use epr_core::domain::role::RoleName;
use epr_core::domain::{
    EntityType, EntityTypes, ExternalId, Invalid, Json, JsonObject, NamedAssignment, NewRole, Role, Text, Timestamp,
};
use uuid::Uuid;

use crate::csv_cells::{guarded, is_formula, json_cell, unguarded};
use crate::principal::{self, PrincipalRecord};

/// The word for no entity at all. It has to be written: an empty column must not give someone everything.
const EVERYWHERE: &str = "everywhere";

/// Every column that a CSV file can have, in their order; also the members of the JSON objects.
pub const COLUMNS: [&str; 21] = [
    "kind",
    "name",
    "description",
    "scope_types",
    "is_system",
    "permissions",
    "conditions",
    "principal_id",
    "principal_type",
    "principal_external_id",
    "external_id",
    "display_name",
    "attributes",
    "status",
    "role",
    "entity_type",
    "entity_name",
    "entity_id",
    "condition",
    "effective_at",
    "expires_at",
];
/// The columns of a file that says something about conditions. An export without any condition leaves them out.
pub const CONDITION_COLUMNS: [&str; 2] = ["conditions", "condition"];
/// The columns of principals. An export without any principal leaves them out.
pub const PRINCIPAL_COLUMNS: [&str; 5] =
    ["principal_external_id", "external_id", "display_name", "attributes", "status"];
const ROLE: [&str; 7] = ["kind", "name", "description", "scope_types", "is_system", "permissions", "conditions"];
const ASSIGNMENT: [&str; 11] = [
    "kind",
    "principal_id",
    "principal_external_id",
    "principal_type",
    "role",
    "entity_type",
    "entity_name",
    "entity_id",
    "effective_at",
    "expires_at",
    "condition",
];

/// A record of a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A principal.
    Principal(PrincipalRecord),
    /// A role.
    Role(RoleRecord),
    /// An assignment.
    Assignment(AssignmentRecord),
}

/// A role of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleRecord {
    /// The role as it should be.
    pub new: NewRole,
    /// Whether the record says what conditions the role has. Files of earlier versions do not: their roles keep those
    /// that they have in the registry.
    pub states_conditions: bool,
}

/// An assignment of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct AssignmentRecord {
    /// Its principal.
    pub principal: PrincipalName,
    /// The type of the principal.
    pub principal_type: PrincipalType,
    /// The role's name.
    pub role: RoleName,
    /// Everywhere when `None`.
    pub entity: Option<EntityRef>,
    /// Its start; `None` for now, or for the present one.
    pub effective_at: Option<Timestamp>,
    /// Its end; `None` for none.
    pub expires_at: Option<Timestamp>,
    /// The condition, or that there is none; `None` in a file of an earlier version: the assignment keeps the condition
    /// that it has in the registry.
    pub condition: Option<Option<Condition>>,
}

/// How a record names the principal of an assignment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PrincipalName {
    /// By its id.
    Id(Uuid),
    /// By its external id.
    ExternalId(ExternalId),
}

/// How a record names an entity: at least one of the two is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntityRef {
    /// Its id.
    pub id: Option<Uuid>,
    /// Its type and name.
    pub named: Option<(EntityType, String)>,
}

/// Reads a record; the scope types of a role are among `types`.
///
/// # Errors
/// Every failing field.
pub fn read(json: &Json, types: &EntityTypes) -> Result<Record, Invalid> {
    let mut fields = Fields::of_body(json)?;
    let kind: Option<Text<1, 32>> = fields.required("kind", fields::text);
    match kind.as_ref().map(Text::as_str) {
        Some("principal") => principal::read(fields).map(Record::Principal),
        Some("role") => {
            fields.only(&ROLE);
            fields.finish(Some(()))?;
            // A role that comes without its actions would lose those it has.
            let mut fields = Fields::of_body(json)?;
            fields.required("permissions", |_| Ok(()));
            let role = NewRole::from_body(&without_kind(json), types, condition::check);
            let (role, ()) = Invalid::both(role, fields.finish(Some(())))?;
            let states_conditions = json.as_object().is_some_and(|members| members.contains_key("conditions"));
            Ok(Record::Role(RoleRecord { new: role, states_conditions }))
        }
        Some("assignment") => {
            fields.only(&ASSIGNMENT);
            read_assignment(fields).map(Record::Assignment)
        }
        Some(_) => {
            fields.report("kind", Problem::new("enum", "give principal, role or assignment"));
            fields.finish(None)
        }
        None => fields.finish(None),
    }
}

/// Returns the remaining members, which are the body of a creation.
fn without_kind(json: &Json) -> Json {
    let mut role = json.clone();
    if let Json::Object(members) = &mut role {
        members.remove("kind");
    }
    role
}

/// Exactly one of the two names.
fn read_principal_name(fields: &mut Fields<'_>) -> Option<PrincipalName> {
    if !fields.has("principal_external_id") {
        return fields.required("principal_id", fields::uuid).map(PrincipalName::Id);
    }
    if fields.has("principal_id") {
        let problem = "give either principal_id or principal_external_id";
        fields.report("principal_external_id", Problem::new("value_error", problem));
    }
    fields.required("principal_external_id", Value::read).map(PrincipalName::ExternalId)
}

fn read_assignment(mut fields: Fields<'_>) -> Result<AssignmentRecord, Invalid> {
    let principal = read_principal_name(&mut fields);
    let principal_type = fields.optional("principal_type", fields::text).unwrap_or_else(default_principal_type);
    let role = fields.required("role", fields::text);
    let word: Option<Text<1, 64>> = fields.optional("entity_type", fields::text);
    let name: Option<Text<1, 255>> = fields.optional("entity_name", fields::text);
    let id = fields.optional("entity_id", fields::uuid);
    let entity = match (word.as_ref().map(Text::as_str), name, id) {
        (Some(EVERYWHERE), None, None) => Some(None),
        (Some(EVERYWHERE), _, _) => {
            fields.report("entity_type", Problem::new("value_error", "`everywhere` goes with no entity"));
            None
        }
        (Some(word), name, id) if name.is_some() || id.is_some() => match (EntityType::from_word(word), name) {
            (None, _) => {
                fields.report("entity_type", Problem::new("enum", format!("`{word}` is no type of entity")));
                None
            }
            (Some(entity_type), name) => {
                let named = name.map(|name| (entity_type, name.into_string()));
                Some(Some(EntityRef { id, named }))
            }
        },
        (None, None, Some(id)) => Some(Some(EntityRef { id: Some(id), named: None })),
        _ => {
            let problem = "give entity_type and entity_name, or entity_id, or `everywhere` as entity_type";
            fields.report("entity_type", Problem::new("missing", problem));
            None
        }
    };
    let effective_at = fields.optional("effective_at", fields::timestamp);
    let expires_at = fields.optional("expires_at", fields::timestamp);
    if let (Some(start), Some(end)) = (effective_at, expires_at)
        && end <= start
    {
        fields.report("expires_at", Problem::new("value_error", "it should be after effective_at"));
    }
    let condition = fields.given("condition", Option::<Condition>::read);
    if let Some(Some(problem)) =
        condition.as_ref().map(|given| given.as_ref().and_then(|one| condition::check(one).err()))
    {
        fields.report("condition", problem);
    }
    let build = principal.zip(role).zip(entity).map(|((principal, role), entity)| AssignmentRecord {
        principal,
        principal_type,
        role,
        entity,
        effective_at,
        expires_at,
        condition,
    });
    fields.finish(build)
}

/// A role as a record.
#[must_use]
pub fn of_role(role: &Role) -> JsonObject {
    let types: Vec<_> = role.scope_types.iter().map(EntityType::word).collect();
    object([
        ("kind", "role".into()),
        ("name", role.name.as_str().into()),
        ("description", role.description.clone().into()),
        ("scope_types", types.into()),
        ("is_system", role.is_system.into()),
        ("permissions", role.permissions.clone().into()),
        ("conditions", role.conditions.write()),
    ])
}

/// An assignment as a record.
#[must_use]
pub fn of_assignment(named: &NamedAssignment) -> JsonObject {
    let assignment = &named.assignment;
    let entity_type = named.entity_type.as_ref().map_or(EVERYWHERE, EntityType::word);
    object([
        ("kind", "assignment".into()),
        ("principal_id", assignment.principal_id.into()),
        ("principal_type", assignment.principal_type.as_str().into()),
        ("role", named.role_name.as_str().into()),
        ("entity_type", entity_type.into()),
        ("entity_name", named.entity_name.clone().into()),
        ("entity_id", assignment.entity_id.into()),
        ("effective_at", assignment.effective_at.to_string().into()),
        ("expires_at", assignment.expires_at.map(|end| end.to_string()).into()),
        ("condition", assignment.condition.write()),
    ])
}

/// A record as a row: lists as their items with `;` between, or as a JSON list when an item would not survive that.
#[must_use]
pub fn to_row(columns: &[&'static str], record: &JsonObject) -> Vec<String> {
    columns.iter().map(|column| record.get(column).map_or_else(String::new, cell)).collect()
}

fn cell(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::Text(text) => guarded(text),
        Json::List(items) if items.is_empty() => String::new(),
        Json::List(items) => {
            let plain = |(at, item): (usize, &Json)| {
                item.as_text().is_some_and(|text| {
                    let formula = at > 0 && is_formula(text);
                    !formula && !text.contains(';') && text.trim() == text && !text.starts_with('[')
                })
            };
            if items.iter().enumerate().all(plain) {
                let texts: Vec<_> = items.iter().filter_map(Json::as_text).collect();
                guarded(&texts.join(";"))
            } else {
                // Where `;` separates cells, an item could begin one.
                json_cell(&value.to_string())
            }
        }
        Json::Object(members) if members.is_empty() => String::new(),
        // As in a list: where `;` separates cells, a text inside could begin one.
        Json::Object(_) => json_cell(&value.to_string()),
        other => other.to_string(),
    }
}

/// A row as a record. Empty cells are absent; a list that cannot be read is left as text, which the rules refuse.
pub(crate) fn from_row<'a>(columns: &[&'static str], cells: impl Iterator<Item = &'a str>) -> JsonObject {
    let mut record = JsonObject::new();
    for (column, cell) in columns.iter().zip(cells) {
        let kind = record.get("kind").and_then(Json::as_text);
        if cell.is_empty() {
            // These are part of every row of their kind: an empty cell is an empty list, no conditions, no condition.
            let empty = match (kind, *column) {
                (Some("role"), "permissions") => Json::List(Vec::new()),
                (Some("role"), "conditions") => Json::Object(JsonObject::new()),
                (Some("assignment"), "condition") => Json::Null,
                _ => continue,
            };
            record.insert((*column).to_owned(), empty);
            continue;
        }
        let text = unguarded(cell);
        let value = match *column {
            "scope_types" | "permissions" => list(&text),
            // Text that is no JSON is left to the rules, which refuse it.
            "conditions" | "condition" | "attributes" => {
                Json::parse_bounded(text.as_bytes()).unwrap_or(Json::Text(text))
            }
            "is_system" => match text.to_ascii_lowercase().as_str() {
                "true" => Json::Bool(true),
                "false" => Json::Bool(false),
                _ => Json::Text(text),
            },
            _ => Json::Text(text),
        };
        record.insert((*column).to_owned(), value);
    }
    record
}

fn list(text: &str) -> Json {
    if text.starts_with('[') {
        return Json::parse(text.as_bytes()).unwrap_or_else(|_| Json::Text(text.to_owned()));
    }
    let items = text.split(';').map(str::trim).filter(|item| !item.is_empty());
    Json::List(items.map(Json::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv_cells::FORMULA;

    fn back_and_forth(record: &JsonObject) -> JsonObject {
        let row = to_row(&COLUMNS, record);
        from_row(&COLUMNS, row.iter().map(String::as_str))
    }

    #[test]
    fn rows_keep_what_records_hold() {
        let hostile = ["=cmd()", "'quoted", "a;b", "[x", " spaced ", "plain"];
        for name in hostile {
            let record = object([
                ("kind", "role".into()),
                ("name", name.into()),
                ("description", name.into()),
                ("scope_types", vec!["spv", "issuer"].into()),
                ("is_system", true.into()),
                ("permissions", vec![name, "document:download"].into()),
                ("conditions", object([]).into()),
            ]);
            assert_eq!(back_and_forth(&record), record, "{name}");
        }
        let empty = object([
            ("kind", "role".into()),
            ("description", "".into()),
            ("permissions", Json::List(vec![])),
            ("conditions", object([]).into()),
        ]);
        assert_eq!(back_and_forth(&empty), empty, "an empty description is not an absent one");
    }

    /// Splits cells as a spreadsheet of a locale whose separator is `;` does: it does not know the quotes.
    #[test]
    fn no_cell_begins_like_a_formula_whatever_separates_cells() {
        let hostile = [
            "=cmd()",
            "a;=cmd()",
            "a;+1;-1;@x",
            "a;'=1",
            "a;''=1",
            "a; =1",
            "a;\"=1\"",
            "a\t=1",
            "a\n=1\r\n=2",
            "＝1;＝2",
            "a;b=1",
        ];
        for text in hostile {
            let record = object([
                ("kind", "role".into()),
                ("name", text.into()),
                ("description", text.into()),
                ("permissions", vec!["a:read", text, "=b"].into()),
                ("conditions", object([]).into()),
            ]);
            assert_eq!(back_and_forth(&record), record, "{text}");
            for cell in to_row(&COLUMNS, &record) {
                for part in cell.split([';', '\t', '\n', '\r']) {
                    let begins = part.trim_start_matches(['"', ' ']);
                    assert!(!begins.starts_with(FORMULA), "{cell:?} has {part:?}");
                }
            }
        }
    }

    #[test]
    fn everywhere_has_to_be_written() {
        let base = r#""kind": "assignment", "principal_id": "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11", "role": "Reader""#;
        let problem = |rest: &str| {
            let json = Json::parse(format!("{{{base}{rest}}}").as_bytes()).unwrap();
            read(&json, EntityTypes::ANY).map_err(|invalid| crate::text::invalid_sentence(&invalid))
        };
        assert!(problem("").unwrap_err().starts_with("entity_type: give entity_type and entity_name"));
        assert!(problem(r#", "entity_type": "spv""#).is_err(), "a type alone names no entity");
        assert!(problem(r#", "entity_type": "everywhere", "entity_name": "X""#).is_err());
        assert!(problem(r#", "entity_name": "X""#).is_err(), "a name alone is not unique");
        assert!(
            problem(r#", "entity_type": "everywhere", "expires": "2030-01-01T00:00:00Z""#)
                .unwrap_err()
                .contains("expires: ")
        );
        let Ok(Record::Assignment(everywhere)) = problem(r#", "entity_type": "everywhere""#) else { panic!() };
        assert_eq!(everywhere.entity, None);
        let role = Json::parse(br#"{"kind": "role", "name": "Reader"}"#).unwrap();
        assert!(read(&role, EntityTypes::ANY).is_err(), "a role without its actions would lose those it has");
    }
}
