//! `epr import`: checks the whole file first, and changes something only if every record fits.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use epr_core::domain::Role;
use serde_json::json;
use uuid::Uuid;

use super::Format;
use super::file::{Input, RecordError};
use super::plan::{self, Assignments, Change, KnownRole, NoPlan, Planned};
use super::principal::{self, PrincipalRecord};
use super::record::{AssignmentRecord, PrincipalName, Record, RoleRecord};
use super::run::{Run, Stopped};
use super::tally::Tallies;
use crate::backend::{Backend, BackendError};
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
/// Errors after which the rest of the file is not checked.
const MAX_ERRORS: usize = 10_000;

/// The identity of an assignment, to find duplicates however they name their entity.
type Key = (PrincipalName, String, String, Option<Uuid>);

/// The result of checking a file.
#[derive(Default)]
struct Survey {
    roles: BTreeMap<String, (u64, RoleRecord)>,
    assignments: u64,
    principals: u64,
    /// The lines of principals, by type and each of their names.
    principal_lines: HashMap<(String, PrincipalName), u64>,
    errors: Vec<RecordError>,
}

impl Survey {
    fn of(input: &Input) -> Result<Self, String> {
        let mut survey = Self::default();
        for read in input.records()? {
            let (line, record) = read?;
            match record {
                Err(error) => survey.errors.push(error),
                Ok(Record::Role(role)) => {
                    let name = role.new.name.as_str().to_owned();
                    match survey.roles.get(&name) {
                        Some((first, _)) => survey.errors.push(duplicate(line, *first)),
                        None => {
                            survey.roles.insert(name, (line, role));
                        }
                    }
                }
                Ok(Record::Principal(principal)) => survey.add_principal(line, &principal),
                Ok(Record::Assignment(_)) => survey.assignments += 1,
            }
            if survey.errors.len() >= MAX_ERRORS {
                break;
            }
        }
        Ok(survey)
    }

    fn add_principal(&mut self, line: u64, principal: &PrincipalRecord) {
        self.principals += 1;
        let external_id = principal.external_id.clone().map(PrincipalName::ExternalId);
        for name in principal.id.map(PrincipalName::Id).into_iter().chain(external_id) {
            let key = (principal.principal_type.as_str().to_owned(), name);
            if let Some(first) = self.principal_lines.insert(key, line).filter(|first| *first != line) {
                self.errors.push(duplicate(line, first));
            }
        }
    }
}

fn duplicate(line: u64, first: u64) -> RecordError {
    RecordError { line, what: format!("duplicate of line {first}") }
}

fn key(record: &AssignmentRecord, entity_id: Option<Uuid>) -> Key {
    let principal_type = record.principal_type.as_str().to_owned();
    (record.principal.clone(), principal_type, record.role.as_str().to_owned(), entity_id)
}

impl Import {
    pub(crate) async fn run(&self, backend: &Backend, out: &mut Output) -> Outcome {
        let input = Input::open(&self.file, self.format, backend.entity_types())?;
        let mut survey = Survey::of(&input)?;
        let known = known_roles(backend).await?;
        let mut plans = Vec::new();
        for (name, (line, role)) in &survey.roles {
            match plan::role(role, known.get(name)) {
                Ok(planned) => plans.push((*line, planned)),
                Err(NoPlan::Unfit(what)) => survey.errors.push(RecordError { line: *line, what }),
                Err(NoPlan::Backend(error)) => return Err(error.into()),
            }
        }
        let mut roles = as_known(known);
        for (name, (_, role)) in &survey.roles {
            let id = roles.get(name).and_then(|role| role.id);
            roles.insert(name.clone(), KnownRole { id, scope_types: role.new.scope_types.clone() });
        }
        let mut tallies = Tallies::default();
        self.survey_principals(backend, &input, &mut survey, &mut tallies, out).await?;
        for (line, planned) in &plans {
            tallies.roles.add(planned.change);
            self.print_change(*line, planned, out)?;
        }
        self.survey_assignments(backend, &input, &roles, &mut survey, &mut tallies, out).await?;
        if !survey.errors.is_empty() {
            return self.refuse(&mut survey.errors, out);
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
        let mut run = Run::begin(backend, self.activate, survey.principals + plans.len() as u64 + survey.assignments);
        let outcome = run.apply_all(&input, plans).await;
        run.bar.finish_and_clear();
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

    async fn survey_principals(
        &self,
        backend: &Backend,
        input: &Input,
        survey: &mut Survey,
        tallies: &mut Tallies,
        out: &mut Output,
    ) -> Result<(), Box<dyn std::error::Error>> {
        for read in input.records()?.take_while(|_| survey.principals > 0) {
            let (line, Ok(Record::Principal(record))) = read? else { continue };
            match principal::plan(backend, &record, self.activate).await {
                Ok(planned) => {
                    tallies.principals.add(planned.change);
                    self.print_change(line, &planned, out)?;
                }
                Err(NoPlan::Unfit(what)) => survey.errors.push(RecordError { line, what }),
                Err(NoPlan::Backend(error)) => return Err(error.into()),
            }
            if survey.errors.len() >= MAX_ERRORS {
                break;
            }
        }
        Ok(())
    }

    async fn survey_assignments(
        &self,
        backend: &Backend,
        input: &Input,
        roles: &BTreeMap<String, KnownRole>,
        survey: &mut Survey,
        tallies: &mut Tallies,
        out: &mut Output,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let mut assignments = Assignments::new(backend, roles);
        let mut keys: HashMap<Key, u64> = HashMap::new();
        for read in input.records()? {
            let (line, Ok(Record::Assignment(record))) = read? else { continue };
            match assignments.plan(&record).await {
                Ok(planned) => {
                    if let Some(first) = keys.insert(key(&record, planned.entity_id), line) {
                        survey.errors.push(duplicate(line, first));
                    }
                    tallies.assignments.add(planned.change);
                    self.print_change(line, &planned, out)?;
                }
                Err(NoPlan::Unfit(what)) => survey.errors.push(RecordError { line, what }),
                Err(NoPlan::Backend(error)) => return Err(error.into()),
            }
            if survey.errors.len() >= MAX_ERRORS {
                break;
            }
        }
        Ok(())
    }

    fn refuse(&self, errors: &mut [RecordError], out: &mut Output) -> Outcome {
        errors.sort_by_key(|error| error.line);
        if out.json {
            out.object(&json!({"done": false, "flaws": errors}))?;
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
    fn report(&self, run: &Run<'_>, stopped: Option<Stopped>, out: &mut Output) -> Outcome {
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

/// Every role by its name.
pub(super) async fn known_roles(backend: &Backend) -> Result<BTreeMap<String, Role>, BackendError> {
    let mut known = BTreeMap::new();
    backend
        .for_each_role(&mut |role| {
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
