//! A history for the bench: appended through the store with the entries of real changes, so that the ledger explains
//! every version.

use std::collections::HashMap;

use epr_core::clock::{Clock as _, SystemClock};
use epr_core::domain::audit::OWN_SOURCE;
use epr_core::domain::json::object;
use epr_core::domain::{
    Assignment, AuditEvent, Entity, EntityType, JsonObject, NewAssignment, NewEntity, NewRole, Timestamp,
};
use epr_core::history::{RegistryRow, RowKey, RowVersion};
use epr_core::ledger::chain::Draft;
use epr_core::store::{Appended, Store};
use rand::Rng as _;
use rand::rngs::StdRng;
use uuid::Uuid;

/// Changes in one transaction.
pub(crate) const BATCH: usize = 1_000;
/// Entities in chains of four, whose assignments and names change.
pub(crate) const ENTITIES: u128 = 20_000;
/// Principals that hold assignments.
const PRINCIPALS: u128 = 5_000;
/// The action of the only role.
pub(crate) const ACTION: &str = "a:read";

/// What was made: enough to know the answer to every question at every revision.
pub(crate) struct Past {
    /// The number of changes.
    pub(crate) changes: usize,
    /// The sequence of the last change.
    pub(crate) last: i64,
    /// Between these times the registry had every entity.
    times: (Timestamp, Timestamp),
    assignments: Vec<Span>,
    /// The assignments of a principal, by their index.
    of_principal: HashMap<Uuid, Vec<usize>>,
}

/// An assignment, and the sequences of the entries that made and ended it.
struct Span {
    principal: Uuid,
    entity: u128,
    from: i64,
    to: Option<i64>,
}

/// A question about a revision, with its answer.
pub(crate) struct PastQuestion {
    pub(crate) principal: Uuid,
    pub(crate) resource: Uuid,
    pub(crate) sequence: i64,
    pub(crate) expected: bool,
}

impl Past {
    /// A question about an entity on which the principal had an assignment at some time, at a random revision from its
    /// beginning on.
    pub(crate) fn question(&self, rng: &mut StdRng) -> PastQuestion {
        let span = &self.assignments[rng.random_range(0..self.assignments.len())];
        self.question_at(span, rng.random_range(span.from..=self.last))
    }

    /// The same about the present.
    pub(crate) fn question_now(&self, rng: &mut StdRng) -> PastQuestion {
        let span = &self.assignments[rng.random_range(0..self.assignments.len())];
        self.question_at(span, self.last)
    }

    /// A time at which the registry had every entity.
    pub(crate) fn time(&self, rng: &mut StdRng) -> Timestamp {
        let (from, to) = self.times;
        let micros = rng.random_range(from.unix_micros()..=to.unix_micros());
        Timestamp::from_unix_micros(micros).expect("a time")
    }

    fn question_at(&self, span: &Span, sequence: i64) -> PastQuestion {
        let root = span.entity - span.entity % 4;
        let expected = self.of_principal[&span.principal].iter().any(|index| {
            let held = &self.assignments[*index];
            let is_in_force = held.from <= sequence && held.to.is_none_or(|to| to > sequence);
            is_in_force && (root..=span.entity).contains(&held.entity)
        });
        PastQuestion { principal: span.principal, resource: entity_id(span.entity), sequence, expected }
    }
}

