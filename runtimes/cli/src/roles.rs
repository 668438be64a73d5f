//! `epr roles …`

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use epr_core::domain::condition::Condition;
use epr_core::domain::role::{Action, RoleDescription, RoleName};
use epr_core::domain::{EntityType, Moment, NewRole, Role, RolePatch};
use epr_core::history::RegistryRow;
use epr_core::store::RegistryList;

use crate::Outcome;
use crate::backend::Backend;
use crate::condition::{self, ActionCondition, Parameter, action_condition, parameter};
use crate::entities::{EntityTypeParser, Limit};
use crate::moment::MomentOptions;
use crate::output::{Output, escaped};
use crate::reference::RoleRef;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List roles, newest first
    List {
        /// List at most N
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        #[command(flatten)]
        moment: MomentOptions,
    },
    /// Show all fields of one role
    #[command(visible_alias = "get")]
    Show {
        /// The role: its name or id
        role: RoleRef,
        #[command(flatten)]
        moment: MomentOptions,
    },
    /// Create a role
    Create(Create),
    /// Change a role; fields that are not given stay as they are
    Update(Update),
}

#[derive(Args)]
pub(crate) struct Create {
    /// The name, unique
    #[arg(value_parser = |text: &str| RoleName::new(text).map_err(|error| error.to_string()))]
    name: RoleName,
    /// An action that the role permits, such as document:download; repeatable
    #[arg(long = "action", value_name = "ACTION", value_parser = action)]
    actions: Vec<Action>,
    /// An entity type that the role is meant for; repeatable; default: every type
    #[arg(long = "for", value_name = "TYPE", value_parser = EntityTypeParser, hide_possible_values = true)]
    scope_types: Vec<EntityType>,
    /// A description
    #[arg(long, value_name = "TEXT", value_parser = description)]
    description: Option<RoleDescription>,
    /// The condition of an action: ACTION=EXPRESSION, or ACTION= and a whole condition as JSON, or ACTION=@FILE with
    /// that; repeatable
    #[arg(long = "condition", value_name = "ACTION=CONDITION", value_parser = action_condition)]
    conditions: Vec<ActionCondition>,
    /// A parameter of each expression that is given, such as amount=int; repeatable
    #[arg(long = "parameter", value_name = "NAME=TYPE", value_parser = parameter, requires = "conditions")]
    parameters: Vec<Parameter>,
}

#[derive(Args)]
pub(crate) struct Update {
    /// The role: its name or id
    role: RoleRef,
    /// Add an action; repeatable
    #[arg(long, value_name = "ACTION", value_parser = action)]
    add_action: Vec<Action>,
    /// Remove an action; repeatable
    #[arg(long, value_name = "ACTION", value_parser = action)]
    remove_action: Vec<Action>,
    /// The entity types that the role is meant for; they replace the present ones; repeatable
    #[arg(long = "for", value_name = "TYPE", value_parser = EntityTypeParser, hide_possible_values = true)]
    #[arg(conflicts_with = "for_all")]
    scope_types: Vec<EntityType>,
    /// Make the role valid for every entity type
    #[arg(long)]
    for_all: bool,
    /// A description
    #[arg(long, value_name = "TEXT", value_parser = description)]
    description: Option<RoleDescription>,
    /// Set the condition of an action: ACTION=EXPRESSION, or ACTION= and a whole condition as JSON, or ACTION=@FILE
    /// with that; repeatable
    #[arg(long = "condition", value_name = "ACTION=CONDITION", value_parser = action_condition)]
    conditions: Vec<ActionCondition>,
    /// A parameter of each expression that is given, such as amount=int; repeatable
    #[arg(long = "parameter", value_name = "NAME=TYPE", value_parser = parameter, requires = "conditions")]
    parameters: Vec<Parameter>,
    /// Permit an action unconditionally; repeatable
    #[arg(long, value_name = "ACTION", value_parser = action)]
    remove_condition: Vec<Action>,
}

fn action(text: &str) -> Result<Action, String> {
    Action::new(text).map_err(|error| error.to_string())
}

fn description(text: &str) -> Result<RoleDescription, String> {
    RoleDescription::new(text).map_err(|error| error.to_string())
}

