//! Searches: the subjects, resources or actions for which an evaluation says yes, page by page.
//!
//! INVARIANT: a result is found exactly if the evaluation of its name, at this moment, says yes. The candidates come
//! from lists of access, and each is decided as an evaluation is. Must never answer before the search is recorded, and
//! never end early without a token.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::info;
use uuid::Uuid;

use super::super::access::keys::TokenKeys;
use super::super::check::wrong_context;
use super::record::{Searched, searched};
use super::request::{NamedAction, Party};
use super::search_request::{MAX_RESULTS, SearchRequest, Sought};
use super::search_token::{Position, read_token, write_token, wrong_token};
use crate::Call;
use crate::decision::{AskedAction, Facts, Properties, Question, ResourceFacts, Sent};
use crate::domain::assignment::PrincipalType;
use crate::domain::{EntityType, ExternalId, JsonObject, PageMoment, Revision, Timestamp};
use crate::engine::Engines;
use crate::engine::revisions;
use crate::error::{Error, Result};
use crate::store::{
    AccessStart, AccessVisitor, ActionCandidate, ActionsQuery, ExternalName, IdentitiesRead, PrincipalCandidate,
    PrincipalsQuery, ResourceCandidate, ResourceSearch, ResourcesPage, ResourcesQuery, StoreError,
};

/// The number of times that a search begins again because the registry changed between the names and the candidates.
const MAX_ATTEMPTS: u32 = 8;
/// About how many candidates are read at a time.
const READ_AT_A_TIME: usize = 500;

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
    revisions::reach(engines, call).await?;
    let (keys, hash) = (TokenKeys::current(engines).await?, request.hash());
    let continued = request.token.as_deref().map(|text| read_token(&keys, text, request, hash)).transpose()?;
    let limit = match (&continued, request.limit) {
        (Some(position), Some(stated)) if position.limit != stated => {
            return Err(wrong_token("The token belongs to a page with another limit"));
        }
        (Some(position), _) => position.limit,
        (None, stated) => stated.unwrap_or(MAX_RESULTS),
    };
    let turn = engines.list_turns.take().await?;
    let after = continued.as_ref().map(|position| position.after.as_str());
    let limit_items = usize::try_from(limit).unwrap_or(usize::MAX);
    let (found, ids) = find(engines, request, trusted, Window { after, limit: limit_items }).await?;
    drop(turn);
    call.confirm_incarnation(found.revision)?;
    engines.condition_errors.report(&found.errors);
    let mut results: Vec<String> = found.names.into_iter().collect();
    let last = if results.len() > limit_items {
        results.truncate(limit_items);
        results.last().cloned()
    } else {
        found.more_after
    };
    let is_last = last.is_none();
    let position = last.map(|after| Position { after, limit });
    let next = position.map(|position| write_token(&keys, request, hash, position, found.revision)).transpose()?;
    let draft = searched(
        call,
        engines.now(),
        engines.core.settings.audit_context,
        &Searched {
            request,
            principal_id: ids.principal_id,
            resource_id: ids.resource_id,
            properties: properties(&request.sought, trusted),
            limit,
            count: results.len(),
            is_continued: continued.is_some(),
            is_last,
            revision: found.revision,
        },
    )?;
    engines.ledger.record(vec![draft]).await.map_err(StoreError::from)?;
    call.set_answered_at(found.revision);
    info!(kind = request.sought.kind().to_string(), count = results.len(), complete = is_last, "access_searched");
    Ok(SearchPage { results, next })
}

/// Which results a page has.
#[derive(Clone, Copy)]
struct Window<'a> {
    /// Only names after this one.
    after: Option<&'a str>,
    limit: usize,
}

/// The ids behind the names of a search.
#[derive(Clone, Copy)]
struct Ids {
    principal_id: Option<Uuid>,
    resource_id: Option<Uuid>,
    revision: Revision,
}

/// What was found: at most one name more than a page has.
struct Found {
    names: BTreeSet<String>,
    /// The name after which there is more, when `names` do not show that there is.
    more_after: Option<String>,
    errors: Vec<(Uuid, String)>,
    revision: Revision,
}

