//! `epr audit …`

use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use epr_core::domain::audit::LostEntries;
use epr_core::ledger::verify::Finding;
use epr_core::publish::ledger_place::LedgerPlace;
use epr_core::store::{ScanRange, StoredCheckpoint};
use epr_core::{DroppedEntries, Epr, ExportedEntry, FormerNumbers, Settings, Verification, VerifiedTree};
use indicatif::{ProgressBar, ProgressStyle};

use crate::audit_kept::KeptOptions;
use crate::backend::Backend;
use crate::connect::Connection;
use crate::output::{Output, escaped, notice};
use crate::{EXIT_NO, Outcome, audit_archive, audit_drop, audit_list, rejections};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List entries, newest first
    List(Box<audit_list::List>),
    /// Recompute the hash chain, tree and checkpoints; exit code 0 when they hold, 1 when not, 2 when not readable
    Verify {
        #[command(flatten)]
        range: Range,
        #[command(flatten)]
        kept: KeptOptions,
        /// Up to this entry, accept numbers in the form of earlier versions; default: up to the last entry before the
        /// upgrade
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
        former_numbers_to: Option<i64>,
        /// Report progress every 10,000 entries, even if standard error is no terminal
        #[arg(long)]
        verbose: bool,
        /// Behave as the script of the older implementation: `--end-sequence` after the end of the ledger means its end
        #[arg(long, hide = true)]
        as_older_script: bool,
    },
    /// Write entries as JSON lines that can be verified offline: sequence, hashes, and the exact text that was hashed
    Export {
        #[command(flatten)]
        range: Range,
        /// The file to write, instead of standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Publish the newest checkpoint with the tiles and bundles that it needs
    Publish {
        /// The path of a folder, or `s3://bucket/prefix`
        #[arg(long, value_name = "PLACE")]
        to: String,
    },
    /// Copy entries below the published checkpoint into compressed bundles with manifests and tiles, or verify them
    Archive(audit_archive::Archive),
    /// Drop archived entries from the database, once a published checkpoint of at least `EPR_LEDGER_RETENTION_DAYS`
    /// covers them; reads the whole archive back first, and needs --yes
    Drop(audit_drop::Drop),
    /// Write a proof that the newest checkpoint covers an entry, which epr-verify verifies offline
    Prove {
        /// The sequence of the entry
        #[arg(value_name = "SEQUENCE", value_parser = clap::value_parser!(i64).range(1..))]
        sequence: i64,
        /// The file to write, instead of standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// List messages of the queue that could not become entries, newest first
    Rejections(rejections::Arguments),
}

#[derive(Args, Clone, Copy)]
pub(crate) struct Range {
    /// The first entry; entries before it are not verified; 0 is accepted for 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i64).range(0..))]
    start_sequence: i64,
    /// The last entry, which must exist; default: the end of the ledger, which must agree with its head
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

pub(crate) async fn run(connection: &Connection, command: &Command, out: &mut Output) -> Outcome {
    match command {
        Command::List(list) => audit_list::run(&connection.backend, list, out).await,
        Command::Verify { range, kept, former_numbers_to, verbose, as_older_script } => {
            let epr = connection.database("audit verify").map_err(|needs_database| {
                format!(
                    "{needs_database}; or write the entries to a file with `epr audit export --url …`, and verify the \
                     file with docs/verify_export.py"
                )
            })?;
            let progress = Progress::new(if *verbose { VERBOSE_LINE_EVERY } else { LINE_EVERY });
            let verified = epr_verified(epr, range.scan()?, kept, *former_numbers_to, progress).await?;
            report(&if *as_older_script { up_to_the_end(verified) } else { verified }, out)
        }
        Command::Publish { to } => {
            let place =
                LedgerPlace::parse(to).ok_or_else(|| format!("--to {to}: expected {}", LedgerPlace::ALLOWED))?;
            let epr = connection.database("audit publish")?;
            let settings = Settings::from_env()?;
            let target = place.open(&settings.aws, settings.ledger_retention);
            let (checkpoint, written) = epr.publish_ledger(&*target).await?;
            let StoredCheckpoint { size, incarnation, .. } = &checkpoint;
            out.line(format_args!(
                "{written} files written; the checkpoint of {size} entries is at {to}/{incarnation}"
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Archive(archive) => audit_archive::run(connection.database("audit archive")?, archive, out).await,
        Command::Drop(drop) => {
            let (epr, call) = connection.database_and_call("audit drop")?;
            audit_drop::run(epr, call, drop, out).await
        }
        Command::Prove { sequence, output } => {
            let proof = connection.database("audit prove")?.prove_entry(*sequence).await?.to_string();
            match output {
                Some(path) => std::fs::write(path, proof)
                    .map_err(|error| format!("{} cannot be written: {error}", path.display()))?,
                None => io::stdout().write_all(proof.as_bytes())?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Export { range, output } => export(&connection.backend, range.scan()?, output.as_ref()).await,
        Command::Rejections(arguments) => {
            rejections::run(connection.database("audit rejections")?, arguments, out).await
        }
    }
}

async fn epr_verified(
    epr: &Epr,
    range: ScanRange,
    kept: &KeptOptions,
    former_numbers_to: Option<i64>,
    mut progress: Progress,
) -> Result<Verification, Box<dyn std::error::Error>> {
    let (kept, unreadable) = kept.open()?;
    let mut show = |checked, total| progress.show(checked, total);
    let found = epr.verify_ledger_against(kept, range, former_numbers_to, &mut show).await;
    progress.clear();
    unreadable.check()?;
    Ok(found?)
}

/// Accepts a range that goes beyond the end of the ledger. A truncated ledger is still a finding: the end is compared
/// with the head.
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
        let (broken, what) = (Output::bad("BROKEN"), escaped(&finding.to_string()));
        out.line(format_args!("{broken} at entry {}: {what}", finding.sequence()))?;
        out.line(format_args!("Entries before it that are intact: {}.", found.checked))?;
    } else if found.end_sequence == 0 {
        out.line(format_args!("The ledger is empty."))?;
    } else if found.checked == 0 && found.dropped.is_none() {
        let end = found.end_sequence;
        out.line(format_args!("The ledger ends at entry {end}, as its head says: no entry to verify."))?;
    } else {
        let (holds, checked) = (Output::good("The chain holds"), found.checked);
        out.line(format_args!("{holds}: {checked} entries, {} to {}.", found.start_sequence, found.end_sequence))?;
    }
    if let Some(DroppedEntries { entries, up_to, archive }) = found.dropped.as_ref().filter(|_| !out.json) {
        out.line(format_args!(
            "The texts of {entries} entries up to {up_to} were NOT verified, only their hashes: they were dropped from \
             the database and are archived at {archive}/archive. Set EPR_LEDGER_ARCHIVE_URL to verify them."
        ))?;
    }
    if let Some(VerifiedTree { root, tiles, checkpoints, signatures, lost }) =
        found.tree.as_ref().filter(|_| !out.json && found.valid)
    {
        let (holds, signed) = (Output::good("The tree holds"), signed_text(*signatures));
        out.line(format_args!("{holds}: root {root}, {tiles} tiles, {checkpoints} checkpoints; {signed}."))?;
        for LostEntries { sequence, first, last } in lost {
            let attention = Output::bad("Lost entries");
            out.line(format_args!(
                "{attention}: entry {sequence} says that a restore lost the entries {first} to {last} of the \
                 incarnation before it."
            ))?;
        }
    }
    if let Some(FormerNumbers { entries, accepted_up_to }) = found.former_numbers.filter(|_| !out.json) {
        out.line(format_args!(
            "Entries with a number in the form of earlier versions: {entries}. Their hashes are correct; that form is \
             accepted up to entry {accepted_up_to}."
        ))?;
    }
    Ok(if found.valid { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

fn signed_text(signatures: u64) -> String {
    match signatures {
        0 => "signatures were not verified, because EPR_LEDGER_KEY is not set here".to_owned(),
        count => format!("{count} stored checkpoints have the signatures of EPR_LEDGER_KEY"),
    }
}

async fn export(backend: &Backend, range: ScanRange, output: Option<&PathBuf>) -> Outcome {
    let with_file = |error: io::Error| -> Box<dyn std::error::Error> {
        match output {
            Some(path) => format!("{} cannot be written: {error}", path.display()).into(),
            None => error.into(),
        }
    };
    let mut out: Box<dyn io::Write + Send> = match output {
        Some(path) => Box::new(BufWriter::new(std::fs::File::create(path).map_err(with_file)?)),
        None => Box::new(BufWriter::new(io::stdout())),
    };
    let (mut written, mut last) = (0_u64, range.from - 1);
    let mut failed: Option<io::Error> = None;
    let mut write = |entry: ExportedEntry<'_>| {
        let line = serde_json::to_writer(&mut out, &entry).map_err(io::Error::from);
        match line.and_then(|()| out.write_all(b"\n")) {
            Ok(()) => (written, last) = (written + 1, entry.sequence),
            Err(error) => failed = Some(error),
        }
        failed.is_none()
    };
    backend.export_ledger(range, &mut write).await?;
    failed.map_or_else(|| out.flush(), Err).map_err(with_file)?;
    notice(&format!("{written} entries written."));
    if let Some(end) = range.end().filter(|end| last < *end) {
        notice(&format!("The range ends at entry {end}, but the ledger has no entries {} to {end}.", last + 1));
        return Ok(ExitCode::from(EXIT_NO));
    }
    Ok(ExitCode::SUCCESS)
}

/// A bar on a terminal, plain lines elsewhere. Both go to standard error: standard output has only the result.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    line_every: u64,
    next_line: u64,
}

/// Entries between two plain lines, by default.
pub(crate) const LINE_EVERY: u64 = 1_000_000;
/// Entries between two plain lines with `--verbose`.
const VERBOSE_LINE_EVERY: u64 = 10_000;

impl Progress {
    pub(crate) fn new(line_every: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} entries, {per_sec}, {eta} left");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, line_every, next_line: line_every }
    }

    pub(crate) fn show(&mut self, checked: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(checked);
        } else if checked >= self.next_line {
            notice(&format!("{checked} of {total} entries checked"));
            self.next_line += self.line_every;
        }
    }

    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
