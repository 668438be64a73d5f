//! `bootstrap`, the Lambda function `epr-audit-lambda`, as a process.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::sync::Arc;

use aws_lambda_events::sqs::SqsEvent;
use epr_audit_lambda::Function;
use epr_boot::{Daemon, Program, Threads, function, logging};
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

fn main() -> ExitCode {
    epr_boot::program::run(|| function::run(&PROGRAM, start))
}

fn start() -> ExitCode {
    match epr_boot::settings() {
        // One thread: a function works on one batch at a time.
        Ok(settings) => Daemon::new(settings.without_cache(), Threads::One)
            .run(run, |error| tracing::error!(target: "audit_consumer", error, "audit_lambda_ended")),
        Err(code) => code,
    }
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
