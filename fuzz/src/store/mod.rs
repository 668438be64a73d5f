//! The reader of database URLs.

#[path = "../../../epr-core/src/store/url/mod.rs"]
pub mod url;
