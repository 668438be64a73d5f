//! `epr roles …`

use std::process::ExitCode;

use clap::{Args, Subcommand};
use epr_core::domain::fields::Choice as _;
use epr_core::domain::role::{Action, RoleDescription, RoleName};
use epr_core::domain::{EntityType, NewRole, Role, RolePatch};

use crate::Outcome;
use crate::backend::Backend;
use crate::entities::{Limit, choice};
use crate::output::{Output, visible};
use crate::reference::RoleRef;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// All of them, newest first
    List {
        /// At most this many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// One with all its fields
    Show {
        /// Its id or its name
        role: RoleRef,
    },
    /// Make a new one
    Create(Create),
    /// Change one; what is not given stays as it is
    Update(Update),
}

#[derive(Args)]
pub(crate) struct Create {
    /// Its name, unique
    #[arg(value_parser = |text: &str| RoleName::new(text).map_err(|fault| fault.to_string()))]
    name: RoleName,
    /// An action that it holds, such as document:download; may be given more than once
    #[arg(long = "action", value_name = "ACTION", value_parser = action)]
    actions: Vec<Action>,
    /// A type of entity that it is meant for; may be given more than once; without it, all
    #[arg(long = "for", value_name = "TYPE", value_parser = choice::<EntityType>())]
    scope_types: Vec<EntityType>,
    /// What it is for
    #[arg(long, value_name = "TEXT", value_parser = description)]
    description: Option<RoleDescription>,
}

#[derive(Args)]
pub(crate) struct Update {
    /// Its id or its name
    role: RoleRef,
    /// An action that it is to hold besides
    #[arg(long, value_name = "ACTION", value_parser = action)]
    add_action: Vec<Action>,
    /// An action that it is not to hold any more
    #[arg(long, value_name = "ACTION", value_parser = action)]
    remove_action: Vec<Action>,
    /// The types of entities that it is meant for from now on
    #[arg(long = "for", value_name = "TYPE", value_parser = choice::<EntityType>(), conflicts_with = "for_all")]
    scope_types: Vec<EntityType>,
    /// It is meant for entities of every type from now on
    #[arg(long)]
    for_all: bool,
    /// What it is for
    #[arg(long, value_name = "TEXT", value_parser = description)]
    description: Option<RoleDescription>,
}

fn action(text: &str) -> Result<Action, String> {
    Action::new(text).map_err(|fault| fault.to_string())
}

fn description(text: &str) -> Result<RoleDescription, String> {
    RoleDescription::new(text).map_err(|fault| fault.to_string())
}

pub(crate) async fn run(backend: &Backend, command: &Command, out: &mut Output) -> Outcome {
    match command {
        Command::List { limit } => list(backend, *limit, out).await?,
        Command::Show { role } => show(&role.find(backend).await?, out)?,
        Command::Create(create) => {
            let new = NewRole {
                description: create.description.clone(),
                scope_types: distinct(&create.scope_types),
                ..NewRole::new(create.name.clone(), create.actions.iter().cloned())
            };
            show(&backend.create_role(new).await?, out)?;
        }
        Command::Update(update) => {
            let role = update.role.find(backend).await?;
            let patch = patch(&role, update)?;
            if patch == RolePatch::default() {
                return Err("nothing to change: give --add-action, --remove-action, --for, --for-all or \
                            --description"
                    .into());
            }
            backend.remark_if_untold();
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
    Ok(patch)
}

fn distinct(types: &[EntityType]) -> Vec<EntityType> {
    let mut kept: Vec<EntityType> = Vec::new();
    for entity_type in types {
        if !kept.contains(entity_type) {
            kept.push(*entity_type);
        }
    }
    kept
}

async fn list(backend: &Backend, limit: Option<usize>, out: &mut Output) -> Result<(), Box<dyn std::error::Error>> {
    let mut limit = Limit::of(limit);
    let mut written = Ok(());
    backend
        .each_role(&mut |role| {
            if !limit.admits() {
                return false;
            }
            written = row(&role, out);
            written.is_ok()
        })
        .await?;
    written?;
    limit.remark(out, "No roles.")?;
    Ok(())
}

/// Two lines: who it is, what it may.
pub(crate) fn row(role: &Role, out: &mut Output) -> std::io::Result<()> {
    if out.json {
        return out.object(role);
    }
    out.fitted(&format!("{}  {}", role.id, visible(&role.name)))?;
    out.fitted(&format!("  {}", holds(role)))
}

/// What a role holds, in one line.
pub(crate) fn holds(role: &Role) -> String {
    let actions =
        if role.permissions.is_empty() { "no actions".to_owned() } else { visible(&role.permissions.join(", ")) };
    match scope(role) {
        Some(types) => format!("for {types}: {actions}"),
        None => actions,
    }
}

fn scope(role: &Role) -> Option<String> {
    let words: Vec<_> = role.scope_types.iter().map(|entity_type| entity_type.word()).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn show(role: &Role, out: &mut Output) -> std::io::Result<()> {
    if out.json {
        return out.object(role);
    }
    let mut fields = vec![
        ("id", role.id.to_string()),
        ("name", visible(&role.name)),
        ("description", role.description.as_deref().map_or_else(|| "none".into(), visible)),
        ("for", scope(role).unwrap_or_else(|| "every type".into())),
        ("actions", if role.permissions.is_empty() { "none".into() } else { visible(&role.permissions.join(" ")) }),
    ];
    if role.is_system {
        fields.push(("system", "yes: the platform itself depends on it".into()));
    }
    fields.push(("created", role.created_at.to_string()));
    fields.push(("updated", role.updated_at.to_string()));
    out.fields(&fields)
}
