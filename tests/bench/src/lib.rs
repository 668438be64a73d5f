//! Code that the three benches share: descriptions of the machine and of the process that measures.

pub mod measure;
pub mod plain_rows;
