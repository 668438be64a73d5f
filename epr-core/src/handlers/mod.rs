//! The use cases, one method of [`crate::Epr`] each. Each owns its transaction; none knows who calls it.

mod assignments;
pub(crate) mod audit;
pub(crate) mod audit_log;
pub(crate) mod bulk;
mod change;
pub(crate) mod check;
mod entities;
mod event_entry;
mod events;
mod question_body;
mod record;
mod reports;
mod roles;
mod takeover;
