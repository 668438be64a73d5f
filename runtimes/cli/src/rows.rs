//! Lists as a table for people, as JSON lines or as CSV, row by row.
//!
//! Owns the option `--format`, the limit of a list and its progress. Must never hold more than one row.

use std::io::{self, IsTerminal as _};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::output::{Output, escaped, notice};
use epr_transfer::csv_cells::guarded;

/// The form of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowFormat {
    /// For people
    Table,
    /// One JSON object per line
    Json,
    /// Comma-separated, with a heading
    Csv,
}

#[derive(Args, Clone, Copy)]
pub(crate) struct FormatOption {
    /// The format: table, json (as --json) or csv
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    format: Option<RowFormat>,
}

impl FormatOption {
    /// The format, which `default` is when neither `--format` nor `--json` names one.
    pub(crate) fn or(self, default: RowFormat, out: &Output) -> Result<RowFormat, String> {
        match (self.format, out.json) {
            (None | Some(RowFormat::Json), true) => Ok(RowFormat::Json),
            (Some(_), true) => Err("give either --json or --format".into()),
            (given, false) => Ok(given.unwrap_or(default)),
        }
    }
}

/// A row of a list.
pub(crate) trait Row: Serialize {
    /// The columns as CSV.
    const COLUMNS: &'static [&'static str];

    /// The cells as CSV, one for each column, as they are: [`Rows`] makes them safe for spreadsheets.
    fn cells(&self) -> Vec<String>;

    /// Prints the row for people, after a heading if it is the first.
    fn print(&self, is_first: bool, out: &mut Output) -> io::Result<()>;
}

/// Rows from which a terminal shows their number.
const SHOWN_FROM: u64 = 500;

/// Parts of a list from which a terminal shows how many have been read.
const SHOWN_FROM_PARTS: usize = 20;

/// A list that is being written.
pub(crate) struct Rows<'a> {
    out: &'a mut Output,
    format: RowFormat,
    limit: Option<u64>,
    seen: u64,
    failed: Option<io::Error>,
    counter: Option<ProgressBar>,
}

impl<'a> Rows<'a> {
    /// `limit` is the largest number of rows.
    pub(crate) fn new(out: &'a mut Output, format: RowFormat, limit: Option<u64>) -> Self {
        Self { out, format, limit, seen: 0, failed: None, counter: None }
    }

    /// How many more rows to read: one more than the limit, to know whether more exist.
    pub(crate) fn wanted(&self) -> u64 {
        self.limit.map_or(u64::MAX, |limit| limit.saturating_add(1).saturating_sub(self.seen))
    }

    /// Shows that `done` of `total` parts of the list have been read, however few rows they have.
    pub(crate) fn walked(&mut self, done: usize, total: usize) {
        if total >= SHOWN_FROM_PARTS {
            self.counter().set_message(format!(", {done} of {total} read"));
        }
    }

    /// Shows the rows so far.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes a row. Returns `false` when no more rows are needed: the limit is exceeded, or the output failed.
    pub(crate) fn add<R: Row>(&mut self, row: &R) -> bool {
        if self.limit.is_some_and(|limit| self.seen >= limit) {
            self.seen += 1;
            return false;
        }
        self.seen += 1;
        self.count();
        self.failed = self.write(row).err();
        self.failed.is_none()
    }

    /// Completes the list. `nothing` is said when it is empty, `more` when rows were left out.
    pub(crate) fn finish<R: Row>(self, nothing: &str, more: &str) -> io::Result<Finished> {
        if let Some(counter) = &self.counter {
            counter.finish_and_clear();
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.seen == 0 && self.format == RowFormat::Csv {
            record(self.out, R::COLUMNS)?;
        }
        self.out.flush()?;
        let is_cut = self.limit.is_some_and(|limit| self.seen > limit);
        if is_cut {
            notice(more);
        } else if self.seen == 0 && self.format != RowFormat::Json {
            notice(nothing);
        }
        Ok(Finished { rows: self.seen - u64::from(is_cut), is_cut })
    }

    fn write<R: Row>(&mut self, row: &R) -> io::Result<()> {
        let is_first = self.seen == 1;
        match self.format {
            RowFormat::Table => row.print(is_first, self.out),
            RowFormat::Json => self.out.object(row),
            RowFormat::Csv => {
                if is_first {
                    record(self.out, R::COLUMNS)?;
                }
                // A terminal must not carry out what a cell holds; a file has the exact text.
                let safe = |cell: String| if Output::is_terminal() { escaped(&cell) } else { cell };
                let cells: Vec<_> = row
                    .cells()
                    .into_iter()
                    .map(|cell| if cell.is_empty() { cell } else { safe(guarded(&cell)) })
                    .collect();
                record(self.out, &cells)
            }
        }
    }

    /// Shows the number of rows so far.
    fn count(&mut self) {
        let seen = self.seen;
        if seen >= SHOWN_FROM || self.counter.is_some() {
            self.counter().set_position(seen);
        }
    }

    /// The progress on standard error, if that is a terminal on which the rows do not appear.
    fn counter(&mut self) -> &ProgressBar {
        self.counter.get_or_insert_with(|| {
            if !io::stderr().is_terminal() || Output::is_terminal() {
                return ProgressBar::hidden();
            }
            let style = ProgressStyle::with_template("{human_pos} so far, {per_sec}{msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style)
        })
    }
}

/// A list that was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finished {
    /// The number of rows.
    pub(crate) rows: u64,
    /// Whether rows were left out.
    pub(crate) is_cut: bool,
}

/// One line of CSV.
fn record(out: &mut Output, cells: &[impl AsRef<[u8]>]) -> io::Result<()> {
    let mut line = csv::WriterBuilder::new().buffer_capacity(1024).from_writer(Vec::new());
    line.write_record(cells)?;
    out.bytes(&line.into_inner().map_err(csv::IntoInnerError::into_error)?)
}
