//! `bootstrap`, the Lambda function `epr-api-lambda`, as a process.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::sync::Arc;

use epr_api_lambda::Function;
use epr_boot::{Daemon, Program, Threads, function, logging};
use epr_core::Settings;
use epr_core::error::chain;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use tracing::error;

const PROGRAM: Program = Program {
    name: "epr-api-lambda",
    help: "\
epr-api-lambda serves the EPR HTTP API as a function of AWS Lambda, behind an HTTP API of API Gateway or a function URL:
deploy it as the executable `bootstrap` of a custom runtime. A scheduled event makes it do what epr-api does in the
background. Everything is set by environment variables: EPR_DATABASE_URL, EPR_LOG_LEVEL, RUN_MIGRATIONS ...
docs/SETTINGS.md lists them all. Decisions are not cached, whatever EPR_DECISION_CACHE and EPR_GRAPH say.

  --help     print this
  --version  print the version

Exit codes: 1 it ended, 2 a setting or an argument is wrong or there is no Lambda runtime, 70 an internal error.",
};

fn main() -> ExitCode {
    epr_boot::program::run(|| function::run(&PROGRAM, start))
}

fn start() -> ExitCode {
    match epr_boot::settings() {
        // One thread: a function answers one request at a time.
        Ok(settings) => Daemon::new(settings, Threads::One).run(run, |error| error!(error, "function_ended")),
        Err(code) => code,
    }
}

async fn run(settings: Settings) -> Result<(), lambda_runtime::Error> {
    let function = Arc::new(Function::new(&settings).await?);
    Box::pin(function.warm_up()).await;
    // The process may be frozen until its first request.
    logging::flush();
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let function = Arc::clone(&function);
        async move {
            let context = event.context;
            let answer = Box::pin(function.handle(event.payload, &context.request_id, context.deadline)).await;
            if let Err(error) = &answer {
                error!(error = chain(error), "invocation_failed");
            }
            // The process is frozen after its answer.
            logging::flush();
            answer.map_err(lambda_runtime::Error::from)
        }
    }))
    .await
}
