//! The backend of a command: the database, through the library's use cases, or a running API. The commands see no
//! difference, except that the API does not return the reason of a decision.

pub(crate) mod access;
pub(crate) mod api;
mod audit;
mod changes;
mod import;
mod past;
mod principals;
mod reports;

use epr_core::clock::{Clock as _, SystemClock};
use epr_core::decision::{Explanation, Question, Reason};
use epr_core::domain::{
    Assignment, AssignmentFilter, AssignmentRequest, AssignmentScan, Entity, EntityFilter, EntityPatch, EntityType,
    EntityTypes, JsonObject, Moment, NamedAssignment, NewEntity, NewRole, Role, RolePatch, Timestamp,
};
use epr_core::store::{Cursor, Page};
use epr_core::{Call, Epr, Error};
use uuid::Uuid;

use api::Api;

/// Why a call to the backend failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendError {
    /// An error of the library.
    #[error(transparent)]
    Core(#[from] Error),
    /// A sentence of the API or of this command.
    #[error("{0}")]
    Message(String),
    /// The object does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The name is already in use.
    #[error("{0}")]
    Conflict(String),
    /// The API cannot answer at the moment.
    #[error("{0}")]
    Temporary(String),
}

impl BackendError {
    /// Whether the same call may succeed later.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Core(error) => error.retryable(),
            Self::Temporary(_) => true,
            Self::Message(_) | Self::NotFound(_) | Self::Conflict(_) => false,
        }
    }
}

/// The database or an API.
pub(crate) enum Backend {
    /// The database.
    Database {
        /// The library on it.
        epr: Epr,
        /// The actor of every change.
        call: Box<Call>,
        /// Whether changes are not published although other services expect them.
        unpublished: bool,
    },
    /// A running API.
    Api(Api),
}

/// The answer to a check.
pub(crate) struct CheckAnswer {
    pub(crate) allowed: bool,
    /// `None` over the API, which returns yes or no.
    pub(crate) reason: Option<Reason>,
}

/// Rows in one page.
const PAGE_ROWS: u32 = 500;

pub(crate) use epr_transfer::registry::RowVisitor;

/// Reads a list page by page and passes each row to `visit`, until that returns `false`.
async fn for_each_row<T>(
    read: impl AsyncFn(Page) -> Result<Vec<T>, Error>,
    cursor: impl Fn(&T) -> Cursor,
    visit: RowVisitor<'_, T>,
) -> Result<(), BackendError> {
    let mut page = Page { limit: PAGE_ROWS, after: None };
    loop {
        let rows = read(page).await?;
        page.after = rows.last().map(&cursor);
        let full = rows.len() == PAGE_ROWS as usize;
        if !rows.into_iter().all(&mut *visit) || !full {
            return Ok(());
        }
    }
}

impl Backend {
    /// The entity types that are accepted. A running API refuses others itself.
    pub(crate) fn entity_types(&self) -> &EntityTypes {
        match self {
            Self::Database { epr, .. } => epr.entity_types(),
            Self::Api(_) => EntityTypes::ANY,
        }
    }

    pub(crate) fn is_api(&self) -> bool {
        matches!(self, Self::Api(_))
    }

    /// The address of the API, with a slash at its end.
    pub(crate) fn address(&self) -> Option<String> {
        match self {
            Self::Database { .. } => None,
            Self::Api(api) => Some(api.address()),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::Database { epr, .. } => epr.now(),
            Self::Api(_) => SystemClock.now(),
        }
    }

    pub(crate) async fn check(
        &self,
        question: &Question,
        context: &JsonObject,
        moment: Moment,
    ) -> Result<CheckAnswer, BackendError> {
        match self {
            Self::Database { epr, call, .. } => {
                let decision = epr.check_at(call, question, context, moment).await?;
                Ok(CheckAnswer { allowed: decision.allowed, reason: Some(decision.reason) })
            }
            Self::Api(api) => Ok(CheckAnswer { allowed: api.check(question, context, moment).await?, reason: None }),
        }
    }

