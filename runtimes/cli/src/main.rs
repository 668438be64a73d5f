//! `epr`: the operator's command. On the database it reads the environment of the service; with `--url` it calls a
//! running API.
//!
//! Owns arguments, exit codes and output. Must hold no rule of the registry: those are in `epr-core`. Must never
//! print by the macros of the standard library, which panic when the output cannot be written.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod access;
mod access_options;
mod access_report;
mod access_rows;
mod assignments;
mod audit;
mod audit_archive;
mod audit_drop;
mod audit_kept;
mod audit_list;
mod backend;
mod changes;
mod check;
mod completions;
mod condition;
mod connect;
mod differences;
mod doctor;
mod entities;
mod events;
mod explain;
mod grants;
mod history;
mod history_verify;
mod ledger;
mod migrate;
mod moment;
mod output;
mod principal_history;
mod principals;
mod reconcile;
mod reference;
mod rejections;
mod report;
mod roles;
mod rows;
mod seed;
mod subtree_rows;
mod takeover;
mod times;
mod token;
mod transfer;
mod what_can;
mod who_can;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use epr_boot::stdio;
use epr_core::Error;
use epr_core::error::chain;

use backend::BackendError;
use connect::{Connection, Global};
use output::Output;

/// The command did its work, and the answer is no.
const EXIT_NO: u8 = 1;
/// The command could not do its work, or its arguments are wrong.
const EXIT_FAILURE: u8 = 2;

const EXIT_CODES: &str = "\
Exit codes:
  0  done; the answer is yes (allowed, the chain holds, no errors found)
  1  done; the answer is no (denied, the chain is broken, errors found)
  2  could not: wrong arguments, unknown ids, no database, no API, unwritable output
  70 internal error: report it; the question is not answered

With --json, a list is one JSON object per line; any other result is one object.
Settings come from the environment or the file .env; `epr doctor` shows them.
EPR_ACTOR_ID replaces --actor, and EPR_API_TOKEN replaces --token-file.";

#[derive(Parser)]
#[command(
    name = "epr",
    version,
    about = "Operates EPR: the registry, its ledger and its events.",
    after_help = EXIT_CODES
)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Migrate the database schema (safe while other processes do the same), or return to the older service
    Migrate(migrate::Migrate),
    /// Check settings, database, topic, queue and cache: what works, what does not, and what to do
    Doctor,
    /// Create a small demo registry, and print calls to try on it
    Seed(seed::Seed),
    /// Ask whether a principal may do an action; exit code 0 allowed, 1 denied, 2 not decided
    Check(check::Check),
    /// Explain why a principal may or may not do something: every assignment with what it passes and fails
    Explain(explain::Explain),
    /// List the principals that may do an action on an entity
    WhoCan(who_can::WhoCan),
    /// List what a principal may do: the entities for an action, or the actions on an entity
    WhatCan(what_can::WhatCan),
    /// Manage entities: issuers, SPVs, offerings, investors, agents
    #[command(subcommand)]
    Entities(entities::Command),
    /// Manage roles and their permissions
    #[command(subcommand)]
    Roles(roles::Command),
    /// Manage assignments of roles to principals
    #[command(subcommand)]
    Assignments(assignments::Command),
    /// Manage registered principals: attributes, suspension, erasure
    #[command(subcommand)]
    Principals(principals::Command),
    /// Write principals, roles and assignments to a file
    Export(transfer::export::Export),
    /// Read principals, roles and assignments from a file and apply them
    Import(transfer::import::Import),
    /// Report what an operator should review regularly
    #[command(subcommand)]
    Report(report::Command),
    /// List, verify, export, publish and archive the entries of the audit ledger
    #[command(subcommand)]
    Audit(audit::Command),
    /// List the changes of the registry in the order in which they were made, and follow them
    Changes(changes::Changes),
    /// Manage the keys of page tokens
    #[command(subcommand)]
    Access(access::Command),
    /// Repair the ledger
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Complete the history of the registry, or recreate it from the ledger
    #[command(subcommand)]
    History(history::Command),
    /// Compare the registry with what the ledger says it is; exit code 1 with every difference named
    Reconcile(reconcile::Reconcile),
    /// List events and deliver failed ones again
    #[command(subcommand)]
    Events(events::Command),
    /// Print the GRANT statements for a PostgreSQL role that does not own the tables
    Grants(grants::Grants),
    /// Create API tokens
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
        Err(error) => return help_or_usage(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime does not start: {error}").into());
    let outcome = runtime.and_then(|runtime| runtime.block_on(run(&arguments)));
    outcome.unwrap_or_else(|error| match error.downcast_ref::<std::io::Error>() {
        // Every command names its files in its own sentence: an error without one is about standard output.
        Some(error) => stdio::output_failed("epr", error),
        None => {
            stdio::complain(&format!("epr: {}", sentence(&*error)));
            ExitCode::from(EXIT_FAILURE)
        }
    })
}

