//! `epr check PRINCIPAL ACTION RESOURCE`

use std::process::ExitCode;

use clap::Args;
use epr_core::decision::{AskedAction, Denial, Question, Reason, Via};
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{Json, JsonObject};
use serde_json::json;
use uuid::Uuid;

use crate::backend::{Backend, BackendError};
use crate::explain;
use crate::moment::MomentOptions;
use crate::output::{Output, escaped, notice};
use crate::reference::EntityRef;
use crate::{EXIT_NO, Outcome};

#[derive(Args)]
#[command(after_help = "The decision is recorded in the ledger, as any other. With --url no reason is printed: \
                        the API returns yes or no. On a terminal the explanation follows, as epr explain prints it; \
                        it is recorded too.")]
pub(crate) struct Check {
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    moment: MomentOptions,
}

/// The question and its context, as arguments.
#[derive(Args)]
pub(crate) struct Asked {
    /// The principal asking for access
    #[arg(value_name = "PRINCIPAL")]
    principal: Uuid,
    /// The action, such as document:download
    #[arg(value_name = "ACTION", value_parser = |text: &str| AskedAction::new(text).map_err(|error| error.to_string()))]
    action: AskedAction,
    /// The entity: its id, or TYPE:NAME
    #[arg(value_name = "RESOURCE")]
    resource: EntityRef,
    /// The type of the principal
    #[arg(long, default_value = "user", value_parser = principal_type)]
    principal_type: PrincipalType,
    /// What conditions can read under `context`: a JSON object, or the name of a file that holds one
    #[arg(long, value_name = "FILE|JSON", value_parser = context)]
    context: Option<Context>,
}

impl Asked {
    pub(crate) async fn question(&self, backend: &Backend) -> Result<Question, BackendError> {
        Ok(Question {
            principal_id: self.principal,
            principal_type: self.principal_type.clone(),
            action: self.action.clone(),
            resource_id: self.resource.id(backend).await?,
        })
    }

    pub(crate) fn context(&self) -> JsonObject {
        self.context.clone().map(|given| given.0).unwrap_or_default()
    }
}

/// The context of a question in an argument.
#[derive(Clone)]
pub(crate) struct Context(pub(crate) JsonObject);

/// Reads a JSON object, or the file that holds one: the name of a file cannot begin with a brace by accident.
pub(crate) fn context(text: &str) -> Result<Context, String> {
    let (origin, bytes) = if text.trim_start().starts_with('{') {
        (String::new(), text.as_bytes().to_vec())
    } else {
        let bytes = std::fs::read(text)
            .map_err(|error| format!("{text}: {error}; give a file, or a JSON object such as {{\"amount\": 9000}}"))?;
        (format!("{text}: "), bytes)
    };
    match Json::parse(&bytes) {
        Ok(Json::Object(members)) => Ok(Context(members)),
        Ok(_) => Err(format!("{origin}give a JSON object such as {{\"amount\": 9000}}")),
        Err(error) => Err(format!("{origin}{error}")),
    }
}

pub(crate) fn principal_type(text: &str) -> Result<PrincipalType, String> {
    PrincipalType::new(text).map_err(|error| error.to_string())
}

pub(crate) async fn run(backend: &Backend, command: &Check, out: &mut Output) -> Outcome {
    let (question, context) = (command.asked.question(backend).await?, command.asked.context());
    let moment = command.moment.moment(backend.now());
    let answer = backend.check(&question, &context, moment).await?;
    if out.json {
        out.object(&json!({"allowed": answer.allowed, "reason": answer.reason}))?;
    } else {
        let word = if answer.allowed { Output::good("ALLOWED") } else { Output::bad("DENIED") };
        out.line(format_args!("{word}"))?;
        match answer.reason {
            Some(Reason::Granted { assignment_id, role_id, via }) => {
                let role = backend.role(role_id).await.map_or_else(|_| role_id.to_string(), |role| escaped(&role.name));
                let reach = match via {
                    Via::Direct => "the assignment is on the entity itself",
                    Via::Inherited => "the assignment is on an ancestor of the entity",
                    Via::Global => "the assignment is global",
                };
                out.fields(&[("assignment", assignment_id.to_string()), ("role", role), ("reason", reach.to_owned())])?;
            }
            Some(Reason::Denied(denial)) => out.fields(&[("reason", sentence(denial).to_owned())])?,
            None => {}
        }
        // Programs read the lines above; a person on a terminal also sees what they rest on.
        if Output::is_terminal() {
            match backend.explain(&question, &context, moment).await {
                Ok(explanation) => explain::show(&question, &explanation, out)?,
                Err(error) => notice(&format!("no explanation: {error}")),
            }
        }
    }
    Ok(if answer.allowed { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

/// The reason of a denial, as a sentence.
fn sentence(denial: Denial) -> &'static str {
    match denial {
        Denial::NoAssignment => "the principal holds no role on the entity, on an ancestor, or globally",
        Denial::ActionNotHeld => "no role that the principal holds there has the action",
        Denial::TypeOutOfScope => "the role with the action is not meant for entities of this type",
        Denial::Expired => "the assignment that would allow it has expired",
        Denial::NotYetInForce => "the assignment that would allow it is not in force yet",
        Denial::ConditionError => "the assignment that would allow it has a condition that cannot be evaluated",
        Denial::ConditionNotMet => "the assignment that would allow it has a condition that is not met",
        Denial::ContextMissing => "the assignment that would allow it has a condition on something that is missing",
        Denial::PrincipalSuspended => "the principal is suspended",
    }
}
