//! Checks a whole file before anything is changed: every record is read and planned.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use epr_core::domain::Role;
use uuid::Uuid;

use crate::input::{Input, RecordError};
use crate::plan::{self, Assignments, KnownRole, NoPlan, Planned};
use crate::principal::{self, PrincipalRecord};
use crate::record::{AssignmentRecord, PrincipalName, Record, RoleRecord};
use crate::registry::Registry;
use crate::tally::Tallies;

/// Errors after which the rest of the file is not checked.
const MAX_ERRORS: usize = 10_000;

/// The identity of an assignment, to find duplicates however they name their entity.
type Key = (PrincipalName, String, String, Option<Uuid>);

/// Shows a planned change and its line.
pub type PlanVisitor<'a> = &'a mut (dyn FnMut(u64, &Planned) + Send);

/// Why a file could not be checked or applied.
#[derive(Debug)]
pub enum Failure<E> {
    /// The file cannot be read.
    File(String),
    /// The registry cannot be read.
    Registry(E),
}

/// The result of checking a file.
pub struct Checked {
    /// The plans of the roles, which an import needs again, each with its line.
    pub roles: Vec<(u64, Planned)>,
    /// The names of the roles of the file: those that it has, and those that its assignments name.
    pub role_names: BTreeSet<String>,
    /// What an import would do.
    pub tallies: Tallies,
    /// The number of records.
    pub records: u64,
    /// What is wrong with the file, in the order in which it was found.
    pub errors: Vec<RecordError>,
}

/// The result of reading a file.
#[derive(Default)]
struct Survey {
    roles: BTreeMap<String, (u64, RoleRecord)>,
    role_names: BTreeSet<String>,
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
                    survey.role_names.insert(name.clone());
                    match survey.roles.get(&name) {
                        Some((first, _)) => survey.errors.push(duplicate(line, *first)),
                        None => {
                            survey.roles.insert(name, (line, role));
                        }
                    }
                }
                Ok(Record::Principal(principal)) => survey.add_principal(line, &principal),
                Ok(Record::Assignment(assignment)) => {
                    survey.assignments += 1;
                    survey.role_names.insert(assignment.role.as_str().to_owned());
                }
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

/// A check that is under way.
struct Checking<'a, R> {
    registry: &'a R,
    input: &'a Input,
    /// Whether records may end suspensions.
    may_activate: bool,
    survey: Survey,
    tallies: Tallies,
}

/// Checks every record of `input`, and shows each plan to `seen`: principals, then roles by name, then assignments.
///
/// # Errors
/// The file or the registry cannot be read. What is wrong with records is in the result.
pub async fn check<R: Registry>(
    registry: &R,
    input: &Input,
    may_activate: bool,
    seen: PlanVisitor<'_>,
) -> Result<Checked, Failure<R::Error>> {
    let mut survey = Survey::of(input).map_err(Failure::File)?;
    let role_names = std::mem::take(&mut survey.role_names);
    let known = known_roles(registry, &role_names).await.map_err(Failure::Registry)?;
    let mut plans = Vec::new();
    for (name, (line, role)) in &survey.roles {
        match plan::role(role, known.get(name), registry.creates_system_roles()) {
            Ok(planned) => plans.push((*line, planned)),
            Err(what) => survey.errors.push(RecordError { line: *line, what }),
        }
    }
    let mut roles = as_known(known);
    for (name, (_, role)) in &survey.roles {
        let id = roles.get(name).and_then(|role| role.id);
        roles.insert(name.clone(), KnownRole { id, scope_types: role.new.scope_types.clone() });
    }
    let mut checking = Checking { registry, input, may_activate, survey, tallies: Tallies::default() };
    checking.principals(seen).await?;
    for (line, planned) in &plans {
        checking.tallies.roles.add(planned.change);
        seen(*line, planned);
    }
    checking.assignments(&roles, seen).await?;
    let Checking { survey, tallies, .. } = checking;
    let records = survey.principals + plans.len() as u64 + survey.assignments;
    Ok(Checked { roles: plans, role_names, tallies, records, errors: survey.errors })
}

impl<R: Registry> Checking<'_, R> {
    /// Notes a plan, or what is wrong with its record; `None` then.
    fn outcome(
        &mut self,
        line: u64,
        planned: Result<Planned, NoPlan<R::Error>>,
    ) -> Result<Option<Planned>, Failure<R::Error>> {
        match planned {
            Ok(planned) => Ok(Some(planned)),
            Err(NoPlan::Unfit(what)) => {
                self.survey.errors.push(RecordError { line, what });
                Ok(None)
            }
            Err(NoPlan::Registry(error)) => Err(Failure::Registry(error)),
        }
    }

    fn is_enough(&self) -> bool {
        self.survey.errors.len() >= MAX_ERRORS
    }

    async fn principals(&mut self, seen: PlanVisitor<'_>) -> Result<(), Failure<R::Error>> {
        if self.survey.principals == 0 {
            return Ok(());
        }
        for read in self.input.records().map_err(Failure::File)? {
            let (line, Ok(Record::Principal(record))) = read.map_err(Failure::File)? else { continue };
            let planned = principal::plan(self.registry, &record, self.may_activate).await;
            if let Some(planned) = self.outcome(line, planned)? {
                self.tallies.principals.add(planned.change);
                seen(line, &planned);
            }
            if self.is_enough() {
                break;
            }
        }
        Ok(())
    }

    async fn assignments(
        &mut self,
        roles: &BTreeMap<String, KnownRole>,
        seen: PlanVisitor<'_>,
    ) -> Result<(), Failure<R::Error>> {
        let mut assignments = Assignments::new(self.registry, roles);
        let mut keys: HashMap<Key, u64> = HashMap::new();
        for read in self.input.records().map_err(Failure::File)? {
            let (line, Ok(Record::Assignment(record))) = read.map_err(Failure::File)? else { continue };
            let planned = assignments.plan(&record).await;
            if let Some(planned) = self.outcome(line, planned)? {
                if let Some(first) = keys.insert(key(&record, planned.entity_id), line) {
                    self.survey.errors.push(duplicate(line, first));
                }
                self.tallies.assignments.add(planned.change);
                seen(line, &planned);
            }
            if self.is_enough() {
                break;
            }
        }
        Ok(())
    }
}

/// The roles with these names, each by its name.
pub(crate) async fn known_roles<R: Registry>(
    registry: &R,
    names: &BTreeSet<String>,
) -> Result<BTreeMap<String, Role>, R::Error> {
    let mut known = BTreeMap::new();
    registry
        .for_each_role(names, &mut |role| {
            known.insert(role.name.clone(), role);
            true
        })
        .await?;
    Ok(known)
}

pub(crate) fn as_known(roles: BTreeMap<String, Role>) -> BTreeMap<String, KnownRole> {
    roles
        .into_iter()
        .map(|(name, role)| (name, KnownRole { id: Some(role.id), scope_types: role.scope_types }))
        .collect()
}
