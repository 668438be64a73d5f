//! Applies an import batch by batch, and counts what is done, also when it stops.

use std::sync::atomic::{AtomicBool, Ordering};

use epr_core::domain::{Assignment, AssignmentFilter, BulkStep, NewAssignment};

use crate::check::{Checked, as_known, known_roles};
use crate::input::Input;
use crate::plan::{Assignments, Change, NoPlan, Planned};
use crate::principal;
use crate::record::Record;
use crate::registry::{BatchError, Registry};
use crate::tally::{Tallies, Tally};

/// Changes in one transaction.
pub const BATCH_STEPS: usize = 200;

/// Why an import ended before its end.
#[derive(Debug)]
pub struct Stopped {
    /// The line of the record that failed, if one did.
    pub line: Option<u64>,
    /// Why.
    pub why: String,
    /// The first and last line of the changes whose outcome is unknown.
    pub in_doubt: Option<(u64, u64)>,
}

impl From<String> for Stopped {
    fn from(why: String) -> Self {
        Self { line: None, why, in_doubt: None }
    }
}

/// A plan as it was shown and confirmed.
pub struct Confirmed {
    line: u64,
    change: Change,
    step: Option<BulkStep>,
    expects: Option<BulkStep>,
}

impl Confirmed {
    /// The plan of a line.
    #[must_use]
    pub fn of(line: u64, planned: &Planned) -> Self {
        let Planned { change, step, expects, .. } = planned;
        Self { line, change: *change, step: step.clone(), expects: expects.clone() }
    }
}

/// A running import.
pub struct Run<'a, R> {
    registry: &'a R,
    /// Whether records may end suspensions.
    may_activate: bool,
    /// What is done.
    pub done: Tallies,
    /// Gets the number of further records that are done.
    progress: &'a (dyn Fn(u64) + Sync),
    /// Once it is set, the present batch is the last.
    stop: &'a AtomicBool,
    batch: Vec<(u64, Change, BulkStep)>,
}

impl<'a, R: Registry> Run<'a, R> {
    /// An import that has not begun.
    #[must_use]
    pub fn new(registry: &'a R, may_activate: bool, progress: &'a (dyn Fn(u64) + Sync), stop: &'a AtomicBool) -> Self {
        let batch = Vec::with_capacity(BATCH_STEPS);
        Self { registry, may_activate, done: Tallies::default(), progress, stop, batch }
    }

    /// Applies exactly these plans, those of the check in its order, in one transaction.
    ///
    /// # Errors
    /// Nothing is changed, because a plan does not fit any more. Or an assignment that was planned as a new one was
    /// made in another way meanwhile: it is as it was, and the rest is changed.
    pub async fn apply_confirmed(&mut self, confirmed: Vec<Confirmed>) -> Result<(), Stopped> {
        for Confirmed { line, change, step, expects } in confirmed {
            let Some(step) = step else { continue };
            self.batch.extend(expects.map(|expects| (line, Change::Nothing, expects)));
            self.batch.push((line, change, step));
        }
        self.apply_batch().await
    }

    /// Applies principals and roles first: the assignments need them. `checked` is the result of the check.
    ///
    /// # Errors
    /// Why the import ended before its end.
    pub async fn apply_all(&mut self, input: &Input, checked: Checked) -> Result<(), Stopped> {
        let Checked { roles, role_names, .. } = checked;
        self.apply_principals(input).await?;
        for (line, planned) in roles {
            self.add(line, planned, |done| &mut done.roles).await?;
        }
        self.apply_batch().await?;
        let registry = self.registry;
        let roles = as_known(known_roles(registry, &role_names).await.map_err(|error| R::sentence(&error))?);
        let mut assignments = Assignments::new(registry, &roles);
        for read in input.records()? {
            let (line, record) = read?;
            let record = match record {
                Ok(Record::Assignment(record)) => record,
                Ok(Record::Role(_) | Record::Principal(_)) => continue,
                // It was valid when the file was checked: the file has changed.
                Err(error) => return Err(Stopped { line: Some(line), why: error.what, in_doubt: None }),
            };
            let planned = assignments.plan(&record).await.map_err(|reason| at::<R>(line, reason))?;
            self.add(line, planned, |done| &mut done.assignments).await?;
        }
        self.apply_batch().await
    }

    async fn apply_principals(&mut self, input: &Input) -> Result<(), Stopped> {
        for read in input.records()? {
            let (line, Ok(Record::Principal(record))) = read? else { continue };
            let planned = principal::plan(self.registry, &record, self.may_activate).await;
            self.add(line, planned.map_err(|reason| at::<R>(line, reason))?, |done| &mut done.principals).await?;
        }
        self.apply_batch().await
    }

