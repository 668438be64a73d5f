//! `epr migrate`

mod back;

use std::cmp::Ordering;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use epr_core::Epr;
use epr_core::store::{SchemaState, oldest_admitted_program};
use serde_json::json;

use crate::output::{Output, escaped};
use crate::{EXIT_NO, Outcome, takeover};

#[derive(Args)]
pub(crate) struct Migrate {
    /// Return the database to the older service that it was taken over from: its tables replace those of EPR
    #[arg(long)]
    back: bool,
    /// Change nothing; list the values in the tables of an older implementation that do not fit, and how a takeover
    /// treats them. Exit code 1 when some must be corrected first
    #[arg(long, conflicts_with = "back")]
    plan: bool,
    /// Change nothing; show the version of the schema, and the oldest program that can run on it. Exit code 1 when this
    /// program cannot run on it, or has to migrate first
    #[arg(long, conflicts_with_all = ["back", "plan"])]
    status: bool,
    /// With --back: the folder for data written since the takeover, which the older service cannot read
    #[arg(long, value_name = "FOLDER", requires = "back")]
    export: Option<PathBuf>,
}

impl Migrate {
    pub(crate) async fn run(&self, epr: &Epr, out: &mut Output) -> Outcome {
        match self {
            Self { back: true, .. } => back::run(epr, self.export.as_deref(), out).await,
            Self { plan: true, .. } => plan(epr, out).await,
            Self { status: true, .. } => status(epr, out).await,
            Self { .. } => forward(epr, out).await,
        }
    }
}

async fn forward(epr: &Epr, out: &mut Output) -> Outcome {
    takeover::show_progress();
    let before = epr.schema().await?;
    let after = epr.migrate().await?;
    if out.json {
        let SchemaState { applied, oldest_program, .. } = after;
        out.object(&json!({"version": applied, "before": before.applied, "oldest_program": oldest_program}))?;
    } else if after.applied > after.known {
        out.line(format_args!("{}", described(after)))?;
    } else if before.applied == after.applied {
        out.line(format_args!("The schema is up to date: version {}.", after.applied))?;
    } else {
        out.line(format_args!("The schema is now at version {} (was {}).", after.applied, before.applied))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The version of the schema, and which programs it admits.
fn described(SchemaState { applied, known, oldest_program }: SchemaState) -> String {
    let admits = match oldest_program {
        Some(oldest) => format!("It admits programs from version {oldest} on."),
        None => "It does not say which older programs it admits.".to_owned(),
    };
    match applied.cmp(&known) {
        Ordering::Less => format!(
            "The schema is at version {applied}; this program's is {known}. After `epr migrate` it admits programs \
             from version {} on: a rollback to an earlier one needs a restored database.",
            oldest_admitted_program()
        ),
        Ordering::Equal => format!("The schema is at version {applied}, the one that this program needs. {admits}"),
        Ordering::Greater => format!("The schema is at version {applied}, newer than this program's {known}. {admits}"),
    }
}

async fn status(epr: &Epr, out: &mut Output) -> Outcome {
    let state = epr.schema().await?;
    let can_run = state.check_start().is_ok();
    if out.json {
        let SchemaState { applied, known, oldest_program } = state;
        let after = oldest_admitted_program();
        out.object(&json!({
            "version": applied, "known": known, "oldest_program": oldest_program, "can_run": can_run,
            "oldest_program_after_migration": if applied < known { Some(after) } else { oldest_program },
        }))?;
    } else {
        out.line(format_args!("{}", described(state)))?;
    }
    Ok(if can_run { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

async fn plan(epr: &Epr, out: &mut Output) -> Outcome {
    let Some(report) = epr.plan_takeover().await? else {
        if out.json {
            out.object(&json!({"older_tables": false, "blocking": 0, "count": 0, "misfits": []}))?;
        } else {
            let state = epr.schema().await?;
            out.line(format_args!(
                "There are no tables of an older implementation. The schema is at version {}; this program's is {}.",
                state.applied, state.known
            ))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let (blocking, count) = (report.blocking, report.count);
    if out.json {
        let problems = &report.problems;
        out.object(&json!({"older_tables": true, "blocking": blocking, "count": count, "misfits": problems}))?;
    } else {
        for problem in &report.problems {
            let word = if problem.blocks { Output::bad("CORRECT FIRST") } else { Output::warning("adjusted") };
            out.line(format_args!("{word}: {}", escaped(&problem.to_string())))?;
            if let Some(value) = &problem.value {
                out.line(format_args!("  value:     {}", escaped(value)))?;
            }
            out.line(format_args!("  remedy:    {}", problem.remedy))?;
            out.line(format_args!("  decisions: {}", problem.decisions))?;
        }
        if count > report.problems.len() {
            out.line(format_args!("… and {} more.", count - report.problems.len()))?;
        }
        let sentence = match (blocking, count) {
            (0, 0) => "All values fit: `epr migrate` takes the tables over unchanged.".to_owned(),
            (0, count) => format!("`epr migrate` takes the tables over and adjusts {count} values."),
            (blocking, _) => format!("`epr migrate` refuses the takeover until {blocking} values are corrected."),
        };
        out.line(format_args!("{sentence}"))?;
    }
    Ok(if blocking == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}
