//! Whom a command speaks to: the database, through the library's own use cases, or a running API. The commands see no
//! difference, but where the API cannot tell (why a check was denied).

pub(crate) mod api;

use epr_core::clock::{Clock as _, SystemClock};
use epr_core::decision::{Question, Reason};
use epr_core::domain::{
    Assignment, AssignmentFilter, AssignmentScan, BulkStep, Entity, EntityFilter, EntityPatch, EntityType,
    NamedAssignment, NewAssignment, NewEntity, NewRole, Role, RolePatch, Timestamp,
};
use epr_core::store::{Cursor, Page};
use epr_core::{BulkFailure, Call, Epr, Error};
use uuid::Uuid;

use api::Api;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The library says so.
    #[error(transparent)]
    Core(#[from] Error),
    /// The API, or this command, says so; a whole sentence.
    #[error("{0}")]
    Answer(String),
    /// It does not exist.
    #[error("{0}")]
    Missing(String),
    /// The name is taken already.
    #[error("{0}")]
    Taken(String),
}

/// Whom to speak to.
pub(crate) enum Backend {
    /// The database.
    Database {
        /// The library on it.
        epr: Epr,
        /// In whose name.
        call: Call,
        /// Whether other services will not hear of changes, though they should.
        untold: bool,
    },
    /// A running API.
    Api(Api),
}

/// The answer to a check.
pub(crate) struct Checked {
    pub(crate) allowed: bool,
    /// Why; the API does not tell.
    pub(crate) reason: Option<Reason>,
}

/// Why a batch of changes was not carried out, or not wholly.
pub(crate) struct BatchFault {
    /// How many of the steps are done all the same, from the first.
    pub(crate) done: usize,
    /// The step that failed, if it was one of them.
    pub(crate) at: Option<usize>,
    pub(crate) why: Fault,
}

/// Rows in one page.
const PAGE: u32 = 500;

/// Sees rows one at a time; `false` ends it.
pub(crate) type Take<'a, T> = &'a mut (dyn FnMut(T) -> bool + Send);

impl Backend {
    pub(crate) fn is_api(&self) -> bool {
        matches!(self, Self::Api(_))
    }

    /// The API's address, with a slash at its end.
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

    pub(crate) async fn check(&self, question: &Question) -> Result<Checked, Fault> {
        match self {
            Self::Database { epr, call, .. } => {
                let decision = epr.check(call, question).await?;
                Ok(Checked { allowed: decision.allowed, reason: Some(decision.reason) })
            }
            Self::Api(api) => Ok(Checked { allowed: api.check(question).await?, reason: None }),
        }
    }

    pub(crate) async fn entity(&self, id: Uuid) -> Result<Entity, Fault> {
        match self {
            Self::Database { epr, .. } => Ok(epr.entity(id).await?),
            Self::Api(api) => api.entity(id).await,
        }
    }

