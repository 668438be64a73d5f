//! `bootstrap`, the Lambda function `epr-audit-lambda`, as a process.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::sync::Arc;

use aws_lambda_events::sqs::SqsEvent;
use epr_audit_lambda::Function;
use epr_boot::{Daemon, Program, Threads, logging, stdio};
use epr_core::{Epr, Settings};
use lambda_runtime::{LambdaEvent, service_fn};

const PROGRAM: Program = Program {
    name: "epr-audit-lambda",
    help: "\
epr-audit-lambda records the audit events of an SQS queue in the ledger, as a function of AWS Lambda: deploy it as the
executable `bootstrap` of a custom runtime with an event source mapping that reports batch item failures. Everything is
set by environment variables: EPR_DATABASE_URL, EPR_LOG_LEVEL, RUN_MIGRATIONS ... docs/SETTINGS.md lists them all.

  --help     print this
  --version  print the version

Exit codes: 1 it ended, 2 a setting or an argument is wrong or there is no Lambda runtime, 70 an internal error.",
};

/// The address that the function asks for events; Lambda sets it.
const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";

fn main() -> ExitCode {
    epr_boot::program::run(program)
}

fn program() -> ExitCode {
    let in_lambda = std::env::var_os(RUNTIME_API).is_some();
    if let Some(code) = run_subcommand(in_lambda) {
        return code;
    }
    if !in_lambda {
        let name = PROGRAM.name;
        return stdio::misconfigured(format_args!(
            "{RUNTIME_API} is not set: {name} runs in AWS Lambda; see {name} --help"
        ));
    }
    match epr_boot::settings() {
        // One thread: a function works on one batch at a time.
        Ok(settings) => Daemon::new(settings.without_cache(), Threads::One)
            .run(run, |error| tracing::error!(target: "audit_consumer", error, "audit_lambda_ended")),
        Err(code) => code,
    }
}

/// Answers the argument, if there is one. Lambda gives none to the executable of an archive, and the name of a handler
/// to that of an image.
fn run_subcommand(in_lambda: bool) -> Option<ExitCode> {
    let argument = std::env::args_os().nth(1)?;
    let argument = argument.to_string_lossy();
    if in_lambda && !argument.starts_with('-') {
        return None;
    }
    Some(PROGRAM.answer(&argument).unwrap_or_else(|| PROGRAM.refuse(&argument)))
}

async fn run(settings: Settings) -> Result<(), lambda_runtime::Error> {
    let epr = Epr::from_settings(&settings).await?;
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