/// Finds the names of a page. The ids behind the names of the request and the candidates are of one state of the
/// registry: else a name could have belonged to something else.
async fn find(engines: &Engines, request: &SearchRequest, trusted: bool, window: Window<'_>) -> Result<(Found, Ids)> {
    for _ in 0..MAX_ATTEMPTS {
        let ids = ids(engines, &request.sought).await?;
        let Some(mut search) = Search::new(engines, request, trusted, window, ids) else {
            let none = Found { names: BTreeSet::new(), more_after: None, errors: Vec::new(), revision: ids.revision };
            return Ok((none, ids));
        };
        search.visit().await?;
        if let Some(found) = search.found().await? {
            return Ok((found, ids));
        }
    }
    Err(StoreError::Contention("the registry changed while it was searched".into()).into())
}

async fn ids(engines: &Engines, sought: &Sought) -> Result<Ids> {
    let (subject, resource) = match sought {
        Sought::Subjects { resource, .. } => (None, Some(resource)),
        Sought::Resources { subject, .. } => (Some(subject), None),
        Sought::Actions { subject, resource } => (Some(subject), Some(resource)),
    };
    let names = |party: Option<&Party>| party.map(|party| party.name.clone()).into_iter().collect::<Vec<_>>();
    let read = engines.store().identities(&names(subject), &names(resource)).await?;
    let first = |ids: Vec<Option<Uuid>>| ids.into_iter().next().flatten();
    let IdentitiesRead { principals, entities, read_at } = read;
    Ok(Ids { principal_id: first(principals), resource_id: first(entities), revision: read_at.revision })
}

static EMPTY: JsonObject = JsonObject::new();

/// What the caller states about the inputs of the search.
fn properties(sought: &Sought, trusted: bool) -> Properties<'_> {
    let (principal, action, resource) = match sought {
        _ if !trusted => return Properties::NONE,
        Sought::Subjects { action, resource, .. } => (&EMPTY, &action.properties, &resource.properties),
        Sought::Resources { subject, action, .. } => (&subject.properties, &action.properties, &EMPTY),
        Sought::Actions { subject, resource } => (&subject.properties, &EMPTY, &resource.properties),
    };
    Properties { principal, resource, action }
}

/// One visit of the candidates.
struct Search<'a> {
    engines: &'a Engines,
    sought: &'a Sought,
    sent: Sent<'a>,
    window: Window<'a>,
    ids: Ids,
    /// The type of the principals, as assignments have it.
    principal_type: PrincipalType,
    /// The facts of a resource that is not registered.
    unregistered: Option<ResourceFacts>,
    now: Timestamp,
    /// Whether the candidates are of the state of the ids.
    is_current: bool,
    /// What was found, and whether the name is that of a UUID and of no external id.
    names: BTreeMap<String, bool>,
    /// Whether there are names after the last one.
    is_cut: bool,
    errors: Vec<(Uuid, String)>,
    failed: Option<Error>,
}

impl<'a> Search<'a> {
    /// `None` when nothing can be found: the subject has no assignments, or no principal or entity can have the type.
    fn new(
        engines: &'a Engines,
        request: &'a SearchRequest,
        trusted: bool,
        window: Window<'a>,
        ids: Ids,
    ) -> Option<Self> {
        let sought = &request.sought;
        let (principal_type, resource) = match sought {
            Sought::Subjects { kind, resource, .. } => (kind.as_str(), Some(resource)),
            Sought::Resources { subject, .. } => (subject.name.kind.as_str(), None),
            Sought::Actions { subject, resource } => (subject.name.kind.as_str(), Some(resource)),
        };
        if !matches!(sought, Sought::Subjects { .. }) && ids.principal_id.is_none() {
            return None;
        }
        let unregistered = resource.filter(|_| ids.resource_id.is_none()).map(|resource| {
            let ExternalName { kind, id } = resource.name.clone();
            ResourceFacts::unregistered(kind, id.into_string())
        });
        Some(Self {
            engines,
            sought,
            sent: Sent { context: &request.context, properties: properties(sought, trusted) },
            window,
            ids,
            principal_type: PrincipalType::new(principal_type).ok()?,
            unregistered,
            now: engines.now(),
            is_current: true,
            names: BTreeMap::new(),
            is_cut: false,
            errors: Vec::new(),
            failed: None,
        })
    }