    /// The same, and `None` when there is none.
    pub(crate) async fn entity_if_any(&self, id: Uuid) -> Result<Option<Entity>, Fault> {
        match self.entity(id).await {
            Ok(entity) => Ok(Some(entity)),
            Err(Fault::Core(Error::NotFound(_)) | Fault::Missing(_)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// `None` as well when the API does not list it, because it is archived.
    pub(crate) async fn entity_named(&self, entity_type: EntityType, name: &str) -> Result<Option<Entity>, Fault> {
        let Self::Database { epr, .. } = self else {
            let mut found = None;
            let filter = EntityFilter { types: vec![entity_type], parent_id: None };
            self.each_entity(&filter, &mut |entity| {
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

    pub(crate) async fn each_entity(&self, filter: &EntityFilter, take: Take<'_, Entity>) -> Result<(), Fault> {
        let epr = match self {
            Self::Database { epr, .. } => epr,
            Self::Api(api) => return api.each_entity(filter, take).await,
        };
        let mut page = Page { limit: PAGE, after: None };
        loop {
            let rows = epr.entities(filter, &page).await?;
            page.after = rows.last().map(|row| Cursor { created_at: row.created_at, id: row.id });
            let full = rows.len() == PAGE as usize;
            if !rows.into_iter().all(&mut *take) || !full {
                return Ok(());
            }
        }
    }

    pub(crate) async fn create_entity(&self, new: NewEntity) -> Result<Entity, Fault> {
        match self {
            Self::Database { epr, call, .. } => epr.create_entity(call, new).await.map_err(taken),
            Self::Api(api) => api.create_entity(&new).await,
        }
    }

    pub(crate) async fn update_entity(&self, id: Uuid, patch: EntityPatch) -> Result<Entity, Fault> {
        match self {
            Self::Database { epr, call, .. } => Ok(epr.update_entity(call, id, patch).await?),
            Self::Api(api) => api.update_entity(id, &patch).await,
        }
    }

    pub(crate) async fn archive_entity(&self, id: Uuid) -> Result<Entity, Fault> {
        match self {
            Self::Database { epr, call, .. } => Ok(epr.archive_entity(call, id).await?),
            Self::Api(api) => api.archive_entity(id).await,
        }
    }

    pub(crate) async fn role(&self, id: Uuid) -> Result<Role, Fault> {
        match self {
            Self::Database { epr, .. } => Ok(epr.role(id).await?),
            Self::Api(api) => api.role(id).await,
        }
    }

    pub(crate) async fn role_named(&self, name: &str) -> Result<Option<Role>, Fault> {
        let Self::Database { epr, .. } = self else {
            let mut found = None;
            self.each_role(&mut |role| {
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

    pub(crate) async fn each_role(&self, take: Take<'_, Role>) -> Result<(), Fault> {
        let epr = match self {
            Self::Database { epr, .. } => epr,
            Self::Api(api) => return api.each_role(take).await,
        };
        let mut page = Page { limit: PAGE, after: None };
        loop {
            let rows = epr.roles(&page).await?;
            page.after = rows.last().map(|row| Cursor { created_at: row.created_at, id: row.id });
            let full = rows.len() == PAGE as usize;
            if !rows.into_iter().all(&mut *take) || !full {
                return Ok(());
            }
        }
    }

    pub(crate) async fn create_role(&self, new: NewRole) -> Result<Role, Fault> {
        match self {
            Self::Database { epr, call, .. } => epr.create_role(call, new).await.map_err(taken),
            Self::Api(api) => api.create_role(&new).await,
        }
    }

    pub(crate) async fn update_role(&self, id: Uuid, patch: RolePatch) -> Result<Role, Fault> {
        match self {
            Self::Database { epr, call, .. } => Ok(epr.update_role(call, id, patch).await?),
            Self::Api(api) => api.update_role(id, &patch).await,
        }
    }

    /// Assignments with the names of their roles and places, newest first.
    pub(crate) async fn each_named(
        &self,
        filter: AssignmentFilter,
        take: Take<'_, NamedAssignment>,
    ) -> Result<(), Fault> {
        match self {
            Self::Database { epr, .. } => Ok(epr.scan_assignments(&AssignmentScan::Listed(filter), take).await?),
            Self::Api(api) => api.each_named(filter, take).await,
        }
    }

    /// One assignment with its names. The API has no call for it: its list is gone through.
    pub(crate) async fn assignment(&self, id: Uuid) -> Result<Option<NamedAssignment>, Fault> {
        let mut found = None;
        let mut take = |named: NamedAssignment| {
            if named.assignment.id == id {
                found = Some(named);
            }
            found.is_none()
        };
        match self {
            Self::Database { epr, .. } => epr.scan_assignments(&AssignmentScan::One(id), &mut take).await?,
            Self::Api(api) => api.each_named(AssignmentFilter::default(), &mut take).await?,
        }
        Ok(found)
    }

    /// Assignments as they are, newest first.
    pub(crate) async fn each_assignment(
        &self,
        filter: AssignmentFilter,
        take: Take<'_, Assignment>,
    ) -> Result<(), Fault> {
        match self {
            Self::Database { epr, .. } => {
                let scan = AssignmentScan::Listed(filter);
                Ok(epr.scan_assignments(&scan, &mut |named| take(named.assignment)).await?)
            }
            Self::Api(api) => api.each_assignment(filter, take).await,
        }
    }

    pub(crate) async fn assign(&self, new: NewAssignment) -> Result<Assignment, Fault> {
        match self {
            Self::Database { epr, call, .. } => Ok(epr.assign(call, new).await?),
            Self::Api(api) => api.assign(&new).await,
        }
    }

    pub(crate) async fn revoke(&self, id: Uuid) -> Result<(), Fault> {
        match self {
            Self::Database { epr, call, .. } => Ok(epr.revoke(call, id).await.map(|_| ())?),
            Self::Api(api) => api.revoke(id).await,
        }
    }

    /// Carries out a batch: on the database in one transaction, over the API one by one. Tells of each step whether it
    /// changed anything.
    pub(crate) async fn apply(&self, steps: &[BulkStep]) -> Result<Vec<bool>, BatchFault> {
        match self {
            Self::Database { epr, call, .. } => epr
                .apply_all(call, steps)
                .await
                .map_err(|BulkFailure { at, why }| BatchFault { done: 0, at, why: why.into() }),
            Self::Api(api) => {
                for (at, step) in steps.iter().enumerate() {
                    api.apply(step).await.map_err(|why| BatchFault { done: at, at: Some(at), why })?;
                }
                Ok(vec![true; steps.len()])
            }
        }
    }

    /// Says once, before something is changed, that nobody will be told of it.
    pub(crate) fn remark_if_untold(&self) {
        if let Self::Database { untold: true, .. } = self {
            crate::output::remark(
                "warning: EPR_DOCUMENT_VAULT_TOPIC_ARN is not set here: other services are not told of this change",
            );
        }
    }
}

fn taken(fault: Error) -> Fault {
    match fault {
        Error::Conflict(why) => Fault::Taken(why),
        other => other.into(),
    }
}
