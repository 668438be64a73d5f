//! `bootstrap`, the Lambda function `epr-audit-lambda`: settings, logging, database; then one batch after the other.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::sync::Arc;

use aws_lambda_events::sqs::SqsEvent;
use epr_audit_lambda::Function;
use epr_boot::{logging, stdio};
use epr_core::error::chain;
use epr_core::{Epr, Settings};
use lambda_runtime::{LambdaEvent, service_fn};

fn main() -> ExitCode {
    epr_boot::program::run(lambda)
}

const NAME: &str = "epr-audit-lambda";

const HELP: &str = "\
epr-audit-lambda records the audit events of an SQS queue in the ledger, as a function of AWS Lambda: deploy it as the executable
`bootstrap` of a custom runtime with an event source mapping that reports batch item failures. Everything is set by environment
variables: EPR_DATABASE_URL, EPR_LOG_LEVEL, RUN_MIGRATIONS ... The README lists them all.

  --help     print this
  --version  print the version

Exit codes: 1 it ended, 2 a setting or an argument is wrong or there is no Lambda runtime, 70 an internal error.";

/// Where the function asks for events; Lambda sets it.
const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";

/// What the arguments ask for. Lambda gives none to the executable of an archive, and to that of an image the name of a handler.
fn subcommand(in_lambda: bool) -> Option<ExitCode> {
    let argument = std::env::args_os().nth(1)?;
    let argument = argument.to_string_lossy();
    match argument.as_ref() {
        "--help" | "-h" => Some(stdio::print(NAME, &format!("{HELP}\n"))),
        "--version" | "-V" => Some(stdio::print(NAME, concat!("epr-audit-lambda ", env!("CARGO_PKG_VERSION"), "\n"))),
        handler if in_lambda && !handler.starts_with('-') => None,
        other => {
            stdio::complain(&format!("epr-audit-lambda takes no argument `{other}`; see epr-audit-lambda --help"));
            Some(ExitCode::from(2))
        }
    }
}

fn lambda() -> ExitCode {
    let in_lambda = std::env::var_os(RUNTIME_API).is_some();
    if let Some(code) = subcommand(in_lambda) {
        return code;
    }
    if !in_lambda {
        let sentence = "epr-audit-lambda runs in AWS Lambda; see epr-audit-lambda --help";
        stdio::complain(&format!("{RUNTIME_API} is not set: {sentence}"));
        return ExitCode::from(2);
    }
    let settings = match Settings::from_env() {
        Ok(settings) => settings.without_cache(),
        Err(fault) => {
            stdio::complain(&fault.to_string());
            return ExitCode::from(2);
        }
    };
    logging::install(&settings.logging, &settings.service.name);
    settings.warn_of_unknown_variables();
    // One thread: a function works on one batch at a time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&settings)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            tracing::error!(target: "audit_consumer", error = chain(&*fault), "audit_lambda_ended");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: &Settings) -> Result<(), lambda_runtime::Error> {
    let epr = Epr::from_settings(settings).await?;
    let function = Arc::new(Function::new(epr, settings.database.run_migrations));
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| {
        let function = Arc::clone(&function);
        async move {
            let answer = function.handle(event.payload, event.context.deadline).await;
            // The process is frozen after its answer.
            logging::flush();
            answer.map_err(lambda_runtime::Error::from)
        }
    }))
    .await
}
