//! References to entities and roles on the command line: by id, or by name.

use std::str::FromStr;

use epr_core::domain::fields::parse_uuid;
use epr_core::domain::{Entity, EntityType, Moment, Role};
use uuid::Uuid;

use crate::backend::{Backend, BackendError};

/// An entity: its id, or `TYPE:NAME`, which is unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntityRef {
    Id(Uuid),
    Named(EntityType, String),
}

impl FromStr for EntityRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(id) = parse_uuid(text) {
            return Ok(Self::Id(id));
        }
        let named = text.split_once(':').and_then(|(word, name)| Some((EntityType::from_word(word)?, name)));
        match named {
            Some((entity_type, name)) if !name.is_empty() => Ok(Self::Named(entity_type, name.to_owned())),
            _ => Err("give an id, or TYPE:NAME such as \"spv:Berlin One\"".into()),
        }
    }
}

impl EntityRef {
    /// The entity that it refers to.
    pub(crate) async fn find(&self, backend: &Backend) -> Result<Entity, BackendError> {
        self.find_at(backend, Moment::NOW).await
    }

    /// The entity that it referred to at `moment`, as it was then.
    pub(crate) async fn find_at(&self, backend: &Backend, moment: Moment) -> Result<Entity, BackendError> {
        match self {
            Self::Id(id) => backend.entity_at(*id, moment).await,
            Self::Named(entity_type, name) => match backend.entity_named_at(entity_type, name, moment).await? {
                Some(entity) => Ok(entity),
                None if !moment.is_now() => {
                    Err(BackendError::Message(format!("there was no {entity_type} named `{name}` at that moment")))
                }
                None if backend.is_api() => Err(BackendError::Message(format!(
                    "there is no {entity_type} named `{name}`, or it is archived; with --url, give the id of an \
                     archived entity"
                ))),
                None => Err(BackendError::Message(format!("there is no {entity_type} named `{name}`"))),
            },
        }
    }

    /// The id of the entity that it refers to.
    pub(crate) async fn id(&self, backend: &Backend) -> Result<Uuid, BackendError> {
        self.id_at(backend, Moment::NOW).await
    }

    /// The id of the entity that it referred to at `moment`.
    pub(crate) async fn id_at(&self, backend: &Backend, moment: Moment) -> Result<Uuid, BackendError> {
        match self {
            Self::Id(id) => Ok(*id),
            Self::Named(..) => Ok(self.find_at(backend, moment).await?.id),
        }
    }
}

/// A role: its id or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleRef(String);

impl FromStr for RoleRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("give an id or a name".into()) } else { Ok(Self(text.to_owned())) }
    }
}

impl RoleRef {
    /// The role that it refers to. A name takes precedence over an id: a role can be named like an id.
    pub(crate) async fn find(&self, backend: &Backend) -> Result<Role, BackendError> {
        self.find_at(backend, Moment::NOW).await
    }

    /// The role that it referred to at `moment`, as it was then.
    pub(crate) async fn find_at(&self, backend: &Backend, moment: Moment) -> Result<Role, BackendError> {
        let named = backend.role_named_at(&self.0, moment).await?;
        match (named, parse_uuid(&self.0)) {
            (Some(role), _) => Ok(role),
            (None, Some(id)) => backend.role_at(id, moment).await,
            (None, None) if !moment.is_now() => {
                Err(BackendError::Message(format!("there was no role named `{}` at that moment", self.0)))
            }
            (None, None) => Err(BackendError::Message(format!("there is no role named `{}`", self.0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names() {
        let id = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11";
        assert_eq!(id.parse(), Ok(EntityRef::Id(id.parse().unwrap())));
        assert_eq!("spv:Berlin: One".parse(), Ok(EntityRef::Named(EntityType::Spv, "Berlin: One".into())));
        for nonsense in ["", "Berlin One", "spv:", "Ship:Berlin"] {
            assert!(nonsense.parse::<EntityRef>().is_err(), "{nonsense}");
        }
    }
}
