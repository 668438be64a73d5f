//! Principals, roles and assignments in a file: how its records are read, compared with the registry and applied.
//!
//! A file can be imported into another installation: roles are identified by name, entities by type and name, or by
//! id where the id exists; principals by type and id, or by type and external id. Must never print: the programs do.

pub mod check;
pub mod csv_cells;
pub mod input;
pub mod plan;
pub mod principal;
pub mod record;
pub mod registry;
pub mod run;
pub mod tally;
pub mod text;
