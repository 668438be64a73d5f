//! The entity types that a service accepts, as the readers of its requests know them.
//!
//! Owns their words and nothing else; the type of an entity gives them a meaning. Must never know a registry type.

use std::sync::Arc;

/// The entity types that a service accepts: the built-in ones and those that its operator adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTypes {
    /// The words of the added types, in the order of the setting; `None`: every word of the grammar is accepted.
    pub(crate) added: Option<Arc<[Box<str>]>>,
}

impl EntityTypes {
    /// Every word of the grammar: for a client, which does not know the settings of the service.
    pub const ANY: &'static Self = &Self { added: None };
}