/// Prints the text of `--help` and `--version`, or what is wrong with the arguments.
fn help_or_usage(error: &clap::Error) -> ExitCode {
    let printed = error.print().and_then(|()| std::io::stdout().flush());
    match printed {
        Err(failed) if !error.use_stderr() => stdio::output_failed("epr", &failed),
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_FAILURE)),
    }
}

/// An error with its causes. The library's public sentence alone is for callers of the API; an operator needs the
/// cause.
fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    let core = match error.downcast_ref::<BackendError>() {
        Some(BackendError::Core(error)) => Some(error),
        _ => error.downcast_ref::<Error>(),
    };
    let text = match core {
        Some(Error::Internal(cause) | Error::Unavailable(cause)) => chain(cause),
        Some(Error::Invalid(invalid)) => output::invalid_sentence(invalid),
        _ => chain(error),
    };
    output::escaped(&text)
}

type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

async fn run(arguments: &Arguments) -> Outcome {
    let Arguments { global, command } = arguments;
    let mut out = Output::new(global.json);
    match command {
        // These need neither a database nor an API.
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
        Command::Audit(command) => audit::run(&connection, command, &mut out).await,
        Command::Changes(command) => changes::run(&connection.backend, command, &mut out).await,
        Command::Access(command) => access::run(connection.database("access")?, command, &mut out).await,
        Command::Ledger(command) => {
            let (epr, call) = connection.database_and_call("ledger")?;
            ledger::run(epr, call, command, &mut out).await
        }
        Command::History(command) => history::run(connection.database("history")?, command, &mut out).await,
        Command::Reconcile(command) => reconcile::run(connection.database("reconcile")?, command, &mut out).await,
        Command::Events(command) => events::run(connection.database("events")?, command, &mut out).await,
        Command::Report(command) => report::run(&connection.backend, command, &mut out).await,
        Command::Seed(command) => seed::run(&connection, command, &mut out).await,
        Command::Check(command) => check::run(&connection.backend, command, &mut out).await,
        Command::Explain(command) => explain::run(&connection.backend, command, &mut out).await,
        Command::WhoCan(command) => who_can::run(&connection.backend, command, &mut out).await,
        Command::WhatCan(command) => what_can::run(&connection.backend, command, &mut out).await,
        Command::Entities(command) => entities::run(&connection.backend, command, &mut out).await,
        Command::Roles(command) => roles::run(&connection.backend, command, &mut out).await,
        Command::Assignments(command) => assignments::run(&connection.backend, command, &mut out).await,
        Command::Principals(command) => principals::run(&connection.backend, command, &mut out).await,
        Command::Export(command) => command.run(&connection.backend, &mut out).await,
        Command::Import(command) => command.run(&connection.backend, &mut out).await,
        Command::Doctor | Command::Completions(_) | Command::Grants(_) | Command::Token(_) => Ok(ExitCode::SUCCESS),
    };
    connection.close().await;
    let outcome = outcome?;
    out.flush()?;
    Ok(outcome)
}
