//! `epr import`: checks the whole file first, and changes something only if every record fits.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use epr_transfer::check::{Checked, Failure, check};
use epr_transfer::input::{Input, RecordError};
use epr_transfer::plan::{Change, Planned};
use epr_transfer::run::{Run, Stopped};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::Format;
use crate::backend::Backend;
use crate::output::{Output, count, escaped, notice};
use crate::{EXIT_FAILURE, Outcome};

#[derive(Args)]
#[command(after_help = "\
The whole file is checked first: nothing is changed unless every record fits. On the database, changes are made in \
transactions of 200, each with its ledger entries and events; over the API, one by one. Objects that are not in the \
file stay as they are. Importing the same file again changes nothing.")]
pub(crate) struct Import {
    /// The file, in a format of `epr export`
    file: PathBuf,
    /// The format; default: by the extension of the file, else json
    #[arg(long)]
    format: Option<Format>,
    /// Let records end suspensions: without it a record that would is an error
    #[arg(long)]
    activate: bool,
    /// Print the changes, and make none
    #[arg(long)]
    dry_run: bool,
}

/// Errors that are printed one by one.
const MAX_LISTED: usize = 50;

impl Import {
    pub(crate) async fn run(&self, backend: &Backend, out: &mut Output) -> Outcome {
        let format = Format::of(self.format, Some(&self.file));
        let input = Input::open(&self.file, format.into(), backend.entity_types())?;
        let mut printed = Ok(());
        let mut print = |line: u64, planned: &Planned| {
            if printed.is_ok() {
                printed = self.print_change(line, planned, out);
            }
        };
        let checked = check(backend, &input, self.activate, &mut print).await.map_err(|failure| match failure {
            Failure::File(why) => why.into(),
            Failure::Registry(error) => Box::<dyn std::error::Error>::from(error),
        })?;
        printed?;
        let Checked { tallies, records, .. } = checked;
        if !checked.errors.is_empty() {
            return self.refuse(checked.errors, out);
        }
        if self.dry_run {
            if out.json {
                out.object(&json!({"done": false, "dry_run": true, "would": tallies}))?;
            } else {
                out.line(format_args!("Planned: {}.", tallies.sentence()))?;
                out.line(format_args!("Dry run: nothing was changed."))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        if tallies.changes() > 0 {
            backend.warn_if_unpublished();
        }
        let (bar, stop) = (progress_bar(records), stop_at_interrupt());
        let progress = |done| bar.inc(done);
        let mut run = Run::new(backend, self.activate, &progress, &stop);
        let outcome = run.apply_all(&input, checked).await;
        bar.finish_and_clear();
        self.report(&run, outcome.err(), out)
    }

    /// Prints one change; only a dry run does.
    fn print_change(&self, line: u64, planned: &Planned, out: &mut Output) -> std::io::Result<()> {
        if !self.dry_run || planned.change == Change::Nothing {
            return Ok(());
        }
        if out.json {
            return out.object(&json!({"line": line, "change": planned.change, "record": planned.json}));
        }
        let (sign, (headline, lines)) = match planned.change {
            Change::Create => (Output::good("+"), &planned.summary),
            Change::Update | Change::Nothing => (Output::warning("~"), &planned.summary),
        };
        out.line(format_args!("{sign} {headline}"))?;
        for line in lines {
            out.line(format_args!("    {line}"))?;
        }
        Ok(())
    }

    fn refuse(&self, mut errors: Vec<RecordError>, out: &mut Output) -> Outcome {
        errors.sort_by_key(|error| error.line);
        if out.json {
            out.object(&json!({"done": false, "flaws": &errors}))?;
        }
        out.flush()?;
        for RecordError { line, what } in errors.iter().take(MAX_LISTED) {
            notice(&format!("{}:{line}: {}", self.file.display(), escaped(what)));
        }
        let number = errors.len() as u64;
        if errors.len() > MAX_LISTED {
            notice(&format!("… and {} more.", errors.len() - MAX_LISTED));
        }
        notice(&format!("epr: {} in the file; nothing was changed.", count(number, "error", "errors")));
        Ok(ExitCode::from(EXIT_FAILURE))
    }

    /// Reports what was done, also when the import stopped.
    fn report(&self, run: &Run<'_, Backend>, stopped: Option<Stopped>, out: &mut Output) -> Outcome {
        let Some(Stopped { line, why, in_doubt }) = stopped else {
            if out.json {
                out.object(&run.done.beside(json!({"done": true})))?;
            } else {
                out.line(format_args!("Done: {}.", run.done.sentence()))?;
            }
            return Ok(ExitCode::SUCCESS);
        };
        let location = line.map_or_else(String::new, |line| format!(" at {}:{line}", self.file.display()));
        if out.json {
            let in_doubt = in_doubt.map(|(first, last)| json!({"from_line": first, "to_line": last}));
            let report = json!({"done": false, "stopped_at_line": line, "why": why, "in_doubt": in_doubt});
            out.object(&run.done.beside(report))?;
        }
        out.flush()?;
        notice(&format!("epr: stopped{location}: {}", escaped(&why)));
        notice(&format!("Done before: {}.", run.done.sentence()));
        if let Some((first, last)) = in_doubt {
            notice(&format!("It is unknown whether the changes of lines {first} to {last} were made."));
        }
        notice("Nothing after that was changed. Run the same import again to continue.");
        Ok(ExitCode::from(EXIT_FAILURE))
    }
}

/// The progress of an import, shown on a terminal only.
fn progress_bar(records: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} records, {per_sec}, {eta} left");
    let bar = ProgressBar::with_draw_target(Some(records), ProgressDrawTarget::stderr());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Set by Ctrl-C: the present batch is finished.
fn stop_at_interrupt() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            flag.store(true, Ordering::Relaxed);
        }
    });
    stop
}
