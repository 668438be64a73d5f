//! `epr who-can ACTION RESOURCE`: every principal that may do an action on an entity.

use std::process::ExitCode;

use clap::Args;
use epr_core::domain::access::{ListedAction, PrincipalsRequest};
use epr_core::domain::assignment::PrincipalType;

use crate::Outcome;
use crate::access_options::{ListOptions, action, notice_unknown_action, report};
use crate::access_rows::PrincipalRow;
use crate::backend::Backend;
use crate::backend::access::AccessQuestion;
use crate::check::principal_type;
use crate::output::{Output, count};
use crate::reference::EntityRef;
use crate::rows::Rows;

#[derive(Args)]
#[command(
    after_help = "The principals are exactly those for which `epr check` says yes, each with an assignment that \
                        allows it. The list is recorded in the ledger: the question, not the items. With --url, the \
                        token needs the scope epr:list."
)]
pub(crate) struct WhoCan {
    /// The action, such as document:download
    #[arg(value_name = "ACTION", value_parser = action)]
    action: ListedAction,
    /// The entity: its id, or TYPE:NAME
    #[arg(value_name = "RESOURCE")]
    resource: EntityRef,
    /// Only principals of this type
    #[arg(long, visible_alias = "type", value_name = "TYPE", value_parser = principal_type)]
    principal_type: Option<PrincipalType>,
    #[command(flatten)]
    options: ListOptions,
}

pub(crate) async fn run(backend: &Backend, command: &WhoCan, out: &mut Output) -> Outcome {
    let format = command.options.format(out)?;
    let resource_id = command.resource.id(backend).await?;
    let request = PrincipalsRequest {
        action: command.action.clone(),
        resource_id,
        principal_type: command.principal_type.clone(),
        list: command.options.request(backend.now()),
    };
    let mut rows = Rows::new(out, format, command.options.limit);
    let wanted = rows.wanted();
    let question = AccessQuestion::Principals(request);
    let state = backend.for_each_item(question, wanted, &mut |item| rows.add(&PrincipalRow(item))).await?;
    let finished = rows.finish::<PrincipalRow>("No principals.", "More exist: raise --limit to see them.")?;
    if finished.rows == 0 {
        notice_unknown_action(backend, &command.action, format).await;
    } else {
        report(finished, &count(finished.rows, "principal", "principals"), &state, format);
    }
    Ok(ExitCode::SUCCESS)
}