    async fn visit(&mut self) -> Result<()> {
        let store = self.engines.store();
        let unregistered = self.unregistered.clone();
        let resource_id = self.ids.resource_id.unwrap_or_default();
        let principal_type = self.principal_type.clone();
        match self.sought {
            Sought::Subjects { action, .. } => {
                let query = PrincipalsQuery {
                    action: &action.name,
                    resource_id,
                    unregistered: unregistered.as_ref(),
                    principal_type: Some(principal_type.as_str()),
                    after: None,
                    expected: READ_AT_A_TIME,
                    max_candidates: usize::MAX,
                    moment: PageMoment::Present,
                };
                let mut visitor = Principals { search: self, action };
                let end = store.principal_candidates(&query, &mut visitor).await?;
                // The resource was removed in between.
                self.is_current &= end.is_some();
            }
            Sought::Resources { action, kind, .. } => {
                let Some(entity_type) = EntityType::from_word(kind.as_str()) else { return Ok(()) };
                let query = ResourcesQuery {
                    principal_id: self.ids.principal_id.unwrap_or_default(),
                    principal_type: principal_type.as_str(),
                    action: &action.name,
                    resource_type: Some(&entity_type),
                    within: None,
                    includes_archived: true,
                    includes_conditional: false,
                    at: self.now,
                    max_candidates: usize::MAX,
                    max_expanded: self.engines.core.settings.list_bounds.max_expanded,
                    max_page_time: Duration::MAX,
                    moment: PageMoment::Present,
                };
                let page = ResourcesPage {
                    after: None,
                    expected: READ_AT_A_TIME,
                    search: ResourceSearch::default(),
                    with_names: false,
                };
                let mut visitor = Resources { search: self, action };
                store.resource_candidates(&query, page, &mut visitor).await?;
            }
            Sought::Actions { .. } => {
                let query = ActionsQuery {
                    principal_id: self.ids.principal_id.unwrap_or_default(),
                    principal_type: principal_type.as_str(),
                    resource_id,
                    unregistered: unregistered.as_ref(),
                    after: self.window.after,
                    max_rows: usize::MAX,
                    moment: PageMoment::Present,
                };
                let mut visitor = Actions { search: self };
                let end = store.action_candidates(&query, &mut visitor).await?;
                self.is_current &= end.is_some();
            }
        }
        Ok(())
    }

    fn begin(&mut self, start: &AccessStart) -> bool {
        // Read after the facts began to be, as a check does.
        self.now = self.engines.now();
        self.is_current = start.revision == self.ids.revision;
        self.is_current
    }

    /// Decides one candidate; returns whether the visit goes on.
    fn decide(&mut self, question: &Question, facts: &Facts, name: &Name) -> bool {
        if self.window.after.is_some_and(|after| name.text.as_str() <= after) {
            return true;
        }
        if self.is_full_before(&name.text) {
            // It may be allowed: the next page shows it.
            self.is_cut = true;
            return true;
        }
        match facts.resolve(question, self.now).evaluate(question, self.sent, self.now) {
            Err(wrong) => {
                self.failed = Some(wrong_context(wrong));
                return false;
            }
            Ok(evaluated) => {
                self.errors.extend(evaluated.errors);
                if evaluated.decision.allowed {
                    self.add(name);
                }
            }
        }
        true
    }

    /// Whether the page, and the one name more that says whether another page follows, have only names before this one.
    fn is_full_before(&self, name: &str) -> bool {
        self.names.len() > self.window.limit
            && self.names.last_key_value().is_some_and(|(last, _)| last.as_str() < name)
    }

    fn add(&mut self, name: &Name) {
        // The UUID of one may be the external id of another, under which that one is found.
        self.names.entry(name.text.clone()).and_modify(|is_uuid| *is_uuid &= name.is_uuid).or_insert(name.is_uuid);
        if self.names.len() > self.window.limit.saturating_add(1) {
            self.names.pop_last();
            self.is_cut = true;
        }
    }

