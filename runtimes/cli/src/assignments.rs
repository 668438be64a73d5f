//! `epr assignments …`

use std::process::ExitCode;

use clap::{Args, Subcommand};
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{
    Assignment, AssignmentFilter, AssignmentRequest, ExternalId, Granted, InForce, Moment, NamedAssignment,
    NewAssignment, Timestamp,
};
use serde_json::json;
use uuid::Uuid;

use crate::Outcome;
use crate::backend::{Backend, BackendError};
use crate::check::principal_type;
use crate::condition::{self, Parameter, parameter};
use crate::entities::{Limit, entity_label};
use crate::moment::MomentOptions;
use crate::output::{Output, escaped, minute, notice};
use crate::principals::external_id;
use crate::reference::{EntityRef, RoleRef};
use crate::times::{self, GivenTime, times_help};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List assignments, newest first, whether in force or not
    List {
        /// Only assignments of this principal
        #[arg(long, value_name = "UUID")]
        principal: Option<Uuid>,
        /// Only assignments of principals of this type
        #[arg(long, value_name = "TYPE", value_parser = principal_type)]
        principal_type: Option<PrincipalType>,
        /// Only assignments of this role: its name or id
        #[arg(long, value_name = "ROLE")]
        role: Option<RoleRef>,
        /// Only assignments that are in force now (true), that are not (false), or that are in force at TIME
        #[arg(long, value_name = "true|false|TIME", value_parser = window_condition, allow_hyphen_values = true)]
        in_force: Option<WindowCondition>,
        /// Only assignments on exactly this entity: its id, or TYPE:NAME
        #[arg(long, value_name = "ENTITY")]
        entity: Option<EntityRef>,
        /// List at most N
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        #[command(flatten)]
        moment: MomentOptions,
    },
    /// Show all fields of one assignment
    #[command(visible_alias = "get")]
    Show {
        /// The id of the assignment
        assignment: Uuid,
        #[command(flatten)]
        moment: MomentOptions,
    },
    /// Assign a role to a principal; assigning it again changes nothing
    Create(Create),
    /// Revoke an assignment
    Revoke {
        /// The id of the assignment
        assignment: Uuid,
    },
}

#[derive(Args)]
#[command(allow_missing_positional = true, after_help = times_help!())]
pub(crate) struct Create {
    /// The id of the principal, unless --principal-external-id names it
    #[arg(required_unless_present = "principal_external_id", conflicts_with = "principal_external_id")]
    principal: Option<Uuid>,
    /// The role: its name or id
    role: RoleRef,
    /// The entity, by its id or as TYPE:NAME; the assignment also reaches every entity below it
    #[arg(long, value_name = "ENTITY", required_unless_present = "everywhere", conflicts_with = "everywhere")]
    on: Option<EntityRef>,
    /// Assign globally: on every entity, future ones included
    #[arg(long)]
    everywhere: bool,
    /// The id of the principal in another system; an unknown one registers the principal
    #[arg(long, value_name = "ID", value_parser = external_id)]
    principal_external_id: Option<ExternalId>,
    /// The type of the principal
    #[arg(long, default_value = "user", value_parser = principal_type)]
    principal_type: PrincipalType,
    /// The start of the window; 30d is in 30 days; default: now
    #[arg(long, value_name = "TIME", value_parser = times::later, allow_hyphen_values = true)]
    from: Option<GivenTime>,
    /// The end of the window, which it excludes; 30d is in 30 days from now; default: never
    #[arg(long, value_name = "TIME", value_parser = times::later, allow_hyphen_values = true)]
    until: Option<GivenTime>,
    /// The condition under which the assignment applies: an expression such as "context.amount <= 1000", or a whole
    /// condition as JSON, or @FILE with that; default: none
    #[arg(long, value_name = "CONDITION")]
    condition: Option<String>,
    /// A parameter of the expression, such as amount=int; repeatable
    #[arg(long = "parameter", value_name = "NAME=TYPE", value_parser = parameter, requires = "condition")]
    parameters: Vec<Parameter>,
}

/// A condition on the windows of assignments.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WindowCondition {
    /// Whether they are in force now.
    Now(bool),
    /// They are in force at this time.
    At(GivenTime),
}

impl WindowCondition {
    fn resolve(self, now: Timestamp) -> InForce {
        match self {
            Self::Now(true) => InForce::Now,
            Self::Now(false) => InForce::NotNow,
            Self::At(time) => InForce::At(time.resolve(now)),
        }
    }
}

