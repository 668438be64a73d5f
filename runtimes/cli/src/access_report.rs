//! `epr report access --entity ENTITY`: every principal and action on an entity and on everything below it.
//!
//! Built from lists of access, one for each entity and action, so that it says what checks say.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::process::ExitCode;

use clap::Args;
use epr_core::domain::access::{AccessItem, ListRequest, ListedAction, PrincipalsRequest};
use epr_core::domain::{Entity, EntityFilter, EntityType, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::Outcome;
use crate::access_rows::via_word;
use crate::backend::access::AccessQuestion;
use crate::backend::{Backend, BackendError};
use crate::entities::entity_label;
use crate::output::{Output, escaped, minute};
use crate::reference::EntityRef;
use crate::rows::{FormatOption, Row, RowFormat, Rows};

#[derive(Args)]
#[command(
    after_help = "The format is csv unless --format or --json says otherwise. Archived entities are left out, and what \
                        is below them is not. A condition that needs context does not allow. Each list that the report \
                        reads is recorded in the ledger. With --url, the token needs the scopes epr:read and epr:list."
)]
pub(crate) struct Access {
    /// The entity: its id, or TYPE:NAME
    #[arg(long, value_name = "ENTITY")]
    entity: EntityRef,
    #[command(flatten)]
    format: FormatOption,
}

pub(crate) async fn run(backend: &Backend, command: &Access, out: &mut Output) -> Outcome {
    let format = command.format.or(RowFormat::Csv, out)?;
    let root = command.entity.find(backend).await?;
    let mut actions = BTreeSet::new();
    backend
        .for_each_role(&mut |role| {
            actions.extend(role.permissions);
            true
        })
        .await?;
    let entities = with_all_below(backend, root).await?;
    let mut rows = Rows::new(out, format, None);
    'report: for (done, entity) in entities.iter().enumerate() {
        rows.walked(done, entities.len());
        for action in &actions {
            if !list(backend, entity, action, &mut rows).await? {
                break 'report;
            }
        }
    }
    rows.finish::<AccessRow>("Nobody may do anything there.", "")?;
    Ok(ExitCode::SUCCESS)
}

/// An entity of the report.
struct Reported {
    id: Uuid,
    entity_type: EntityType,
    name: String,
}

/// The entity `root` and every entity below it that is not archived, at any depth, also below archived ones. An entity
/// comes before what is below it.
async fn with_all_below(backend: &Backend, root: Entity) -> Result<Vec<Reported>, BackendError> {
    let mut children: BTreeMap<Option<Uuid>, Vec<Reported>> = BTreeMap::new();
    let mut found = HashSet::from([root.id]);
    let below = EntityFilter { ancestor_id: Some(root.id), ..EntityFilter::default() };
    backend
        .for_each_entity(&below, &mut |Entity { id, entity_type, name, parent_id, .. }| {
            found.insert(id);
            children.entry(parent_id).or_default().push(Reported { id, entity_type, name });
            true
        })
        .await?;
    let is_found = |parent: &Option<Uuid>| parent.is_some_and(|id| found.contains(&id));
    let (listed, left_out): (Vec<_>, Vec<_>) = children.keys().copied().partition(is_found);
    let mut ordered = Vec::with_capacity(found.len());
    let mut ahead = vec![Reported { id: root.id, entity_type: root.entity_type, name: root.name }];
    // After the tree of the root comes what is below archived entities; what no walk reaches is in a cycle.
    for parent in std::iter::once(None).chain(left_out).chain(listed) {
        ahead.extend(children.remove(&parent).unwrap_or_default());
        while let Some(entity) = ahead.pop() {
            // Newest first, so that the oldest is taken next.
            ahead.extend(children.remove(&Some(entity.id)).unwrap_or_default());
            ordered.push(entity);
        }
    }
    Ok(ordered)
}

/// Writes the principals that may do `action` on `entity`. Returns `false` when the output failed.
async fn list(
    backend: &Backend,
    entity: &Reported,
    action: &str,
    rows: &mut Rows<'_>,
) -> Result<bool, Box<dyn std::error::Error>> {
    let request = PrincipalsRequest {
        action: ListedAction::new(action)?,
        resource_id: entity.id,
        principal_type: None,
        list: ListRequest::default(),
    };
    let mut goes_on = true;
    backend
        .for_each_item(AccessQuestion::Principals(request), u64::MAX, &mut |item| {
            goes_on = rows.add(&AccessRow::of(entity, action, item));
            goes_on
        })
        .await?;
    Ok(goes_on)
}

/// One principal, one action, one entity.
#[derive(Serialize)]
struct AccessRow {
    entity_id: String,
    entity_type: String,
    entity_name: String,
    principal_type: Option<String>,
    principal_id: String,
    principal_external_id: Option<String>,
    principal_name: Option<String>,
    action: String,
    assignment_id: Option<String>,
    role: Option<String>,
    via: Option<&'static str>,
    until: Option<Timestamp>,
}

impl AccessRow {
    fn of(entity: &Reported, action: &str, item: AccessItem) -> Self {
        let via = item.via.as_ref();
        Self {
            entity_id: entity.id.to_string(),
            entity_type: entity.entity_type.word().to_owned(),
            entity_name: entity.name.clone(),
            action: action.to_owned(),
            assignment_id: via.map(|via| via.assignment_id.to_string()),
            role: via.map(|via| via.role.name.clone()),
            until: via.and_then(|via| via.until),
            via: via.map(|via| via_word(via.via)),
            principal_type: item.kind,
            principal_id: item.id,
            principal_external_id: item.external_id,
            principal_name: item.name,
        }
    }
}

impl Row for AccessRow {
    const COLUMNS: &'static [&'static str] = &[
        "entity_id",
        "entity_type",
        "entity_name",
        "principal_type",
        "principal_id",
        "principal_external_id",
        "principal_name",
        "action",
        "assignment_id",
        "role",
        "via",
        "until",
    ];

    fn cells(&self) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![
            self.entity_id.clone(),
            self.entity_type.clone(),
            self.entity_name.clone(),
            text(&self.principal_type),
            self.principal_id.clone(),
            text(&self.principal_external_id),
            text(&self.principal_name),
            self.action.clone(),
            text(&self.assignment_id),
            text(&self.role),
            self.via.unwrap_or_default().to_owned(),
            self.until.map(|until| until.to_string()).unwrap_or_default(),
        ]
    }

    fn print(&self, _: bool, out: &mut Output) -> io::Result<()> {
        let kind = self
            .entity_type
            .parse()
            .map_or_else(|_| escaped(&self.entity_name), |kind| entity_label(&kind, &self.entity_name));
        out.clipped_line(&format!("{}  {kind}  {}", self.entity_id, escaped(&self.action)))?;
        let principal = escaped(self.principal_type.as_deref().unwrap_or_default());
        let role = self.role.as_deref().map(|role| format!("  {}", escaped(role))).unwrap_or_default();
        let until = self.until.map(|until| format!(", until {}", minute(until))).unwrap_or_default();
        out.clipped_line(&format!("  {principal} {}{role}{until}", self.principal_id))
    }
}
