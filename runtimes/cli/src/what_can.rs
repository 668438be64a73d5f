//! `epr what-can PRINCIPAL [ACTION]`: everything that a principal may do.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use epr_core::domain::access::{ActionsRequest, ListForm, ListedAction, ResourcesRequest};
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::principal::PrincipalStatus;
use epr_core::domain::{AssignmentFilter, EntityType};
use uuid::Uuid;

use crate::Outcome;
use crate::access_options::{ListOptions, action, notice_unknown_action, report, report_several};
use crate::access_rows::{ActionRow, PermittedRow, ResourceRow};
use crate::backend::access::AccessQuestion;
use crate::backend::{Backend, BackendError};
use crate::check::principal_type;
use crate::entities::{EntityTypeParser, choice};
use crate::output::{Output, count, notice};
use crate::reference::EntityRef;
use crate::rows::{RowFormat, Rows};
use crate::subtree_rows::SubtreeRow;

const NO_ENTITIES: &str = "No entities.";
const MORE: &str = "More exist: raise --limit to see them.";

#[derive(Args)]
#[command(after_help = "\
epr what-can PRINCIPAL                 every action of its roles, with the entities on which it may do it
epr what-can PRINCIPAL ACTION          the entities on which the principal may do it
epr what-can PRINCIPAL --on RESOURCE   the actions that it may do there

The items are exactly those for which `epr check` says yes, each with an assignment that allows it. The list is \
recorded in the ledger: the question, not the items. With --url, the token needs the scope epr:list, and epr:read \
when neither ACTION nor --on is given.")]
pub(crate) struct WhatCan {
    /// The principal
    #[arg(value_name = "PRINCIPAL")]
    principal: Uuid,
    /// The action, such as document:download; default: every action of the principal's roles
    #[arg(value_name = "ACTION", value_parser = action)]
    action: Option<ListedAction>,
    /// List the actions on this entity: its id, or TYPE:NAME
    #[arg(long, value_name = "RESOURCE")]
    on: Option<EntityRef>,
    /// The type of the principal
    #[arg(long, visible_alias = "type", default_value = "user", value_name = "TYPE", value_parser = principal_type)]
    principal_type: PrincipalType,
    /// Only entities of this type
    #[arg(long, value_name = "TYPE", value_parser = EntityTypeParser, hide_possible_values = true)]
    #[arg(conflicts_with = "on")]
    resource_type: Option<EntityType>,
    /// Only entities below this one: its id, or TYPE:NAME
    #[arg(long, value_name = "ENTITY", conflicts_with = "on")]
    within: Option<EntityRef>,
    /// The form of the entities: items (each of them), or subtrees (roots and exclusions)
    #[arg(long, value_name = "FORM", value_parser = choice::<ListForm>(), hide_possible_values = true)]
    #[arg(default_value = "items", conflicts_with = "on")]
    form: ListForm,
    #[command(flatten)]
    options: ListOptions,
}

pub(crate) async fn run(backend: &Backend, command: &WhatCan, out: &mut Output) -> Outcome {
    match (&command.action, &command.on) {
        (Some(action), Some(_)) => Err(format!(
            "whether one principal may do one action on one entity is a check: epr check {} {action} RESOURCE",
            command.principal
        )
        .into()),
        (Some(action), None) if command.form == ListForm::Subtrees => {
            subtrees(backend, command, std::slice::from_ref(action), out).await
        }
        (Some(action), None) => resources(backend, command, action, out).await,
        (None, Some(on)) => actions(backend, command, on, out).await,
        (None, None) => {
            let held = held_actions(backend, command).await?;
            match command.form {
                ListForm::Items => permitted(backend, command, &held, out).await,
                ListForm::Subtrees => subtrees(backend, command, &held, out).await,
            }
        }
    }
}

/// The request for the entities on which the principal may do `action`.
async fn request(
    backend: &Backend,
    command: &WhatCan,
    action: &ListedAction,
) -> Result<ResourcesRequest, BackendError> {
    let within = match &command.within {
        Some(within) => Some(within.id(backend).await?),
        None => None,
    };
    Ok(ResourcesRequest {
        principal_id: command.principal,
        principal_type: command.principal_type.clone(),
        action: action.clone(),
        resource_type: command.resource_type.clone(),
        within,
        form: command.form,
        list: command.options.request(backend.now()),
    })
}

/// The actions of the roles that the principal has been assigned, in the order of their text.
async fn held_actions(backend: &Backend, command: &WhatCan) -> Result<Vec<ListedAction>, Box<dyn std::error::Error>> {
    if !command.options.moment(backend.now()).is_now() {
        return Err("name the action: assignments of the past cannot be listed".into());
    }
    let filter = AssignmentFilter {
        principal_id: Some(command.principal),
        principal_type: Some(command.principal_type.clone()),
        ..AssignmentFilter::default()
    };
    let mut roles = BTreeSet::new();
    backend
        .for_each_assignment(filter, &mut |assignment| {
            roles.insert(assignment.role_id);
            true
        })
        .await?;
    let mut actions = BTreeSet::new();
    for role in roles {
        actions.extend(backend.role(role).await?.permissions);
    }
    Ok(actions.into_iter().map(ListedAction::new).collect::<Result<_, _>>()?)
}

