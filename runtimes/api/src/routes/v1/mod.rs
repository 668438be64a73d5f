//! `/api/v1`, a file for each resource.

pub(crate) mod access;
pub(crate) mod assignments;
pub(crate) mod audit;
pub(crate) mod changes;
pub(crate) mod check;
pub(crate) mod check_batch;
pub(crate) mod entities;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod ledger;
pub(crate) mod principals;
pub(crate) mod roles;
