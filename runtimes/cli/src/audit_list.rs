//! `epr audit list`: entries of the ledger.

use std::io;
use std::process::ExitCode;

use clap::Args;
use epr_core::domain::audit::OWN_SOURCE;
use epr_core::domain::{AuditEntry, AuditFilter, Json};
use serde::Serialize;
use uuid::Uuid;

use crate::Outcome;
use crate::backend::Backend;
use crate::output::{Output, escaped, notice};
use crate::reference::EntityRef;
use crate::rows::{FormatOption, Row, RowFormat, Rows};
use crate::times::{self, GivenTime, times_help};
use epr_transfer::csv_cells::json_cell;

/// Entries in a table, unless `--limit` says otherwise.
const TABLE_ROWS: u64 = 50;

#[derive(Args)]
#[command(after_help = concat!(
    "An entry is listed if it matches every option. With --url, the token needs the scope epr:audit.\n\n",
    times_help!()
))]
pub(crate) struct List {
    /// Only entries with this action, such as `role_assignment.create`
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only entries about what this actor did
    #[arg(long, value_name = "UUID")]
    actor_id: Option<Uuid>,
    /// Only entries about this principal: its own actions and checks, its registration and its assignments
    #[arg(long, value_name = "UUID")]
    principal: Option<Uuid>,
    /// Only the grant and the revocation of this assignment
    #[arg(long, value_name = "UUID")]
    assignment: Option<Uuid>,
    /// Only entries about this entity: its id, also that of a role or a principal, or TYPE:NAME
    #[arg(long, value_name = "ENTITY")]
    entity: Option<EntityRef>,
    /// Only entries about this type of entity
    #[arg(long, value_name = "TYPE")]
    entity_type: Option<String>,
    /// Only entries that this service reported; EPR's own have `entity_permissions_core`
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only entries with this correlation id, such as the id of a request
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Only the entry with this event id
    #[arg(long, value_name = "UUID")]
    event_id: Option<Uuid>,
    /// Only entries of this time or later; 30d is 30 days ago
    #[arg(long, value_name = "TIME", value_parser = times::earlier, allow_hyphen_values = true)]
    from: Option<GivenTime>,
    /// Only entries of this time or earlier; 30d is 30 days ago
    #[arg(long, value_name = "TIME", value_parser = times::earlier, allow_hyphen_values = true)]
    to: Option<GivenTime>,
    /// Only entries from this sequence on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    from_sequence: Option<i64>,
    /// Only entries up to this sequence, included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    to_sequence: Option<i64>,
    /// List the oldest entries first
    #[arg(long)]
    oldest_first: bool,
    /// List at most N; default: 50 in a table, all of them as JSON or CSV
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    format: FormatOption,
}

pub(crate) async fn run(backend: &Backend, list: &List, out: &mut Output) -> Outcome {
    let format = list.format.or(RowFormat::Table, out)?;
    let now = backend.now();
    let entity_id = match &list.entity {
        Some(entity) => Some(entity.id(backend).await?),
        None => None,
    };
    let filter = AuditFilter {
        action: list.action.clone(),
        actor_id: list.actor_id,
        principal_id: list.principal,
        assignment_id: list.assignment,
        entity_id,
        entity_type: list.entity_type.clone(),
        source: list.source.clone(),
        correlation_id: list.correlation_id.clone(),
        event_id: list.event_id,
        occurred_from: list.from.map(|from| from.resolve(now)),
        occurred_to: list.to.map(|to| to.resolve(now)),
        from_sequence: list.from_sequence,
        to_sequence: list.to_sequence,
    };
    let limit = list.limit.or((format == RowFormat::Table).then_some(TABLE_ROWS));
    let mut rows = Rows::new(out, format, limit);
    let mut next = None;
    let wanted = rows.wanted();
    let incomplete_to = backend
        .for_each_entry(&filter, list.oldest_first, wanted, &mut |entry| {
            next = Some(entry.sequence);
            rows.add(&Entry(&entry))
        })
        .await?;
    let option = if list.oldest_first { "--from-sequence" } else { "--to-sequence" };
    let more = format!("More exist: raise --limit, or go on with {option} {}.", next.unwrap_or_default());
    rows.finish::<Entry<'_>>("No entries.", &more)?;
    if let Some(border) = incomplete_to {
        notice(&format!(
            "Entries up to {border} were dropped from the database: with these filters, the list has those of them \
             that are about the registry only."
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// An entry as a row.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Entry<'a>(pub(crate) &'a AuditEntry);

impl Row for Entry<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "sequence",
        "occurred_at",
        "action",
        "actor_type",
        "actor_id",
        "entity_type",
        "entity_id",
        "source",
        "correlation_id",
        "event_id",
        "details",
        "entry_hash",
    ];

    fn cells(&self) -> Vec<String> {
        let Self(entry) = self;
        let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
        vec![
            entry.sequence.to_string(),
            entry.occurred_at.to_string(),
            entry.action.clone(),
            entry.actor_type.clone(),
            id(entry.actor_id),
            entry.entity_type.clone().unwrap_or_default(),
            id(entry.entity_id),
            entry.source.clone(),
            entry.correlation_id.clone().unwrap_or_default(),
            id(entry.event_id),
            json_cell(&entry.details.0),
            entry.entry_hash.clone(),
        ]
    }

    fn print(&self, is_first: bool, out: &mut Output) -> io::Result<()> {
        let Self(entry) = self;
        if is_first {
            out.heading(&format!("{:>9}  {:<19}  ACTION", "SEQUENCE", "TIME (UTC)"))?;
        }
        let at = entry.occurred_at.to_string().replace('T', " ");
        let at = at.get(.."2027-01-01 09:30:00".len()).unwrap_or(&at);
        out.clipped_line(&format!("{:>9}  {at}  {}", entry.sequence, escaped(&entry.action)))?;
        let indent = "           ";
        let details = Json::parse(entry.details.0.as_bytes()).ok();
        let detail = |name: &str| details.as_ref().and_then(|details| details.as_object()?.get(name)?.as_text());
        let by = match (detail("caller"), entry.actor_id) {
            (Some(caller), _) => Some(escaped(caller)),
            (None, Some(actor)) => Some(format!("{} {actor}", escaped(&entry.actor_type))),
            (None, None) => None,
        };
        let principal =
            detail("principal_id").filter(|_| entry.entity_type.as_deref() != Some("principal")).map(|id| {
                let kind = detail("principal_type").map(|kind| format!("{} ", escaped(kind))).unwrap_or_default();
                format!("principal {kind}{}", escaped(id))
            });
        let source = (entry.source != OWN_SOURCE).then(|| format!("from {}", escaped(&entry.source)));
        let about = match (&entry.entity_type, entry.entity_id) {
            (None, None) => None,
            (Some(kind), None) => Some(format!("on {}", escaped(kind))),
            (None, Some(id)) => Some(format!("on {id}")),
            (Some(kind), Some(id)) => Some(format!("on {} {id}", escaped(kind))),
        };
        let who: Vec<_> = [by.map(|by| format!("by {by}")), source].into_iter().flatten().collect();
        for line in
            [who.join("  "), principal.unwrap_or_default(), about.unwrap_or_default(), escaped(&entry.details.0)]
        {
            if !line.is_empty() && line != "{}" {
                out.clipped_line(&format!("{indent}{line}"))?;
            }
        }
        Ok(())
    }
}
