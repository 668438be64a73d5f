//! The list of the resources on which a principal may perform an action, as subtrees: one for each assignment.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::page::MAX_ERRORS;
use super::resources::{query, unknown_limit};
use super::{Basis, NextPage, Walk};
use crate::call::Call;
use crate::decision::{
    Facts, GrantingAssignment, JudgedItem, ListOptions, Listed, Question, ResourceFacts, Via, WrongContext, decide,
    judge_item,
};
use crate::domain::access::{AccessPage, AccessRole, AccessVia, Include, ResourcesRequest};
use crate::domain::subtree::SubtreeItem;
use crate::domain::{EntityType, Revision, Timestamp};
use crate::engine::Engines;
use crate::error::{Error, Result};
use crate::handlers::check::wrong_context;
use crate::store::{
    AccessEnd, AccessNames, StoreError, Subtree, SubtreeEntity, SubtreePosition, SubtreeStep, SubtreeVariant,
    SubtreeVisitor,
};

/// Lists a page of the subtrees in which the principal of `request` may perform its action.
///
/// # Errors
/// Those of [`super::resources::list`].
pub(crate) async fn list(
    engines: &Engines,
    call: &Call,
    request: &ResourcesRequest,
) -> Result<AccessPage<SubtreeItem>> {
    let walk = Walk::begin(engines, call, request).await?;
    let after = walk.position().map(|(last, state)| read_position(last, state)).transpose()?;
    let now = || engines.now();
    let query = query(engines, request, &walk);
    let mut page = SubtreePage::new(&walk, request, &now);
    let end = engines.store().subtrees(&query, after, &mut page).await.map_err(|error| walk.error(error))?;
    let end = end.ok_or_else(|| unknown_limit(request))?;
    let CompletedSubtrees { revision, as_of, items, next, errors } = page.end(&end)?;
    engines.condition_errors.report(&errors);
    let basis = Basis { revision, as_of, subject: None };
    walk.finish(engines, request, &basis, (items, next.map(write_position))).await
}

/// The position as a token has it: when the assignment was created and its id; then the variant, and the last entity
/// that was looked at if the subtree goes on.
fn write_position(position: SubtreePosition) -> NextPage {
    let SubtreePosition { created_at, assignment_id, variant, entity_id } = position;
    let mut state = vec![variant_byte(variant)];
    state.extend(entity_id.iter().flat_map(Uuid::as_bytes));
    NextPage { last: [&created_at.unix_micros().to_be_bytes()[..], assignment_id.as_bytes()].concat(), state }
}

fn read_position(last: &[u8], state: &[u8]) -> Result<SubtreePosition> {
    let read = || {
        let (micros, id) = last.split_first_chunk()?;
        let (variant, entity) = state.split_first()?;
        Some(SubtreePosition {
            created_at: Timestamp::from_unix_micros(i64::from_be_bytes(*micros)).ok()?,
            assignment_id: Uuid::from_slice(id).ok()?,
            variant: [SubtreeVariant::Allowed, SubtreeVariant::Conditional]
                .into_iter()
                .find(|one| variant_byte(*one) == *variant)?,
            entity_id: if entity.is_empty() { None } else { Some(Uuid::from_slice(entity).ok()?) },
        })
    };
    read().ok_or_else(|| StoreError::corrupt("page token", "not a subtree").into())
}

fn variant_byte(variant: SubtreeVariant) -> u8 {
    match variant {
        SubtreeVariant::Allowed => 0,
        SubtreeVariant::Conditional => 1,
    }
}

/// A page of subtrees under way.
struct SubtreePage<'a> {
    walk: &'a Walk<'a>,
    request: &'a ResourcesRequest,
    now: &'a (dyn Fn() -> Timestamp + Send + Sync),
    options: ListOptions,
    start: Option<(Revision, Timestamp)>,
    items: Vec<SubtreeItem>,
    /// The number of roots and exclusions that the page still has room for.
    free: usize,
    /// The last position that was visited: an entity of the last item, or an assignment whose subtree is finished.
    position: Option<SubtreePosition>,
    /// The names that entities of the last item miss.
    missing: BTreeSet<String>,
    /// `true` if the last item is a conditional variant that began on this page: if nothing is missing, it says the
    /// same as the item before.
    may_repeat: bool,
    failed: Option<Error>,
    errors: Vec<(Uuid, String)>,
}

/// The subtrees of a page, and what they rest on.
struct CompletedSubtrees {
    revision: Revision,
    as_of: Timestamp,
    items: Vec<SubtreeItem>,
    next: Option<SubtreePosition>,
    errors: Vec<(Uuid, String)>,
}

/// What a subtree shows before its entities are looked at.
struct Root {
    until: Option<Timestamp>,
    missing: BTreeSet<String>,
    step: SubtreeStep,
}

