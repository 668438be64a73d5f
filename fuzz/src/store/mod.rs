//! The reader of database URLs.

#[path = "../../../epr-core/src/store/url.rs"]
pub mod url;