/// Makes a history of `total` changes: first the entities, then half new assignments, a quarter ended ones, a quarter
/// entities that are renamed. `with_rows`: with the versions of the rows, as the service appends them.
pub(crate) async fn make(store: &dyn Store, total: usize, rng: &mut StdRng, with_rows: bool) -> Past {
    let now = SystemClock.now();
    let (assignments, of_principal) = (Vec::new(), HashMap::new());
    let mut past = Past { changes: total, last: 0, times: (now, now), assignments, of_principal };
    let role = NewRole::new("Reader".parse().expect("a name")).permission(ACTION.parse().expect("an action"));
    let role = role.into_record(Uuid::from_u128(7), now);
    let mut names: HashMap<u128, Entity> = HashMap::new();
    let mut held: Vec<(Assignment, usize)> = Vec::new();
    let (mut drafts, mut about) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    for n in 0..total {
        let at = SystemClock.now();
        let number = u128::try_from(n).expect("a count");
        let (draft, version, of) = if n == 0 {
            let mut details = role.details();
            details.insert("role_id".to_owned(), role.id.into());
            (draft("role.create", at, Some(role.id), details), RowVersion::created(role.clone()), About::Nothing)
        } else if number <= ENTITIES {
            let entity = entity(number - 1, at);
            let draft = draft("entity.create", at, Some(entity.id), entity.details());
            names.insert(number - 1, entity.clone());
            (draft, RowVersion::created(entity), About::Nothing)
        } else {
            match rng.random_range(0..4) {
                0 => {
                    let number = rng.random_range(0..ENTITIES);
                    let before = &names[&number];
                    let after = Entity { name: format!("entity {number} at {at}"), updated_at: at, ..before.clone() };
                    let details = object([("changes", after.changes_since(before).into())]);
                    names.insert(number, after.clone());
                    let draft = draft("entity.update", at, Some(after.id), details);
                    (draft, RegistryRow::from(after).into(), About::Nothing)
                }
                1 if held.len() > 1_000 => {
                    let (ended, index) = held.swap_remove(rng.random_range(0..held.len()));
                    // The sequence follows.
                    past.assignments[index].to = Some(0);
                    let draft = draft("role_assignment.delete", at, ended.entity_id, details_of(&ended));
                    (draft, RowVersion::ended(RowKey::Assignment(ended.id)), About::End(index))
                }
                _ => {
                    let principal = Uuid::from_u128(rng.random_range(0..PRINCIPALS) + 1);
                    let mut on = rng.random_range(0..ENTITIES);
                    let of_principal = past.of_principal.entry(principal).or_default();
                    let is_held = |on: u128, span: &Span| span.entity == on && span.to.is_none();
                    while of_principal.iter().any(|index| is_held(on, &past.assignments[*index])) {
                        on = (on + 1) % ENTITIES;
                    }
                    let new = NewAssignment::new(principal, role.id).on(entity_id(on));
                    let assignment = new.into_record(Uuid::from_u128(rng.random()), at);
                    let draft = draft("role_assignment.create", at, assignment.entity_id, details_of(&assignment));
                    let index = past.assignments.len();
                    past.assignments.push(Span { principal, entity: on, from: 0, to: None });
                    of_principal.push(index);
                    held.push((assignment.clone(), index));
                    (draft, RowVersion::created(assignment), About::Begin(index))
                }
            }
        };
        drafts.push(if with_rows { draft.with_row(version) } else { draft });
        about.push(of);
        if drafts.len() == BATCH || n + 1 == total {
            let mut tx = store.begin().await.expect("a transaction");
            let appended = tx.append(&drafts).await.expect("entries");
            tx.commit().await.expect("a commit");
            for (appended, of) in appended.iter().zip(&about) {
                let Appended::Recorded { sequence, .. } = appended else { panic!("{appended:?}") };
                past.last = *sequence;
                match of {
                    About::Begin(index) => past.assignments[*index].from = *sequence,
                    About::End(index) => past.assignments[*index].to = Some(*sequence),
                    About::Nothing => {}
                }
            }
            if u128::try_from(n - n % BATCH).expect("a count") <= ENTITIES {
                past.times.0 = SystemClock.now();
            }
            drafts.clear();
            about.clear();
        }
    }
    past.times.1 = SystemClock.now();
    past
}

/// What a change means for the spans of assignments, by their index.
enum About {
    Nothing,
    Begin(usize),
    End(usize),
}

pub(crate) fn entity_id(number: u128) -> Uuid {
    Uuid::from_u128(number + 1)
}

/// Entity `number` of a chain of four: the first one of each is a root.
fn entity(number: u128, at: Timestamp) -> Entity {
    let new = NewEntity::new(format!("entity {number}").parse().expect("a name"), EntityType::Spv);
    let parent_id = (!number.is_multiple_of(4)).then(|| entity_id(number - 1));
    Entity { parent_id, ..new.into_record(entity_id(number), at) }
}

fn details_of(assignment: &Assignment) -> JsonObject {
    let mut details = assignment.details();
    details.insert("assignment_id".to_owned(), assignment.id.into());
    details
}

fn draft(action: &'static str, at: Timestamp, entity_id: Option<Uuid>, details: JsonObject) -> Draft {
    Draft::new(AuditEvent {
        event_id: None,
        source: OWN_SOURCE.try_into().expect("a source"),
        action: action.try_into().expect("an action"),
        actor_id: Some(Uuid::from_u128(0xac)),
        actor_type: "user".try_into().expect("a type"),
        entity_id,
        entity_type: None,
        correlation_id: None,
        details,
        occurred_at: at,
    })
    .expect("a draft")
}
