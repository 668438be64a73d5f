//! AuthZEN Authorization API 1.0: subjects, actions and resources in the names of other systems.
//!
//! Owns the mapping of names to principals and entities, and searches. Must never decide: every answer is a
//! decision of [`crate::decision`] on the facts of a check.

pub(crate) mod evaluate;
mod record;
mod request;
pub(crate) mod search;
mod search_request;
mod search_token;

pub use evaluate::ItemAnswer;
pub(super) use record::Recorder;
pub use request::{
    Evaluation, Evaluations, EvaluationsRequest, MAX_ITEMS, NamedAction, NamedEntity, Semantic, sentence,
};
pub use search::SearchPage;
pub use search_request::{MAX_RESULTS, SearchKind, SearchQuestion, SearchRequest};
