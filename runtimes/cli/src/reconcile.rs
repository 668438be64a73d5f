//! `epr reconcile`: the registry compared with what the ledger says it is, once or again and again.

use std::io;
use std::process::ExitCode;

use clap::Args;
use epr_boot::Stopper;
use epr_core::Epr;
use epr_core::domain::fields::Choice as _;
use epr_core::error::chain;
use epr_core::history::reconcile::{Difference, Reconciliation};
use serde::Serialize;
use serde_json::json;

use crate::differences::{self, cell, print_name, said};
use crate::output::{Output, count, escaped, notice};
use crate::rows::{FormatOption, Row, RowFormat, Rows};
use crate::times::{self, Period};
use crate::{EXIT_NO, Outcome};

#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 the registry is what the ledger says; 1 it is not, every difference is named; 2 \
                        could not compare."
)]
pub(crate) struct Reconcile {
    /// Compare again and again with this pause, until SIGTERM; the exit code is that of the worst comparison
    #[arg(long, value_name = "TIME", value_parser = times::period)]
    every: Option<Period>,
    /// Show the values of personal fields of principals
    #[arg(long)]
    personal: bool,
    #[command(flatten)]
    format: FormatOption,
}

pub(crate) async fn run(epr: &Epr, command: &Reconcile, out: &mut Output) -> Outcome {
    let format = command.format.or(RowFormat::Table, out)?;
    let Some(period) = &command.every else {
        return Ok(if compare(epr, command, format, out).await? { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) });
    };
    let stop = Stopper::install()?;
    let pause = std::time::Duration::from_secs(u64::try_from(period.seconds)?);
    let (mut differed, mut failed) = (false, false);
    loop {
        let compared = tokio::select! {
            compared = compare(epr, command, format, out) => compared,
            () = stop.requested() => break,
        };
        match compared {
            Ok(is_equal) => differed |= !is_equal,
            Err(error) if error.is::<io::Error>() => return Err(error),
            // The next comparison may succeed.
            Err(error) => {
                failed = true;
                notice(&format!("epr: could not compare: {}", escaped(&chain(&*error))));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.requested() => break,
        }
    }
    Ok(match (failed, differed) {
        (true, _) => ExitCode::from(crate::EXIT_FAILURE),
        (false, true) => ExitCode::from(EXIT_NO),
        (false, false) => ExitCode::SUCCESS,
    })
}

/// Whether the registry is what the ledger says.
async fn compare(
    epr: &Epr,
    command: &Reconcile,
    format: RowFormat,
    out: &mut Output,
) -> Result<bool, Box<dyn std::error::Error>> {
    let mut rows = Rows::new(out, format, None);
    let compared = epr
        .reconcile(&mut |difference| {
            let difference = if command.personal { difference } else { difference.without_personal_values() };
            rows.add(&DifferenceRow(difference))
        })
        .await;
    let (numbers, revision) = match compared {
        Ok(compared) => compared,
        Err(error) => {
            rows.flush()?;
            return Err(error.into());
        }
    };
    let Reconciliation { rows: compared, entries, differences: differing } = numbers;
    rows.finish::<DifferenceRow>("", "")?;
    let is_equal = differing == 0;
    if format == RowFormat::Json {
        out.object(&json!({
            "equal": is_equal, "rows": compared, "entries": entries, "differences": differing, "revision": revision,
            "at": epr.now()
        }))?;
        out.flush()?;
        return Ok(is_equal);
    }
    let (compared, entries) = (count(compared, "row", "rows"), count(entries, "entry", "entries"));
    let result = differences::result(differing, "The registry is what the ledger says");
    notice(&format!("{result}: {compared}, {entries}, at revision {revision}."));
    Ok(is_equal)
}

/// A difference as a row.
#[derive(Serialize)]
#[serde(transparent)]
struct DifferenceRow(Difference);

impl Row for DifferenceRow {
    const COLUMNS: &'static [&'static str] =
        &["kind", "table", "row", "field", "ledger", "registry", "sequence", "why"];

    fn cells(&self) -> Vec<String> {
        let Self(one) = self;
        vec![
            one.kind.word().to_owned(),
            one.table.to_owned(),
            one.row.clone(),
            one.field.clone().unwrap_or_default(),
            cell(one.ledger.as_ref()),
            cell(one.registry.as_ref()),
            one.sequence.map(|sequence| sequence.to_string()).unwrap_or_default(),
            one.why.clone().unwrap_or_default(),
        ]
    }

    fn print(&self, _: bool, out: &mut Output) -> io::Result<()> {
        let Self(one) = self;
        print_name(one.kind, (one.table, &one.row, "", one.field.as_deref()), out)?;
        if let Some(why) = &one.why {
            out.line(format_args!("    {}", escaped(why)))?;
        }
        let entry = one.sequence.map(|sequence| format!(" (entry {sequence})")).unwrap_or_default();
        out.line(format_args!("    ledger{entry}: {}", said(one.ledger.as_ref())))?;
        out.line(format_args!("    registry: {}", said(one.registry.as_ref())))
    }
}
