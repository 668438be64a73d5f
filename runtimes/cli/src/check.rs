//! `epr check PRINCIPAL ACTION RESOURCE`

use std::process::ExitCode;

use clap::Args;
use epr_core::decision::{AskedAction, Question, Reason, Via};
use epr_core::domain::assignment::PrincipalType;
use serde_json::json;
use uuid::Uuid;

use crate::backend::Backend;
use crate::output::{Output, visible};
use crate::reference::EntityRef;
use crate::{NO, Outcome};

#[derive(Args)]
#[command(after_help = "The question is recorded in the ledger as any other is. With --url there is no reason: \
                        the API answers yes or no.")]
pub(crate) struct Check {
    /// Who wants to do it
    #[arg(value_name = "PRINCIPAL")]
    principal: Uuid,
    /// What, such as document:download
    #[arg(value_name = "ACTION", value_parser = |text: &str| AskedAction::new(text).map_err(|fault| fault.to_string()))]
    action: AskedAction,
    /// To which entity: its id, or TYPE:NAME
    #[arg(value_name = "RESOURCE")]
    resource: EntityRef,
    /// What kind of principal it is
    #[arg(long, default_value = "user", value_parser = principal_type)]
    principal_type: PrincipalType,
}

pub(crate) fn principal_type(text: &str) -> Result<PrincipalType, String> {
    PrincipalType::new(text).map_err(|fault| fault.to_string())
}

pub(crate) async fn run(backend: &Backend, command: &Check, out: &mut Output) -> Outcome {
    let question = Question {
        principal_id: command.principal,
        principal_type: command.principal_type.clone(),
        action: command.action.clone(),
        resource_id: command.resource.id(backend).await?,
    };
    let answer = backend.check(&question).await?;
    if out.json {
        out.object(&json!({"allowed": answer.allowed, "reason": answer.reason}))?;
    } else {
        let word = if answer.allowed { Output::good("ALLOWED") } else { Output::bad("DENIED") };
        out.line(format_args!("{word}"))?;
        match answer.reason {
            Some(Reason::Granted { assignment_id, role_id, via }) => {
                let role = backend.role(role_id).await.map_or_else(|_| role_id.to_string(), |role| visible(&role.name));
                let reach = match via {
                    Via::Direct => "it sits on the entity itself",
                    Via::Inherited => "it sits on an entity above",
                    Via::Global => "it counts everywhere",
                };
                out.fields(&[
                    ("by assignment", assignment_id.to_string()),
                    ("of the role", role),
                    ("because", reach.to_owned()),
                ])?;
            }
            Some(reason) => out.fields(&[("because", denial(reason).to_owned())])?,
            None => {}
        }
    }
    Ok(if answer.allowed { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

/// The nearest miss.
fn denial(reason: Reason) -> &'static str {
    match reason {
        Reason::NoAssignment => "it holds no role on the entity, above it, or everywhere",
        Reason::ActionNotHeld => "no role that it holds there has the action",
        Reason::TypeOutOfScope => "the role that has the action does not count for entities of this type",
        Reason::Expired => "the assignment that would allow it has ended",
        Reason::NotYetInForce => "the assignment that would allow it has not begun",
        Reason::Granted { .. } => "it is allowed",
    }
}
