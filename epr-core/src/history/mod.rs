//! History: the versions of the registry's rows, and how they follow from the ledger.
//!
//! Owns the replay, which makes row versions of ledger entries, and the batches in which versions are stored. Pure: no
//! database, no clock. Must never decide anything: past answers come from the statements and the rule of present ones.

pub mod baseline;
pub mod batch;
pub mod reconcile;
pub mod replay;
pub mod row;
pub mod verify;

pub use replay::{Entry, Step, Unreplayable};
pub use row::{RegistryRow, RowKey, RowVersion};
