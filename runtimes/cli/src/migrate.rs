//! `epr migrate`

mod back;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use epr_core::Epr;
use serde_json::json;

use crate::output::{Output, visible};
use crate::{NO, Outcome, takeover};

#[derive(Args)]
pub(crate) struct Migrate {
    /// Give the database back to the older service that it was taken over from: its tables take the place of EPR's
    #[arg(long)]
    back: bool,
    /// Change nothing; list what does not fit in the tables of an older implementation, with what becomes of it. Exit code 1 when
    /// something must be corrected first
    #[arg(long, conflicts_with = "back")]
    plan: bool,
    /// With --back: the folder for what was written since the takeover, which the older service does not know
    #[arg(long, value_name = "FOLDER", requires = "back")]
    export: Option<PathBuf>,
}

impl Migrate {
    pub(crate) async fn run(&self, epr: &Epr, out: &mut Output) -> Outcome {
        match self {
            Self { back: true, .. } => back::run(epr, self.export.as_deref(), out).await,
            Self { plan: true, .. } => plan(epr, out).await,
            Self { .. } => forward(epr, out).await,
        }
    }
}

async fn forward(epr: &Epr, out: &mut Output) -> Outcome {
    takeover::show_progress();
    let before = epr.schema().await?;
    let after = epr.migrate().await?;
    if out.json {
        out.object(&json!({"version": after.applied, "before": before.applied}))?;
    } else if before.applied == after.applied {
        out.line(format_args!("The schema is up to date: version {}.", after.applied))?;
    } else {
        out.line(format_args!("The schema is now at version {} (was {}).", after.applied, before.applied))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn plan(epr: &Epr, out: &mut Output) -> Outcome {
    let Some(report) = epr.plan_takeover().await? else {
        if out.json {
            out.object(&json!({"older_tables": false, "blocking": 0, "count": 0, "misfits": []}))?;
        } else {
            let state = epr.schema().await?;
            out.line(format_args!(
                "There are no tables of an older implementation. The schema is at version {}, this program's is {}.",
                state.applied, state.known
            ))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let (blocking, count) = (report.blocking, report.count);
    if out.json {
        let misfits = &report.problems;
        out.object(&json!({"older_tables": true, "blocking": blocking, "count": count, "misfits": misfits}))?;
    } else {
        for misfit in &report.problems {
            let word = if misfit.blocks { Output::bad("CORRECT FIRST") } else { Output::doubtful("adjusted") };
            out.line(format_args!("{word}: {}", visible(&misfit.to_string())))?;
            if let Some(value) = &misfit.value {
                out.line(format_args!("  value:     {}", visible(value)))?;
            }
            out.line(format_args!("  remedy:    {}", misfit.remedy))?;
            out.line(format_args!("  decisions: {}", misfit.decisions))?;
        }
        if count > report.problems.len() {
            out.line(format_args!("… and {} more.", count - report.problems.len()))?;
        }
        let sentence = match (blocking, count) {
            (0, 0) => "Everything fits: `epr migrate` takes the tables over as they are.".to_owned(),
            (0, count) => format!("`epr migrate` takes the tables over and adjusts {count} values."),
            (blocking, _) => format!("`epr migrate` takes nothing over until {blocking} values are corrected."),
        };
        out.line(format_args!("{sentence}"))?;
    }
    Ok(if blocking == 0 { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}