impl<'a> SubtreePage<'a> {
    fn new(walk: &'a Walk<'a>, request: &'a ResourcesRequest, now: &'a (dyn Fn() -> Timestamp + Send + Sync)) -> Self {
        let conditional = request.list.include.contains(&Include::Conditional);
        Self {
            walk,
            request,
            now,
            options: ListOptions { until: request.list.explain, conditional },
            start: None,
            items: Vec::new(),
            free: usize::try_from(request.list.limit).unwrap_or(usize::MAX),
            position: None,
            missing: BTreeSet::new(),
            may_repeat: false,
            failed: None,
            errors: Vec::new(),
        }
    }

    fn question(&self, resource_id: Uuid) -> Question {
        Question {
            principal_id: self.request.principal_id,
            principal_type: self.request.principal_type.clone(),
            action: self.request.action.clone(),
            resource_id,
        }
    }

    fn judge(
        &self,
        question: &Question,
        facts: &Facts,
        as_of: Timestamp,
    ) -> std::result::Result<JudgedItem, WrongContext> {
        judge_item(question, facts, &self.request.list.context, as_of, self.options)
    }

    /// Judges the assignment of a subtree by a resource of one of its types; `None` when it is no item. The
    /// conditions that read the resource are left to the entities, which are visited only if the others can hold.
    fn judge_root(&mut self, subtree: &Subtree, as_of: Timestamp) -> Result<Option<Root>> {
        let mut assignment = subtree.assignment.clone();
        assignment.conditions.retain(|one| !one.reads_resource());
        let reads_resource = assignment.conditions.len() < subtree.assignment.conditions.len();
        let root = subtree.root.as_ref();
        let of_root = || root.map_or(EntityType::Other, |root| root.entity_type.clone());
        let mut facts = Facts {
            principal: subtree.principal.clone(),
            resource: ResourceFacts::of(subtree.types.first().cloned().unwrap_or_else(of_root)),
            assigned_entities: root.map(|root| root.id).into_iter().chain(assignment.entity_id).collect(),
            assignments: vec![assignment],
        };
        let question = self.question(root.map(|root| root.id).unwrap_or_default());
        let JudgedItem { listed, errors } = self.judge(&question, &facts, as_of).map_err(wrong_context)?;
        self.report(errors);
        let step = if reads_resource { SubtreeStep::Each } else { SubtreeStep::LeftOut };
        match listed {
            Listed::Allowed(GrantingAssignment { until, .. }) => {
                return Ok(Some(Root { until, missing: BTreeSet::new(), step }));
            }
            // With something missing, no entity is allowed; those that would be are the other variant.
            Listed::Conditional(GrantingAssignment { until, .. }, missing)
                if !reads_resource || subtree.variant == SubtreeVariant::Conditional =>
            {
                return Ok(Some(Root { until, missing, step }));
            }
            Listed::Conditional(..) | Listed::Denied => {}
        }
        if reads_resource {
            // A parameter of the wrong type is an error of the request, also in a condition on which nothing depends.
            facts.assignments = vec![subtree.assignment.clone()];
            self.judge(&question, &facts, as_of).map_err(wrong_context)?;
        }
        Ok(None)
    }

    fn report(&mut self, errors: Vec<(Uuid, String)>) {
        let room = MAX_ERRORS.saturating_sub(self.errors.len());
        self.errors.extend(errors.into_iter().take(room));
    }

    fn fail(&mut self, error: Error) {
        self.failed = Some(error);
    }

    fn item(&self, subtree: &Subtree, root: Root) -> SubtreeItem {
        let is_conditional = subtree.variant == SubtreeVariant::Conditional || !root.missing.is_empty();
        let shown = subtree.root.as_ref();
        SubtreeItem {
            id: shown.map(|root| root.id),
            kind: shown.map(|root| root.entity_type.clone()),
            external_id: shown.and_then(|root| root.external_id.clone()),
            name: shown.map(|root| root.name.clone()),
            everything: shown.is_none(),
            types: subtree.types.clone(),
            exclusions: Vec::new(),
            more_exclusions: false,
            via: self.options.until.then(|| via(subtree, root.until)),
            conditional: is_conditional,
            missing: root.missing.into_iter().collect(),
        }
    }

    /// Returns `true` if the last item covers an entity; an error when the context does not fit.
    fn includes(&mut self, id: Uuid, facts: &Facts) -> std::result::Result<bool, WrongContext> {
        let Some((_, as_of)) = self.start else { return Ok(false) };
        let question = self.question(id);
        let JudgedItem { listed, errors } = self.judge(&question, facts, as_of)?;
        self.report(errors);
        if let Some(via) = self.items.last_mut().and_then(|item| item.via.as_mut()) {
            let until = decide(&question, facts, &self.request.list.context, as_of)?.until;
            via.until = [via.until, until].into_iter().flatten().min();
        }
        let variant = self.position.map(|position| position.variant);
        Ok(match listed {
            Listed::Allowed(_) => true,
            Listed::Conditional(_, missing) if variant == Some(SubtreeVariant::Conditional) => {
                self.missing.extend(missing);
                true
            }
            Listed::Conditional(..) | Listed::Denied => false,
        })
    }

