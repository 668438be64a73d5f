//! `epr migrate`

use std::process::ExitCode;

use epr_core::Epr;
use serde_json::json;

use crate::Outcome;
use crate::output::Output;

pub(crate) async fn run(epr: &Epr, out: &mut Output) -> Outcome {
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
