//! `epr history …`

use std::process::ExitCode;

use clap::Subcommand;
use epr_core::Epr;
use epr_core::store::{HistoryReport, HistoryState};
use serde_json::json;

use crate::history_verify::{self, Verify};
use crate::output::{Output, escaped};
use crate::{EXIT_NO, Outcome, takeover};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print up to which entry history is complete; exit code 1 when it lacks entries
    Status,
    /// Add what history lacks, from the ledger: after entries of a program that writes no history. Exit code 1 when
    /// entries cannot be replayed
    Complete,
    /// Delete history and recreate it from the ledger. Meanwhile the past cannot be asked; checks and changes go on.
    /// Exit code 1 when entries cannot be replayed
    Rebuild,
    /// Compare history with what the ledger makes: every version that was changed, added or removed is named
    Verify(Verify),
}

pub(crate) async fn run(epr: &Epr, command: &Command, out: &mut Output) -> Outcome {
    let report = match command {
        Command::Status => return status(epr.history_state().await?, out),
        Command::Verify(command) => return history_verify::run(epr, command, out).await,
        Command::Complete => {
            takeover::show_progress();
            epr.complete_history().await?
        }
        Command::Rebuild => {
            takeover::show_progress();
            epr.rebuild_history().await?
        }
    };
    show(&report, epr.history_state().await?, out)
}

fn status(state: HistoryState, out: &mut Output) -> Outcome {
    let HistoryState { complete_to, began, registry_sequence, is_filled: _ } = state;
    if out.json {
        out.object(&json!({
            "complete": state.is_complete(), "complete_to": complete_to, "began": began,
            "registry_sequence": registry_sequence
        }))?;
    } else if !state.is_filled {
        let word = Output::bad("INCOMPLETE");
        out.line(format_args!(
            "{word}: history has everything up to entry {complete_to}, and the registry has not been compared with it. \
             Run `epr history complete`."
        ))?;
    } else if !state.is_complete() {
        let word = Output::bad("INCOMPLETE");
        out.line(format_args!(
            "{word}: history has everything up to entry {complete_to}; the registry was last changed by entry \
             {registry_sequence}. Run `epr history complete`."
        ))?;
    } else {
        out.line(format_args!("History is complete up to entry {complete_to}, the last change of the registry."))?;
    }
    if !out.json && began > 0 {
        out.line(format_args!("It begins at entry {began}: the ledger does not explain the registry before."))?;
    }
    Ok(if state.is_complete() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

fn show(report: &HistoryReport, state: HistoryState, out: &mut Output) -> Outcome {
    let HistoryReport { entries, unreplayable, unreplayable_count, baselines, baseline_count } = report;
    if out.json {
        let problems: Vec<_> = unreplayable
            .iter()
            .map(|one| json!({"sequence": one.sequence, "action": one.action, "why": one.why}))
            .collect();
        let rows: Vec<String> = baselines.iter().map(ToString::to_string).collect();
        out.object(&json!({
            "entries": entries, "unreplayable": unreplayable_count, "problems": problems, "baselines": baseline_count,
            "rows": rows, "complete_to": state.complete_to
        }))?;
    } else {
        for problem in unreplayable {
            out.line(format_args!("{}: {}", Output::bad("NOT REPLAYED"), escaped(&problem.to_string())))?;
        }
        for row in baselines {
            out.line(format_args!("{}: {}", Output::warning("baseline"), escaped(&row.to_string())))?;
        }
        out.line(format_args!(
            "{entries} entries were replayed; history is complete up to entry {}. Not replayed: {unreplayable_count}. \
             Rows with a new baseline: {baseline_count}.",
            state.complete_to
        ))?;
    }
    Ok(if *unreplayable_count == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}
