//! `epr`: the operator's command. On the database it reads the environment of the service; with `--url` it speaks to a
//! running API.
//!
//! Owns arguments, exit codes and what is printed. Must hold no rule of the registry: those are in `epr-core`. Must
//! never print by the macros of the standard library, which panic where the output cannot be written.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod assignments;
mod audit;
mod backend;
mod check;
mod completions;
mod connect;
mod doctor;
mod entities;
mod events;
mod grants;
mod ledger;
mod migrate;
mod output;
mod reference;
mod rejections;
mod report;
mod roles;
mod seed;
mod takeover;
mod token;
mod transfer;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use epr_boot::stdio;
use epr_core::Error;
use epr_core::error::chain;

use backend::Fault;
use connect::{Connection, Global};
use output::Output;

/// The command did its work, and the answer is no.
const NO: u8 = 1;
/// The command could not do its work: exit code 2, as for wrong arguments.
const COULD_NOT: u8 = 2;

const AFTER: &str = "\
Exit codes:
  0  done; the answer is yes (allowed, the chain holds, nothing is wrong)
  1  done; the answer is no (denied, chain broken, something wrong)
  2  could not: wrong arguments, unknown ids, no database, no API, an output that cannot be written
  70 internal error: report it; the question is not answered

With --json, a list is one JSON object a line and anything else one JSON object.
Settings come from the environment or a file .env; `epr doctor` shows them.
EPR_ACTOR_ID and EPR_API_TOKEN stand for --actor and --token-file.";

#[derive(Parser)]
#[command(name = "epr", version, about = "Looks after EPR: the registry, its ledger and its events.", after_help = AFTER)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring the database schema up to date (safe while others do the same), or go back to the older service
    Migrate(migrate::Migrate),
    /// Look at settings, database, topic, queue and cache: what works, what does not, what to do
    Doctor,
    /// Fill in a small demo world and show calls to try on it
    Seed(seed::Seed),
    /// Ask whether a principal may do something; exit code 0 allowed, 1 denied, 2 could not look
    Check(check::Check),
    /// Issuers, SPVs, offerings, investors, agents
    #[command(subcommand)]
    Entities(entities::Command),
    /// Roles and the actions they hold
    #[command(subcommand)]
    Roles(roles::Command),
    /// Who holds which role where
    #[command(subcommand)]
    Assignments(assignments::Command),
    /// Write roles and assignments to a file
    Export(transfer::export::Export),
    /// Bring in roles and assignments from a file
    Import(transfer::import::Import),
    /// What should be looked at now and then
    #[command(subcommand)]
    Report(report::Command),
    /// The audit ledger: verify it, export it
    #[command(subcommand)]
    Audit(audit::Command),
    /// Repair of the ledger
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Events on their way to other services
    #[command(subcommand)]
    Events(events::Command),
    /// Print the privileges of a PostgreSQL role that does not own the tables
    Grants(grants::Grants),
    /// API tokens of callers
    #[command(subcommand)]
    Token(token::Command),
    /// Write a completion script for a shell
    Completions(completions::Completions),
}

fn main() -> ExitCode {
    epr_boot::program::run(command)
}

fn command() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(asked) => return help_or_usage(&asked),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|failure| format!("the runtime does not start: {failure}").into());
    let outcome = runtime.and_then(|runtime| runtime.block_on(run(&arguments)));
    outcome.unwrap_or_else(|failure| match failure.downcast_ref::<std::io::Error>() {
        // Every command names its files in a sentence of its own: what is left is standard output.
        Some(failure) => stdio::output_failed("epr", failure),
        None => {
            stdio::complain(&format!("epr: {}", sentence(&*failure)));
            ExitCode::from(COULD_NOT)
        }
    })
}

/// Prints what `--help` and `--version` ask for, or what is wrong with the arguments.
fn help_or_usage(asked: &clap::Error) -> ExitCode {
    let printed = asked.print().and_then(|()| std::io::stdout().flush());
    match printed {
        Err(failure) if !asked.use_stderr() => stdio::output_failed("epr", &failure),
        _ => ExitCode::from(u8::try_from(asked.exit_code()).unwrap_or(COULD_NOT)),
    }
}

/// A fault with its cause: the public sentence alone says nothing to whoever sits in front of the machine.
fn sentence(fault: &(dyn std::error::Error + 'static)) -> String {
    let core = match fault.downcast_ref::<Fault>() {
        Some(Fault::Core(fault)) => Some(fault),
        _ => fault.downcast_ref::<Error>(),
    };
    let text = match core {
        Some(Error::Internal(cause) | Error::Unavailable(cause)) => chain(cause),
        Some(Error::Invalid(invalid)) => output::faults(invalid),
        _ => chain(fault),
    };
    output::visible(&text)
}

type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

async fn run(arguments: &Arguments) -> Outcome {
    let Arguments { global, command } = arguments;
    let mut out = Output::new(global.json);
    match command {
        // These need no service.
        Command::Completions(command) => return command.run(&mut out),
        Command::Token(command) => return token::run(command, &mut out),
        Command::Grants(command) => return grants::run(command, &mut out),
        Command::Doctor => {
            global.database_only("doctor")?;
            return doctor::run(&mut out).await;
        }
        _ => {}
    }
    let connection = Connection::open(global, matches!(command, Command::Migrate(_))).await?;
    let outcome = match command {
        Command::Migrate(command) => command.run(connection.database("migrate")?, &mut out).await,
        Command::Audit(command) => audit::run(connection.database("audit")?, command, &mut out).await,
        Command::Ledger(command) => {
            let (epr, call) = connection.database_and_call("ledger")?;
            ledger::run(epr, call, command, &mut out).await
        }
        Command::Events(command) => events::run(connection.database("events")?, command, &mut out).await,
        Command::Report(command) => report::run(connection.database("report")?, command, &mut out).await,
        Command::Seed(command) => seed::run(&connection, command, &mut out).await,
        Command::Check(command) => check::run(&connection.backend, command, &mut out).await,
        Command::Entities(command) => entities::run(&connection.backend, command, &mut out).await,
        Command::Roles(command) => roles::run(&connection.backend, command, &mut out).await,
        Command::Assignments(command) => assignments::run(&connection.backend, command, &mut out).await,
        Command::Export(command) => command.run(&connection.backend, &mut out).await,
        Command::Import(command) => command.run(&connection.backend, &mut out).await,
        Command::Doctor | Command::Completions(_) | Command::Grants(_) | Command::Token(_) => Ok(ExitCode::SUCCESS),
    };
    connection.close().await;
    let outcome = outcome?;
    out.flush()?;
    Ok(outcome)
}
