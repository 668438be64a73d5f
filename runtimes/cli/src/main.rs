//! `epr`: the operator's command. Reads the same environment as the service.

mod audit;
mod events;
mod migrate;
mod rejections;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use epr_core::error::chain;
use epr_core::{Epr, Error, Settings};

/// The command could not do its work: exit code 2, as for wrong arguments.
const COULD_NOT: u8 = 2;

#[derive(Parser)]
#[command(
    name = "epr",
    version,
    about = "Looks after an EPR database. Reads EPR_DATABASE_URL and the rest from the environment or a .env file."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring the database schema up to date (safe while others do the same)
    Migrate,
    /// The audit ledger: verify it, export it
    #[command(subcommand)]
    Audit(audit::Command),
    /// Events on their way to other services
    #[command(subcommand)]
    Events(events::Command),
    /// API tokens of callers
    #[command(subcommand)]
    Token(token::Command),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Command::Token(command) => token::run(command),
        command => with_settings(command),
    };
    outcome.unwrap_or_else(|fault| {
        // The public sentence of a fault on this side says nothing to whoever sits in front of the machine.
        let cause = match fault.downcast_ref::<Error>() {
            Some(Error::Internal(cause) | Error::Unavailable(cause)) => chain(cause),
            _ => chain(&*fault),
        };
        eprintln!("epr: {cause}");
        ExitCode::from(COULD_NOT)
    })
}

type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

fn with_settings(command: &Command) -> Outcome {
    Settings::from_env().map_err(Into::into).and_then(|settings| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(command, &settings))
    })
}

async fn run(command: &Command, settings: &Settings) -> Outcome {
    let epr = Epr::from_settings(settings).await?;
    let outcome = match command {
        Command::Migrate => migrate::run(&epr).await,
        Command::Audit(command) => audit::run(&epr, command).await,
        Command::Events(command) => events::run(&epr, command).await,
        // Needs no service.
        Command::Token(command) => token::run(command),
    };
    epr.close().await;
    outcome
}