    async fn add(&mut self, line: u64, planned: Planned, tally: fn(&mut Tallies) -> &mut Tally) -> Result<(), Stopped> {
        match planned.step {
            None => {
                tally(&mut self.done).add(Change::Nothing);
                (self.progress)(1);
            }
            Some(step) => self.batch.push((line, planned.change, step)),
        }
        if self.batch.len() >= BATCH_STEPS { self.apply_batch().await } else { Ok(()) }
    }

    /// Applies the changes of the batch.
    async fn apply_batch(&mut self) -> Result<(), Stopped> {
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
        match self.registry.apply(&steps).await {
            Ok(changed) => {
                for (((_, change), step), changed) in lines.iter().zip(&steps).zip(&changed) {
                    self.count(step, if *changed { *change } else { Change::Nothing });
                }
                (self.progress)(lines.len() as u64);
                for ((line, _), (step, _)) in lines.iter().zip(steps.iter().zip(changed)).filter(|(_, (_, done))| !done)
                {
                    self.check_left(step).await.map_err(|why| Stopped { line: Some(*line), why, in_doubt: None })?;
                }
                Ok(())
            }
            Err(BatchError { done, failed_at, error }) => {
                for ((_, change), step) in lines.iter().zip(&steps).take(done) {
                    self.count(step, *change);
                }
                let line_of = |at: usize| lines.get(at).map(|(line, _)| *line);
                // The outcome of a commit without an answer is unknown.
                let unknown = failed_at.is_none() && R::is_in_doubt(&error);
                let in_doubt = line_of(0).zip(line_of(lines.len() - 1)).filter(|_| unknown);
                Err(Stopped { line: failed_at.and_then(line_of), why: R::sentence(&error), in_doubt })
            }
        }
    }

    /// Counts a step among those of its kind.
    fn count(&mut self, step: &BulkStep, change: Change) {
        let tally = match step {
            BulkStep::ExpectPrincipal(..) | BulkStep::ExpectRole(..) => return,
            BulkStep::CreatePrincipal(_) | BulkStep::UpdatePrincipal(..) => &mut self.done.principals,
            BulkStep::CreateRole(_) | BulkStep::UpdateRole(..) => &mut self.done.roles,
            BulkStep::Assign(_) | BulkStep::AssignCreated(..) | BulkStep::Reassign(..) => &mut self.done.assignments,
        };
        tally.add(change);
    }

    /// Returns an error when `step`, which changed nothing, met an assignment with another window or condition.
    async fn check_left(&self, step: &BulkStep) -> Result<(), String> {
        let wanted = match step {
            BulkStep::Assign(request) => request.assignment(),
            BulkStep::Reassign(_, new) => new,
            _ => return Ok(()),
        };
        let filter = AssignmentFilter {
            principal_id: Some(wanted.principal_id),
            role_id: Some(wanted.role_id),
            entity_id: wanted.entity_id,
            ..AssignmentFilter::default()
        };
        let mut outcome = Ok(());
        let visit = &mut |made: Assignment| {
            let same_key = made.role_id == wanted.role_id
                && made.entity_id == wanted.entity_id
                && made.principal_type == wanted.principal_type.as_str();
            if same_key {
                outcome = check_made(wanted, &made);
            }
            !same_key
        };
        self.registry.for_each_assignment(filter, visit).await.map_err(|error| R::sentence(&error))?;
        outcome
    }
}

/// Why the record of a line could not be planned.
fn at<R: Registry>(line: u64, reason: NoPlan<R::Error>) -> Stopped {
    let why = match reason {
        NoPlan::Unfit(why) => why,
        NoPlan::Registry(error) => R::sentence(&error),
    };
    Stopped { line: Some(line), why, in_doubt: None }
}

/// Checks that `made` is what `wanted` asks for: it may have existed, and creating it again left it as it was.
///
/// # Errors
/// It is not.
pub fn check_made(wanted: &NewAssignment, made: &Assignment) -> Result<(), String> {
    let same = wanted.effective_at.is_none_or(|start| start == made.effective_at)
        && wanted.expires_at == made.expires_at
        && wanted.condition == made.condition;
    if same {
        return Ok(());
    }
    Err(format!(
        "assignment {} exists with another window or condition, which is unchanged: import the file again to replace \
         it",
        made.id
    ))
}
