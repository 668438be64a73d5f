//! The registry as it was, on the database or over the API.
//!
//! Must never look up a name of the present for a row of the past.

use std::collections::HashMap;

use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{
    Assignment, AssignmentFilter, Entity, EntityFilter, EntityStatus, EntityType, Moment, NamedAssignment, Principal,
    Role,
};
use epr_core::history::{RegistryRow, RowKey};
use epr_core::store::{Cursor, Page, RegistryList};
use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::{Backend, BackendError, PAGE_ROWS, RowVisitor};

impl Backend {
    /// The entity as it was at `moment`.
    pub(crate) async fn entity_at(&self, id: Uuid, moment: Moment) -> Result<Entity, BackendError> {
        match self {
            _ if moment.is_now() => self.entity(id).await,
            Self::Api(api) => api.checked(api.client.entity_at(id, moment).await),
            Self::Database { .. } => match self.row_at(RowKey::Entity(id), moment).await? {
                RegistryRow::Entity(entity) => Ok(entity),
                _ => Err(another_kind()),
            },
        }
    }

    /// The entity that had this name at `moment`, also an archived one.
    pub(crate) async fn entity_named_at(
        &self,
        entity_type: &EntityType,
        name: &str,
        moment: Moment,
    ) -> Result<Option<Entity>, BackendError> {
        if moment.is_now() {
            return self.entity_named(entity_type, name).await;
        }
        // No entity can have a longer name.
        let Ok(name) = name.parse() else { return Ok(None) };
        let mut filter = EntityFilter { types: vec![entity_type.clone()], name: Some(name), ..EntityFilter::default() };
        let mut found = None;
        for status in [None, Some(EntityStatus::Archived)] {
            filter.status = status;
            self.for_each_row_at(RegistryList::Entities(&filter), moment, &mut |row| {
                found = Some(row);
                false
            })
            .await?;
            if let Some(RegistryRow::Entity(entity)) = found {
                return Ok(Some(entity));
            }
        }
        Ok(None)
    }

    /// The role as it was at `moment`.
    pub(crate) async fn role_at(&self, id: Uuid, moment: Moment) -> Result<Role, BackendError> {
        match self {
            _ if moment.is_now() => self.role(id).await,
            Self::Api(api) => api.checked(api.client.role_at(id, moment).await),
            Self::Database { .. } => match self.row_at(RowKey::Role(id), moment).await? {
                RegistryRow::Role(role) => Ok(role),
                _ => Err(another_kind()),
            },
        }
    }

    /// The role that had this name at `moment`.
    pub(crate) async fn role_named_at(&self, name: &str, moment: Moment) -> Result<Option<Role>, BackendError> {
        if moment.is_now() {
            return self.role_named(name).await;
        }
        let mut found = None;
        self.for_each_row_at(RegistryList::Roles, moment, &mut |row| {
            if let RegistryRow::Role(role) = row
                && role.name == name
            {
                found = Some(role);
            }
            found.is_none()
        })
        .await?;
        Ok(found)
    }

    /// The principal as it was at `moment`.
    pub(crate) async fn principal_at(
        &self,
        kind: &PrincipalType,
        id: Uuid,
        moment: Moment,
    ) -> Result<Principal, BackendError> {
        match self {
            _ if moment.is_now() => self.principal(kind, id).await,
            Self::Api(api) => api.checked(api.client.principal_at(kind, id, moment).await),
            Self::Database { .. } => {
                match self.row_at(RowKey::Principal(kind.as_str().to_owned(), id), moment).await? {
                    RegistryRow::Principal(principal) => Ok(principal),
                    _ => Err(another_kind()),
                }
            }
        }
    }

    /// The assignment as it was at `moment`, with the names of that time.
    pub(crate) async fn assignment_at(&self, id: Uuid, moment: Moment) -> Result<NamedAssignment, BackendError> {
        let assignment = match self {
            Self::Api(api) => api.checked(api.client.assignment_at(id, moment).await)?,
            Self::Database { .. } => match self.row_at(RowKey::Assignment(id), moment).await? {
                RegistryRow::Assignment(assignment) => assignment,
                _ => return Err(another_kind()),
            },
        };
        NamesAt { backend: self, moment, roles: None, entities: HashMap::new() }.name(assignment).await
    }