/// Lists the roots of the subtrees for each action.
async fn subtrees(backend: &Backend, command: &WhatCan, actions: &[ListedAction], out: &mut Output) -> Outcome {
    let format = command.options.format(out)?;
    let mut rows = Rows::new(out, format, command.options.limit);
    let mut states = Vec::new();
    for (done, action) in actions.iter().enumerate() {
        rows.walked(done, actions.len());
        let request = request(backend, command, action).await?;
        let mut goes_on = true;
        let state = backend
            .for_each_subtree(request, &mut |item| {
                goes_on = rows.add(&SubtreeRow { action: action.to_string(), item });
                goes_on
            })
            .await?;
        states.push(state);
        if !goes_on {
            break;
        }
    }
    let finished = rows.finish::<SubtreeRow>(NO_ENTITIES, MORE)?;
    if finished.rows == 0 {
        notice_suspension(backend, command, format).await;
        if let Some(action) = &command.action {
            notice_unknown_action(backend, action, format).await;
        }
    } else {
        report_several(finished, &count(finished.rows, "subtree", "subtrees"), &states, format);
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists the entities for each action.
async fn permitted(backend: &Backend, command: &WhatCan, actions: &[ListedAction], out: &mut Output) -> Outcome {
    let format = command.options.format(out)?;
    let mut rows = Rows::new(out, format, command.options.limit);
    let mut states = Vec::new();
    for (done, action) in actions.iter().enumerate() {
        rows.walked(done, actions.len());
        let question = AccessQuestion::Resources(request(backend, command, action).await?);
        let mut goes_on = true;
        let wanted = rows.wanted();
        let state = backend
            .for_each_item(question, wanted, &mut |item| {
                goes_on = rows.add(&PermittedRow { action: action.to_string(), item });
                goes_on
            })
            .await?;
        states.push(state);
        if !goes_on {
            break;
        }
    }
    let finished = rows.finish::<PermittedRow>(NO_ENTITIES, MORE)?;
    if finished.rows == 0 {
        notice_suspension(backend, command, format).await;
    } else {
        report_several(finished, &count(finished.rows, "row", "rows"), &states, format);
    }
    Ok(ExitCode::SUCCESS)
}

async fn resources(backend: &Backend, command: &WhatCan, action: &ListedAction, out: &mut Output) -> Outcome {
    let format = command.options.format(out)?;
    let request = request(backend, command, action).await?;
    let mut rows = Rows::new(out, format, command.options.limit);
    let wanted = rows.wanted();
    let question = AccessQuestion::Resources(request);
    let state = backend.for_each_item(question, wanted, &mut |item| rows.add(&ResourceRow(item))).await?;
    let finished = rows.finish::<ResourceRow>(NO_ENTITIES, MORE)?;
    if finished.rows == 0 {
        notice_suspension(backend, command, format).await;
        notice_unknown_action(backend, action, format).await;
    } else {
        report(finished, &count(finished.rows, "entity", "entities"), &state, format);
    }
    Ok(ExitCode::SUCCESS)
}

async fn actions(backend: &Backend, command: &WhatCan, on: &EntityRef, out: &mut Output) -> Outcome {
    let format = command.options.format(out)?;
    let request = ActionsRequest {
        principal_id: command.principal,
        principal_type: command.principal_type.clone(),
        resource_id: on.id(backend).await?,
        list: command.options.request(backend.now()),
    };
    let mut rows = Rows::new(out, format, command.options.limit);
    let wanted = rows.wanted();
    let question = AccessQuestion::Actions(request);
    let state = backend.for_each_item(question, wanted, &mut |item| rows.add(&ActionRow(item))).await?;
    let finished = rows.finish::<ActionRow>("No actions.", MORE)?;
    if finished.rows == 0 {
        notice_suspension(backend, command, format).await;
    } else {
        report(finished, &count(finished.rows, "action", "actions"), &state, format);
    }
    Ok(ExitCode::SUCCESS)
}

/// Says that the principal of an empty list is suspended. A token may not be allowed to know.
async fn notice_suspension(backend: &Backend, command: &WhatCan, format: RowFormat) {
    let found = backend.principal_if_any(&command.principal_type, command.principal).await;
    if let (Ok(Some(principal)), true) = (found, format != RowFormat::Json)
        && principal.status == PrincipalStatus::Suspended
    {
        notice("The principal is suspended: it is denied everything.");
    }
}
