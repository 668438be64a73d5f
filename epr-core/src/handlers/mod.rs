//! The use cases, one method of [`crate::Epr`] each. Each owns its transaction; none knows who calls it.

mod assignments;
mod change;
mod check;
mod entities;
mod roles;
