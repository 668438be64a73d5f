//! Subtrees on which a principal may do something, as rows.

use std::io;

use epr_core::domain::EntityType;
use epr_core::domain::subtree::SubtreeItem;
use serde::Serialize;

use crate::access_rows::via_word;
use crate::entities::entity_label;
use crate::output::{Output, count, escaped, minute};
use crate::rows::Row;

/// The root of a subtree, with the action.
#[derive(Serialize)]
pub(crate) struct SubtreeRow {
    pub(crate) action: String,
    #[serde(flatten)]
    pub(crate) item: SubtreeItem,
}

impl Row for SubtreeRow {
    const COLUMNS: &'static [&'static str] = &[
        "action",
        "everything",
        "root_type",
        "root_id",
        "root_external_id",
        "root_name",
        "types",
        "exclusions",
        "more_exclusions",
        "assignment_id",
        "role",
        "via",
        "until",
        "missing",
    ];

    fn cells(&self) -> Vec<String> {
        let Self { action, item } = self;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let types: Vec<_> = item.types.iter().map(|kind| kind.word().to_owned()).collect();
        let exclusions: Vec<_> = item.exclusions.iter().map(ToString::to_string).collect();
        let via = item.via.as_ref();
        vec![
            action.clone(),
            item.everything.to_string(),
            item.kind.as_ref().map(|kind| kind.word().to_owned()).unwrap_or_default(),
            item.id.map(|id| id.to_string()).unwrap_or_default(),
            text(&item.external_id),
            text(&item.name),
            types.join(" "),
            exclusions.join(" "),
            item.more_exclusions.to_string(),
            via.map(|via| via.assignment_id.to_string()).unwrap_or_default(),
            via.map(|via| via.role.name.clone()).unwrap_or_default(),
            via.map(|via| via_word(via.via).to_owned()).unwrap_or_default(),
            via.and_then(|via| via.until).map(|until| until.to_string()).unwrap_or_default(),
            item.missing.join(" "),
        ]
    }

    fn print(&self, _: bool, out: &mut Output) -> io::Result<()> {
        let Self { action, item } = self;
        let root = match (&item.kind, &item.name) {
            _ if item.everything => Output::warning("everywhere"),
            (Some(kind), Some(name)) => format!("{} and below", entity_label(kind, name)),
            _ => item.id.map(|id| id.to_string()).unwrap_or_default(),
        };
        let types: Vec<_> = item.types.iter().map(EntityType::word).collect();
        let types = if types.is_empty() { String::new() } else { format!(", only {}", types.join(", ")) };
        out.clipped_line(&format!("{}  {root}{types}", escaped(action)))?;
        if let Some(via) = &item.via {
            let until = via.until.map(|until| format!(", until {}", minute(until))).unwrap_or_default();
            out.clipped_line(&format!("  {}{until}", escaped(&via.role.name)))?;
        }
        if !item.exclusions.is_empty() {
            let number = u64::try_from(item.exclusions.len()).unwrap_or(u64::MAX);
            let ids: Vec<_> = item.exclusions.iter().map(ToString::to_string).collect();
            let more = if item.more_exclusions { " (more follow)" } else { "" };
            out.clipped_line(&format!("  without {}{more}: {}", count(number, "entity", "entities"), ids.join(" ")))?;
        }
        if item.conditional {
            let missing = escaped(&item.missing.join(", "));
            out.clipped_line(&format!("  {}", Output::warning(format_args!("conditional: needs {missing}"))))?;
        }
        Ok(())
    }
}
