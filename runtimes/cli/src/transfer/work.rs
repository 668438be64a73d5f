//! Carrying an import out, batch by batch, and keeping count of what is done, whatever happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use epr_core::Error;
use epr_core::domain::BulkStep;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::file::Input;
use super::import::{as_known, known_roles};
use super::plan::{Assignments, Change, NoPlan, Planned};
use super::record::Record;
use super::tally::{Tallies, Tally};
use crate::backend::{Backend, BatchFault, Fault};
use crate::sentence;

/// Changes in one transaction.
const BATCH: usize = 200;

/// Why an import ended before its end.
pub(super) struct Stopped {
    /// Where, if it was a record's fault.
    pub(super) line: Option<u64>,
    pub(super) why: String,
    /// The first and last line of changes of which nobody can tell whether they were made.
    pub(super) doubt: Option<(u64, u64)>,
}

impl From<String> for Stopped {
    fn from(why: String) -> Self {
        Self { line: None, why, doubt: None }
    }
}

/// An import under way.
pub(super) struct Work<'a> {
    backend: &'a Backend,
    pub(super) done: Tallies,
    pub(super) bar: ProgressBar,
    /// Set when somebody presses Ctrl-C: the batch under way is finished.
    stop: Arc<AtomicBool>,
    batch: Vec<(u64, Change, BulkStep)>,
}

impl<'a> Work<'a> {
    /// `total` records are to come.
    pub(super) fn begin(backend: &'a Backend, total: u64) -> Self {
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
        Self { backend, done: Tallies::default(), bar, stop, batch: Vec::with_capacity(BATCH) }
    }

    /// Roles first, which the assignments need.
    pub(super) async fn carry_out(&mut self, input: &Input, roles: Vec<(u64, Planned)>) -> Result<(), Stopped> {
        for (line, planned) in roles {
            self.take(line, planned, |done| &mut done.roles).await?;
        }
        self.apply(|done| &mut done.roles).await?;
        let backend = self.backend;
        let roles = as_known(known_roles(backend).await.map_err(|fault| sentence(&fault))?);
        let mut assignments = Assignments::new(backend, &roles);
        for read in input.records()? {
            let (line, record) = read?;
            let record = match record {
                Ok(Record::Assignment(record)) => record,
                Ok(Record::Role(_)) => continue,
                // It was whole when it was looked at.
                Err(flaw) => return Err(Stopped { line: Some(line), why: flaw.what, doubt: None }),
            };
            let planned = assignments.plan(&record).await.map_err(|none| match none {
                NoPlan::Unfit(why) => Stopped { line: Some(line), why, doubt: None },
                NoPlan::Fault(fault) => Stopped { line: Some(line), ..sentence(&fault).into() },
            })?;
            self.take(line, planned, |done| &mut done.assignments).await?;
        }
        self.apply(|done| &mut done.assignments).await
    }

    async fn take(
        &mut self,
        line: u64,
        planned: Planned,
        tally: fn(&mut Tallies) -> &mut Tally,
    ) -> Result<(), Stopped> {
        match planned.step {
            None => {
                tally(&mut self.done).add(Change::Nothing);
                self.bar.inc(1);
            }
            Some(step) => self.batch.push((line, planned.change, step)),
        }
        if self.batch.len() >= BATCH { self.apply(tally).await } else { Ok(()) }
    }

    /// Makes the changes that have gathered.
    async fn apply(&mut self, tally: fn(&mut Tallies) -> &mut Tally) -> Result<(), Stopped> {
        if self.stop.load(Ordering::Relaxed) {
            return Err("it was interrupted".to_owned().into());
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
            Err(BatchFault { done, at, why }) => {
                for (_, change) in lines.iter().take(done) {
                    tally.add(*change);
                }
                let line_of = |at: usize| lines.get(at).map(|(line, _)| *line);
                // A commit without an answer may have been one.
                let doubtful = at.is_none() && matches!(&why, Fault::Core(Error::Unavailable(_)));
                let doubt = line_of(0).zip(line_of(lines.len() - 1)).filter(|_| doubtful);
                Err(Stopped { line: at.and_then(line_of), why: sentence(&why), doubt })
            }
        }
    }
}