    /// Assignments as they were at `moment`, newest first, with the names of that time.
    pub(crate) async fn for_each_named_assignment_at(
        &self,
        filter: &AssignmentFilter,
        moment: Moment,
        visit: RowVisitor<'_, NamedAssignment>,
    ) -> Result<(), BackendError> {
        let mut names = NamesAt { backend: self, moment, roles: None, entities: HashMap::new() };
        self.for_each_page_at(RegistryList::Assignments(filter), moment, async |rows| {
            for row in rows {
                let RegistryRow::Assignment(assignment) = row else { return Err(another_kind()) };
                if !visit(names.name(assignment).await?) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }

    /// Passes the rows of a list at `moment` to `visit`, newest first, until it returns `false`.
    pub(crate) async fn for_each_row_at(
        &self,
        list: RegistryList<'_>,
        moment: Moment,
        visit: RowVisitor<'_, RegistryRow>,
    ) -> Result<(), BackendError> {
        self.for_each_page_at(list, moment, async |rows| Ok(rows.into_iter().all(&mut *visit))).await
    }

    async fn row_at(&self, key: RowKey, moment: Moment) -> Result<RegistryRow, BackendError> {
        match self {
            Self::Database { epr, call, .. } => Ok(epr.row_at(call, key, moment).await?),
            Self::Api(_) => Err(another_kind()),
        }
    }

    /// Passes the pages of a list at `moment` to `take` until it returns `false`.
    async fn for_each_page_at(
        &self,
        list: RegistryList<'_>,
        mut moment: Moment,
        mut take: impl AsyncFnMut(Vec<RegistryRow>) -> Result<bool, BackendError>,
    ) -> Result<(), BackendError> {
        let (epr, call) = match self {
            Self::Database { epr, call, .. } => (epr, call),
            Self::Api(api) => {
                let client = &api.client;
                macro_rules! pages {
                    ($list:expr) => {{
                        let mut pages = $list.at(moment).limit(PAGE_ROWS).pages();
                        while let Some(page) = api.checked(pages.try_next().await)? {
                            if !take(page.items.into_iter().map(RegistryRow::from).collect()).await? {
                                break;
                            }
                        }
                    }};
                }
                match list {
                    RegistryList::Entities(filter) => pages!(client.entities(filter)),
                    RegistryList::Roles => pages!(client.roles()),
                    RegistryList::Assignments(filter) => pages!(client.assignments(filter)),
                    RegistryList::Principals(filter) => pages!(client.principals(filter)),
                }
                return Ok(());
            }
        };
        let mut page = Page { limit: PAGE_ROWS, after: None };
        loop {
            let mut rows = Vec::new();
            let mut add = |row| {
                rows.push(row);
                true
            };
            let past = epr.show_rows_at(call, list, moment, page, &mut add).await?;
            // Every page is of the same state.
            moment = Moment { at: Some(past.at), revision: Some(past.revision) };
            page.after = rows.last().map(Cursor::of);
            let is_full = rows.len() == PAGE_ROWS as usize;
            if !take(rows).await? || !is_full {
                return Ok(());
            }
        }
    }
}

fn another_kind() -> BackendError {
    BackendError::Message("the answer is of another kind".to_owned())
}

/// The names of roles and entities at a moment. Each read of the past is recorded: the roles are read once.
struct NamesAt<'a> {
    backend: &'a Backend,
    moment: Moment,
    roles: Option<HashMap<Uuid, String>>,
    entities: HashMap<Uuid, (EntityType, String)>,
}

impl NamesAt<'_> {
    async fn name(&mut self, assignment: Assignment) -> Result<NamedAssignment, BackendError> {
        if self.roles.is_none() {
            let mut roles = HashMap::new();
            self.backend
                .for_each_row_at(RegistryList::Roles, self.moment, &mut |row| {
                    if let RegistryRow::Role(role) = row {
                        roles.insert(role.id, role.name);
                    }
                    true
                })
                .await?;
            self.roles = Some(roles);
        }
        let role_name = self.roles.as_ref().and_then(|roles| roles.get(&assignment.role_id)).cloned();
        let named = match assignment.entity_id {
            Some(id) => {
                if !self.entities.contains_key(&id) {
                    let entity = self.backend.entity_at(id, self.moment).await?;
                    self.entities.insert(id, (entity.entity_type, entity.name));
                }
                self.entities.get(&id).cloned()
            }
            None => None,
        };
        let (entity_type, entity_name) = named.unzip();
        let role_name = role_name.unwrap_or_else(|| assignment.role_id.to_string());
        Ok(NamedAssignment { assignment, role_name, entity_type, entity_name, granted: None })
    }
}
