//! Statements of lists of access: candidates, which the decision judges. SQL only narrows them: to roles that hold the
//! action, and to assignments that reach the resource.
//!
//! Must never decide.

#[macro_use]
pub(in super::super) mod rows;

pub(super) mod actions;
mod described;
mod exceptions;
pub(in super::super) mod holdings;
pub(super) mod keys;
mod merge;
mod paths;
pub(super) mod principals;
pub(in super::super) mod region;
mod resource;
pub(super) mod resources;
mod roles;
pub(super) mod subtrees;
