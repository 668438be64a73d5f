//! `epr migrate`

use std::process::ExitCode;

use epr_core::Epr;

use crate::Outcome;

pub(crate) async fn run(epr: &Epr) -> Outcome {
    let before = epr.schema().await?;
    let after = epr.migrate().await?;
    if before.applied == after.applied {
        println!("The schema is up to date: version {}.", after.applied);
    } else {
        println!("The schema is now at version {} (was {}).", after.applied, before.applied);
    }
    Ok(ExitCode::SUCCESS)
}
