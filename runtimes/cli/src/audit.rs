//! `epr audit …`

use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use epr_core::ledger::verify::Finding;
use epr_core::store::ScanRange;
use epr_core::{Epr, Error, FormerNumbers, Verification};
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{Output, remark, visible};
use crate::{NO, Outcome, rejections};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Recompute the hash chain; exit code 0 when it holds, 1 when it does not, 2 when it could not look
    Verify {
        #[command(flatten)]
        range: Range,
        /// Accept up to this entry numbers as earlier versions wrote some of them; by default up to the last entry before
        /// the upgrade
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
        former_numbers_to: Option<i64>,
        /// Report progress every 10,000 entries, also where standard error is no terminal
        #[arg(long)]
        verbose: bool,
        /// As the older implementation's script: `--end-sequence` after the end of the ledger is its end
        #[arg(long, hide = true)]
        as_older_script: bool,
    },
    /// Write entries as JSON lines that anyone can verify offline: sequence, hashes and the exact text that was hashed
    Export {
        #[command(flatten)]
        range: Range,
        /// The file to write, instead of standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Show messages from the queue that could not become entries, newest first
    Rejections(rejections::Arguments),
}

#[derive(Args, Clone, Copy)]
pub(crate) struct Range {
    /// The first entry; entries before it are not verified. 0 is the first one too
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i64).range(0..))]
    start_sequence: i64,
    /// The last entry, which must be there; without it, to the end of the ledger, which must be where its head says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..i64::MAX))]
    end_sequence: Option<i64>,
}

impl Range {
    fn scan(self) -> Result<ScanRange, String> {
        let to = self.end_sequence.unwrap_or(i64::MAX);
        if to < self.start_sequence {
            return Err(format!("--end-sequence {to} is before --start-sequence {}", self.start_sequence));
        }
        Ok(ScanRange { from: self.start_sequence.max(1), to })
    }
}

pub(crate) async fn run(epr: &Epr, command: &Command, out: &mut Output) -> Outcome {
    match command {
        Command::Verify { range, former_numbers_to, verbose, as_older_script } => {
            let progress = Progress::new(if *verbose { PROGRESS_STEP } else { LINE_EVERY });
            let verified = epr_verified(epr, range.scan()?, *former_numbers_to, progress).await?;
            report(&if *as_older_script { up_to_the_end(verified) } else { verified }, out)
        }
        Command::Export { range, output } => export(epr, range.scan()?, output.as_ref()).await,
        Command::Rejections(arguments) => rejections::run(epr, arguments, out).await,
    }
}

async fn epr_verified(
    epr: &Epr,
    range: ScanRange,
    former_numbers_to: Option<i64>,
    mut progress: Progress,
) -> Result<Verification, Error> {
    let found = epr.verify_ledger(range, former_numbers_to, &mut |checked, total| progress.tell(checked, total)).await;
    progress.clear();
    found
}

/// The same, where a range that goes beyond the end of the ledger ends there. A cut tail is still a finding: the head
/// is compared.
fn up_to_the_end(found: Verification) -> Verification {
    match found.finding {
        Some(Finding::IncompleteRange { .. }) => Verification { valid: true, finding: None, ..found },
        _ => found,
    }
}

fn report(found: &Verification, out: &mut Output) -> Outcome {
    if out.json {
        out.object(found)?;
    } else if let Some(finding) = &found.finding {
        let told = visible(&finding.to_string());
        out.line(format_args!("{} at entry {}: {told}", Output::bad("BROKEN"), finding.sequence()))?;
        out.line(format_args!("{} entries before it are whole.", found.checked))?;
    } else if found.end_sequence == 0 {
        out.line(format_args!("The ledger is empty."))?;
    } else if found.checked == 0 {
        let end = found.end_sequence;
        out.line(format_args!("The ledger ends at entry {end}, as its head says; there was nothing to verify."))?;
    } else {
        let (holds, checked) = (Output::good("The chain holds"), found.checked);
        out.line(format_args!("{holds}: {checked} entries, {} to {}.", found.start_sequence, found.end_sequence))?;
    }
    if let Some(FormerNumbers { entries, accepted_up_to }) = found.former_numbers.filter(|_| !out.json) {
        out.line(format_args!(
            "Entries that write a number as earlier versions did: {entries}. Their hashes are right; such numbers are accepted up to entry {accepted_up_to}."
        ))?;
    }
    Ok(if found.valid { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

async fn export(epr: &Epr, range: ScanRange, output: Option<&PathBuf>) -> Outcome {
    let named = |failure: io::Error| -> Box<dyn std::error::Error> {
        match output {
            Some(path) => format!("{} cannot be written: {failure}", path.display()).into(),
            None => failure.into(),
        }
    };
    let mut out: Box<dyn io::Write + Send> = match output {
        Some(path) => Box::new(BufWriter::new(std::fs::File::create(path).map_err(named)?)),
        None => Box::new(BufWriter::new(io::stdout())),
    };
    let (mut written, mut last) = (0_u64, range.from - 1);
    let mut failed: Option<io::Error> = None;
    epr.export_ledger(range, &mut |entry| {
        let line = serde_json::to_writer(&mut out, &entry).map_err(io::Error::from);
        match line.and_then(|()| out.write_all(b"\n")) {
            Ok(()) => (written, last) = (written + 1, entry.sequence),
            Err(failure) => failed = Some(failure),
        }
        failed.is_none()
    })
    .await?;
    failed.map_or_else(|| out.flush(), Err).map_err(named)?;
    remark(&format!("{written} entries written."));
    if let Some(end) = range.end().filter(|end| last < *end) {
        remark(&format!("The range goes to entry {end}, but the ledger holds none of {} to {end}.", last + 1));
        return Ok(ExitCode::from(NO));
    }
    Ok(ExitCode::SUCCESS)
}

/// A bar on a terminal, plain lines elsewhere; both on standard error, so that standard output holds the outcome only.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    line_every: u64,
    next_line: u64,
}

/// Entries between two plain lines.
pub(crate) const LINE_EVERY: u64 = 1_000_000;
/// The least number of entries between two of them.
const PROGRESS_STEP: u64 = 10_000;

impl Progress {
    pub(crate) fn new(line_every: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} entries, {per_sec}, {eta} left");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, line_every, next_line: line_every }
    }

    pub(crate) fn tell(&mut self, checked: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(checked);
        } else if checked >= self.next_line {
            remark(&format!("{checked} of {total} entries checked"));
            self.next_line += self.line_every;
        }
    }

    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
