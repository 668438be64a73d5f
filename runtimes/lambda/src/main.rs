//! `bootstrap`, the Lambda function `epr-audit-lambda`: settings, logging, database; then one batch after the other.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::sync::Arc;

use aws_lambda_events::sqs::SqsEvent;
use epr_audit_lambda::Function;
use epr_core::error::chain;
use epr_core::{Epr, Settings, logging, stdio};
use lambda_runtime::{LambdaEvent, service_fn};

fn main() -> ExitCode {
    epr_core::program::run(lambda)
}

fn lambda() -> ExitCode {
    let settings = match Settings::from_env() {
        Ok(settings) => settings.without_cache(),
        Err(fault) => {
            stdio::complain(&fault.to_string());
            return ExitCode::from(2);
        }
    };
    logging::install(&settings.logging, &settings.service.name);
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
        async move { function.handle(event.payload, event.context.deadline).await.map_err(lambda_runtime::Error::from) }
    }))
    .await
}
