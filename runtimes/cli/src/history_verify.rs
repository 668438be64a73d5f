//! `epr history verify`: the tables of history compared with what the ledger makes.

use std::io;
use std::process::ExitCode;

use clap::Args;
use epr_core::Epr;
use epr_core::domain::fields::Choice as _;
use epr_core::history::verify::{HistoryVerification, VersionDifference};
use serde::Serialize;
use serde_json::json;

use crate::differences::{self, cell, print_name, said};
use crate::output::{Output, count, escaped, notice};
use crate::rows::{FormatOption, Row, RowFormat, Rows};
use crate::{EXIT_NO, Outcome};

#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 history is what the ledger makes; 1 it is not, every difference is named, or history \
                        is not complete; 2 could not compare."
)]
pub(crate) struct Verify {
    /// Show the values of personal fields of principals
    #[arg(long)]
    personal: bool,
    #[command(flatten)]
    format: FormatOption,
}

pub(crate) async fn run(epr: &Epr, command: &Verify, out: &mut Output) -> Outcome {
    let format = command.format.or(RowFormat::Table, out)?;
    let mut rows = Rows::new(out, format, None);
    let verified = epr
        .verify_history(&mut |difference| {
            let difference = if command.personal { difference } else { difference.without_personal_values() };
            rows.add(&DifferenceRow(difference))
        })
        .await;
    let (numbers, state) = match verified {
        Ok(verified) => verified,
        Err(error) => {
            rows.flush()?;
            return Err(error.into());
        }
    };
    rows.finish::<DifferenceRow>("", "")?;
    let HistoryVerification { rows: compared, versions, entries, differences: differing } = numbers;
    let is_equal = differing == 0;
    if format == RowFormat::Json {
        out.object(&json!({
            "equal": is_equal, "complete": state.is_complete(), "complete_to": state.complete_to, "rows": compared,
            "versions": versions, "entries": entries, "differences": differing
        }))?;
        out.flush()?;
    } else {
        let result = differences::result(differing, "History is what the ledger makes");
        let (versions, entries) = (count(versions, "version", "versions"), count(entries, "entry", "entries"));
        notice(&format!("{result}: {versions}, {entries}, up to entry {}.", state.complete_to));
        if !state.is_complete() {
            notice("History is not complete: `epr history status` says more.");
        }
        if !is_equal {
            notice("`epr history rebuild` recreates it from the ledger.");
        }
    }
    let is_good = is_equal && state.is_complete();
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

/// A difference as a row.
#[derive(Serialize)]
#[serde(transparent)]
struct DifferenceRow(VersionDifference);

impl Row for DifferenceRow {
    const COLUMNS: &'static [&'static str] =
        &["kind", "table", "row", "valid_from", "field", "ledger", "history", "why"];

    fn cells(&self) -> Vec<String> {
        let Self(one) = self;
        vec![
            one.kind.word().to_owned(),
            one.table.to_owned(),
            one.row.clone(),
            one.valid_from.to_string(),
            one.field.clone().unwrap_or_default(),
            cell(one.ledger.as_ref()),
            cell(one.history.as_ref()),
            one.why.clone().unwrap_or_default(),
        ]
    }

    fn print(&self, _: bool, out: &mut Output) -> io::Result<()> {
        let Self(one) = self;
        let place = format!("  entry {}", one.valid_from);
        print_name(one.kind, (one.table, &one.row, &place, one.field.as_deref()), out)?;
        if let Some(why) = &one.why {
            return out.line(format_args!("    {}", escaped(why)));
        }
        out.line(format_args!("    ledger: {}", said(one.ledger.as_ref())))?;
        out.line(format_args!("    history: {}", said(one.history.as_ref())))
    }
}
