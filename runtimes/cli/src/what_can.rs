//! `epr what-can PRINCIPAL [ACTION]`: everything that a principal may do.

use std::process::ExitCode;

use clap::Args;
use epr_core::domain::EntityType;
use epr_core::domain::access::{ActionsRequest, ListForm, ListedAction, ResourcesRequest};
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::principal::PrincipalStatus;
use uuid::Uuid;

use crate::Outcome;
use crate::access_options::{ListOptions, action, notice_unknown_action, report};
use crate::access_rows::{ActionRow, ResourceRow};
use crate::backend::Backend;
use crate::backend::access::AccessQuestion;
use crate::check::principal_type;
use crate::entities::EntityTypeParser;
use crate::output::{Output, count, notice};
use crate::reference::EntityRef;
use crate::rows::{RowFormat, Rows};

#[derive(Args)]
#[command(after_help = "\
epr what-can PRINCIPAL ACTION          the entities on which the principal may do it
epr what-can PRINCIPAL --on RESOURCE   the actions that it may do there

The items are exactly those for which `epr check` says yes, each with an assignment that allows it. The list is \
recorded in the ledger: the question, not the items. With --url, the token needs the scope epr:list.")]
pub(crate) struct WhatCan {
    /// The principal
    #[arg(value_name = "PRINCIPAL")]
    principal: Uuid,
    /// The action, such as document:download
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
        (Some(action), None) => resources(backend, command, action, out).await,
        (None, Some(on)) => actions(backend, command, on, out).await,
        (None, None) => Err("give the action, or --on RESOURCE".into()),
    }
}

async fn resources(backend: &Backend, command: &WhatCan, action: &ListedAction, out: &mut Output) -> Outcome {
    let format = command.options.format(out)?;
    let within = match &command.within {
        Some(within) => Some(within.id(backend).await?),
        None => None,
    };
    let request = ResourcesRequest {
        principal_id: command.principal,
        principal_type: command.principal_type.clone(),
        action: action.clone(),
        resource_type: command.resource_type.clone(),
        within,
        form: ListForm::Items,
        list: command.options.request(),
    };
    let mut rows = Rows::new(out, format, command.options.limit);
    let wanted = rows.wanted();
    let question = AccessQuestion::Resources(request);
    let state = backend.for_each_item(question, wanted, &mut |item| rows.add(&ResourceRow(item))).await?;
    let finished = rows.finish::<ResourceRow>("No entities.", "More exist: raise --limit to see them.")?;
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
        list: command.options.request(),
    };
    let mut rows = Rows::new(out, format, command.options.limit);
    let wanted = rows.wanted();
    let question = AccessQuestion::Actions(request);
    let state = backend.for_each_item(question, wanted, &mut |item| rows.add(&ActionRow(item))).await?;
    let finished = rows.finish::<ActionRow>("No actions.", "More exist: raise --limit to see them.")?;
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