fn window_condition(text: &str) -> Result<WindowCondition, String> {
    match text {
        "true" => Ok(WindowCondition::Now(true)),
        "false" => Ok(WindowCondition::Now(false)),
        time => times::either(time).map(WindowCondition::At),
    }
}

pub(crate) async fn run(backend: &Backend, command: &Command, out: &mut Output) -> Outcome {
    match command {
        Command::List { principal, principal_type, role, in_force, entity, limit, moment } => {
            let now = backend.now();
            let moment = moment.moment(now);
            let role_id = match role {
                Some(role) => Some(role.find_at(backend, moment).await?.id),
                None => None,
            };
            let entity_id = match entity {
                Some(entity) => Some(entity.id_at(backend, moment).await?),
                None => None,
            };
            let filter = AssignmentFilter {
                principal_id: *principal,
                principal_type: principal_type.clone(),
                role_id,
                entity_id,
                in_force: in_force.map(|condition| condition.resolve(now)),
            };
            list(backend, (filter, moment), *limit, out).await?;
        }
        Command::Show { assignment, moment } => {
            let moment = moment.moment(backend.now());
            if !moment.is_now() {
                show(&backend.assignment_at(*assignment, moment).await?, moment.at, out)?;
                return Ok(ExitCode::SUCCESS);
            }
            let found = backend.assignment(*assignment).await?;
            let found = found.ok_or_else(|| BackendError::Message(format!("Assignment {assignment} not found")))?;
            show(&found, Some(backend.now()), out)?;
        }
        Command::Create(create) => create_one(backend, create, out).await?,
        Command::Revoke { assignment } => {
            backend.warn_if_unpublished();
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
    let entity = match &create.on {
        Some(entity) => Some(entity.find(backend).await?),
        None => None,
    };
    let role = create.role.find(backend).await?;
    let now = backend.now();
    let from = create.from.map(|from| from.resolve(now));
    let until = create.until.map(|until| until.resolve(now));
    let new = NewAssignment {
        // Ignored when the external id names the principal.
        principal_id: create.principal.unwrap_or_default(),
        principal_type: create.principal_type.clone(),
        role_id: role.id,
        entity_id: entity.as_ref().map(|entity| entity.id),
        effective_at: from,
        expires_at: until,
        condition: create.condition.as_deref().map(|text| condition::read(text, &create.parameters)).transpose()?,
    };
    let condition = new.condition.clone();
    backend.warn_if_unpublished();
    let request = match &create.principal_external_id {
        Some(external_id) => AssignmentRequest::ToExternalId(external_id.clone(), new),
        None => new.into(),
    };
    let assignment = backend.assign(request).await?;
    let same_window = from.is_none_or(|from| from == assignment.effective_at) && until == assignment.expires_at;
    if !same_window {
        notice(
            "This assignment exists with another window, which is unchanged; to change it, \
             revoke the assignment first.",
        );
    }
    if condition != assignment.condition {
        notice(
            "This assignment exists with another condition, which is unchanged; to change it, \
             revoke the assignment first.",
        );
    }
    let (entity_type, entity_name) = entity.map(|entity| (entity.entity_type, entity.name)).unzip();
    let named = NamedAssignment { assignment, role_name: role.name, entity_type, entity_name, granted: None };
    show(&named, Some(backend.now()), out)
}

async fn list(
    backend: &Backend,
    (filter, moment): (AssignmentFilter, Moment),
    limit: Option<usize>,
    out: &mut Output,
) -> Result<(), Box<dyn std::error::Error>> {
    let at = if moment.is_now() { Some(backend.now()) } else { moment.at };
    let mut limit = Limit::of(limit);
    let mut written = Ok(());
    let mut show = |named: NamedAssignment| {
        if !limit.admits() {
            return false;
        }
        written = row_at(&named, at, out);
        written.is_ok()
    };
    if moment.is_now() {
        backend.for_each_named_assignment(filter, &mut show).await?;
    } else {
        backend.for_each_named_assignment_at(&filter, moment, &mut show).await?;
    }
    written?;
    limit.report(out, "No assignments.")?;
    Ok(())
}

/// The role and its entity; the principal and the state of the window; the condition, if there is one.
pub(crate) fn row(named: &NamedAssignment, now: Timestamp, out: &mut Output) -> std::io::Result<()> {
    row_at(named, Some(now), out)
}

/// The same at a time; without one, the window as it is.
fn row_at(named: &NamedAssignment, at: Option<Timestamp>, out: &mut Output) -> std::io::Result<()> {
    if out.json {
        return out.object(named);
    }
    let NamedAssignment { assignment, role_name, .. } = named;
    out.clipped_line(&format!("{}  {} {}", assignment.id, escaped(role_name), reach(named)))?;
    let principal_type = escaped(&assignment.principal_type);
    let state = at.map_or_else(|| window(assignment), |at| window_state(assignment, at));
    out.clipped_line(&format!("  {principal_type} {}  {state}", assignment.principal_id))?;
    if let Some(condition) = &assignment.condition {
        out.clipped_line(&format!("  if {}", condition::line(condition)))?;
    }
    granted_line(named.granted.as_ref(), "  ", out)
}

/// A line about who granted an assignment; none when nobody is known to have done it.
pub(crate) fn granted_line(granted: Option<&Granted>, indent: &str, out: &mut Output) -> std::io::Result<()> {
    match granted.and_then(describe_grant) {
        Some(grant) => out.clipped_line(&format!("{indent}granted {grant}")),
        None => Ok(()),
    }
}

/// When, by whom and why an assignment was granted; `None` when neither an actor nor a reason is known.
fn describe_grant(granted: &Granted) -> Option<String> {
    let Granted { actor_id, actor_type, caller, stated_reason, .. } = granted;
    let by = match (caller, actor_id) {
        (Some(caller), _) => Some(escaped(caller)),
        (None, Some(actor)) => Some(format!("{} {actor}", escaped(actor_type))),
        (None, None) => None,
    };
    if by.is_none() && stated_reason.is_none() {
        return None;
    }
    let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
    let why = stated_reason.as_deref().map(|reason| format!(": {}", escaped(reason))).unwrap_or_default();
    Some(format!("{}{by}{why}", minute(granted.at)))
}

/// `on spv:Berlin One`, or `everywhere`.
pub(crate) fn reach(named: &NamedAssignment) -> String {
    match (&named.entity_type, &named.entity_name) {
        (Some(entity_type), Some(name)) => format!("on {}", entity_label(entity_type, name)),
        _ => Output::warning("everywhere"),
    }
}

/// The window, whatever the time is.
fn window(assignment: &Assignment) -> String {
    let until = assignment.expires_at.map(|end| format!(" until {}", minute(end))).unwrap_or_default();
    format!("from {}{until}", minute(assignment.effective_at))
}

/// The state of the window at `now`.
pub(crate) fn window_state(assignment: &Assignment, now: Timestamp) -> String {
    match assignment.expires_at {
        Some(end) if end <= now => Output::warning(format_args!("ended {}", minute(end))),
        _ if now < assignment.effective_at => Output::warning(format_args!("from {}", minute(assignment.effective_at))),
        Some(end) => format!("until {}", minute(end)),
        None => Output::good("in force"),
    }
}

/// Shows an assignment, with the state of its window at a time.
fn show(named: &NamedAssignment, at: Option<Timestamp>, out: &mut Output) -> Result<(), Box<dyn std::error::Error>> {
    if out.json {
        return Ok(out.object(named)?);
    }
    let NamedAssignment { assignment, role_name, .. } = named;
    let until = assignment.expires_at.map_or_else(|| "no end".to_owned(), |end| end.to_string());
    let mut fields = vec![
        ("id", assignment.id.to_string()),
        ("principal", format!("{} {}", escaped(&assignment.principal_type), assignment.principal_id)),
        ("role", format!("{} {}", assignment.role_id, escaped(role_name))),
        (
            "entity",
            match (assignment.entity_id, &named.entity_type, &named.entity_name) {
                (Some(id), Some(entity_type), Some(name)) => format!("{id} {}", entity_label(entity_type, name)),
                (Some(id), ..) => id.to_string(),
                (None, ..) => reach(named),
            },
        ),
        ("from", assignment.effective_at.to_string()),
        ("until", until),
    ];
    fields.extend(at.map(|at| ("state", window_state(assignment, at))));
    fields.extend(assignment.condition.as_ref().map(|condition| ("condition", condition::line(condition))));
    fields.push(("created", assignment.created_at.to_string()));
    fields.extend(named.granted.as_ref().and_then(describe_grant).map(|grant| ("granted", grant)));
    Ok(out.fields(&fields)?)
}