    pub(crate) async fn explain(
        &self,
        question: &Question,
        context: &JsonObject,
        moment: Moment,
    ) -> Result<Explanation, BackendError> {
        match self {
            Self::Database { epr, call, .. } => Ok(epr.explain(call, question, context, moment).await?),
            Self::Api(api) => api.explain(question, context, moment).await,
        }
    }

    pub(crate) async fn entity(&self, id: Uuid) -> Result<Entity, BackendError> {
        match self {
            Self::Database { epr, .. } => Ok(epr.entity(id).await?),
            Self::Api(api) => api.entity(id).await,
        }
    }

    /// An entity, or `None` when it does not exist.
    pub(crate) async fn entity_if_any(&self, id: Uuid) -> Result<Option<Entity>, BackendError> {
        match self.entity(id).await {
            Ok(entity) => Ok(Some(entity)),
            Err(BackendError::Core(Error::NotFound(_)) | BackendError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An entity by its unique name. The API does not list archived ones: over it, the answer for those is `None`.
    pub(crate) async fn entity_named(
        &self,
        entity_type: &EntityType,
        name: &str,
    ) -> Result<Option<Entity>, BackendError> {
        let Self::Database { epr, .. } = self else {
            let mut found = None;
            let filter = EntityFilter { types: vec![entity_type.clone()], ..EntityFilter::default() };
            self.for_each_entity(&filter, &mut |entity| {
                if entity.name == name {
                    found = Some(entity);
                }
                found.is_none()
            })
            .await?;
            return Ok(found);
        };
        Ok(epr.entity_named(entity_type, name).await?)
    }

    pub(crate) async fn for_each_entity(
        &self,
        filter: &EntityFilter,
        visit: RowVisitor<'_, Entity>,
    ) -> Result<(), BackendError> {
        let epr = match self {
            Self::Database { epr, .. } => epr,
            Self::Api(api) => return api.for_each_entity(filter, visit).await,
        };
        let cursor = |row: &Entity| Cursor { created_at: row.created_at, id: row.id };
        for_each_row(async |page| epr.entities(filter, &page).await, cursor, visit).await
    }

    pub(crate) async fn create_entity(&self, new: NewEntity) -> Result<Entity, BackendError> {
        match self {
            Self::Database { epr, call, .. } => epr.create_entity(call, new).await.map_err(as_conflict),
            Self::Api(api) => api.create_entity(&new).await,
        }
    }

    pub(crate) async fn update_entity(&self, id: Uuid, patch: EntityPatch) -> Result<Entity, BackendError> {
        match self {
            Self::Database { epr, call, .. } => Ok(epr.update_entity(call, id, patch).await?),
            Self::Api(api) => api.update_entity(id, &patch).await,
        }
    }

    pub(crate) async fn archive_entity(&self, id: Uuid) -> Result<Entity, BackendError> {
        match self {
            Self::Database { epr, call, .. } => Ok(epr.archive_entity(call, id).await?),
            Self::Api(api) => api.archive_entity(id).await,
        }
    }

    pub(crate) async fn role(&self, id: Uuid) -> Result<Role, BackendError> {
        match self {
            Self::Database { epr, .. } => Ok(epr.role(id).await?),
            Self::Api(api) => api.role(id).await,
        }
    }

    pub(crate) async fn role_named(&self, name: &str) -> Result<Option<Role>, BackendError> {
        let Self::Database { epr, .. } = self else {
            let mut found = None;
            self.for_each_role(&mut |role| {
                if role.name == name {
                    found = Some(role);
                }
                found.is_none()
            })
            .await?;
            return Ok(found);
        };
        Ok(epr.role_named(name).await?)
    }

    pub(crate) async fn for_each_role(&self, visit: RowVisitor<'_, Role>) -> Result<(), BackendError> {
        let epr = match self {
            Self::Database { epr, .. } => epr,
            Self::Api(api) => return api.for_each_role(visit).await,
        };
        let cursor = |row: &Role| Cursor { created_at: row.created_at, id: row.id };
        for_each_row(async |page| epr.roles(&page).await, cursor, visit).await
    }

    pub(crate) async fn create_role(&self, new: NewRole) -> Result<Role, BackendError> {
        match self {
            Self::Database { epr, call, .. } => epr.create_role(call, new).await.map_err(as_conflict),
            Self::Api(api) => api.create_role(&new).await,
        }
    }

    pub(crate) async fn update_role(&self, id: Uuid, patch: RolePatch) -> Result<Role, BackendError> {
        match self {
            Self::Database { epr, call, .. } => Ok(epr.update_role(call, id, patch).await?),
            Self::Api(api) => api.update_role(id, &patch).await,
        }
    }

    /// Assignments with the names of their roles and entities, newest first.
    pub(crate) async fn for_each_named_assignment(
        &self,
        filter: AssignmentFilter,
        visit: RowVisitor<'_, NamedAssignment>,
    ) -> Result<(), BackendError> {
        let scan = AssignmentScan::Listed { filter, now: self.now() };
        self.scan_assignments(&scan, visit).await
    }

    /// One assignment with its names.
    pub(crate) async fn assignment(&self, id: Uuid) -> Result<Option<NamedAssignment>, BackendError> {
        let mut found = None;
        self.scan_assignments(&AssignmentScan::One(id), &mut |named| {
            found = Some(named);
            false
        })
        .await?;
        Ok(found)
    }

    /// Assignments without names, newest first.
    pub(crate) async fn for_each_assignment(
        &self,
        filter: AssignmentFilter,
        visit: RowVisitor<'_, Assignment>,
    ) -> Result<(), BackendError> {
        match self {
            Self::Database { epr, .. } => {
                let scan = AssignmentScan::Listed { filter, now: epr.now() };
                Ok(epr.scan_assignments(&scan, None, &mut |named| visit(named.assignment)).await?)
            }
            Self::Api(api) => api.for_each_assignment(filter, visit).await,
        }
    }

    /// Whether an assignment or a role has a condition.
    pub(crate) async fn has_conditions(&self) -> Result<bool, BackendError> {
        let mut found = false;
        if let Self::Database { epr, .. } = self {
            epr.scan_conditions(&mut |_| {
                found = true;
                false
            })
            .await?;
            return Ok(found);
        }
        self.for_each_role(&mut |role| {
            found = !role.conditions.is_empty();
            !found
        })
        .await?;
        if !found {
            self.for_each_assignment(AssignmentFilter::default(), &mut |assignment| {
                found = assignment.condition.is_some();
                !found
            })
            .await?;
        }
        Ok(found)
    }

    pub(crate) async fn assign(&self, request: AssignmentRequest) -> Result<Assignment, BackendError> {
        match self {
            Self::Database { epr, call, .. } => Ok(epr.assign(call, request).await?),
            Self::Api(api) => api.assign(&request).await,
        }
    }

    pub(crate) async fn revoke(&self, id: Uuid) -> Result<(), BackendError> {
        match self {
            Self::Database { epr, call, .. } => Ok(epr.revoke(call, id).await.map(|_| ())?),
            Self::Api(api) => api.revoke(id).await,
        }
    }

    /// Warns before a change that it will not be published.
    pub(crate) fn warn_if_unpublished(&self) {
        if let Self::Database { unpublished: true, .. } = self {
            crate::output::notice(
                "warning: EPR_DOCUMENT_VAULT_TOPIC_ARN is not set here: this change is not published to other services",
            );
        }
    }
}

fn as_conflict(error: Error) -> BackendError {
    match error {
        Error::Conflict(why) => BackendError::Conflict(why),
        other => other.into(),
    }
}