    /// The items, when the visit has ended at `end`.
    fn end(mut self, end: &AccessEnd<SubtreePosition>) -> Result<CompletedSubtrees> {
        self.finish_item(match end {
            AccessEnd::Complete => true,
            AccessEnd::Bounded(position) => position.entity_id.is_none(),
            AccessEnd::Stopped => false,
        });
        if let Some(error) = self.failed {
            return Err(error);
        }
        let (revision, as_of) = self.start.ok_or_else(|| StoreError::corrupt("list", "the store visited nothing"))?;
        let next = match end {
            AccessEnd::Complete => None,
            AccessEnd::Stopped => {
                let stopped = || StoreError::corrupt("list", "it stopped before its first subtree");
                Some(self.position.ok_or_else(stopped)?)
            }
            AccessEnd::Bounded(position) => {
                if let Some(item) = self.items.last_mut().filter(|_| position.entity_id.is_some()) {
                    item.more_exclusions = true;
                }
                Some(*position)
            }
        };
        Ok(CompletedSubtrees { revision, as_of, items: self.items, next, errors: self.errors })
    }

    /// Completes the last item with what its entities miss. Removes it if all of them were visited and none misses
    /// anything that the item is about.
    fn finish_item(&mut self, is_complete: bool) {
        let missing = std::mem::take(&mut self.missing);
        if std::mem::take(&mut self.may_repeat) && is_complete && missing.is_empty() {
            self.items.pop();
            return;
        }
        if let Some(item) = self.items.last_mut().filter(|_| !missing.is_empty()) {
            item.missing = missing.into_iter().collect();
        }
    }
}

fn via(subtree: &Subtree, until: Option<Timestamp>) -> AccessVia {
    let Subtree { assignment, names, root, .. } = subtree;
    let AccessNames { entities, roles } = &**names;
    AccessVia {
        assignment_id: assignment.assignment_id,
        role: AccessRole { id: assignment.role_id, name: roles.get(&assignment.role_id).cloned().unwrap_or_default() },
        entity: assignment.entity_id.and_then(|id| entities.get(&id).cloned()),
        via: match assignment.entity_id {
            None => Via::Global,
            Some(entity) if root.as_ref().is_some_and(|root| root.id == entity) => Via::Direct,
            Some(_) => Via::Inherited,
        },
        until,
    }
}

impl SubtreeVisitor for SubtreePage<'_> {
    fn expected(&self) -> usize {
        self.free
    }

    fn begin(&mut self, revision: Revision, at: Option<Timestamp>) -> bool {
        if let Err(error) = self.walk.check_revision(revision) {
            self.fail(error);
            return false;
        }
        self.start = Some((revision, at.unwrap_or_else(|| (self.now)())));
        true
    }

    fn subtree(&mut self, subtree: Subtree) -> SubtreeStep {
        self.finish_item(true);
        if let Some(position) = &mut self.position {
            // The subtree before this one is finished.
            position.entity_id = None;
        }
        let Some((_, as_of)) = self.start else { return SubtreeStep::Stop };
        let root = match self.judge_root(&subtree, as_of) {
            Ok(Some(root)) => root,
            Ok(None) => return SubtreeStep::Skip,
            Err(error) => {
                self.fail(error);
                return SubtreeStep::Stop;
            }
        };
        // A repeated root takes no room, so that each page has at least one of its exclusions.
        if subtree.after.is_none() {
            let Some(free) = self.free.checked_sub(1) else { return SubtreeStep::Stop };
            self.free = free;
        }
        self.position = Some(SubtreePosition {
            created_at: subtree.created_at,
            assignment_id: subtree.assignment.assignment_id,
            variant: subtree.variant,
            entity_id: Some(subtree.after.unwrap_or_default()),
        });
        let step = root.step;
        self.may_repeat =
            subtree.variant == SubtreeVariant::Conditional && subtree.after.is_none() && root.missing.is_empty();
        let item = self.item(&subtree, root);
        self.items.push(item);
        step
    }

    fn entity(&mut self, entity: SubtreeEntity) -> bool {
        let SubtreeEntity { id, is_left_out, facts } = entity;
        let is_included = match facts.filter(|_| !is_left_out).map(|facts| self.includes(id, &facts)) {
            Some(Ok(is_included)) => is_included,
            Some(Err(wrong)) => {
                self.fail(wrong_context(wrong));
                return false;
            }
            None => false,
        };
        if !is_included {
            let Some(item) = self.items.last_mut() else { return false };
            let Some(free) = self.free.checked_sub(1) else {
                item.more_exclusions = true;
                return false;
            };
            self.free = free;
            item.exclusions.push(id);
        }
        if let Some(position) = &mut self.position {
            position.entity_id = Some(id);
        }
        true
    }
}
