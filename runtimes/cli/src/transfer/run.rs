//! Applies an import batch by batch, and counts what is done, also when it stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use epr_core::Error;
use epr_core::domain::BulkStep;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::file::Input;
use super::import::{as_known, known_roles};
use super::plan::{Assignments, Change, NoPlan, Planned};
use super::principal;
use super::record::Record;
use super::tally::{Tallies, Tally};
use crate::backend::{Backend, BackendError, BatchError};
use crate::sentence;

/// Changes in one transaction.
const BATCH_STEPS: usize = 200;

/// Why an import ended before its end.
pub(super) struct Stopped {
    /// The line of the record that failed, if one did.
    pub(super) line: Option<u64>,
    pub(super) why: String,
    /// The first and last line of the changes whose outcome is unknown.
    pub(super) in_doubt: Option<(u64, u64)>,
}

impl From<String> for Stopped {
    fn from(why: String) -> Self {
        Self { line: None, why, in_doubt: None }
    }
}

/// A running import.
pub(super) struct Run<'a> {
    backend: &'a Backend,
    /// Whether records may end suspensions.
    may_activate: bool,
    pub(super) done: Tallies,
    pub(super) bar: ProgressBar,
    /// Set by Ctrl-C: the present batch is finished.
    stop: Arc<AtomicBool>,
    batch: Vec<(u64, Change, BulkStep)>,
}

impl<'a> Run<'a> {
    /// Starts an import of `total` records.
    pub(super) fn begin(backend: &'a Backend, may_activate: bool, total: u64) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} records, {per_sec}, {eta} left");
        // Shown on a terminal only.
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                flag.store(true, Ordering::Relaxed);
            }
        });
        Self { backend, may_activate, done: Tallies::default(), bar, stop, batch: Vec::with_capacity(BATCH_STEPS) }
    }

    /// Applies principals and roles first: the assignments need them.
    pub(super) async fn apply_all(&mut self, input: &Input, roles: Vec<(u64, Planned)>) -> Result<(), Stopped> {
        self.apply_principals(input).await?;
        for (line, planned) in roles {
            self.add(line, planned, |done| &mut done.roles).await?;
        }
        self.apply_batch(|done| &mut done.roles).await?;
        let backend = self.backend;
        let roles = as_known(known_roles(backend).await.map_err(|error| sentence(&error))?);
        let mut assignments = Assignments::new(backend, &roles);
        for read in input.records()? {
            let (line, record) = read?;
            let record = match record {
                Ok(Record::Assignment(record)) => record,
                Ok(Record::Role(_) | Record::Principal(_)) => continue,
                // It was valid when the file was checked: the file has changed.
                Err(error) => return Err(Stopped { line: Some(line), why: error.what, in_doubt: None }),
            };
            let planned = assignments.plan(&record).await.map_err(|reason| match reason {
                NoPlan::Unfit(why) => Stopped { line: Some(line), why, in_doubt: None },
                NoPlan::Backend(error) => Stopped { line: Some(line), ..sentence(&error).into() },
            })?;
            self.add(line, planned, |done| &mut done.assignments).await?;
        }
        self.apply_batch(|done| &mut done.assignments).await
    }

    async fn apply_principals(&mut self, input: &Input) -> Result<(), Stopped> {
        for read in input.records()? {
            let (line, Ok(Record::Principal(record))) = read? else { continue };
            let planned =
                principal::plan(self.backend, &record, self.may_activate).await.map_err(|reason| match reason {
                    NoPlan::Unfit(why) => Stopped { line: Some(line), why, in_doubt: None },
                    NoPlan::Backend(error) => Stopped { line: Some(line), ..sentence(&error).into() },
                })?;
            self.add(line, planned, |done| &mut done.principals).await?;
        }
        self.apply_batch(|done| &mut done.principals).await
    }

    async fn add(&mut self, line: u64, planned: Planned, tally: fn(&mut Tallies) -> &mut Tally) -> Result<(), Stopped> {
        match planned.step {
            None => {
                tally(&mut self.done).add(Change::Nothing);
                self.bar.inc(1);
            }
            Some(step) => self.batch.push((line, planned.change, step)),
        }
        if self.batch.len() >= BATCH_STEPS { self.apply_batch(tally).await } else { Ok(()) }
    }

    /// Applies the changes of the batch.
    async fn apply_batch(&mut self, tally: fn(&mut Tallies) -> &mut Tally) -> Result<(), Stopped> {
        if self.stop.load(Ordering::Relaxed) {
            return Err("interrupted".to_owned().into());
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::with_capacity(self.batch.len());
        let mut steps = Vec::with_capacity(self.batch.len());
        for (line, change, step) in self.batch.drain(..) {
            lines.push((line, change));
            steps.push(step);
        }
        let tally = tally(&mut self.done);
        match self.backend.apply(&steps).await {
            Ok(changed) => {
                for ((_, change), changed) in lines.iter().zip(changed) {
                    tally.add(if changed { *change } else { Change::Nothing });
                }
                self.bar.inc(lines.len() as u64);
                Ok(())
            }
            Err(BatchError { done, failed_at, error }) => {
                for (_, change) in lines.iter().take(done) {
                    tally.add(*change);
                }
                let line_of = |at: usize| lines.get(at).map(|(line, _)| *line);
                // The outcome of a commit without an answer is unknown.
                let unknown = failed_at.is_none() && matches!(&error, BackendError::Core(Error::Unavailable(_)));
                let in_doubt = line_of(0).zip(line_of(lines.len() - 1)).filter(|_| unknown);
                Err(Stopped { line: failed_at.and_then(line_of), why: sentence(&error), in_doubt })
            }
        }
    }
}
