//! Items of lists of access as rows: principals, resources and actions, each with the assignment behind it.

use std::io;

use epr_core::domain::access::{AccessItem, AccessVia, Via};
use epr_core::domain::fields::Choice as _;
use serde::Serialize;

use crate::entities::entity_label;
use crate::output::{Output, escaped, minute};
use crate::rows::Row;

/// The columns about the assignment.
macro_rules! columns {
    ($($own:literal),+) => {
        &[
            $($own,)+
            "assignment_id",
            "role",
            "via",
            "assigned_on_type",
            "assigned_on_id",
            "assigned_on_name",
            "until",
            "missing",
        ]
    };
}

/// A principal that may do something.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct PrincipalRow(pub(crate) AccessItem);

/// An entity on which something may be done.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct ResourceRow(pub(crate) AccessItem);

/// An action that may be done.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct ActionRow(pub(crate) AccessItem);

impl Row for PrincipalRow {
    const COLUMNS: &'static [&'static str] =
        columns!["principal_type", "principal_id", "principal_external_id", "principal_name"];

    fn cells(&self) -> Vec<String> {
        [named_cells(&self.0), assignment_cells(&self.0)].concat()
    }

    fn print(&self, _: bool, out: &mut Output) -> io::Result<()> {
        let Self(item) = self;
        let mut line = format!("{} {}", escaped(item.kind.as_deref().unwrap_or_default()), escaped(&item.id));
        for text in [&item.name, &item.external_id].into_iter().flatten() {
            line.push_str("  ");
            line.push_str(&escaped(text));
        }
        out.clipped_line(&line)?;
        assignment_line(item, out)
    }
}

impl Row for ResourceRow {
    const COLUMNS: &'static [&'static str] = columns!["entity_type", "entity_id", "entity_external_id", "entity_name"];

    fn cells(&self) -> Vec<String> {
        [named_cells(&self.0), assignment_cells(&self.0)].concat()
    }

    fn print(&self, _: bool, out: &mut Output) -> io::Result<()> {
        let Self(item) = self;
        out.clipped_line(&entity_text(item))?;
        assignment_line(item, out)
    }
}

/// An entity on which an action may be done, of a list of several actions.
#[derive(Serialize)]
pub(crate) struct PermittedRow {
    pub(crate) action: String,
    #[serde(flatten)]
    pub(crate) item: AccessItem,
}

impl Row for PermittedRow {
    const COLUMNS: &'static [&'static str] =
        columns!["action", "entity_type", "entity_id", "entity_external_id", "entity_name"];

    fn cells(&self) -> Vec<String> {
        [vec![self.action.clone()], named_cells(&self.item), assignment_cells(&self.item)].concat()
    }

    fn print(&self, _: bool, out: &mut Output) -> io::Result<()> {
        let Self { action, item } = self;
        out.clipped_line(&format!("{}  {}", escaped(action), entity_text(item)))?;
        assignment_line(item, out)
    }
}

impl Row for ActionRow {
    const COLUMNS: &'static [&'static str] = columns!["action"];

    fn cells(&self) -> Vec<String> {
        [vec![self.0.id.clone()], assignment_cells(&self.0)].concat()
    }

    fn print(&self, _: bool, out: &mut Output) -> io::Result<()> {
        out.clipped_line(&escaped(&self.0.id))?;
        assignment_line(&self.0, out)
    }
}

/// `01a20864-775e-7192-9677-77033a7b75da  spv:Berlin One`
fn entity_text(item: &AccessItem) -> String {
    let kind = item.kind.as_deref().unwrap_or_default();
    let name = item.name.as_deref().unwrap_or_default();
    format!("{}  {}:{}", escaped(&item.id), escaped(kind), escaped(name))
}

fn named_cells(item: &AccessItem) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    vec![text(&item.kind), item.id.clone(), text(&item.external_id), text(&item.name)]
}

/// How an assignment reaches a resource, as a word.
pub(crate) fn via_word(via: Via) -> &'static str {
    via.word()
}

/// The cells of the columns about the assignment.
fn assignment_cells(item: &AccessItem) -> Vec<String> {
    let missing = item.missing.join(" ");
    let Some(AccessVia { assignment_id, role, entity, via, until }) = &item.via else {
        return [vec![String::new(); 7], vec![missing]].concat();
    };
    let on = entity.as_ref().map(|on| [on.entity_type.to_string(), on.id.to_string(), on.name.clone()]);
    let [on_type, on_id, on_name] = on.unwrap_or_default();
    let until = until.map(|until| until.to_string()).unwrap_or_default();
    let via = via_word(*via).to_owned();
    vec![assignment_id.to_string(), role.name.clone(), via, on_type, on_id, on_name, until, missing]
}

/// `  Document reader on issuer:Acme Estates, an ancestor, until 2027-01-01 00:00 UTC`
fn assignment_line(item: &AccessItem, out: &mut Output) -> io::Result<()> {
    if let Some(AccessVia { role, entity, via, until, .. }) = &item.via {
        let on = match entity {
            Some(on) => format!("on {}", entity_label(&on.entity_type, &on.name)),
            None => Output::warning("everywhere"),
        };
        let ancestor = if *via == Via::Inherited { ", an ancestor" } else { "" };
        let until = until.map(|until| format!(", until {}", minute(until))).unwrap_or_default();
        out.clipped_line(&format!("  {} {on}{ancestor}{until}", escaped(&role.name)))?;
    }
    if item.conditional {
        let missing = escaped(&item.missing.join(", "));
        out.clipped_line(&format!("  {}", Output::warning(format_args!("conditional: needs {missing}"))))?;
    }
    Ok(())
}
