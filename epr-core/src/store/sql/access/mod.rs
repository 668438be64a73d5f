//! Statements of lists of access: candidates, which the decision judges. SQL only narrows them: to roles that hold the
//! action, and to assignments that reach the resource.
//!
//! Must never decide.

#[macro_use]
pub(in super::super) mod rows;

pub(in super::super) mod actions;
mod archived_entities;
pub(super) mod described;
pub(super) mod keys;
mod merge;
mod page_time;
mod paths;
pub(in super::super) mod principal_assignments;
pub(super) mod principals;
pub(in super::super) mod region;
mod resource;
pub(super) mod resources;
mod roles;
pub(super) mod subtrees;
