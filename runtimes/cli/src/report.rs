//! `epr report …`: what an operator should review regularly.

use std::process::ExitCode;

use clap::Subcommand;
use epr_core::domain::{AssignmentScan, NamedAssignment, Timestamp};
use uuid::Uuid;

use crate::assignments;
use crate::backend::Backend;
use crate::entities::entity_label;
use crate::output::{Output, count, escaped, minute, notice};
use crate::roles;
use crate::times::{self, Period};
use crate::{Outcome, access_report};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List assignments that expire soon, the earliest first
    Expiring {
        /// The period: a number with m, h, d or w
        #[arg(long, value_name = "TIME", default_value = "30d", value_parser = times::period)]
        within: Period,
    },
    /// List assignments that never took effect: they start in the future, or had expired when they were created
    NeverEffective,
    /// List principals with global assignments
    GlobalRoles,
    /// List roles that no principal holds
    UnheldRoles,
    /// List entities that are not archived but whose parent is
    Orphaned,
    /// Write every principal and action on an entity and on everything below it, as CSV
    Access(access_report::Access),
}

pub(crate) async fn run(backend: &Backend, command: &Command, out: &mut Output) -> Outcome {
    let now = backend.now();
    let mut seen = 0_u64;
    let summary = match command {
        Command::Access(command) => return access_report::run(backend, command, out).await,
        Command::Expiring { within } => {
            let until = now.plus_seconds(within.seconds);
            assignments(backend, &AssignmentScan::Expiring { now, until }, now, &mut seen, out).await?;
            let what = some(seen, "assignment expires", "assignments expire");
            format!("{what} within {}.", within.text)
        }
        Command::NeverEffective => {
            assignments(backend, &AssignmentScan::NeverEffective { now }, now, &mut seen, out).await?;
            format!("{} never taken effect.", some(seen, "assignment has", "assignments have"))
        }
        Command::GlobalRoles => {
            let principals = global(backend, now, &mut seen, out).await?;
            let subject = some(principals, "principal has", "principals have");
            format!("{subject} a global assignment.")
        }
        Command::UnheldRoles => {
            unheld(backend, &mut seen, out).await?;
            format!("{} without a holder.", some(seen, "role is", "roles are"))
        }
        Command::Orphaned => {
            orphaned(backend, &mut seen, out).await?;
            format!("{} an archived parent.", some(seen, "entity has", "entities have"))
        }
    };
    out.flush()?;
    if !out.json {
        notice(&summary);
    }
    Ok(ExitCode::SUCCESS)
}

/// `No roles are`, `1 role is`, `2 roles are`.
fn some(number: u64, one: &str, many: &str) -> String {
    if number == 0 { format!("No {many}") } else { count(number, one, many) }
}

type Written = Result<(), Box<dyn std::error::Error>>;

async fn assignments(
    backend: &Backend,
    scan: &AssignmentScan,
    now: Timestamp,
    seen: &mut u64,
    out: &mut Output,
) -> Written {
    let mut written = Ok(());
    backend
        .scan_assignments(scan, &mut |named| {
            *seen += 1;
            written = assignments::row(&named, now, out);
            written.is_ok()
        })
        .await?;
    Ok(written?)
}

/// Returns the number of principals.
async fn global(
    backend: &Backend,
    now: Timestamp,
    seen: &mut u64,
    out: &mut Output,
) -> Result<u64, Box<dyn std::error::Error>> {
    let mut written = Ok(());
    let mut last: Option<(String, Uuid)> = None;
    let mut principals = 0;
    backend
        .scan_assignments(&AssignmentScan::Global { now }, &mut |named| {
            *seen += 1;
            let principal = (named.assignment.principal_type.clone(), named.assignment.principal_id);
            let first = last.as_ref() != Some(&principal);
            principals += u64::from(first);
            last = Some(principal);
            written = global_row(&named, first, now, out);
            written.is_ok()
        })
        .await?;
    written?;
    Ok(principals)
}

fn global_row(named: &NamedAssignment, first: bool, now: Timestamp, out: &mut Output) -> std::io::Result<()> {
    if out.json {
        return out.object(named);
    }
    let NamedAssignment { assignment, role_name, .. } = named;
    if first {
        out.heading(&format!("{} {}", escaped(&assignment.principal_type), assignment.principal_id))?;
    }
    let window_state = assignments::window_state(assignment, now);
    out.clipped_line(&format!("  {}  {}  {window_state}", assignment.id, escaped(role_name)))?;
    assignments::granted_line(named.granted.as_ref(), "    ", out)
}

async fn unheld(backend: &Backend, seen: &mut u64, out: &mut Output) -> Written {
    let mut written = Ok(());
    backend
        .unheld_roles(&mut |unheld| {
            *seen += 1;
            written = if out.json {
                out.object(&unheld)
            } else {
                roles::row(&unheld.role, out).and_then(|()| match (unheld.ended_assignments, unheld.last_ended_at) {
                    (ended @ 1.., Some(last)) => {
                        let ended = count(ended.unsigned_abs(), "assignment has expired", "assignments have expired");
                        out.line(format_args!("  {ended}, the last on {}", minute(last)))
                    }
                    _ => Ok(()),
                })
            };
            written.is_ok()
        })
        .await?;
    Ok(written?)
}

async fn orphaned(backend: &Backend, seen: &mut u64, out: &mut Output) -> Written {
    let mut written = Ok(());
    backend
        .orphans(&mut |orphan| {
            *seen += 1;
            written = if out.json {
                out.object(&orphan)
            } else {
                let entity = &orphan.entity;
                let parent = entity.parent_id.map(|id| id.to_string()).unwrap_or_default();
                out.clipped_line(&format!("{}  {}", entity.id, entity_label(&entity.entity_type, &entity.name)))
                    .and_then(|()| {
                        out.clipped_line(&format!(
                            "  below {parent}  {}",
                            entity_label(&orphan.parent_type, &orphan.parent_name)
                        ))
                    })
            };
            written.is_ok()
        })
        .await?;
    Ok(written?)
}
