//! Searches: the subjects, resources or actions for which an evaluation says yes, page by page.
//!
//! INVARIANT: a result is found exactly if the evaluation of its name, at this moment, says yes: each candidate is
//! decided on the facts that the evaluation reads. Must never answer before the search is recorded, and never end early
//! without a token.

use tracing::info;
use uuid::Uuid;

use super::super::access::keys::TokenKeys;
use super::super::check::wrong_context;
use super::record::{Recorder, Searched, searched};
use super::search_request::{MAX_RESULTS, SearchQuestion, SearchRequest};
use super::search_token::{Position, read_token, write_token, wrong_token};
use crate::Call;
use crate::decision::{Properties, Sent};
use crate::domain::{JsonObject, Timestamp};
use crate::engine::Engines;
use crate::engine::revisions;
use crate::error::{Error, Result};
use crate::store::{AccessEnd, SearchCandidate, SearchFor, SearchQuery, SearchStart, SearchVisitor, StoreError};

/// The most failed conditions that one page reports to the log.
const MAX_ERRORS: usize = 100;

/// A page of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPage {
    /// The ids or the names of what was found, in the order of their bytes.
    pub results: Vec<String>,
    /// The token of the next page; `None` when there is none.
    pub next: Option<String>,
}

/// Answers a page of a search. `trusted`: the caller may state properties.
///
/// # Errors
/// `Invalid` when the token is not one of this request, or the context has a declared parameter with another type.
pub(crate) async fn search(
    engines: &Engines,
    call: &Call,
    request: &SearchRequest,
    trusted: bool,
) -> Result<SearchPage> {
    let (keys, hash) = (TokenKeys::current(engines).await?, request.hash());
    let continued = request.token.as_deref().map(|text| read_token(&keys, text, request, hash)).transpose()?;
    let limit = match (&continued, request.limit) {
        (Some(position), Some(stated)) if position.limit != stated => {
            return Err(wrong_token("The token belongs to a page with another limit"));
        }
        (Some(position), _) => position.limit,
        (None, stated) => stated.unwrap_or(MAX_RESULTS),
    };
    let names = engines.name_hashes.key(engines.store()).await?;
    revisions::reach(engines, call).await?;
    // A page keeps a connection and a processor busy: few are read at a time.
    let turn = engines.list_turns.take().await?;
    let mut page = Page::new(engines, request, trusted, usize::try_from(limit).unwrap_or(usize::MAX));
    let query = SearchQuery {
        of: question_of(&request.question),
        after: continued.as_ref().map(|position| position.after.as_str()),
        expected: page.limit.saturating_add(1),
        max_candidates: engines.core.settings.list_bounds.candidates,
    };
    let end = engines.store().search(&query, &mut page).await?;
    drop(turn);
    let Page { start, found: mut results, errors, failed, .. } = page;
    if let Some(error) = failed {
        return Err(error);
    }
    let start = start.ok_or_else(|| StoreError::corrupt("search", "the store began no search"))?;
    if continued.is_some_and(|position| position.incarnation != start.revision.incarnation) {
        return Err(wrong_token("The token is from another incarnation of the ledger"));
    }
    call.confirm_incarnation(start.revision)?;
    engines.condition_errors.report(&errors);
    let limit_items = usize::try_from(limit).unwrap_or(usize::MAX);
    let last = if results.len() > limit_items {
        results.truncate(limit_items);
        results.last().cloned()
    } else {
        match end {
            AccessEnd::Bounded(last) => Some(last),
            AccessEnd::Complete | AccessEnd::Stopped => None,
        }
    };
    let is_last = last.is_none();
    let position = last.map(|after| Position { after, limit, incarnation: start.revision.incarnation });
    let next = position.map(|position| write_token(&keys, request, hash, position)).transpose()?;
    let mut recorder = Recorder::new(call, engines.core.settings.audit_context, names);
    let draft = searched(
        &mut recorder,
        engines.now(),
        &Searched {
            request,
            principal_id: start.principal_id,
            resource_id: start.resource_id,
            properties: properties(&request.question, trusted),
            limit,
            count: results.len(),
            is_continued: request.token.is_some(),
            is_last,
            revision: start.revision,
        },
    )?;
    engines.ledger.record(vec![draft]).await.map_err(StoreError::from)?;
    call.set_answered_at(start.revision);
    info!(kind = request.question.kind().to_string(), count = results.len(), complete = is_last, "access_searched");
    Ok(SearchPage { results, next })
}

/// The question as the store takes it.
fn question_of(question: &SearchQuestion) -> SearchFor<'_> {
    match question {
        SearchQuestion::Subjects { subject_type, action, resource } => {
            SearchFor::Subjects { principal_type: subject_type, action: &action.name, resource: &resource.name }
        }
        SearchQuestion::Resources { subject, action, resource_type } => {
            SearchFor::Resources { principal: &subject.name, action: &action.name, resource_type }
        }
        SearchQuestion::Actions { subject, resource } => {
            SearchFor::Actions { principal: &subject.name, resource: &resource.name }
        }
    }
}

static EMPTY: JsonObject = JsonObject::new();

/// What the caller states about the inputs of the search.
fn properties(question: &SearchQuestion, trusted: bool) -> Properties<'_> {
    let (principal, action, resource) = match question {
        _ if !trusted => return Properties::NONE,
        SearchQuestion::Subjects { action, resource, .. } => (&EMPTY, &action.properties, &resource.properties),
        SearchQuestion::Resources { subject, action, .. } => (&subject.properties, &action.properties, &EMPTY),
        SearchQuestion::Actions { subject, resource } => (&subject.properties, &EMPTY, &resource.properties),
    };
    Properties { principal, resource, action }
}

/// A page that is being filled.
struct Page<'a> {
    engines: &'a Engines,
    sent: Sent<'a>,
    limit: usize,
    start: Option<SearchStart>,
    now: Timestamp,
    /// The names of the page, and one more if there is one: it says that another page follows.
    found: Vec<String>,
    errors: Vec<(Uuid, String)>,
    failed: Option<Error>,
}

impl<'a> Page<'a> {
    fn new(engines: &'a Engines, request: &'a SearchRequest, trusted: bool, limit: usize) -> Self {
        let sent = Sent { context: &request.context, properties: properties(&request.question, trusted) };
        let (start, found, errors, failed) = Default::default();
        Self { engines, sent, limit, start, now: engines.now(), found, errors, failed }
    }
}

impl SearchVisitor for Page<'_> {
    fn begin(&mut self, start: SearchStart) {
        self.start = Some(start);
        // Read after the snapshot began, as a check reads the time after the facts: an assignment that ends between the
        // two grants nothing.
        self.now = self.engines.now();
    }

    fn candidate(&mut self, candidate: &SearchCandidate) -> bool {
        let SearchCandidate { name, question, facts } = candidate;
        match facts.resolve(question, self.now).evaluate(question, self.sent, self.now) {
            Err(wrong) => {
                self.failed = Some(wrong_context(wrong));
                false
            }
            Ok(evaluated) => {
                let free = MAX_ERRORS.saturating_sub(self.errors.len());
                self.errors.extend(evaluated.errors.into_iter().take(free));
                if evaluated.decision.allowed {
                    self.found.push(name.clone());
                }
                self.found.len() <= self.limit
            }
        }
    }
}
