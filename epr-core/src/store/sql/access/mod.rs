//! Statements of lists of access: candidates, which the decision judges. SQL only narrows them: to roles that hold the
//! action, and to assignments that reach the resource.
//!
//! Must never decide.

#[macro_use]
pub(in super::super) mod rows;

pub(super) mod actions;
pub(super) mod keys;
mod merge;
pub(super) mod principals;
mod resource;
mod roles;
