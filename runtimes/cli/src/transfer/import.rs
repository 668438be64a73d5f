//! `epr import`: looks at the whole file first, and changes something only when all of it fits.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use epr_core::domain::{NewRole, Role};
use serde_json::json;
use uuid::Uuid;

use super::Format;
use super::file::{Flaw, Input};
use super::plan::{self, Assignments, Change, KnownRole, NoPlan, Planned};
use super::record::{AssignmentRecord, Record};
use super::tally::Tallies;
use super::work::{Stopped, Work};
use crate::backend::{Backend, Fault};
use crate::output::{Output, count, remark, visible};
use crate::{COULD_NOT, Outcome};

#[derive(Args)]
#[command(after_help = "\
The file is looked at first, all of it; nothing is changed unless every record fits. On the database, changes are \
made in transactions of 200, each with its ledger entries and events; over the API one by one. What the file does \
not hold is left alone. The same file again changes nothing.")]
pub(crate) struct Import {
    /// The file, as `epr export` writes it
    file: PathBuf,
    /// The format; without it, the one the file's name ends in, or else json
    #[arg(long)]
    format: Option<Format>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Flaws that are told one by one.
const TOLD: usize = 50;
/// Flaws after which a file is not looked at any further.
const MOST: usize = 10_000;

/// What is remembered of an assignment to see that no two are the same, in whatever way they name their entity.
type Key = (Uuid, String, String, Option<Uuid>);

/// What the first look at a file gives.
#[derive(Default)]
struct Looked {
    roles: BTreeMap<String, (u64, NewRole)>,
    assignments: u64,
    flaws: Vec<Flaw>,
}

impl Looked {
    fn at(input: &Input) -> Result<Self, String> {
        let mut looked = Self::default();
        for read in input.records()? {
            let (line, record) = read?;
            match record {
                Err(flaw) => looked.flaws.push(flaw),
                Ok(Record::Role(role)) => {
                    let name = role.name.as_str().to_owned();
                    match looked.roles.get(&name) {
                        Some((first, _)) => looked.flaws.push(twice(line, *first)),
                        None => {
                            looked.roles.insert(name, (line, role));
                        }
                    }
                }
                Ok(Record::Assignment(_)) => looked.assignments += 1,
            }
            if looked.flaws.len() >= MOST {
                break;
            }
        }
        Ok(looked)
    }
}

fn twice(line: u64, first: u64) -> Flaw {
    Flaw { line, what: format!("the same stands in line {first}") }
}

fn key(record: &AssignmentRecord, place: Option<Uuid>) -> Key {
    let principal_type = record.principal_type.as_str().to_owned();
    (record.principal_id, principal_type, record.role.as_str().to_owned(), place)
}

impl Import {
    pub(crate) async fn run(&self, backend: &Backend, out: &mut Output) -> Outcome {
        let input = Input::open(&self.file, self.format)?;
        let mut looked = Looked::at(&input)?;
        let known = known_roles(backend).await?;
        let mut plans = Vec::new();
        for (name, (line, role)) in &looked.roles {
            match plan::role(role, known.get(name)) {
                Ok(planned) => plans.push((*line, planned)),
                Err(NoPlan::Unfit(what)) => looked.flaws.push(Flaw { line: *line, what }),
                Err(NoPlan::Fault(fault)) => return Err(fault.into()),
            }
        }
        let mut roles = as_known(known);
        for (name, (_, role)) in &looked.roles {
            let id = roles.get(name).and_then(|role| role.id);
            roles.insert(name.clone(), KnownRole { id, scope_types: role.scope_types.clone() });
        }
        let mut tallies = Tallies::default();
        for (line, planned) in &plans {
            tallies.roles.add(planned.change);
            self.tell(*line, planned, out)?;
        }
        self.look_at_assignments(backend, &input, &roles, &mut looked, &mut tallies, out).await?;
        if !looked.flaws.is_empty() {
            return self.refuse(&mut looked.flaws, out);
        }
        if self.dry_run {
            if out.json {
                out.object(&json!({"done": false, "dry_run": true, "would": tallies}))?;
            } else {
                out.line(format_args!("Would be: {}.", tallies.sentence()))?;
                out.line(format_args!("Nothing was changed: this was a dry run."))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        if tallies.roles.created + tallies.roles.changed + tallies.assignments.created + tallies.assignments.changed > 0
        {
            backend.remark_if_untold();
        }
        let mut work = Work::begin(backend, plans.len() as u64 + looked.assignments);
        let outcome = work.carry_out(&input, plans).await;
        work.bar.finish_and_clear();
        self.report(&work, outcome.err(), out)
    }

    /// Only a dry run shows single changes.
    fn tell(&self, line: u64, planned: &Planned, out: &mut Output) -> std::io::Result<()> {
        if !self.dry_run || planned.change == Change::Nothing {
            return Ok(());
        }
        if out.json {
            return out.object(&json!({"line": line, "change": planned.change, "record": planned.json}));
        }
        let (sign, (headline, lines)) = match planned.change {
            Change::Create => (Output::good("+"), &planned.told),
            Change::Update | Change::Nothing => (Output::doubtful("~"), &planned.told),
        };
        out.line(format_args!("{sign} {headline}"))?;
        for line in lines {
            out.line(format_args!("    {line}"))?;
        }
        Ok(())
    }

    async fn look_at_assignments(
        &self,
        backend: &Backend,
        input: &Input,
        roles: &BTreeMap<String, KnownRole>,
        looked: &mut Looked,
        tallies: &mut Tallies,
        out: &mut Output,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let mut assignments = Assignments::new(backend, roles);
        let mut keys: HashMap<Key, u64> = HashMap::new();
        for read in input.records()? {
            let (line, Ok(Record::Assignment(record))) = read? else { continue };
            match assignments.plan(&record).await {
                Ok(planned) => {
                    if let Some(first) = keys.insert(key(&record, planned.place), line) {
                        looked.flaws.push(twice(line, first));
                    }
                    tallies.assignments.add(planned.change);
                    self.tell(line, &planned, out)?;
                }
                Err(NoPlan::Unfit(what)) => looked.flaws.push(Flaw { line, what }),
                Err(NoPlan::Fault(fault)) => return Err(fault.into()),
            }
            if looked.flaws.len() >= MOST {
                break;
            }
        }
        Ok(())
    }

    fn refuse(&self, flaws: &mut [Flaw], out: &mut Output) -> Outcome {
        flaws.sort_by_key(|flaw| flaw.line);
        if out.json {
            out.object(&json!({"done": false, "flaws": flaws}))?;
        }
        out.flush()?;
        for Flaw { line, what } in flaws.iter().take(TOLD) {
            remark(&format!("{}:{line}: {}", self.file.display(), visible(what)));
        }
        let number = flaws.len() as u64;
        if flaws.len() > TOLD {
            remark(&format!("… and {} more.", flaws.len() - TOLD));
        }
        remark(&format!("epr: {} in the file; nothing was changed.", count(number, "flaw", "flaws")));
        Ok(ExitCode::from(COULD_NOT))
    }

    /// Says what was done, also when it stopped.
    fn report(&self, work: &Work<'_>, stopped: Option<Stopped>, out: &mut Output) -> Outcome {
        let Tallies { roles, assignments } = work.done;
        let Some(Stopped { line, why, doubt }) = stopped else {
            if out.json {
                out.object(&json!({"done": true, "roles": roles, "assignments": assignments}))?;
            } else {
                out.line(format_args!("Done: {}.", work.done.sentence()))?;
            }
            return Ok(ExitCode::SUCCESS);
        };
        let place = line.map_or_else(String::new, |line| format!(" at {}:{line}", self.file.display()));
        if out.json {
            let doubt = doubt.map(|(first, last)| json!({"from_line": first, "to_line": last}));
            out.object(&json!({
                "done": false, "stopped_at_line": line, "why": why, "in_doubt": doubt,
                "roles": roles, "assignments": assignments,
            }))?;
        }
        out.flush()?;
        remark(&format!("epr: stopped{place}: {}", visible(&why)));
        remark(&format!("Done before that: {}.", work.done.sentence()));
        if let Some((first, last)) = doubt {
            remark(&format!("Nobody can tell whether the changes of lines {first} to {last} were made."));
        }
        remark("Nothing after that was changed. The same import again goes on from there.");
        Ok(ExitCode::from(COULD_NOT))
    }
}

/// Every role by its name.
pub(super) async fn known_roles(backend: &Backend) -> Result<BTreeMap<String, Role>, Fault> {
    let mut known = BTreeMap::new();
    backend
        .each_role(&mut |role| {
            known.insert(role.name.clone(), role);
            true
        })
        .await?;
    Ok(known)
}

pub(super) fn as_known(roles: BTreeMap<String, Role>) -> BTreeMap<String, KnownRole> {
    roles
        .into_iter()
        .map(|(name, role)| (name, KnownRole { id: Some(role.id), scope_types: role.scope_types }))
        .collect()
}