    /// The names of the page; `None` when the registry has changed since the ids were read.
    async fn found(mut self) -> Result<Option<Found>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let more_after = self.names.last_key_value().filter(|_| self.is_cut).map(|(name, _)| name.clone());
        if !self.is_current || !self.drop_shadowed().await? {
            return Ok(None);
        }
        let Self { names, errors, ids, .. } = self;
        let names = names.into_keys().collect();
        Ok(Some(Found { names, more_after, errors, revision: ids.revision }))
    }

    /// Drops UUIDs that are external ids of others: an evaluation of such a name is about the other one. Returns
    /// `false` when the registry has changed.
    async fn drop_shadowed(&mut self) -> Result<bool> {
        let uuids = self.names.iter().filter(|(_, is_uuid)| **is_uuid);
        let uuids: Vec<String> = uuids.map(|(name, _)| name.clone()).collect();
        let kind = match self.sought {
            Sought::Subjects { kind, .. } | Sought::Resources { kind, .. } if !uuids.is_empty() => kind,
            _ => return Ok(true),
        };
        let named = |id: &String| {
            let id = ExternalId::new(id.as_str()).map_err(|error| Error::from(StoreError::corrupt("id", error)))?;
            Ok(ExternalName { kind: kind.clone(), id })
        };
        let asked = uuids.iter().map(named).collect::<Result<Vec<_>>>()?;
        let is_subject = matches!(self.sought, Sought::Subjects { .. });
        let (principals, entities) = if is_subject { (&asked[..], &[][..]) } else { (&[][..], &asked[..]) };
        let read = self.engines.store().identities(principals, entities).await?;
        let ids = if is_subject { read.principals } else { read.entities };
        for (name, id) in uuids.into_iter().zip(ids) {
            if id.is_none_or(|id| id.to_string() != name) {
                self.names.remove(&name);
            }
        }
        Ok(read.read_at.revision == self.ids.revision)
    }
}

/// The name of a result.
struct Name {
    text: String,
    /// Whether it is the UUID, for want of an external id.
    is_uuid: bool,
}

impl Name {
    fn of(id: Uuid, external_id: Option<String>) -> Self {
        match external_id {
            Some(text) => Self { text, is_uuid: false },
            None => Self { text: id.to_string(), is_uuid: true },
        }
    }
}

struct Principals<'s, 'a> {
    search: &'s mut Search<'a>,
    action: &'a NamedAction,
}

impl AccessVisitor<PrincipalCandidate> for Principals<'_, '_> {
    fn begin(&mut self, start: AccessStart) -> bool {
        self.search.begin(&start)
    }

    fn candidate(&mut self, candidate: PrincipalCandidate) -> bool {
        // Only registered principals are found.
        let Some(registration) = candidate.registration else { return true };
        let question = Question {
            principal_id: candidate.id,
            principal_type: self.search.principal_type.clone(),
            action: self.action.name.clone(),
            resource_id: self.search.ids.resource_id.unwrap_or_default(),
        };
        let name = Name::of(candidate.id, registration.external_id);
        self.search.decide(&question, &candidate.facts, &name)
    }
}

struct Resources<'s, 'a> {
    search: &'s mut Search<'a>,
    action: &'a NamedAction,
}

impl AccessVisitor<ResourceCandidate> for Resources<'_, '_> {
    fn begin(&mut self, start: AccessStart) -> bool {
        self.search.begin(&start)
    }

    fn candidate(&mut self, candidate: ResourceCandidate) -> bool {
        let question = Question {
            principal_id: self.search.ids.principal_id.unwrap_or_default(),
            principal_type: self.search.principal_type.clone(),
            action: self.action.name.clone(),
            resource_id: candidate.id,
        };
        let name = Name::of(candidate.id, candidate.external_id);
        self.search.decide(&question, &candidate.facts, &name)
    }
}

struct Actions<'s, 'a> {
    search: &'s mut Search<'a>,
}

impl AccessVisitor<ActionCandidate> for Actions<'_, '_> {
    fn begin(&mut self, start: AccessStart) -> bool {
        self.search.begin(&start)
    }

    fn candidate(&mut self, candidate: ActionCandidate) -> bool {
        let action = match AskedAction::new(candidate.action.as_str()) {
            Ok(action) => action,
            Err(error) => {
                self.search.failed = Some(StoreError::corrupt("action", error).into());
                return false;
            }
        };
        let question = Question {
            principal_id: self.search.ids.principal_id.unwrap_or_default(),
            principal_type: self.search.principal_type.clone(),
            action,
            resource_id: self.search.ids.resource_id.unwrap_or_default(),
        };
        let name = Name { text: candidate.action, is_uuid: false };
        // They come in the order of their names.
        self.search.decide(&question, &candidate.facts, &name) && !self.search.is_full_before(&name.text)
    }
}
