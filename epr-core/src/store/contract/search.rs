//! Searches in the names of other systems: candidates in the order of their names, which the caller judges as an
//! evaluation would.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::{AccessEnd, ExternalName, Result};
use crate::decision::{AskedAction, Facts, NamedType, Question};
use crate::domain::Revision;

/// What a search looks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SearchFor<'a> {
    /// The registered principals of a type that may perform an action on a resource.
    Subjects {
        /// The type of the principals.
        principal_type: &'a NamedType,
        /// The action.
        action: &'a AskedAction,
        /// The resource, registered or not.
        resource: &'a ExternalName,
    },
    /// The registered entities of a type on which a principal may perform an action.
    Resources {
        /// The principal.
        principal: &'a ExternalName,
        /// The action.
        action: &'a AskedAction,
        /// The type of the entities.
        resource_type: &'a NamedType,
    },
    /// The actions that a principal may perform on a resource.
    Actions {
        /// The principal.
        principal: &'a ExternalName,
        /// The resource, registered or not.
        resource: &'a ExternalName,
    },
}

/// Which candidates of a search to visit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchQuery<'a> {
    /// What is looked for.
    pub of: SearchFor<'a>,
    /// Only names after this one, in the order of their bytes.
    pub after: Option<&'a str>,
    /// About how many candidates the caller expects to visit: decides how many rows are read at a time.
    pub expected: usize,
    /// The most candidates to look at, at least 1; of a search for actions, rows of roles.
    pub max_candidates: usize,
}

/// What a search knows before its first candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchStart {
    /// The id behind the name of the principal; `None` when it has none, or is looked for.
    pub principal_id: Option<Uuid>,
    /// The id behind the name of the resource; `None` when it is not registered, or is looked for.
    pub resource_id: Option<Uuid>,
    /// The revision of the registry, which the whole search sees.
    pub revision: Revision,
}

/// A subject, a resource or an action that may be allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchCandidate {
    /// Its name: the external id, or else the UUID as EPR writes it; of an action the action itself. No other candidate
    /// has the same one.
    pub name: String,
    /// The question about the candidate. The nil UUID stands for a resource that is not registered.
    pub question: Question,
    /// The facts of the question, as an evaluation in this name reads them.
    pub facts: Arc<Facts>,
}

/// Receives the candidates of a search one at a time, in the order of the bytes of their names.
pub trait SearchVisitor: Send {
    /// Called once, before the first candidate.
    fn begin(&mut self, start: SearchStart);

    /// Called for each candidate; `false` stops.
    fn candidate(&mut self, candidate: &SearchCandidate) -> bool;
}

/// Searches in the names of other systems.
///
/// INVARIANT: a search sees one snapshot, as current as the facts of a check, so that changes which are made meanwhile
/// cannot disturb it. A candidate has the facts that an evaluation of its name reads: where the UUID of one principal
/// is the external id of another one, the name is that of the other one.
#[async_trait]
pub trait SearchStore: Send + Sync {
    /// Visits everything that may be allowed, in the order of the names. The work is bounded: a page looks at
    /// `max_candidates`, wherever in the order it begins.
    ///
    /// Example: with the principals `user ada` and `user bob`, both with a role that holds the action on the resource,
    /// a search for `user` after `ada` visits `bob` and is complete.
    async fn search(&self, query: &SearchQuery<'_>, visitor: &mut dyn SearchVisitor) -> Result<AccessEnd<String>>;
}
