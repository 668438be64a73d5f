//! The items of a page: candidates are judged until the page is full.

use std::sync::Arc;

use uuid::Uuid;

use super::Walk;
use crate::decision::{AssignmentFacts, GrantingAssignment, JudgedItem, ListOptions, Listed, WrongContext};
use crate::domain::Timestamp;
use crate::domain::access::{AccessItem, AccessRole, AccessVia, Include, ListRequest};
use crate::error::{Error, Result};
use crate::handlers::check::wrong_context;
use crate::store::{AccessEnd, AccessNames, AccessStart};

/// The most failed conditions that one page reports to the log.
pub(super) const MAX_ERRORS: usize = 100;

/// A page of items under way; `K` are their keys in the list.
pub(super) struct ItemPage<'a, K> {
    walk: &'a Walk<'a>,
    now: &'a (dyn Fn() -> Timestamp + Send + Sync),
    limit: usize,
    options: ListOptions,
    start: Option<(AccessStart, Timestamp)>,
    /// The names that were known before the first candidate.
    names: Arc<AccessNames>,
    items: Vec<AccessItem>,
    /// The last candidate before the next page.
    last: Option<K>,
    failed: Option<Error>,
    errors: Vec<(Uuid, String)>,
}

/// The items of a page, and what they rest on.
pub(super) struct CompletedItems<K> {
    pub(super) start: AccessStart,
    pub(super) as_of: Timestamp,
    pub(super) items: Vec<AccessItem>,
    /// The last key before the next page; `None` when there is none.
    pub(super) next: Option<K>,
    /// The assignments whose conditions could not be evaluated.
    pub(super) errors: Vec<(Uuid, String)>,
}

impl<'a, K> ItemPage<'a, K> {
    pub(super) fn new(walk: &'a Walk<'a>, list: &ListRequest, now: &'a (dyn Fn() -> Timestamp + Send + Sync)) -> Self {
        let options = ListOptions { until: list.explain, conditional: list.include.contains(&Include::Conditional) };
        Self {
            walk,
            now,
            limit: usize::try_from(list.limit).unwrap_or(usize::MAX),
            options,
            start: None,
            names: Arc::default(),
            items: Vec::new(),
            last: None,
            failed: None,
            errors: Vec::new(),
        }
    }

    /// Begins with what the store knows before the first candidate; `false` when the page fails.
    pub(super) fn begin(&mut self, mut start: AccessStart) -> bool {
        if let Err(error) = self.walk.check_revision(start.revision) {
            self.failed = Some(error);
            return false;
        }
        // Read after the snapshot began, as a check reads the time after the facts: an assignment that ends between the
        // two grants nothing.
        self.names = Arc::new(AccessNames {
            entities: std::mem::take(&mut start.entities),
            roles: std::mem::take(&mut start.roles),
        });
        let as_of = start.at.unwrap_or_else(|| (self.now)());
        self.start = Some((start, as_of));
        true
    }

    /// The options and the time of every judgement; `None` before [`Self::begin`].
    pub(super) fn judging(&self) -> Option<(ListOptions, Timestamp)> {
        self.start.as_ref().map(|(_, as_of)| (self.options, *as_of))
    }

    /// Takes a judged candidate; `false` when it is the first one that does not fit, or its judgement failed.
    /// `assignments` are those of its facts.
    pub(super) fn take(
        &mut self,
        key: K,
        item: AccessItem,
        judged: std::result::Result<JudgedItem, WrongContext>,
        assignments: &[AssignmentFacts],
    ) -> bool {
        let names = Arc::clone(&self.names);
        self.take_named(key, item, judged, assignments, &names)
    }

    /// [`Self::take`] with the names of the assignments' entities and roles.
    pub(super) fn take_named(
        &mut self,
        key: K,
        item: AccessItem,
        judged: std::result::Result<JudgedItem, WrongContext>,
        assignments: &[AssignmentFacts],
        names: &AccessNames,
    ) -> bool {
        let JudgedItem { listed, errors } = match judged {
            Ok(judged) => judged,
            Err(wrong) => return self.fail(wrong_context(wrong)),
        };
        let free = MAX_ERRORS.saturating_sub(self.errors.len());
        self.errors.extend(errors.into_iter().take(free));
        let item = match listed {
            Listed::Denied => None,
            Listed::Allowed(granted) => Some(AccessItem { via: self.via(&granted, assignments, names), ..item }),
            Listed::Conditional(granted, missing) => Some(AccessItem {
                via: self.via(&granted, assignments, names),
                conditional: true,
                missing: missing.into_iter().collect(),
                ..item
            }),
        };
        if item.is_some() && self.items.len() >= self.limit {
            return false;
        }
        self.items.extend(item);
        self.last = Some(key);
        true
    }

    /// Ends the page with an error. Returns `false`.
    pub(super) fn fail(&mut self, error: Error) -> bool {
        self.failed = Some(error);
        false
    }

    fn via(
        &self,
        granted: &GrantingAssignment,
        assignments: &[AssignmentFacts],
        names: &AccessNames,
    ) -> Option<AccessVia> {
        if !self.options.until {
            return None;
        }
        let assignment = assignments.iter().find(|one| one.assignment_id == granted.assignment_id)?;
        Some(AccessVia {
            assignment_id: granted.assignment_id,
            role: AccessRole {
                id: granted.role_id,
                name: names.roles.get(&granted.role_id).cloned().unwrap_or_default(),
            },
            entity: assignment.entity_id.and_then(|id| names.entities.get(&id).cloned()),
            via: granted.via,
            until: granted.until,
        })
    }

    /// The items, when the visit has ended at `end`.
    ///
    /// # Errors
    /// The error that ended the page.
    pub(super) fn end(self, end: AccessEnd<K>) -> Result<CompletedItems<K>> {
        let Self { start, items, last, failed, errors, .. } = self;
        if let Some(error) = failed {
            return Err(error);
        }
        let (start, as_of) =
            start.ok_or_else(|| crate::store::StoreError::corrupt("list", "the store visited nothing"))?;
        let next = match end {
            AccessEnd::Complete => None,
            AccessEnd::Stopped => {
                Some(last.ok_or_else(|| crate::store::StoreError::corrupt("list", "it stopped before its first item"))?)
            }
            AccessEnd::Bounded(key) => Some(key),
        };
        Ok(CompletedItems { start, as_of, items, next, errors })
    }
}
