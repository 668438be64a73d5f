//! `epr migrate`

mod back;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use epr_core::Epr;
use serde_json::json;

use crate::Outcome;
use crate::output::Output;
use crate::takeover;

#[derive(Args)]
pub(crate) struct Migrate {
    /// Give the database back to the older service that it was taken over from: its tables take the place of EPR's
    #[arg(long)]
    back: bool,
    /// With --back: the folder for what was written since the takeover, which the older service does not know
    #[arg(long, value_name = "FOLDER", requires = "back")]
    export: Option<PathBuf>,
}

impl Migrate {
    pub(crate) async fn run(&self, epr: &Epr, out: &mut Output) -> Outcome {
        if self.back { back::run(epr, self.export.as_deref(), out).await } else { forward(epr, out).await }
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