pub(crate) async fn run(backend: &Backend, command: &Command, out: &mut Output) -> Outcome {
    match command {
        Command::List { limit, moment } => list(backend, moment.moment(backend.now()), *limit, out).await?,
        Command::Show { role, moment } => {
            show(&role.find_at(backend, moment.moment(backend.now())).await?, out)?;
        }
        Command::Create(create) => {
            let new = NewRole {
                description: create.description.clone(),
                scope_types: distinct(&create.scope_types),
                conditions: read_conditions(&create.conditions, &create.parameters)?,
                ..NewRole::new(create.name.clone()).with_permissions(create.actions.iter().cloned())
            };
            show(&backend.create_role(new).await?, out)?;
        }
        Command::Update(update) => {
            let role = update.role.find(backend).await?;
            let patch = patch(&role, update)?;
            if patch == RolePatch::default() {
                return Err("nothing to change: give --add-action, --remove-action, --for, --for-all, \
                            --condition, --remove-condition or --description"
                    .into());
            }
            backend.warn_if_unpublished();
            show(&backend.update_role(role.id, patch).await?, out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn patch(role: &Role, update: &Update) -> Result<RolePatch, String> {
    let mut patch = RolePatch { description: update.description.clone().map(Some), ..RolePatch::default() };
    if update.for_all {
        patch.scope_types = Some(Vec::new());
    } else if !update.scope_types.is_empty() {
        patch.scope_types = Some(distinct(&update.scope_types));
    }
    if !update.add_action.is_empty() || !update.remove_action.is_empty() {
        let held = role.permissions.iter().map(|text| action(text)).collect::<Result<Vec<_>, _>>()?;
        if let Some(unknown) = update.remove_action.iter().find(|action| !held.contains(action)) {
            return Err(format!("the role does not hold `{unknown}`"));
        }
        let kept = held.into_iter().filter(|action| !update.remove_action.contains(action));
        patch.permissions = Some(kept.chain(update.add_action.iter().cloned()).collect());
    }
    if !update.conditions.is_empty() || !update.remove_condition.is_empty() {
        patch.conditions = Some(changed_conditions(role, update)?);
    }
    Ok(patch)
}

/// The conditions of the role as they are after `update`.
fn changed_conditions(role: &Role, update: &Update) -> Result<BTreeMap<Action, Condition>, String> {
    let mut conditions = BTreeMap::new();
    for (held, condition) in &role.conditions {
        conditions.insert(action(held)?, condition.clone());
    }
    conditions.retain(|action, _| !update.remove_action.contains(action));
    for action in &update.remove_condition {
        if conditions.remove(action).is_none() {
            return Err(format!("`{action}` has no condition"));
        }
    }
    conditions.extend(read_conditions(&update.conditions, &update.parameters)?);
    Ok(conditions)
}

fn read_conditions(given: &[ActionCondition], parameters: &[Parameter]) -> Result<BTreeMap<Action, Condition>, String> {
    let one = |given: &ActionCondition| Ok((given.action.clone(), condition::read(&given.condition, parameters)?));
    given.iter().map(one).collect()
}

fn distinct(types: &[EntityType]) -> Vec<EntityType> {
    let mut kept: Vec<EntityType> = Vec::new();
    for entity_type in types {
        if !kept.contains(entity_type) {
            kept.push(entity_type.clone());
        }
    }
    kept
}

async fn list(
    backend: &Backend,
    moment: Moment,
    limit: Option<usize>,
    out: &mut Output,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut limit = Limit::of(limit);
    let mut written = Ok(());
    let mut show = |role: &Role| {
        if !limit.admits() {
            return false;
        }
        written = row(role, out);
        written.is_ok()
    };
    if moment.is_now() {
        backend.for_each_role(&mut |role| show(&role)).await?;
    } else {
        let mut shown = |row| matches!(row, RegistryRow::Role(role) if show(&role));
        backend.for_each_row_at(RegistryList::Roles, moment, &mut shown).await?;
    }
    written?;
    limit.report(out, "No roles.")?;
    Ok(())
}

/// The role; its permissions; a line for each condition.
pub(crate) fn row(role: &Role, out: &mut Output) -> std::io::Result<()> {
    if out.json {
        return out.object(role);
    }
    out.clipped_line(&format!("{}  {}", role.id, escaped(&role.name)))?;
    out.clipped_line(&format!("  {}", holds(role)))?;
    for (action, condition) in &role.conditions {
        out.clipped_line(&format!("  {} if {}", escaped(action), condition::line(condition)))?;
    }
    Ok(())
}

/// The scope types and permissions of a role, in one line.
pub(crate) fn holds(role: &Role) -> String {
    let actions =
        if role.permissions.is_empty() { "no actions".to_owned() } else { escaped(&role.permissions.join(", ")) };
    match scope(role) {
        Some(types) => format!("for {types}: {actions}"),
        None => actions,
    }
}

fn scope(role: &Role) -> Option<String> {
    let words: Vec<_> = role.scope_types.iter().map(EntityType::word).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn show(role: &Role, out: &mut Output) -> std::io::Result<()> {
    if out.json {
        return out.object(role);
    }
    let mut fields = vec![
        ("id", role.id.to_string()),
        ("name", escaped(&role.name)),
        ("description", role.description.as_deref().map_or_else(|| "none".into(), escaped)),
        ("for", scope(role).unwrap_or_else(|| "every type".into())),
        ("actions", if role.permissions.is_empty() { "none".into() } else { escaped(&role.permissions.join(" ")) }),
    ];
    for (action, condition) in &role.conditions {
        fields.push(("condition", format!("{}: {}", escaped(action), condition::line(condition))));
    }
    if role.is_system {
        fields.push(("system", "yes: the platform depends on it".into()));
    }
    fields.push(("created", role.created_at.to_string()));
    fields.push(("updated", role.updated_at.to_string()));
    out.fields(&fields)
}
