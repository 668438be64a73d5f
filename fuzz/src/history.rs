//! The history of the registry, as far as the entries of the ledger need it.

#[path = "../../epr-core/src/history/row.rs"]
pub mod row;
