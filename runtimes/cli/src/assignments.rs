//! `epr assignments …`

use std::process::ExitCode;

use clap::{Args, Subcommand};
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{Assignment, AssignmentFilter, NamedAssignment, NewAssignment, Timestamp};
use serde_json::json;
use uuid::Uuid;

use crate::Outcome;
use crate::backend::{Backend, Fault};
use crate::check::principal_type;
use crate::entities::{Limit, called};
use crate::output::{Output, minute, remark, visible};
use crate::reference::{EntityRef, RoleRef};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Newest first, in force or not
    List {
        /// Only of this principal
        #[arg(long, value_name = "UUID")]
        principal: Option<Uuid>,
        /// Only those that sit on exactly this entity: its id, or TYPE:NAME
        #[arg(long, value_name = "ENTITY")]
        entity: Option<EntityRef>,
        /// At most this many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// One with all its fields
    Show {
        /// Its id
        assignment: Uuid,
    },
    /// Give a role to a principal; the same again changes nothing
    Create(Create),
    /// Take a role away
    Revoke {
        /// The assignment's id
        assignment: Uuid,
    },
}

#[derive(Args)]
pub(crate) struct Create {
    /// Who gets the role
    principal: Uuid,
    /// The role: its id or its name
    role: RoleRef,
    /// Where: an entity's id, or TYPE:NAME; it counts for everything below, too
    #[arg(long, value_name = "ENTITY", required_unless_present = "everywhere", conflicts_with = "everywhere")]
    on: Option<EntityRef>,
    /// On every entity, also those to come
    #[arg(long)]
    everywhere: bool,
    /// What kind of principal it is
    #[arg(long, default_value = "user", value_parser = principal_type)]
    principal_type: PrincipalType,
    /// From when on, such as 2027-01-01T00:00:00Z; without it, from now on
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Timestamp>,
    /// Until when; without it, for ever
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|_| "give a time such as 2027-01-01T00:00:00Z".into())
}

pub(crate) async fn run(backend: &Backend, command: &Command, out: &mut Output) -> Outcome {
    match command {
        Command::List { principal, entity, limit } => {
            let entity_id = match entity {
                Some(entity) => Some(entity.id(backend).await?),
                None => None,
            };
            list(backend, AssignmentFilter { principal_id: *principal, entity_id }, *limit, out).await?;
        }
        Command::Show { assignment } => {
            let found = backend.assignment(*assignment).await?;
            let found = found.ok_or_else(|| Fault::Answer(format!("Assignment {assignment} not found")))?;
            show(backend, &found, out)?;
        }
        Command::Create(create) => create_one(backend, create, out).await?,
        Command::Revoke { assignment } => {
            backend.remark_if_untold();
            backend.revoke(*assignment).await?;
            if out.json {
                out.object(&json!({"status": "revoked", "assignment_id": assignment}))?;
            } else {
                out.line(format_args!("Assignment {assignment} is revoked."))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create_one(backend: &Backend, create: &Create, out: &mut Output) -> Result<(), Box<dyn std::error::Error>> {
    let place = match &create.on {
        Some(entity) => Some(entity.find(backend).await?),
        None => None,
    };
    let role = create.role.find(backend).await?;
    let new = NewAssignment {
        principal_id: create.principal,
        principal_type: create.principal_type.clone(),
        role_id: role.id,
        entity_id: place.as_ref().map(|entity| entity.id),
        effective_at: create.from,
        expires_at: create.until,
    };
    backend.remark_if_untold();
    let assignment = backend.assign(new).await?;
    let same_window =
        create.from.is_none_or(|from| from == assignment.effective_at) && create.until == assignment.expires_at;
    if !same_window {
        remark("This assignment was there before, with another window; revoke it first to give a new one.");
    }
    let (entity_type, entity_name) = place.map(|entity| (entity.entity_type, entity.name)).unzip();
    show(backend, &NamedAssignment { assignment, role_name: role.name, entity_type, entity_name }, out)
}

async fn list(
    backend: &Backend,
    filter: AssignmentFilter,
    limit: Option<usize>,
    out: &mut Output,
) -> Result<(), Box<dyn std::error::Error>> {
    let now = backend.now();
    let mut limit = Limit::of(limit);
    let mut written = Ok(());
    backend
        .each_named(filter, &mut |named| {
            if !limit.admits() {
                return false;
            }
            written = row(&named, now, out);
            written.is_ok()
        })
        .await?;
    written?;
    limit.remark(out, "No assignments.")?;
    Ok(())
}

/// Two lines: which role where, held by whom until when.
pub(crate) fn row(named: &NamedAssignment, now: Timestamp, out: &mut Output) -> std::io::Result<()> {
    if out.json {
        return out.object(named);
    }
    let NamedAssignment { assignment, role_name, .. } = named;
    out.fitted(&format!("{}  {} {}", assignment.id, visible(role_name), place(named)))?;
    let principal_type = visible(&assignment.principal_type);
    out.fitted(&format!("  {principal_type} {}  {}", assignment.principal_id, standing(assignment, now)))
}

/// `on spv:Berlin One`, or `everywhere`.
pub(crate) fn place(named: &NamedAssignment) -> String {
    match (named.entity_type, &named.entity_name) {
        (Some(entity_type), Some(name)) => format!("on {}", called(entity_type, name)),
        _ => Output::doubtful("everywhere"),
    }
}

/// How an assignment stands at this moment.
pub(crate) fn standing(assignment: &Assignment, now: Timestamp) -> String {
    match assignment.expires_at {
        Some(end) if end <= now => Output::doubtful(format_args!("ended {}", minute(end))),
        _ if now < assignment.effective_at => {
            Output::doubtful(format_args!("from {}", minute(assignment.effective_at)))
        }
        Some(end) => format!("until {}", minute(end)),
        None => Output::good("in force"),
    }
}

fn show(backend: &Backend, named: &NamedAssignment, out: &mut Output) -> Result<(), Box<dyn std::error::Error>> {
    if out.json {
        return Ok(out.object(named)?);
    }
    let NamedAssignment { assignment, role_name, .. } = named;
    let until = assignment.expires_at.map_or_else(|| "for ever".to_owned(), |end| end.to_string());
    out.fields(&[
        ("id", assignment.id.to_string()),
        ("principal", format!("{} {}", visible(&assignment.principal_type), assignment.principal_id)),
        ("role", format!("{} {}", assignment.role_id, visible(role_name))),
        (
            "place",
            match assignment.entity_id {
                Some(id) => format!("{id} {}", place(named)),
                None => place(named),
            },
        ),
        ("from", assignment.effective_at.to_string()),
        ("until", until),
        ("now", standing(assignment, backend.now())),
        ("created", assignment.created_at.to_string()),
    ])?;
    Ok(())
}
