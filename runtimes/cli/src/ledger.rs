//! `epr ledger …`

use std::process::ExitCode;

use clap::{Args, Subcommand};
use epr_core::domain::StatedReason;
use epr_core::{Call, Epr, FormerCheckpoint, Reincarnated, SetAside};
use serde_json::json;

use crate::audit::{LINE_EVERY, Progress};
use crate::output::{Output, escaped};
use crate::{EXIT_NO, Outcome};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Move rows after the head of the chain, which another program wrote, to a table of their own; exit code 1 when
    /// there are none, or when the chain before them does not hold
    SetAside(Arguments),
    /// Begin a new incarnation of the ledger, after the database was restored from a backup: revisions and page tokens
    /// from before are refused, and every cached decision is invalid
    Reincarnate {
        /// What was restored, and why, for the ledger; up to 512 characters
        #[arg(long, value_name = "TEXT")]
        why: StatedReason,
    },
}

#[derive(Args)]
pub(crate) struct Arguments {
    /// Show the rows, and move nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(epr: &Epr, call: &Call, command: &Command, out: &mut Output) -> Outcome {
    let dry_run = match command {
        Command::SetAside(Arguments { dry_run }) => dry_run,
        Command::Reincarnate { why } => return reincarnate(epr, call, why, out).await,
    };
    let mut progress = Progress::new(LINE_EVERY);
    let outcome = epr.set_aside_foreign_rows(call, !dry_run, &mut |checked, total| progress.show(checked, total)).await;
    progress.clear();
    let outcome = outcome?;
    if out.json {
        let (rows, finding) = match &outcome {
            SetAside::Nothing => (None, None),
            SetAside::Broken(finding) => (None, Some(finding)),
            SetAside::Rows(rows) => (Some(rows), None),
        };
        out.object(&json!({"set_aside": rows.is_some() && !dry_run, "rows": rows, "finding": finding}))?;
    } else {
        match &outcome {
            SetAside::Nothing => {
                out.line(format_args!("No row is after the head of the chain: nothing to set aside."))?;
            }
            SetAside::Broken(finding) => {
                let (what, sequence) = (escaped(&finding.to_string()), finding.sequence());
                out.line(format_args!("{} at entry {sequence}: {what}", Output::bad("BROKEN")))?;
                out.line(format_args!(
                    "Nothing was set aside: the chain must hold up to its head. Run `epr audit verify`."
                ))?;
            }
            SetAside::Rows(rows) => {
                let verb = if *dry_run { "would be" } else { "were" };
                out.line(format_args!(
                    "The chain ends at entry {}. Rows after it: {}.",
                    rows.head,
                    rows.sequences.join(", ")
                ))?;
                out.line(format_args!("{} {verb} moved to audit_logs_set_aside; sha256 {}", rows.count, rows.sha256))?;
            }
        }
    }
    Ok(if matches!(outcome, SetAside::Rows(_)) { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

async fn reincarnate(epr: &Epr, call: &Call, why: &StatedReason, out: &mut Output) -> Outcome {
    let Reincarnated { revision, former, checkpoint } = epr.reincarnate(call, why).await?;
    let head = former.head.sequence;
    if out.json {
        let checkpoint = checkpoint.as_ref().map(|one| {
            let FormerCheckpoint { origin, size, .. } = one;
            json!({"origin": origin, "size": size, "root": one.root_text()})
        });
        out.object(&json!({
            "incarnation": revision.incarnation.0, "revision": revision, "former_incarnation": former.incarnation.0,
            "former_head": head, "former_checkpoint": checkpoint
        }))?;
    } else {
        out.line(format_args!(
            "The ledger goes on as incarnation {} with entry {}.",
            revision.incarnation, revision.sequence
        ))?;
        out.line(format_args!(
            "Revisions and page tokens of incarnation {}, which ended at entry {head}, are refused from now on.",
            former.incarnation
        ))?;
        match checkpoint {
            None => out.line(format_args!("That incarnation has no checkpoint."))?,
            Some(FormerCheckpoint { size, .. }) if size > head => out.line(format_args!(
                "Its last checkpoint covers {size} entries: the entries {} to {size} are lost.",
                head + 1
            ))?,
            Some(FormerCheckpoint { size, .. }) => {
                out.line(format_args!("Its last checkpoint covers {size} entries."))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
